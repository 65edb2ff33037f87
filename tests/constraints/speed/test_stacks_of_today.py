"""What a release, a flag or a kind of attention does to a step: latent mixers, graphs, scheduling ahead, front ends."""

from dataclasses import replace

import numpy as np
import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.first_token import ClosedWait
from vllm_opt.constraints.speed.latency import under_load
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, step_time
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

CATALOG, CONSTANTS = Catalog(), default_latency_constants()
R1, DENSE = "deepseek-ai/DeepSeek-R1", "meta-llama/Llama-3.1-70B-Instruct"


def unit(
    model: str, gpu: str, release: str | None = None, quantization: str = "fp8_block", host: str | None = None
) -> LatencyCoefficients:
    """Eight ranks without cells."""
    layout = Layout(gpu=gpu, tensor_parallel_size=8, quantization=quantization, kv_cache_dtype="auto")
    return latency_coefficients(
        CATALOG.model(model), CATALOG.quantization(quantization), layout, CATALOG.gpu(gpu), CONSTANTS,
        calibrated=False, release=release, host_release=host,
    )  # fmt: skip


def test_a_latent_mixer_has_its_own_fixed_time_and_less_with_blackwells_kernel() -> None:
    # Kernel tables: 88 us beyond reading its weights on an H200, 30 on a B200; a usual mixer has 22.
    hopper, blackwell = (CONSTANTS.gpu_constants(CATALOG.gpu(name)).latent_mixer_s for name in ("h200-sxm", "b200"))
    assert hopper is not None
    assert blackwell is not None
    assert 1e-5 < hopper < 6.6e-5
    assert blackwell < hopper / 2
    bare = CONSTANTS.model_copy(update={"gpus": {
        **CONSTANTS.gpus, "h200-sxm": CONSTANTS.gpus["h200-sxm"].model_copy(update={"latent_mixer_s": 0.0})
    }})  # fmt: skip
    layout = Layout(gpu="h200-sxm", tensor_parallel_size=8, quantization="fp8_block", kv_cache_dtype="auto")
    given = CATALOG.model(R1), CATALOG.quantization("fp8_block"), layout, CATALOG.gpu("h200-sxm")
    more = [float(latency_coefficients(*given, one, calibrated=False).fixed_s) for one in (CONSTANTS, bare)]
    assert more[0] - more[1] == pytest.approx(61 * hopper, rel=1e-6)
    assert float(unit(DENSE, "h200-sxm", quantization="fp8").latent_launch_s) == 0.0


def test_before_full_graphs_the_cpu_launched_latent_attention_in_every_step() -> None:
    # DeepSeek-R1, 8 x H200, 50 users, 1,000 / 2,000 tokens, 0.8.4: 31 ms on a Xeon 8468, 42 on an 8480C.
    old, new = unit(R1, "h200-sxm", "0.8"), unit(R1, "h200-sxm", "0.11")
    few, many = (float(step_time(old, users, 100.0, 0.0, 0.0)) for users in (1.0, 8.0))
    shared, host = CONSTANTS.shared, CONSTANTS.release_factor(CATALOG.gpu("h200-sxm"), "0.8").host
    assert few == many == pytest.approx(61 * shared.eager_layer_s + host * (shared.step_s + shared.worker_s))
    assert 0.028 < float(step_time(old, 50.0, 2000.0, 0.0, 0.0)) < 0.044
    assert float(step_time(new, 1.0, 100.0, 0.0, 0.0)) < 0.8 * few
    # Prompts and decoding sequences have a path each, and both are launched.
    assert float(step_time(old, 8.0, 100.0, 64.0, 32.0)) == pytest.approx(2 * many)
    usual = unit(DENSE, "h200-sxm", "0.8", "fp8")
    assert float(step_time(usual, 1.0, 100.0, 0.0, 0.0)) < 0.02
    # A bound below every step knows no launches.
    assert float(step_time(old, 1.0, 100.0, 0.0, 0.0, padding=False)) < 0.8 * few


def test_block_scaled_experts_multiplied_slower_before_their_kernels_were_tuned() -> None:
    # https://github.com/vllm-project/vllm/pull/13932: 2.8 ms for 2,048 tokens on an H100 in February 2025, 0.8 today.
    old, new = (unit(R1, "h200-sxm", release) for release in ("0.8", "0.15"))
    slower = float(old.expert_compute_s_per_token) / float(new.expert_compute_s_per_token)
    assert 1.5 < slower < 3.6
    bare = [unit("Qwen/Qwen3-30B-A3B", "h200-sxm", release, "bf16") for release in ("0.8", "0.15")]
    assert float(bare[0].expert_compute_s_per_token) / float(bare[1].expert_compute_s_per_token) < 1.3


def test_a_wider_graph_spares_prompts_the_launches() -> None:
    # MiniMax-M2.5 in NVFP4, four B200, four users of 1,000 tokens: 100 ms to the first token, and 45 with
    # --max-cudagraph-capture-size 2048 (InferenceX, 3 and 22 April 2026).
    layout = Layout(gpu="b200", tensor_parallel_size=4, quantization="nvfp4", kv_cache_dtype="auto")
    c = latency_coefficients(
        CATALOG.model("MiniMaxAI/MiniMax-M2.5"), CATALOG.quantization("nvfp4"), layout, CATALOG.gpu("b200"), CONSTANTS,
        calibrated=False,
    )  # fmt: skip
    wide = replace(c, largest_capture=2048.0)
    first = [float(under_load(one, 4, 256, 2048, 922, 922).ttft_ms) for one in (c, wide)]
    assert first[0] == pytest.approx(100, rel=0.3)
    assert first[1] == pytest.approx(45, rel=0.3)
    long = [float(under_load(one, 4, 256, 8192, 7373, 922).ttft_ms) for one in (c, wide)]
    assert long[0] == pytest.approx(long[1], rel=0.02)


@pytest.mark.parametrize(
    ("release", "host", "ahead"), [(None, None, 1), ("0.19", None, 1), ("0.13", None, 0), ("0.11", "0.15", 1)]
)
def test_asynchronous_scheduling_is_a_step_ahead(release: str | None, host: str | None, ahead: int) -> None:
    assert float(unit(DENSE, "h200-sxm", release, "fp8", host).ahead_steps) == ahead


def test_what_is_scheduled_ahead_is_waited_for() -> None:
    one = np.ones(1)
    waits = [
        ClosedWait(0.0 * one, one, 0.0 * one, synchrony=0.0, busy_s=0.0, busy_users=4.0, ahead_steps=ahead)
        for ahead in (0.0, 1.0)
    ]
    now, later = (float(wait.seconds(4 * one, 0.02 * one)[0]) for wait in waits)
    assert now == pytest.approx(0.75 * 0.01)
    assert later == pytest.approx(0.75 * 0.03)
    assert float(waits[1].seconds(one, 0.02 * one)[0]) == 0.0


def test_the_front_end_serves_those_who_send_together_one_by_one() -> None:
    one = np.ones(1)
    wait = ClosedWait(0.0 * one, one, 0.0 * one, synchrony=0.2, busy_s=0.0, busy_users=4.0, request_s=0.003)
    assert float(wait.seconds(101 * one, 0.0 * one)[0]) == pytest.approx(100 * 0.1 * 0.003)
    assert float(wait.seconds(one, 0.0 * one)[0]) == 0.0
