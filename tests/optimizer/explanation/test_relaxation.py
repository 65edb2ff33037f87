"""The smallest changes: each makes the request feasible, none smaller does, and the least asked comes first."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer.contract.answer import Relaxation
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.explanation.explain import explain_infeasible
from vllm_opt.optimizer.explanation.relaxation import relaxations
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.search.search import Search
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

REQUESTS = json.loads((Path(__file__).parents[2] / "data" / "infeasible_requests.json").read_text(encoding="utf-8"))
WITH_SKU = [item["name"] for item in REQUESTS if "gpu" in item["request"]]


@cache
def catalog() -> Catalog:
    return Catalog()


@cache
def found(name: str) -> tuple[Relaxation, ...]:
    setting = resolve_solve(SolveRequest(**asked(name)), catalog())
    return relaxations(Atlas(setting), Question(setting), catalog())


def asked(name: str) -> dict[str, Any]:
    return next(item["request"] for item in REQUESTS if item["name"] == name)


def feasible(fields: dict[str, Any]) -> bool:
    setting = resolve_solve(SolveRequest(**fields), catalog())
    return bool(Search(setting).run(first_found=True).candidates)


def changed(name: str, relaxation: Relaxation) -> dict[str, Any]:
    return {**asked(name), relaxation.change: relaxation.to, **relaxation.also}


@pytest.mark.parametrize("name", WITH_SKU)
def test_every_relaxation_makes_the_request_feasible(name: str) -> None:
    for relaxation in found(name):
        assert feasible(changed(name, relaxation)), relaxation


@pytest.mark.parametrize("name", WITH_SKU[::8])
def test_solve_finds_a_plan_for_the_relaxation_that_asks_least(name: str) -> None:
    for relaxation in found(name)[:1]:
        answer = solve(SolveRequest(**changed(name, relaxation)), catalog())
        assert answer.plan is not None


STEPS = {
    "target_context": 16,
    "mean_context": 16,
    "concurrency": 1,
    "max_gpus": -1,
    "max_hourly_cost": -0.01,
    "max_ttft_ms": -0.2,
    "max_tpot_ms": -0.2,
    "max_gpu_memory_utilization": -0.005,
}
"""One step back towards what was asked, per field."""


@pytest.mark.parametrize("name", WITH_SKU[::5])
def test_nothing_smaller_would_do(name: str) -> None:
    for relaxation in found(name):
        if relaxation.change in STEPS and not relaxation.also:
            nearer = round(relaxation.to + STEPS[relaxation.change], 6)
            assert not feasible({**asked(name), relaxation.change: nearer}), (relaxation.change, nearer)


@pytest.mark.parametrize("name", WITH_SKU)
def test_numbers_stay_on_the_feasible_side_and_are_round(name: str) -> None:
    for relaxation in found(name):
        values = {relaxation.change: relaxation.to, **relaxation.also}
        for field, to in values.items():
            if field.endswith("context"):
                assert to % 16 == 0
            if field in ("max_ttft_ms", "max_tpot_ms"):
                assert to == pytest.approx(round(to, 1), abs=1e-9)
            if field == "max_hourly_cost":
                assert to == pytest.approx(round(to, 2), abs=1e-9)


@pytest.mark.parametrize("name", WITH_SKU)
def test_the_message_says_what_to_type(name: str) -> None:
    for relaxation in found(name):
        for field, to in {relaxation.change: relaxation.to, **relaxation.also}.items():
            assert f"--{field.replace('_', '-')} {to}" in relaxation.message


def test_the_least_asked_comes_first() -> None:
    numbers = [
        abs(math.log(relaxation.to / relaxation.from_value))
        for relaxation in found("TTFT of half a second on one H100")
        if isinstance(relaxation.to, int | float)
    ]
    assert len(numbers) >= 3
    assert numbers == sorted(numbers)


def test_two_independent_limits_need_a_pair() -> None:
    (pair,) = found("independent conflicts")
    assert {pair.change, *pair.also} == {"max_ttft_ms", "max_hourly_cost"}
    assert " and " in pair.message


def test_a_named_format_is_exchanged_for_one_that_the_card_runs() -> None:
    changes = {relaxation.change: relaxation.to for relaxation in found("nvfp4 on a V100")}
    assert changes["quantization"] == "bf16"


def test_an_exact_number_of_gpus_moves_to_the_nearest_that_works() -> None:
    changes = {relaxation.change: relaxation.to for relaxation in found("exactly three cards for a 235B MoE")}
    assert changes["gpus"] == 4
    assert "max_gpus" not in changes


def test_explicit_lengths_bound_the_context_from_below() -> None:
    fields = {"gpu": "l4", "max_gpus": 1, "target_context": 16384, "concurrency": 64, "input_tokens": 8000}
    setting = resolve_solve(SolveRequest(**fields), catalog())
    explanation = explain_infeasible(setting, catalog=catalog())
    for relaxation in explanation.relaxations:
        assert feasible({**fields, relaxation.change: relaxation.to, **relaxation.also})
        if relaxation.change == "target_context":
            assert relaxation.to > 8000


def test_a_longer_context_that_only_other_block_sizes_allow_is_found() -> None:
    """At 32,768 tokens blocks of 16 save nothing; at 30,080 they do: the nearest context is the true one."""
    asked = SolveRequest(
        model="deepseek-ai/DeepSeek-V3", gpu="h100-sxm", max_gpus=8, target_context=32768, concurrency=256,
        quantization="w4a16", kv_cache_dtype="fp8", hypothetical_checkpoints=True,
    )  # fmt: skip
    answer = solve(asked)
    assert answer.explanation is not None
    (longest,) = [item.to for item in answer.explanation.relaxations if item.change == "target_context"]
    assert isinstance(longest, int)
    assert solve(asked.replaced(target_context=longest, explain=False)).status == "optimal"
    assert solve(asked.replaced(target_context=longest + 16, explain=False)).status == "infeasible"
