"""Kinds of fault that predictions for other people's stacks had, each with the check that would have caught it."""

from dataclasses import replace

import numpy as np
import pytest

from tests.constraints.speed.test_latency import (
    CATALOG,
    HALF,
    real,
    toy_coefficients,
    toy_constants,
    toy_gpu,
    toy_model,
)
from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.communication_time import busiest_rank
from vllm_opt.constraints.speed.first_token import BurstPrefill
from vllm_opt.constraints.speed.kernel_paths import effective_path
from vllm_opt.constraints.speed.latency import closed_loop, open_loop, under_load
from vllm_opt.constraints.speed.model_work import model_shape, model_work
from vllm_opt.constraints.speed.notes import release_note, speed_notes
from vllm_opt.constraints.speed.step_time import experts_hit, step_time
from vllm_opt.profiles.nouns.latency_constants import (
    Collective,
    ReleaseFactor,
    default_latency_constants,
    version_key,
)
from vllm_opt.profiles.nouns.model import DecoderLayer, DenseMlp, Experts

CONSTANTS = default_latency_constants()
LENGTHS = (2048, 512)


def speed(gpu: str, ranks: int, model: str = "Qwen/Qwen3-32B", users: float = 64, **layout: object) -> float:
    """Output tokens/s of one engine in bf16."""
    c = real(model, gpu, tensor_parallel_size=ranks, **layout)
    return float(closed_loop(c, users, 256, 8192, *LENGTHS).output_tokens_per_s)


@pytest.mark.parametrize("gpu", ["gb200", "gb300"])
def test_rack_scale_systems_have_their_own_links(gpu: str) -> None:
    # 72 GPUs hang on one switch: four of them are faster than two, and no slower than the air-cooled twin's.
    assert speed(gpu, 4) > speed(gpu, 2)
    assert speed(gpu, 4) > 0.75 * speed("b200", 4)
    link = CONSTANTS.collective(CATALOG.gpu(gpu), 8)
    assert link.gb_per_s[2] > 200


@pytest.mark.parametrize(("gpu", "twin"), [("h200-nvl", "h200-sxm"), ("h100-nvl", "h100-sxm")])
def test_a_bridge_joins_two_cards_and_no_more(gpu: str, twin: str) -> None:
    card, fast = CATALOG.gpu(gpu), CATALOG.gpu(twin)
    assert CONSTANTS.collective(card, 2).gb_per_s[0] > 0.3 * CONSTANTS.collective(fast, 2).gb_per_s[0]
    assert CONSTANTS.collective(card, 4).gb_per_s[1] < 0.2 * CONSTANTS.collective(fast, 4).gb_per_s[1]
    assert speed(gpu, 2) > 0.7 * speed(twin, 2)


def test_links_inside_a_gaudi_node_are_no_network() -> None:
    gaudi, network = CATALOG.gpu("gaudi3"), CONSTANTS.collectives["network"]
    assert CONSTANTS.collective(gaudi, 8).gb_per_s[2] > 10 * network.gb_per_s[2]
    # Two GB10 are joined by a cable; four are not.
    spark = CATALOG.gpu("gb10")
    assert CONSTANTS.collective(spark, 2).gb_per_s[0] < 10
    assert CONSTANTS.collective(spark, 4) == network


def test_peer_to_peer_makes_pcie_faster() -> None:
    with_it, without = CATALOG.gpu("rtx-pro-6000-server"), CATALOG.gpu("rtx-5090")
    for ranks, column in ((4, 1), (8, 2)):
        fast, slow = (CONSTANTS.collective(gpu, ranks).gb_per_s[column] for gpu in (with_it, without))
        assert fast > 3 * slow
    # A card never timed takes the peer-to-peer numbers at its own PCIe generation.
    old = CONSTANTS.collective(CATALOG.gpu("l4"), 4)
    assert old.gb_per_s[1] == pytest.approx(CONSTANTS.collectives["pcie"].gb_per_s[1] / 2)


def test_the_link_of_a_layout_is_the_one_that_joins_its_ranks() -> None:
    bridged = toy_gpu(gpus_joined=2, gb_per_s_per_direction=300.0, pcie_gb_per_s_per_direction=64.0)
    links = {
        "nvlink": Collective(alpha_us=(0, 0, 0), gb_per_s=(100, 100, 100), link_gb_per_s=300, source="test"),
        "pcie": Collective(alpha_us=(0, 0, 0), gb_per_s=(10, 10, 10), link_gb_per_s=64, source="test"),
    }
    constants = toy_constants().model_copy(update={"collectives": {**toy_constants().collectives, **links}})
    two, four = (
        latency_coefficients(toy_model(), HALF, Layout(gpu="toy", tensor_parallel_size=size), bridged, constants)
        for size in (2, 4)
    )
    # Two all-reduces of 2,000 bytes in the only layer.
    assert float(two.token_s) == pytest.approx(2 * 2000 / 100e9)
    assert float(four.token_s) == pytest.approx(2 * 2000 / 10e9)


def test_a_block_that_is_one_mixer_is_half_a_layer() -> None:
    whole = toy_model()
    mixer = whole.layer_kinds[0].model_copy(update={"feed_forward": None})
    blocks = whole.model_copy(
        update={
            "layer_kinds": (mixer, DecoderLayer(feed_forward=DenseMlp(intermediate_size=2000))),
            "layer_pattern": (0, 1),
        }
    )
    link = {"tensor_parallel_size": 2}
    apart, together = toy_coefficients(blocks, **link), toy_coefficients(whole, **link)
    assert float(apart.fixed_s) == pytest.approx(float(together.fixed_s))
    assert float(apart.token_s) == pytest.approx(float(together.token_s))
    nemotron = model_work(CATALOG.model("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"), HALF)
    assert (nemotron.mixers, nemotron.feed_forwards, nemotron.halves) == (29, 23, 52)


def test_crowding_follows_load_and_not_users() -> None:
    # The same eight users, once with long answers between their prompts and once with short ones.
    c = replace(real("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm"), synchrony=0.0)
    rare, frequent, alone = (
        float(closed_loop(c, users, 256, 8192, 4000, outputs).ttft_ms)
        for users, outputs in ((8, 4000), (8, 50), (1, 4000))
    )
    assert rare < 1.35 * alone + float(np.asarray(c.busy_frontend_s)) * 1e3 + 10
    assert frequent > 1.5 * rare


def test_patterns_differ_as_clients_do() -> None:
    c = real("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm")
    single, closed, burst = (
        under_load(c, users, 256, 8192, 4000, 500, pattern=pattern)
        for users, pattern in ((64, "single"), (64, "closed"), (64, "burst"))
    )
    assert float(single.ttft_ms) < float(closed.ttft_ms) < float(burst.ttft_ms)
    # In a burst half of all 64 prompts are prefilled before the mean first token.
    prompts = float(under_load(c, 1, 256, 8192, 4000, 500, pattern="single").ttft_ms)
    assert float(burst.ttft_ms) > 20 * prompts
    assert float(closed_loop(c, 1, 256, 8192, 4000, 500).ttft_ms) == pytest.approx(float(single.ttft_ms))
    rate = float(closed.requests_per_s)
    poisson = open_loop(c, rate, 256, 8192, 4000, 500)
    assert float(poisson.requests_per_s) == pytest.approx(rate)
    assert float(single.ttft_ms) < float(poisson.ttft_ms)


def test_bursts_by_hand_and_in_waves() -> None:
    c = toy_coefficients()
    # Ten prompts of 40 tokens: the idle engine takes the first one alone, the nine that come meanwhile share a step.
    burst = under_load(c, 10, 16, 512, 40, 11, pattern="burst")
    alone, rest = (float(step_time(c, 0.0, 0.0, tokens, 20.0)) for tokens in (40.0, 360.0))
    decode, lone = (float(step_time(c, users, 45.5, 0.0, 0.0)) for users in (10.0, 1.0))
    assert float(burst.ttft_ms) == pytest.approx((alone + 0.9 * rest) * 1e3)
    met = alone / rest / 2  # of the nine's step by the mean answer
    bare = float(step_time(c, 1.0, 0.0, 0.0, 0.0))
    assert float(burst.tpot_ms) == pytest.approx((decode + met * (rest - bare) / 10) * 1e3)
    assert lone < decode
    assert float(burst.requests_per_s) == pytest.approx(10 / (alone + rest + 10 * decode))
    waves = under_load(c, 32, 16, 512, 40, 11, pattern="burst")
    assert bool(waves.saturated)
    assert float(waves.ttft_ms) > float(burst.ttft_ms) + 0.4 * 10 * decode * 1e3


def test_one_user_waits_for_nobody() -> None:
    # Published: 14 ms to the first token of a short prompt on Llama-3.1-8B, H100, one user.
    c = real("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm")
    assert float(closed_loop(c, 1, 256, 8192, 64, 100).ttft_ms) == pytest.approx(14.0, rel=0.4)


def test_memory_is_never_read_faster_than_the_datasheet_allows() -> None:
    for own in (*CONSTANTS.gpus.values(), *CONSTANTS.fallback_gpus.values()):
        assert own.memory_efficiency <= 0.95
        assert (own.kv_read_efficiency or CONSTANTS.shared.kv_read_efficiency) <= 0.95
        assert own.compute_efficiency <= 0.95
    quick = CATALOG.quantization("nvfp4")
    for gpu in CATALOG.gpus:
        model = CATALOG.model("Qwen/Qwen3-32B")
        c = latency_coefficients(model, quick, Layout(gpu=gpu.id, quantization="nvfp4"), gpu, CONSTANTS)
        work = model_work(model, quick)
        stored = 2 * work.half_dense + work.quantized_dense * work.bytes_per_quantized_weight
        cell = CONSTANTS.release_factor(gpu, None).step
        assert float(c.dense_memory_s) >= 0.75 * cell * stored / gpu.memory_bandwidth_bytes_per_s


def test_overhead_belongs_to_a_generation_and_not_to_a_sku() -> None:
    bare = CONSTANTS.model_copy(update={"cells": ()})
    for family in (("rtx-4090", "l40s", "l4"), ("rtx-5090", "rtx-pro-6000-server"), ("h100-sxm", "h200-sxm")):
        fixed = {
            round(float(latency_coefficients(toy_model(), HALF, Layout(gpu=gpu), CATALOG.gpu(gpu), bare).fixed_s), 12)
            for gpu in family
        }
        assert len(fixed) == 1


def test_routing_is_skewed() -> None:
    experts = Experts(num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768)
    uniform = toy_coefficients(toy_model(experts))
    skewed = replace(uniform, expert_shape=1.3)
    tokens = np.array([1.0, 8.0, 16.0, 32.0, 64.0, 4096.0])
    even, found = experts_hit(uniform, tokens), experts_hit(skewed, tokens)
    assert found[0] == pytest.approx(8 / 128)
    assert even[0] == pytest.approx(8 / 128)
    assert (found[1:-1] < even[1:-1]).all()
    assert (np.diff(found) > 0).all()
    assert found[-1] == pytest.approx(1.0, abs=0.01)
    # Timed routing of this shape reaches 50 to 85 % of the experts with 16 to 32 tokens: kernels.json, h100-sxm.
    assert 0.4 < experts_hit(replace(uniform, expert_shape=CONSTANTS.shared.routing_shape), 16.0) < 0.65


@pytest.mark.parametrize("users", [8, 16, 32, 64])
def test_skew_makes_mixtures_faster_at_middle_batches(users: int) -> None:
    c = real("Qwen/Qwen3-30B-A3B", "a100-sxm4-80gb")
    skewed, even = (
        float(closed_loop(one, users, 256, 8192, 1024, 512).tpot_ms) for one in (c, replace(c, expert_shape=1e6))
    )
    assert skewed < even


def test_the_release_is_a_factor_of_speed() -> None:
    gpu, ranges = CATALOG.gpu("h100-sxm"), (
        ReleaseFactor(first="0", step=2.0, points=9),
        ReleaseFactor(first="0.8", step=1.5),
        ReleaseFactor(first="0.11", points=3),
    )  # fmt: skip
    constants = CONSTANTS.model_copy(update={"releases": {"nvidia": ranges}, "cells": ()})
    arguments = (CATALOG.model("Qwen/Qwen2.5-7B"), HALF, Layout(gpu=gpu.id), gpu, constants)
    newest = latency_coefficients(*arguments)
    for release, factor in (("0.6.3", 2.0), ("0.8.5", 1.5), ("0.10.2", 1.5), ("0.33", 1.0), ("0.11", 1.0)):
        found = latency_coefficients(*arguments, release=release)
        assert float(found.dense_compute_s_per_token) == pytest.approx(factor * float(newest.dense_compute_s_per_token))
        # Reading 16-bit weights is bound by the card, whatever the release.
        assert float(found.dense_memory_s) == pytest.approx(float(newest.dense_memory_s))
    note = release_note(constants, gpu, "0.9.1")
    assert note is not None
    assert "0.9.1" in note
    assert release_note(constants, gpu, "0.19") is None
    assert version_key("v0.19.1rc2") == (0, 19)
    assert version_key("") == (0,)


def test_a_hit_share_that_cannot_hit_is_said_to_have_no_effect() -> None:
    gpu = CATALOG.gpu("h100-sxm")
    on, off = (Layout(gpu=gpu.id, enable_prefix_caching=flag) for flag in (True, False))
    assert speed_notes(CONSTANTS, gpu, "0.19.0", on, 0.9) == ()
    assert speed_notes(CONSTANTS, gpu, "0.19.0", off, 0.0) == ()
    (note,) = speed_notes(CONSTANTS, gpu, "0.19.0", off, 0.9)
    assert "--enable-prefix-caching" in note


def test_eager_mode_costs_nothing_where_steps_are_long() -> None:
    # Published: less than 1 % on Mistral-7B, L4.
    users = np.array([1.0, 8.0])
    eager, graphs = (
        closed_loop(real("mistralai/Mistral-7B-v0.1", "l4", enforce_eager=flag), users, 256, 8192, 512, 128).tpot_ms
        for flag in (True, False)
    )
    np.testing.assert_allclose(eager, graphs, rtol=0.01)
    # But it is never free: a plan must not choose it for the memory of graphs alone.
    assert (eager > graphs).all()


def test_calibration_holds_at_the_size_that_was_measured() -> None:
    for cell in CONSTANTS.cells:
        ranks, peers = cell.tensor_parallel_size, cell.data_parallel_size
        assert CONSTANTS.cell(cell.shape, cell.gpu, cell.path, ranks, peers) == cell
        assert CONSTANTS.cell(cell.shape, cell.gpu, cell.path, 3 * ranks, peers) is None
        assert CONSTANTS.cell(cell.shape, cell.gpu, cell.path, ranks, 3 * peers) is None


@pytest.mark.parametrize(
    ("quantization", "gpu", "path"),
    [
        ("w4a16", "rtx-4090", "w4a16_graphics"), ("awq", "rtx-5090", "w4a16_graphics"), ("w4a16", "t4", "w4a16"),
        ("w4a16", "a100-sxm4-80gb", "w4a16"), ("gptq", "h100-sxm", "w4a16_hopper"), ("awq", "b300", "w4a16_hopper"),
        ("w4a16", "mi300x", "w4a16"), ("nvfp4", "h100-sxm", "w4a16_hopper"), ("nvfp4", "b200", "nvfp4"),
        ("mxfp4", "b200", "mxfp4_native"), ("mxfp4", "rtx-pro-6000-server", "mxfp4_graphics"),
        ("mxfp4", "h100-sxm", "mxfp4"), ("mxfp4", "a100-sxm4-80gb", "mxfp4"),
        ("fp8", "a100-sxm4-80gb", "w8a16"), ("fp8", "l40s", "fp8"),
    ],
)  # fmt: skip
def test_what_unpacks_weights_depends_on_the_chip(quantization: str, gpu: str, path: str) -> None:
    """Kernel tables time gpt-oss with Marlin on an RTX PRO 6000 and natively on a B200."""
    assert effective_path(CATALOG.quantization(quantization), CATALOG.gpu(gpu)) == path


def test_four_bits_are_read_more_slowly_of_the_peak_on_hopper() -> None:
    """Red Hat, one user: 4-bit 32B is read at 1.5 TB/s on an H100 (of 3.35) and at 1.4 on an A100 (of 2.04)."""

    def share(gpu: str) -> float:
        four, sixteen = (
            float(closed_loop(real("Qwen/Qwen2.5-32B", gpu, kind), 1, 256, 8192, 256, 128).tpot_ms)
            for kind in ("w4a16", "bf16")
        )
        return four / sixteen

    assert share("h100-sxm") > 1.15 * share("a100-sxm4-80gb") > 1.15 * share("rtx-a6000")


def test_models_of_one_width_are_not_of_one_shape() -> None:
    def shape(model: str) -> str:
        return model_shape(CATALOG.model(model))

    assert shape("meta-llama/Llama-3.1-70B-Instruct") == shape("meta-llama/Meta-Llama-3.1-70B")
    assert shape("deepseek-ai/DeepSeek-R1") == shape("deepseek-ai/DeepSeek-V3.1")
    for one, other in (
        ("meta-llama/Llama-2-7b-hf", "mistralai/Mixtral-8x7B-v0.1"),
        ("Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-Next-80B-A3B-Instruct"),
        ("meta-llama/Llama-3.1-70B-Instruct", "nvidia/Llama-3_3-Nemotron-Super-49B-v1"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-V4-Pro"),
    ):
        first, second = CATALOG.model(one), CATALOG.model(other)
        assert (first.hidden_size, first.num_hidden_layers) == (second.hidden_size, second.num_hidden_layers)
        assert shape(one) != shape(other)
    # 32 layers of 4 x 4096^2 and 3 x 4096 x 11008.
    assert shape("meta-llama/Llama-2-7b-hf") == "4096 wide, 32 layers, 32000 words, 6.48 G weights"


def test_a_burst_is_met_by_no_more_steps_than_an_answer_has_tokens() -> None:
    ten = BurstPrefill(*(np.array([value]) for value in (1.0, 11.0, 1.0, 0.5, 6.0, 11.0)))
    assert float(ten.mean_s[0]) == 6.0
    assert float(ten.beside(np.array([20.0]))[0]) == 5.0  # all of the 0 to 10 that are left
    assert float(ten.beside(np.array([4.0]))[0]) == pytest.approx((4 * 4 / 2 + 4 * 6) / 10)
    assert float(ten.beside(np.array([10.0]))[0]) == 5.0


def test_ranks_of_expert_parallelism_wait_for_the_busiest() -> None:
    """64 experts of shape 1 on 4 ranks: 1 + 1.0294 sqrt(4 / 64); tensor parallelism shares every expert evenly."""

    def busiest(experts: int, shape: float = 1.0, **layout: object) -> float:
        return busiest_rank(experts, Layout.model_validate({"gpu": "b200", **layout}), shape)

    assert busiest(64, tensor_parallel_size=4) == 1.0
    assert busiest(64, tensor_parallel_size=4, expert_parallel=True) == pytest.approx(1 + 1.0294 * 0.25)
    assert busiest(64, data_parallel_size=4, expert_parallel=True) == pytest.approx(1 + 1.0294 * 0.25)
    assert busiest(64, expert_parallel=True) == 1.0
    assert busiest(256, tensor_parallel_size=4, expert_parallel=True) == pytest.approx(1 + 1.0294 * 0.125)
    assert busiest(64, 0.25, tensor_parallel_size=4, expert_parallel=True) == pytest.approx(1 + 1.0294 * 0.5)


def test_no_format_of_experts_is_slower_on_hopper_than_16_bit_because_its_kernels_were_timed_launch_bound() -> None:
    # FP8 experts took 140 to 160 us in the kernel tables of both, whatever their size; measured end to end, FP8 wins.
    for gpu in ("h100-sxm", "h200-sxm"):
        here = CONSTANTS.gpus[gpu].paths["fp8"]
        assert here.expert_memory > 0.7
        assert here.expert_compute > 0.5
    half, narrow = (real("google/gemma-4-26B-A4B", "h200-sxm", name) for name in ("bf16", "fp8_per_tensor"))
    for tokens in (64.0, 8192.0):
        assert step_time(narrow, tokens, 1024.0, 0.0, 0.0) < step_time(half, tokens, 1024.0, 0.0, 0.0)


def test_what_eager_mode_launches_is_the_models_kernels_whatever_the_releases_scheduler() -> None:
    layout = Layout(gpu="rtx-4090", quantization="bf16", enforce_eager=True)
    model, half, gpu = (
        CATALOG.model("meta-llama/Llama-3.1-8B-Instruct"),
        CATALOG.quantization("bf16"),
        CATALOG.gpu("rtx-4090"),
    )
    old, new = (latency_coefficients(model, half, layout, gpu, CONSTANTS, release=name) for name in ("0.10", "0.19"))
    assert old.eager_launch_s == new.eager_launch_s
    assert old.fixed_s > new.fixed_s
