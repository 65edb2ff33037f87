"""The users asked against those held: full contexts, or the typical lengths that were stated, as in a plan."""

from typing import Any

import pytest

from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.estimation.pasted_line import fields_of_line
from vllm_opt.optimizer.solver.solve import solve

FLAGS: dict[str, Any] = {
    "model": "Qwen/Qwen3-8B", "gpu": "l4", "max_model_len": 8192, "max_num_seqs": 64, "kv_cache_dtype": "fp8"
}  # fmt: skip


def unheld(**fields: Any) -> list[tuple[int, int, str]]:
    found = estimate(EstimateRequest(**FLAGS, **fields)).violations
    return [(int(v.needed or 0), int(v.available or 0), v.message) for v in found if v.rule == "concurrency"]


def test_without_lengths_every_sequence_is_counted_in_full() -> None:
    ((needed, available, message),) = unheld(concurrency=32)
    memory = estimate(EstimateRequest(**FLAGS)).memory
    assert memory is not None
    assert (needed, available) == (32, int(memory.running_concurrency))
    assert "sequences of max_model_len" in message


def test_stated_lengths_are_what_sequences_are_counted_with() -> None:
    """The pool less one full context, by hand: n (mean + 1.2816 s / sqrt(n) + half a block) tokens fit."""
    memory = estimate(EstimateRequest(**FLAGS)).memory
    assert memory is not None
    room = memory.kv_cache_tokens - 8192 - 16
    mean, deviation = 500 + 100, (500**2 + 100**2) ** 0.5
    most = max(n for n in range(1, 65) if n * (mean + 1.2816 * deviation / n**0.5 + 8) <= room)
    assert not unheld(concurrency=min(most, 64) - 1, input_tokens=500, output_tokens=100)
    ((_, available, message),) = unheld(concurrency=500, input_tokens=500, output_tokens=100)
    assert abs(available - min(most, 64)) <= 1
    assert "max_model_len run at once" not in message


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "Qwen/Qwen3-8B", "gpu": ["a40"], "workload": "chat", "concurrency": 100},
        {"model": "deepseek-ai/DeepSeek-V2-Lite", "gpu": ["l4"], "workload": "rag", "concurrency": 30},
        {"model": "google/gemma-3-4b-it", "gpu": ["t4"], "input_tokens": 900, "output_tokens": 90, "concurrency": 24},
    ],
)
def test_a_plan_holds_the_users_that_it_was_made_for(fields: dict[str, Any]) -> None:
    plan = solve(SolveRequest(**fields)).plan
    assert plan is not None
    line, _ = fields_of_line(plan.command)
    lengths = {name: fields[name] for name in ("workload", "input_tokens", "output_tokens") if name in fields}
    asked = {"gpu": plan.gpu, "replicas": plan.replicas, "concurrency": fields["concurrency"]}
    found = estimate(EstimateRequest(**line, **lengths, **asked))
    assert "concurrency" not in {violation.rule for violation in found.violations}
