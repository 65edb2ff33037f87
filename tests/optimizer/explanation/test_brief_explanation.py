"""One sentence for a cell where nothing fits, and weights that can be loaded today."""

import pytest

from vllm_opt.optimizer import SolveRequest, solve
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()


@pytest.mark.parametrize(
    ("changes", "rule", "words"),
    [
        ({"max_gpus": 1}, "memory_budget", "with one sequence of 8,192 tokens fits no layout on at most 1 GPU (l4)"),
        ({"max_gpus": 8, "concurrency": 100_000}, "concurrency", "holds 100,000 sequences of 8,192 tokens"),
        ({"max_hourly_cost": 0.5}, "budget", "costs at most $0.50 per hour"),
        ({"max_ttft_ms": 1.0}, "ttft", "reaches a TTFT of 1.0 ms"),
        ({"max_tpot_ms": 0.5}, "tpot", "reaches a TPOT of 0.5 ms"),
        ({"min_output_tokens_per_s": 1e9}, "throughput", "reaches 1,000,000,000 output tokens per second"),
        ({"target_context": 10**6}, "context_length", "takes at most 131,072 tokens"),
    ],
)
def test_the_rule_that_stopped_the_furthest_layout_is_named(changes: dict[str, float], rule: str, words: str) -> None:
    asked = {"model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": "l4", "target_context": 8192, **changes}
    answer = solve(SolveRequest(**asked, explain=False), CATALOG)
    assert answer.status == "infeasible"
    assert answer.explanation is not None
    (conflict,) = answer.explanation.conflict
    assert conflict.rule == rule
    assert words in conflict.message
    assert "(layouts ruled out: " in conflict.message
    assert answer.explanation.relaxations == ()


def test_only_weights_that_can_be_loaded_today_take_part_when_that_is_asked() -> None:
    request = SolveRequest(model="Qwen/Qwen3-8B", gpu="l4", quantization=("int8_w8a16", "awq"))
    for objective in ("cost", "throughput", "concurrency"):
        today = solve(request.replaced(objective=objective, hypothetical_checkpoints=False), CATALOG)
        assert today.plan is not None
        assert today.plan.checkpoint == "Qwen/Qwen3-8B-AWQ"
    anything = solve(request.replaced(quantization="int8_w8a16", hypothetical_checkpoints=True), CATALOG)
    assert anything.plan is not None
    assert anything.plan.checkpoint is None
    nothing = solve(request.replaced(quantization="int8_w8a16", hypothetical_checkpoints=False, explain=False), CATALOG)
    assert nothing.explanation is not None
    assert "none of the weight formats asked for has a checkpoint" in nothing.explanation.conflict[0].message
