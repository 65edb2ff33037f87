"""What a weight format, a cache format and a checkpoint's own layers do to a step, by hand and on real profiles."""

import numpy as np
import pytest

from tests.constraints.speed.test_latency import CATALOG, HALF, toy_coefficients, toy_constants, toy_gpu, toy_model
from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.first_token import ClosedWait
from vllm_opt.constraints.speed.model_work import ModelWork, model_work
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, step_time
from vllm_opt.constraints.speed.unit_seconds import format_seconds
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants, PathFactor, default_latency_constants

SHIPPED = default_latency_constants()


def coefficients(constants: LatencyConstants, **layout: object) -> LatencyCoefficients:
    """The toy model on the toy GPU."""
    return latency_coefficients(
        toy_model(), HALF, Layout(gpu="toy", quantization="bf16", **layout), toy_gpu(), constants
    )


def expert_seconds(model: str, quantization: str, gpu: str) -> tuple[float, float]:
    """Seconds to read all experts, and per token to multiply by the active ones."""
    layout = Layout(gpu=gpu, quantization=quantization, tensor_parallel_size=8)
    c = latency_coefficients(
        CATALOG.model(model), CATALOG.quantization(quantization), layout, CATALOG.gpu(gpu), SHIPPED, calibrated=False
    )
    return float(np.asarray(c.expert_memory_s)), float(np.asarray(c.expert_compute_s_per_token))


def test_fixed_time_of_a_format_by_hand() -> None:
    # Ten mixers and ten feed-forwards of which four are experts: 2 x 16 dense products, and four expert layers.
    path = SHIPPED.kernel_paths["bf16"].model_copy(update={"product_s": 3e-6, "expert_s": 20e-6})
    work = ModelWork(mixers=10, feed_forwards=10, moe_layers=4, quantized_dense=1.0, experts_quantized=True)
    assert format_seconds(work, path) == pytest.approx(32 * 3e-6 + 4 * 20e-6)
    # Where only experts are quantised, dense products have no input to quantise.
    experts_only = ModelWork(mixers=10, feed_forwards=10, moe_layers=4, quantized_dense=0.0, experts_quantized=True)
    assert format_seconds(experts_only, path) == pytest.approx(4 * 20e-6)
    assert format_seconds(ModelWork(mixers=10, feed_forwards=10), path) == 0.0


def test_eight_bit_caches_are_read_at_their_own_speed() -> None:
    constants = toy_constants()
    own = constants.gpu_constants(toy_gpu()).model_copy(update={"narrow_kv_efficiency": 0.8})
    narrow = constants.model_copy(update={"gpus": {**constants.gpus, "toy": own}})
    seconds = [
        float(np.asarray(coefficients(narrow, kv_cache_dtype=kind).decode_s_per_context_token))
        for kind in ("auto", "fp8")
    ]
    # 5 heads x 200 elements: 2000 bytes at 10^12 bytes/s, or 1000 bytes at 0.8 of it.
    assert seconds[0] == pytest.approx(2e-9, rel=0.3)
    assert seconds[1] / seconds[0] == pytest.approx(0.5 / 0.8, rel=0.1)
    # Kernel tables: on H200 8-bit caches gain a third, not a half; on Blackwell nearly all of it.
    assert SHIPPED.gpus["h200-sxm"].narrow_kv_efficiency < 0.8 < SHIPPED.gpus["b200"].narrow_kv_efficiency


def test_expert_layers_are_as_slow_as_their_own_kernels() -> None:
    # Both FP8 formats read the same bytes; where one was timed bound by launches (Hopper), that says nothing of it.
    for gpu in ("h100-sxm", "b200"):
        tensor, block = (expert_seconds("zai-org/GLM-4.6", kind, gpu)[0] for kind in ("fp8", "fp8_block"))
        assert 0.7 * block < tensor < 1.3 * block
    # 4-bit weights that are unpacked to 16 bit multiply far slower on B200 than its own 4-bit kernels do.
    unpacked, native = (expert_seconds("moonshotai/Kimi-K2.5", kind, "b200")[1] for kind in ("w4a16", "nvfp4"))
    assert unpacked > 3 * native


def test_what_a_checkpoint_leaves_wide_is_read_wide() -> None:
    quantization = CATALOG.quantization("nvfp4")
    gemma = CATALOG.model("nvidia/Gemma-4-26B-A4B-NVFP4")
    work, plain = model_work(gemma, quantization), model_work(CATALOG.model("google/gemma-4-26B-A4B"), quantization)
    # It ignores attention and the dense feed-forward of every layer: only experts are 4-bit.
    assert work.quantized_dense == 0.0
    assert work.half_dense == pytest.approx(plain.half_dense + plain.quantized_dense)
    assert work.expert_weights == plain.expert_weights


def test_a_published_size_beyond_the_count_is_dense_layers_first() -> None:
    model, quantization = CATALOG.model("RedHatAI/Qwen3.6-35B-A3B-NVFP4"), CATALOG.quantization("nvfp4")
    native = model.native_quantization
    assert native is not None
    assert native.stored_bytes is not None
    work = model_work(model, quantization)
    assert work.quantized_dense == 0.0
    embedding = model.vocab_size * model.hidden_size * (1 if model.tie_word_embeddings else 2)
    vision = model.vision.parameters if model.vision else 0
    total = 2 * (work.half_dense + embedding + vision) + work.expert_weights * work.bytes_per_quantized_weight
    assert total == pytest.approx(native.stored_bytes)
    # The same bytes are read where a kernel unpacks them to 16 bit.
    assert model_work(model, CATALOG.quantization("nvfp4_w4a16")) == work


def test_workers_cost_the_host_time() -> None:
    constants = toy_constants(worker_s=2e-4, step_s=1e-4)
    one, two = (coefficients(constants, tensor_parallel_size=ranks) for ranks in (1, 2))
    link = coefficients(toy_constants(), tensor_parallel_size=2).fixed_s
    assert float(np.asarray(one.fixed_s)) == pytest.approx(1e-4)
    assert float(np.asarray(two.fixed_s)) == pytest.approx(3e-4 + float(np.asarray(link)))


def test_compiled_steps_launch_faster_than_eager_ones() -> None:
    constants = toy_constants(compiled_launch_share=0.5)
    graphs, eager = coefficients(constants), coefficients(constants, enforce_eager=True)
    # Launching one layer takes 1 ms in eager mode (the toy's constant): always there, half of it in wide steps here.
    assert float(step_time(eager, 1.0, 1.0, 0.0, 0.0)) == pytest.approx(1e-3)
    assert float(step_time(graphs, 1.0, 1.0, 0.0, 0.0)) < 1e-4
    assert float(step_time(graphs, 1.0, 1.0, 600.0, 1.0)) == pytest.approx(max(5e-4, work_of(600.0)), rel=0.1)


def work_of(tokens: float) -> float:
    """Step time of so many prompt tokens without any launch."""
    return float(step_time(toy_coefficients(), 1.0, 1.0, tokens, 1.0, padding=False))


def test_the_front_end_is_busy_when_many_are_served() -> None:
    one = np.ones(1)
    wait = ClosedWait(added_s=0.0 * one, decode_s=one, growth_s=0.0 * one, synchrony=0.0, busy_s=0.02, busy_users=4.0)
    found = [float(wait.seconds(np.array([users]), 0.0 * one)[0]) for users in (1.0, 5.0, 1e9)]
    assert found == pytest.approx([0.0, 0.01, 0.02])


def test_a_path_is_as_elsewhere_without_factors_of_its_own() -> None:
    assert PathFactor() == PathFactor(compute=1.0, memory=1.0, expert_compute=1.0, expert_memory=1.0)
