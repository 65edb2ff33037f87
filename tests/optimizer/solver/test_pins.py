"""Choices that a request takes away from the solver: honoured, proven, and named when they are in the way."""

import pytest

from vllm_opt.optimizer.contract.answer import Answer, Plan
from vllm_opt.optimizer.contract.request import PINS, SolveRequest
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.errors import InvalidRequest

MODEL = "Qwen/Qwen2.5-7B-Instruct"


def asked(**fields: object) -> SolveRequest:
    """A small question about one kind of card."""
    basis = {"model": MODEL, "gpu": "l40s", "target_context": 4096, "concurrency": 8, "max_gpus": 8, "workers": 1}
    return SolveRequest(**{**basis, **fields})


def plan_of(answer: Answer) -> Plan:
    assert answer.plan is not None, answer.explanation
    return answer.plan


def value_of(plan: Plan, field: str) -> object:
    """What a plan says of a pinned field."""
    return plan.flags[field.replace("_", "-")] if field.startswith("max_num") else getattr(plan, field)


@pytest.mark.parametrize(
    "pins",
    [
        {"tensor_parallel_size": 4},
        {"pipeline_parallel_size": 2},
        {"data_parallel_size": 2},
        {"replicas": 3},
        {"max_num_seqs": 24},
        {"max_num_batched_tokens": 3000},
        {"tensor_parallel_size": 2, "pipeline_parallel_size": 1, "replicas": 2, "max_num_seqs": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("objective", ["cost", "throughput", "latency", "efficiency"])
def test_a_plan_has_what_was_pinned_and_is_no_better_than_the_free_one(pins: dict[str, int], objective: str) -> None:
    free, pinned = solve(asked(objective=objective)), solve(asked(objective=objective, **pins))
    assert {field: value_of(plan_of(pinned), field) for field in pins} == pins
    assert pinned.status == "optimal"
    better = -1 if objective in ("throughput", "efficiency") else 1
    if "data_parallel_size" not in pins and "max_num_batched_tokens" not in pins:
        assert better * pinned.objectives[0].value >= better * free.objectives[0].value
    assert pinned.request["assumed"][0]["field"] == "input_tokens"


def test_pinning_the_optimum_itself_gives_the_optimum() -> None:
    free = solve(asked())
    plan = plan_of(free)
    pins = {field: value_of(plan, field) for field in PINS if not field.startswith("max_num_batched")}
    again = solve(asked(**pins))
    assert plan_of(again).command == plan.command
    assert again.objectives == free.objectives


@pytest.mark.parametrize(
    ("pins", "named"),
    [
        ({"tensor_parallel_size": 3}, ["tensor_parallel_size"]),
        ({"max_num_seqs": 1, "replicas": 2}, ["max_num_seqs", "replicas"]),
        ({"data_parallel_size": 16}, ["data_parallel_size"]),
        ({"replicas": 9}, ["replicas"]),
    ],
    ids=str,
)
def test_a_pin_in_the_way_is_named_and_leaving_it_out_helps(pins: dict[str, int], named: list[str]) -> None:
    request = asked(**pins)
    answer = solve(request)
    assert answer.status == "infeasible"
    assert answer.explanation is not None
    assert set(named) <= {item.rule for item in answer.explanation.conflict}
    dropped = [item for item in answer.explanation.relaxations if item.to is None]
    assert {item.change for item in dropped} == set(named)
    for item in answer.explanation.relaxations:
        changes = {item.change: item.to, **item.also}
        assert solve(request.replaced(**changes)).plan is not None, item
    brief = solve(request.replaced(explain=False))
    assert brief.explanation is not None
    assert brief.explanation.conflict


def test_a_pin_keeps_the_front_to_itself() -> None:
    answer = solve(asked(pareto=True, tensor_parallel_size=2, max_num_seqs=16))
    assert answer.pareto
    assert {(plan.tensor_parallel_size, plan.flags["max-num-seqs"]) for plan in answer.pareto} == {(2, 16)}


def test_pins_that_vllm_refuses_together_are_bad_input() -> None:
    with pytest.raises(InvalidRequest, match="max_num_seqs 64 exceeds max_num_batched_tokens 32"):
        asked(max_num_seqs=64, max_num_batched_tokens=32)


def test_a_free_load_is_kept_in_the_request_and_decided_by_concurrency() -> None:
    answer = solve(asked(concurrency="max", gpus=1))
    assert answer.request["concurrency"] == "max"
    assert [objective.name for objective in answer.objectives] == ["concurrency", "throughput"]
    assert answer.objectives[0].value > 8
