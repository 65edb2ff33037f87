"""What a process keeps between requests changes no answer, and does not grow."""

from typing import Any

import pytest

from vllm_opt.optimizer import SolveRequest, solve
from vllm_opt.optimizer.web.kept_layouts import MODELS_KEPT, REQUESTS_EACH, KeptLayouts

BASE: dict[str, Any] = {"model": "Qwen/Qwen3-8B", "gpu": ["l40s", "h100-sxm"]}


@pytest.mark.parametrize(
    "moved",
    [
        {"concurrency": 200, "target_context": 2048, "max_tpot_ms": 30},
        {"target_context": 32768, "concurrency": 4, "objective": ["throughput", "cost"], "gpu": ["b200"]},
        {"requests_per_s": 2.5, "input_tokens": 900, "output_tokens": 120, "max_hourly_cost": 9, "min_quality": 0.9},
    ],
)
def test_an_answer_is_that_of_a_process_that_keeps_nothing(moved: dict[str, Any]) -> None:
    kept = KeptLayouts()
    first, second = SolveRequest(**BASE), SolveRequest(**{**BASE, **moved})
    assert kept.of(first) is kept.of(second), "load and limits do not part them"
    solve(first, shared=kept.of(first))
    found, alone = solve(second, shared=kept.of(second)), solve(second)
    assert found.model_dump(exclude={"solver": {"wall_ms"}}) == alone.model_dump(exclude={"solver": {"wall_ms"}})


@pytest.mark.parametrize(
    "other",
    [
        {"model": "Qwen/Qwen3-14B"}, {"vllm_version": "0.11.0"}, {"confidence": 0.5}, {"enable_lora": True},
        {"calibration": False}, {"hf_overrides": {"num_hidden_layers": 4}},
    ],
)  # fmt: skip
def test_whatever_changes_layouts_parts_them(other: dict[str, Any]) -> None:
    kept = KeptLayouts()
    assert kept.of(SolveRequest(**BASE)) is not kept.of(SolveRequest(**{**BASE, **other}))


def test_it_forgets() -> None:
    kept, request = KeptLayouts(), SolveRequest(**BASE)
    first = kept.of(request)
    for index in range(MODELS_KEPT):
        kept.of(SolveRequest(model=f"model-{index}"))
    assert kept.of(request) is not first
    second = kept.of(request)
    again = [kept.of(request) for _ in range(REQUESTS_EACH)]
    assert again[0] is second
    assert again[-1] is not second
