"""Under rates, percentiles, bursts and pauses the solver finds what brute force finds."""

from typing import Any

import pytest
from agreement import agree

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve

SMALL: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-8B-Instruct", "max_gpus": 2, "input_tokens": 1000, "output_tokens": 100,
    "target_context": 4096, "quantization": "bf16", "kv_cache_dtype": "auto", "max_num_batched_tokens": 2048,
    "tolerance": 0, "price": {"l40s": 0.9}, "gpu": "l40s",
}  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        {"requests_per_s": 6.0, "max_ttft_ms": 700, "ttft_percentile": 95},
        {"requests_per_s": 6.0, "max_ttft_ms": 420, "ttft_percentile": 95, "burstiness": 0.5},
        {"requests_per_s": 4.0, "max_tpot_ms": 60, "tpot_percentile": 99, "objective": ("cost", "latency")},
        {"concurrency": 24, "max_ttft_ms": 900, "ttft_percentile": 90},
        {"concurrency": 24, "max_ttft_ms": 4000, "arrivals": "burst"},
        {"concurrency": 24, "think_time_s": 4.0, "tensor_parallel_size": 1, "max_ttft_ms": 600, "ttft_percentile": 95},
        {"requests_per_s": 400.0, "tensor_parallel_size": 1},
    ],
    ids=" ".join,
)
def test_the_optimum_under_traffic_is_that_of_brute_force(asked: dict[str, Any]) -> None:
    agree(SolveRequest(**SMALL, **asked))


def test_a_rate_beyond_every_plan_is_refused_with_the_rate_that_would_do() -> None:
    answer = solve(SolveRequest(**{**SMALL, "max_gpus": 1}, requests_per_s=30.0, default_limits=False))
    assert answer.status == "infeasible"
    assert answer.explanation is not None
    eased = {item.change: item.to for item in answer.explanation.relaxations}
    assert 0 < eased["requests_per_s"] < 30
    assert solve(SolveRequest(**{**SMALL, "max_gpus": 1}, requests_per_s=eased["requests_per_s"])).plan is not None


def test_a_percentile_and_a_rate_bound_the_queue_of_releases_that_can() -> None:
    asked = {**SMALL, "requests_per_s": 8.0, "max_ttft_ms": 1500, "gpus": 2, "max_gpus": None}
    bounded = solve(SolveRequest(**asked, ttft_percentile=95)).plan
    assert bounded is not None
    flags = bounded.flags
    assert flags["max-num-queued-reqs"] >= flags["max-num-seqs"]
    assert flags["max-num-queued-tokens"] >= 4096
    assert "--max-num-queued-reqs" in bounded.command
    assert any("503" in note for note in bounded.notes)
    for without in ({}, {"ttft_percentile": 95, "vllm_version": "0.19"}):
        plan = solve(SolveRequest(**asked, **without)).plan
        assert plan is not None
        assert "max-num-queued-reqs" not in plan.flags
