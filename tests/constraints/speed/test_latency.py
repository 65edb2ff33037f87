"""Step time, steady states and spreads against numbers worked out by hand, and what the optimiser relies on."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.kernel_paths import effective_path
from vllm_opt.constraints.speed.latency import (
    closed_loop,
    interval_factors,
    offline_batch,
    open_loop,
    quantile_factor,
    relative_spread,
)
from vllm_opt.constraints.speed.model_work import model_shape, model_work
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, padded_batch, stack, step_time
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.gpu import GpuProfile, Interconnect
from vllm_opt.profiles.nouns.latency_constants import (
    CalibrationCell,
    GpuConstants,
    KernelPath,
    LatencyConstants,
    PathFactor,
    SharedConstants,
    Spread,
    default_latency_constants,
    read_latency_constants,
)
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp, Experts, ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

CATALOG = Catalog()
SPREAD = Spread(tpot=0.1, ttft=0.2, throughput=0.1)
ATTENTION = Attention(num_attention_heads=10, num_key_value_heads=5, head_dim=100, v_head_dim=100)
HALF = Quantization(
    id="bf16", title="16-bit", weight_bits=16, scale_granularity="none", compute="half", kernel_path="bf16"
)
IDEAL = SharedConstants(
    serial_share=0.5,
    layer_s=0,
    moe_layer_s=0,
    step_s=0,
    sequence_s=0,
    frontend_s=0,
    synchrony=0,
    attention_efficiency=1,
    kv_read_efficiency=1,
    expert_read_efficiency=1,
    expert_compute_efficiency=1,
    activation_passes=0,
    collective_latency_factor=1,
    collective_bandwidth_factor=1,
    eager_layer_s=1e-3,
    eager_moe_layer_s=0,
    eager_gap_s=0,
    pipeline_hop_s=0,
)


def toy_gpu(kind: str = "nvlink", **link: object) -> GpuProfile:
    """10^12 bytes/s and 10^14 FLOP/s."""
    return GpuProfile(
        id="toy",
        name="toy",
        vendor="nvidia",
        architecture="toy",
        compute_capability=(9, 0),
        memory_bytes=10**11,
        memory_bytes_high=10**11,
        memory_basis="datasheet",
        memory_gb_nominal=100,
        memory_bandwidth_bytes_per_s=1e12,
        bf16_flops_per_s=1e14,
        interconnect=Interconnect(kind=kind, **link),
        gpus_per_node=8,
        sources=("https://example.org",),
    )


def toy_model(feed_forward: DenseMlp | Experts | None = None, window: int | None = None) -> ModelProfile:
    """One layer: attention 3e6 weights, dense MLP 6e6; head 1e7."""
    mixer = ATTENTION.model_copy(update={"window_tokens": window})
    layer = DecoderLayer(mixer=mixer, feed_forward=feed_forward or DenseMlp(intermediate_size=2000))
    return ModelProfile(
        id="toy/model",
        model_type="toy",
        architecture="Toy",
        hidden_size=1000,
        vocab_size=10_000,
        max_model_len=10**6,
        layer_kinds=(layer,),
        layer_pattern=(0,),
        final_norm_parameters=1000,
    )


def toy_constants(**shared: float) -> LatencyConstants:
    """Every efficiency 1, no overheads."""
    shipped = default_latency_constants()
    own = GpuConstants(
        memory_efficiency=1,
        compute_efficiency=1,
        basis="fitted",
        paths={"bf16": PathFactor()},
        source="test",
    )
    path = KernelPath(compute_factor=1, basis="fitted", source="test")
    return shipped.model_copy(
        update={
            "shared": IDEAL.model_copy(update=shared),
            "gpus": {"toy": own},
            "kernel_paths": {"bf16": path},
            "generations": {},
            "releases": {},
            "spreads": {"measured": SPREAD, "fitted": SPREAD, "datasheet": SPREAD},
            "cells": (),
        }
    )


def toy_coefficients(model: ModelProfile | None = None, kind: str = "nvlink", **layout: object) -> LatencyCoefficients:
    """Coefficients of the toy model on the toy GPU."""
    return latency_coefficients(model or toy_model(), HALF, Layout(gpu="toy", **layout), toy_gpu(kind), toy_constants())


def real(model: str, gpu: str, quantization: str = "bf16", **layout: object) -> LatencyCoefficients:
    """Shipped constants for catalogue names."""
    noun = CATALOG.model(model)
    plan = Layout(gpu=gpu, quantization=quantization, **layout)
    return latency_coefficients(
        noun, CATALOG.quantization(quantization), plan, CATALOG.gpu(gpu), default_latency_constants()
    )


def test_decode_step_by_hand() -> None:
    # dense 18e6 bytes: 18 us, 0.18 us of compute, half of it hidden; head 2e7 bytes: 20 us and 0.2 us;
    # attention 2000 bytes per token: 2 ns, 4000 FLOP: 0.04 ns, over 1000 tokens of context.
    time = step_time(toy_coefficients(), 1.0, 1000.0, 0.0, 0.0)
    assert float(time) == pytest.approx((18.09 + 20.1 + 2.02) * 1e-6)


def test_prefill_step_by_hand() -> None:
    # 600 tokens: dense compute 108 us over 18 us of reading (half hidden); head for one sequence;
    # attention 600 x 4000 FLOP x span 300 = 7.2e8 FLOP = 7.2 us.
    time = step_time(toy_coefficients(), 0.0, 0.0, 600.0, 300.0, padding=False)
    assert float(time) == pytest.approx((108 + 9 + 20.1 + 7.2) * 1e-6)


def test_steps_wider_than_captured_graphs_wait_for_launches() -> None:
    # 512 tokens are the widest captured step; one more is launched kernel by kernel, which takes 1 ms here.
    inside, beyond = (float(step_time(toy_coefficients(), 0.0, 0.0, tokens, 100.0)) for tokens in (512.0, 513.0))
    assert inside < 2e-4
    assert beyond == pytest.approx(1e-3)


def test_window_limits_what_is_read() -> None:
    full, windowed = toy_coefficients(), toy_coefficients(toy_model(window=100))
    saved = step_time(full, 1.0, 1000.0, 0.0, 0.0) - step_time(windowed, 1.0, 1000.0, 0.0, 0.0)
    assert float(saved) == pytest.approx(900 * 2.02e-9)
    assert float(step_time(windowed, 1.0, 60.0, 0.0, 0.0)) == pytest.approx(float(step_time(full, 1.0, 60.0, 0.0, 0.0)))


def test_experts_hit_grow_with_the_batch() -> None:
    experts = Experts(num_experts=4, num_experts_per_tok=1, moe_intermediate_size=1000)
    c = toy_coefficients(toy_model(experts))
    # 4 x 3e6 weights: 24 us to read all; one token reaches a quarter, two 1 - 0.75^2 = 0.4375.
    assert float(c.expert_memory_s) == pytest.approx(24e-6)
    assert -np.expm1(float(c.expert_miss_log)) == pytest.approx(0.25)
    assert -np.expm1(2 * float(c.expert_miss_log)) == pytest.approx(0.4375)
    # DP peers bring their tokens and share the experts.
    peers = toy_coefficients(toy_model(experts), data_parallel_size=2, expert_parallel=True)
    assert float(peers.expert_memory_s) == pytest.approx(12e-6)
    assert -np.expm1(float(peers.expert_miss_log)) == pytest.approx(0.4375)


def test_every_expert_used_is_not_a_logarithm_of_zero() -> None:
    experts = Experts(num_experts=2, num_experts_per_tok=2, moe_intermediate_size=10)
    assert -np.expm1(float(toy_coefficients(toy_model(experts)).expert_miss_log)) == pytest.approx(1.0)


def test_tensor_parallelism_divides_weights_and_adds_all_reduces() -> None:
    link = default_latency_constants().collectives["nvlink"]
    one, two = toy_coefficients(), toy_coefficients(tensor_parallel_size=2)
    assert float(two.dense_memory_s) == pytest.approx(float(one.dense_memory_s) / 2)
    assert float(two.fixed_s) == pytest.approx(2 * link.alpha_us[0] * 1e-6)
    assert float(two.token_s) == pytest.approx(2 * 2000 / (link.gb_per_s[0] * 1e9))


def test_kv_heads_are_replicated_beyond_their_number() -> None:
    five, ten = (toy_coefficients(tensor_parallel_size=size) for size in (5, 10))
    assert float(ten.decode_s_per_context_token) == pytest.approx(float(five.decode_s_per_context_token), rel=0.02)


def test_pcie_all_reduce_is_slower() -> None:
    sizes = (2, 4, 8)
    fast = [float(toy_coefficients(tensor_parallel_size=size).token_s) for size in sizes]
    slow = [float(toy_coefficients(kind="pcie", tensor_parallel_size=size).token_s) for size in sizes]
    assert all(theirs > ours for theirs, ours in zip(slow, fast, strict=True))


def test_fp8_kv_cache_halves_reads() -> None:
    half, full = toy_coefficients(kv_cache_dtype="fp8"), toy_coefficients()
    # 1 ns + 0.02 ns against 2 ns + 0.02 ns
    assert float(half.decode_s_per_context_token) == pytest.approx(1.02e-9)
    assert float(full.decode_s_per_context_token) == pytest.approx(2.02e-9)


def test_capture_sizes() -> None:
    sizes = [1, 2, 3, 4, 5, 8, 9, 255, 256, 257, 512, 513]
    assert padded_batch(np.array(sizes, dtype=float)).tolist() == [1, 2, 4, 4, 8, 8, 16, 256, 256, 272, 512, 513]


def test_eager_waits_for_kernel_launches() -> None:
    eager, graphs = toy_coefficients(enforce_eager=True), toy_coefficients()
    assert float(step_time(eager, 1.0, 10.0, 0.0, 0.0)) == pytest.approx(1e-3)
    assert float(step_time(graphs, 1.0, 10.0, 0.0, 0.0)) < 1e-4


@pytest.mark.parametrize("model", ["Qwen/Qwen2.5-7B", "Qwen/Qwen3-30B-A3B"])
def test_eager_costs_most_at_small_batches(model: str) -> None:
    users = np.array([1.0, 64.0])
    eager, graphs = (
        closed_loop(real(model, "h100-sxm", enforce_eager=flag), users, 256, 8192, 512, 256).tpot_ms
        for flag in (True, False)
    )
    assert eager[0] / graphs[0] > 1.2
    assert eager[0] / graphs[0] > eager[1] / graphs[1] >= 1.0


def test_single_user_by_hand() -> None:
    # Alone, 101 tokens out: TTFT is the prefill, for no step is under way; TPOT is a decode step at context 562.
    c = toy_coefficients()
    load = closed_loop(c, 1, 8, 8192, 512, 101)
    decode = float(step_time(c, 1.0, 562.5, 0.0, 0.0))
    prefill = float(step_time(c, 0.0, 0.0, 512.0, 256.0))
    assert float(load.tpot_ms) == pytest.approx(decode * 1e3, rel=1e-3)
    assert float(load.ttft_ms) == pytest.approx(prefill * 1e3, rel=1e-2)
    assert float(load.e2e_ms) == pytest.approx(float(load.ttft_ms) + 100 * float(load.tpot_ms))


def test_units_and_littles_law() -> None:
    users = np.array([1, 4, 16, 64, 200], dtype=float)
    load = closed_loop(real("Qwen/Qwen2.5-7B", "h100-sxm"), users, 256, 8192, 1000, 200)
    np.testing.assert_allclose(load.requests_per_s * load.e2e_ms / 1e3, users, rtol=4e-3)
    np.testing.assert_allclose(load.output_tokens_per_s, load.requests_per_s * 200)
    np.testing.assert_allclose(load.total_tokens_per_s, load.requests_per_s * 1200)
    assert not load.saturated.any()


def test_users_beyond_max_num_seqs_wait() -> None:
    c = real("Qwen/Qwen2.5-7B", "h100-sxm")
    inside, beyond = closed_loop(c, 32, 32, 8192, 1000, 200), closed_loop(c, 64, 32, 8192, 1000, 200)
    assert bool(beyond.saturated)
    assert not bool(inside.saturated)
    assert float(beyond.tpot_ms) == pytest.approx(float(inside.tpot_ms))
    assert float(beyond.output_tokens_per_s) == pytest.approx(float(inside.output_tokens_per_s))
    # 32 users wait while requests finish at the engine's rate.
    wait_ms = 32 / float(inside.requests_per_s) * 1e3
    assert float(beyond.ttft_ms) == pytest.approx(float(inside.ttft_ms) + wait_ms, rel=1e-6)


def test_pipeline_trades_latency_for_throughput() -> None:
    users = np.array([1.0, 128.0])
    one = closed_loop(real("Qwen/Qwen2.5-72B", "h100-sxm", tensor_parallel_size=2), users, 256, 8192, 1000, 200)
    two = closed_loop(
        real("Qwen/Qwen2.5-72B", "h100-sxm", tensor_parallel_size=2, pipeline_parallel_size=2),
        *(users, 256, 8192, 1000, 200),
    )
    assert two.tpot_ms[0] >= one.tpot_ms[0]
    assert two.output_tokens_per_s[1] > 1.2 * one.output_tokens_per_s[1]


def test_expert_parallel_attention_peers_read_fewer_experts_each() -> None:
    model, gpu = "Qwen/Qwen3-30B-A3B", "h100-sxm"
    alone = real(model, gpu)
    peers = real(model, gpu, data_parallel_size=4, expert_parallel=True)
    assert float(peers.expert_memory_s) == pytest.approx(float(alone.expert_memory_s) / 4)


def test_prefix_hits_shorten_ttft_and_free_capacity() -> None:
    c = real("Qwen/Qwen2.5-7B", "h100-sxm")
    cold, warm = (closed_loop(c, 64, 256, 8192, 4000, 100, prefix_hit_share=share) for share in (0.0, 0.8))
    assert float(warm.ttft_ms) < 0.5 * float(cold.ttft_ms)
    assert float(warm.output_tokens_per_s) > float(cold.output_tokens_per_s)


def test_smaller_token_budget_lowers_the_worst_step() -> None:
    c = real("Qwen/Qwen2.5-7B", "a100-sxm4-80gb")
    small, large = (closed_loop(c, 8, 256, budget, 16000, 200) for budget in (512, 16384))
    assert float(small.ttft_ms) > float(large.ttft_ms)


def test_one_output_token_has_no_tpot() -> None:
    load = closed_loop(real("Qwen/Qwen2.5-7B", "h100-sxm"), np.array([1.0, 50.0]), 256, 8192, 1000, 1)
    assert np.isnan(load.tpot_ms).all()
    np.testing.assert_allclose(load.e2e_ms, load.ttft_ms)
    np.testing.assert_allclose(load.requests_per_s, np.array([1.0, 50.0]) / load.ttft_ms * 1e3)


def test_open_loop_serves_what_arrives_until_it_cannot() -> None:
    load = open_loop(real("Qwen/Qwen2.5-7B", "h100-sxm"), np.array([0.1, 2.0, 1e4]), 256, 8192, 1000, 200)
    np.testing.assert_allclose(load.requests_per_s[:2], [0.1, 2.0])
    assert load.requests_per_s[2] < 1e3
    assert load.saturated.tolist() == [False, False, True]
    assert load.tpot_ms[0] < load.tpot_ms[1] <= load.tpot_ms[2]
    assert np.isfinite(load.ttft_ms).all()


def test_offline_batch_by_hand() -> None:
    c = toy_coefficients()
    batch = offline_batch(c, 10, 4, 1000, 100, 11)
    # 1000 prompt tokens in one step; then two waves of 4 and one of 2, ten steps each.
    prefill = float(step_time(c, 0.0, 0.0, 1000.0, 50.0))
    four, two = (float(step_time(c, size, 105.5, 0.0, 0.0)) for size in (4.0, 2.0))
    makespan = prefill + 10 * (2 * four + two)
    assert float(batch.makespan_ms) == pytest.approx(makespan * 1e3)
    assert float(batch.output_tokens_per_s) == pytest.approx(110 / makespan)


LAYOUTS = (
    real("Qwen/Qwen2.5-1.5B", "l4"),
    real("Qwen/Qwen2.5-72B", "h100-sxm", "fp8", tensor_parallel_size=4),
    real("Qwen/Qwen3-30B-A3B", "rtx-4090", "w4a16"),
    real("deepseek-ai/DeepSeek-V3", "b200", "nvfp4", tensor_parallel_size=8, expert_parallel=True),
    real("openai/gpt-oss-120b", "h200-sxm", "mxfp4", enforce_eager=True),
    real("Qwen/Qwen2.5-72B", "a100-sxm4-80gb", tensor_parallel_size=2, pipeline_parallel_size=2),
)


@settings(max_examples=60, deadline=None)
@given(
    layout=st.sampled_from(LAYOUTS),
    slots=st.integers(1, 2048),
    budget=st.integers(1, 65536),
    lengths=st.tuples(st.integers(1, 1_000_000), st.integers(1, 100_000)),
    chunked=st.booleans(),
    hit=st.floats(0, 0.95),
)
def test_latency_never_falls_when_users_are_added(
    layout: LatencyCoefficients, slots: int, budget: int, lengths: tuple[int, int], chunked: bool, hit: float
) -> None:
    users = np.unique(np.geomspace(1, 3000, 80).round())
    load = closed_loop(layout, users, slots, budget, *lengths, chunked_prefill=chunked, prefix_hit_share=hit)
    assert np.isfinite(load.ttft_ms).all()
    assert (load.ttft_ms > 0).all()
    assert (np.diff(load.ttft_ms) >= -1e-9 * load.ttft_ms[1:]).all()
    assert (load.output_tokens_per_s > 0).all()
    if lengths[1] > 1:
        assert (np.diff(load.tpot_ms) >= -1e-9 * load.tpot_ms[1:]).all()
        # And as the optimiser asks it: as many users as slots.
        full = closed_loop(layout, users, users, budget, *lengths, chunked_prefill=chunked, prefix_hit_share=hit)
        assert (np.diff(full.ttft_ms) >= -1e-9 * full.ttft_ms[1:]).all()
        assert (np.diff(full.tpot_ms) >= -1e-9 * full.tpot_ms[1:]).all()


@pytest.mark.parametrize("lengths", [(1, 1), (1, 2), (1_000_000, 2), (1, 1_000_000), (1_000_000, 1_000_000)])
@pytest.mark.parametrize("chunked", [True, False])
def test_extreme_lengths_give_finite_numbers(lengths: tuple[int, int], chunked: bool) -> None:
    for layout in LAYOUTS:
        load = closed_loop(layout, np.array([1, 4096]), 4096, 8192, *lengths, chunked_prefill=chunked)
        arrived = open_loop(layout, np.array([1e-6, 1e6]), 256, 8192, *lengths)
        batch = offline_batch(layout, np.array([1, 10**6]), 256, 8192, *lengths)
        numbers = [load.ttft_ms, load.e2e_ms, load.requests_per_s, arrived.ttft_ms, batch.makespan_ms]
        assert all(np.isfinite(item).all() and (item > 0).all() for item in numbers)


def test_many_layouts_at_once_equal_one_at_a_time() -> None:
    c = stack([*LAYOUTS, *LAYOUTS])
    together = closed_loop(c, 16, 64, 8192, 1000, 200)
    alone = [float(closed_loop(one, 16, 64, 8192, 1000, 200).ttft_ms) for one in LAYOUTS]
    np.testing.assert_allclose(together.ttft_ms, [*alone, *alone], rtol=1e-12)
    grid = closed_loop(
        LatencyCoefficients(*(np.asarray(getattr(c, f.name))[:, None] for f in fields(c))),
        np.arange(1.0, 9.0),
        64,
        8192,
        1000,
        200,
    )
    assert grid.tpot_ms.shape == (12, 8)
    assert grid.tpot_ms[3, 7] == pytest.approx(float(closed_loop(LAYOUTS[3], 8, 64, 8192, 1000, 200).tpot_ms))


def test_blocks_do_not_change_results() -> None:
    users = np.resize(np.arange(1.0, 100.0), 5000)
    load = closed_loop(LAYOUTS[0], users, 64, 8192, 1000, 200)
    np.testing.assert_array_equal(load.tpot_ms[:99], load.tpot_ms[99 * 40 : 99 * 41])


def test_quantiles_make_limits_stricter() -> None:
    c = toy_coefficients()
    assert relative_spread(c).tpot == pytest.approx(0.1)
    assert relative_spread(c).basis == "fitted"
    assert float(quantile_factor(c, "ttft", 0.9)) == pytest.approx(np.exp(1.2816 * 0.2), rel=1e-4)
    assert float(quantile_factor(c, "throughput", 0.9)) == pytest.approx(np.exp(-1.2816 * 0.1), rel=1e-4)
    assert float(quantile_factor(c, "tpot", 0.5)) == 1.0
    low, high = interval_factors(c, "tpot", 0.9)
    assert float(high) == pytest.approx(np.exp(1.6449 * 0.1), rel=1e-4)
    assert float(low * high) == pytest.approx(1.0)
    # How well TTFT is known depends on how the clients send.
    burst = replace(c, ttft_burst_spread=0.5)
    assert float(quantile_factor(burst, "ttft", 0.9, "burst")) == pytest.approx(np.exp(1.2816 * 0.5), rel=1e-4)
    assert float(quantile_factor(burst, "ttft", 0.9)) == pytest.approx(np.exp(1.2816 * 0.2), rel=1e-4)


def test_calibration_cell_scales_step_time_and_can_be_turned_off() -> None:
    cell = CalibrationCell(
        model="toy/model",
        shape=model_shape(toy_model()),
        gpu="toy",
        path="bf16",
        step_factor=1.5,
        prefill_factor=2.0,
        points=9,
        tensor_parallel_size=1,
    )
    constants = toy_constants().model_copy(update={"cells": (cell,)})
    layout = Layout(gpu="toy")
    on, off = (
        latency_coefficients(toy_model(), HALF, layout, toy_gpu(), constants, calibrated=flag) for flag in (True, False)
    )
    assert on.basis == "measured"
    assert off.basis == "fitted"
    assert float(step_time(on, 3.0, 500.0, 0.0, 0.0)) == pytest.approx(
        1.5 * float(step_time(off, 3.0, 500.0, 0.0, 0.0))
    )
    first, second = (closed_loop(c, 1, 8, 8192, 60_000, 2).ttft_ms for c in (off, on))
    assert float(second) == pytest.approx(3.0 * float(first), rel=0.01)


def test_doubt_widens_the_interval_and_leaves_the_centre() -> None:
    constants = default_latency_constants()
    own = constants.gpus["h100-sxm"]
    neutral = own.model_copy(update={"paths": {**own.paths, "fp8": PathFactor()}})
    without = own.model_copy(update={"paths": {name: value for name, value in own.paths.items() if name != "fp8"}})
    arguments = (
        CATALOG.model("Qwen/Qwen2.5-7B"),
        CATALOG.quantization("fp8"),
        Layout(gpu="h100-sxm", quantization="fp8"),
        CATALOG.gpu("h100-sxm"),
    )
    spreads = {"measured": SPREAD, "fitted": SPREAD, "datasheet": Spread(tpot=0.4, ttft=0.5, throughput=0.4)}
    known, unknown = (
        latency_coefficients(
            *arguments,
            constants.model_copy(update={"gpus": {"h100-sxm": gpu}, "cells": (), "spreads": spreads}),
        )
        for gpu in (neutral, without)
    )
    assert (known.basis, unknown.basis) == ("fitted", "datasheet")
    assert float(step_time(unknown, 8, 1000, 0, 0)) == pytest.approx(float(step_time(known, 8, 1000, 0, 0)))
    assert float(np.asarray(unknown.tpot_spread)) > float(np.asarray(known.tpot_spread))


def test_every_layout_of_the_catalogue_has_a_kernel_path() -> None:
    constants = default_latency_constants()
    for gpu in CATALOG.gpus:
        assert constants.gpu_constants(gpu).memory_efficiency > 0
        assert constants.collective(gpu).gb_per_s[0] > 0
        for quantization in CATALOG.quantizations:
            assert effective_path(quantization, gpu) in constants.kernel_paths


@pytest.mark.parametrize(
    ("model", "billions"),
    [("Qwen/Qwen2.5-7B", 7.07), ("meta-llama/Llama-3.1-70B-Instruct", 69.5), ("Qwen/Qwen3-30B-A3B", 30.2)],
)
def test_counted_weights_match_the_published_size(model: str, billions: float) -> None:
    # Published parameters less the input embedding, which a step does not read.
    work = model_work(CATALOG.model(model), CATALOG.quantization("bf16"))
    counted = work.half_dense + work.quantized_dense + work.expert_weights + work.head_weights
    assert counted / 1e9 == pytest.approx(billions, rel=0.005)


def test_damaged_constants_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    path.write_text('{"shared": {"layer_s": -1}}')
    with pytest.raises(InvalidRequest, match="invalid at"):
        read_latency_constants(path)
    with pytest.raises(InvalidRequest, match="Cannot read"):
        read_latency_constants(path.parent / "absent.json")
