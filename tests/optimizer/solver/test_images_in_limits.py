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


def test_the_pool_is_sized_for_prompts_with_their_images() -> None:
    """500 + 2 x 2,026 tokens of prompt are there from the first step on; the answer is 100 long on average."""
    plan = solve(SolveRequest(**{**LOAD, "concurrency": 64}, max_ttft_ms=60_000, max_tpot_ms=900)).plan
    assert plan is not None
    (note,) = (note for note in plan.notes if "the KV pool is sized" in note)
    held = int(note.partition(": ")[2].partition(" token")[0].replace(",", ""))
    assert held > 500 + 2 * 2026 + 100
    engines = plan.replicas * plan.data_parallel_size
    assert plan.memory.kv_cache_tokens * engines >= 64 * (500 + 2 * 2026)


def test_default_limits_are_those_of_the_prompt_with_its_images() -> None:
    answer = _solved()
    limits = {row["field"]: row["value"] for row in answer.request["assumed"] if row["field"].startswith("max_t")}
    assert limits == {"max_ttft_ms": 6000.0, "max_tpot_ms": 175.0}
    assert (answer.request["max_ttft_ms"], answer.request["max_tpot_ms"]) == (6000.0, 175.0)


@pytest.mark.parametrize(
    "fields",
    [
        {**LOAD, "gpu": "l4", "gpus": 1, "concurrency": 60},
        {**LOAD, "gpu": "l4", "gpus": 1, "concurrency": 24, "input_tokens": None, "output_tokens": None},
    ],
)
def test_what_would_help_is_judged_with_the_images(fields: dict[str, Any]) -> None:
    answer = solve(SolveRequest(**fields, max_ttft_ms=4000))
    assert answer.explanation is not None
    assert answer.explanation.relaxations
    for relaxation in answer.explanation.relaxations:
        eased = solve(SolveRequest(**{**fields, "max_ttft_ms": 4000, relaxation.change: relaxation.to}))
        assert eased.plan is not None, relaxation.message
