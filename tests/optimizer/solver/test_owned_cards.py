"""What owned cards would give is said where a plan stands on others."""

from typing import Any

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve

LONG: dict[str, Any] = {
    "model": "Qwen/Qwen2.5-32B-Instruct", "gpu": ("h200", "rtx-4090"), "owned": {"rtx-4090": 4},
    "target_context": 32000, "input_tokens": 30000, "output_tokens": 1000, "concurrency": 8,
    "max_gpus": 4,
}  # fmt: skip


def owned_notes(**fields: Any) -> list[str]:
    answer = solve(SolveRequest(**fields))
    assert answer.plan is not None
    return [note for note in answer.notes if note.startswith("the GPUs that are owned")]


def test_owned_cards_that_miss_a_default_limit_alone_are_named_with_what_they_take() -> None:
    (note,) = owned_notes(**LONG)
    own = solve(SolveRequest(**LONG | {"gpu": "rtx-4090", "default_limits": False})).plan
    assert own is not None
    assert own.performance.ttft_ms is not None
    assert own.performance.ttft_ms > 6000
    assert f"TTFT {own.performance.ttft_ms / 1000:,.1f} s instead of 6 s" in note
    assert "--gpu rtx-4090 --no-default-limits" in note


def test_owned_cards_that_cannot_hold_the_load_are_said_to() -> None:
    (note,) = owned_notes(**LONG | {"owned": {"rtx-4090": 1}})
    assert note == "the GPUs that are owned (1 x rtx-4090) cannot hold this, however slow it may be"


def test_a_workload_fills_in_users_that_are_no_fewer_on_owned_cards() -> None:
    (note,) = owned_notes(model=LONG["model"], gpu="h200", owned={"rtx-4090": 1}, max_gpus=2, workload="rag")
    assert note == "the GPUs that are owned (1 x rtx-4090) cannot hold this, however slow it may be"


def test_nothing_is_said_of_owned_cards_that_are_used_or_miss_a_limit_that_was_asked() -> None:
    assert not owned_notes(**LONG | {"owned": {"h200": 8}})
    assert not owned_notes(**LONG | {"max_ttft_ms": 6000, "max_tpot_ms": 175})
