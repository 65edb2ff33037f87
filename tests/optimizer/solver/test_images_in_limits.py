"""Limits on TTFT and TPOT hold for the speed with encoders, in the search as in the estimate."""

from typing import Any

import pytest

from vllm_opt.optimizer import Answer, EstimateRequest, SolveRequest, estimate, solve

LOAD = {
    "model": "Qwen/Qwen3-VL-8B-Instruct", "gpu": "l40s", "input_tokens": 500, "output_tokens": 200, "concurrency": 16,
    "images_per_request": 2, "image_size": "1920x1080",
}  # fmt: skip


def _solved(**more: Any) -> Answer:
    return solve(SolveRequest(**LOAD, target_context=16384, **more))


@pytest.mark.parametrize("limit", [3000, 900])
def test_the_limit_holds_for_the_time_that_is_shown(limit: int) -> None:
    answer = _solved(max_ttft_ms=limit, max_tpot_ms=200)
    plan = answer.plan
    assert plan is not None
    assert plan.performance.ttft_ms < limit
    binding = {item.rule: item for item in plan.binding}
    if "ttft" in binding:
        assert binding["ttft"].slack >= 0
    assert not any("without encoders" in note for note in plan.notes)


def test_a_limit_below_the_encoding_of_one_request_is_infeasible() -> None:
    """Two images of 2,026 tokens take 59 ms of an L40S at 40 % of its peak, on as many GPUs as may be."""
    answer = _solved(max_ttft_ms=20, max_gpus=4)
    assert answer.status == "infeasible"
    assert answer.explanation is not None
    assert "ttft" in {item.rule for item in answer.explanation.conflict}


def test_estimate_agrees_to_the_digit() -> None:
    plan = _solved(max_ttft_ms=3000, max_tpot_ms=200).plan
    assert plan is not None
    flags = plan.flags
    again = estimate(
        EstimateRequest(
            **LOAD,
            tensor_parallel_size=plan.tensor_parallel_size,
            data_parallel_size=plan.data_parallel_size,
            replicas=plan.replicas,
            quantization=plan.quantization,
            max_model_len=flags["max-model-len"],
            max_num_seqs=flags["max-num-seqs"],
            max_num_batched_tokens=flags["max-num-batched-tokens"],
            gpu_memory_utilization=flags["gpu-memory-utilization"],
            kv_cache_dtype=flags.get("kv-cache-dtype", "auto"),
        )
    )
    assert again.performance == plan.performance
