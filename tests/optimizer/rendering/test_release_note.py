"""A release without a profile of its own is said to be judged by another's rules, in every output format."""

import pytest

from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.rendering.formats import render_answer, render_estimate
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.solver.solve import solve

FORMATS = ("table", "json", "yaml", "command", "compose", "kubernetes", "env", "html")
SAID = "has no profile of its own: flags, defaults and memory rules are those of 0.14"


@pytest.mark.parametrize("name", FORMATS)
def test_an_estimate_says_so(name: str) -> None:
    asked = EstimateRequest(model="Qwen/Qwen3-8B", gpu="h100-sxm", vllm_version="0.15.1")
    assert SAID in " ".join(render_estimate(estimate(asked), name, Screen()).split())


def test_a_plan_says_so_in_every_format() -> None:
    answer = solve(
        SolveRequest(
            model="Qwen/Qwen3-0.6B", gpu=["h100-sxm"], vllm_version="0.15.1", concurrency=2, target_context=2048
        )
    )
    texts = {name: " ".join(render_answer(answer, name, Screen()).split()) for name in FORMATS}
    assert [name for name, text in texts.items() if SAID not in text] == []


def test_a_release_with_a_profile_says_nothing() -> None:
    asked = EstimateRequest(model="Qwen/Qwen3-8B", gpu="h100-sxm", vllm_version="0.25.1")
    assert "may differ" not in render_estimate(estimate(asked), "command", Screen())
