"""What a little more would buy: each gain is confirmed by solving the nudged request."""

from functools import cache
from typing import Any

import pytest

from vllm_opt.optimizer.contract.answer import Answer, Sensitivity
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.explained import compare, explain
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

GIB = 2**30
FIELDS: dict[str, Any] = {"gpu": ["l4", "l40s"], "max_ttft_ms": 3000, "concurrency": 16, "max_gpus": 8}


@cache
def catalog() -> Catalog:
    return Catalog()


@cache
def answer() -> Answer:
    return explain(SolveRequest(**FIELDS), catalog())


def of_unit(unit: str) -> list[Sensitivity]:
    return [item for item in answer().sensitivity if item.unit == unit]


def test_one_more_gib_holds_as_many_sequences_as_their_blocks_say() -> None:
    plan = answer().plan
    assert plan is not None
    (pool,) = of_unit("sequences")
    memory = plan.memory
    blocks_per_sequence = memory.num_gpu_blocks / memory.running_concurrency
    expected = GIB / (blocks_per_sequence * memory.kv_block_bytes) * plan.replicas
    assert pool.gain == pytest.approx(expected)
    assert pool.to - pool.from_value == GIB


def test_every_saving_is_reached_by_solving_the_changed_request() -> None:
    plan = answer().plan
    savings = of_unit("USD/hour")
    assert plan is not None
    assert plan.cost is not None
    assert savings
    for saving in savings:
        changed = solve(SolveRequest(**{**FIELDS, saving.change: saving.to}), catalog())
        assert changed.plan is not None
        assert changed.plan.cost is not None
        assert changed.plan.cost.usd_per_hour <= plan.cost.usd_per_hour - saving.gain + 1e-9
        assert saving.gain > 0


def test_a_saving_needs_the_whole_change() -> None:
    plan = answer().plan
    assert plan is not None
    assert plan.cost is not None
    steps = {"max_ttft_ms": -0.2, "concurrency": 1, "target_context": 16}
    for saving in of_unit("USD/hour"):
        if saving.change in steps:
            nearer = round(saving.to + steps[saving.change], 3)
            changed = solve(SolveRequest(**{**FIELDS, saving.change: nearer}), catalog())
            assert changed.plan is not None
            assert changed.plan.cost is not None
            assert changed.plan.cost.usd_per_hour == plan.cost.usd_per_hour


def test_more_throughput_is_real() -> None:
    plan = answer().plan
    assert plan is not None
    for gain in of_unit("tokens/s"):
        fields = {**FIELDS, "gpu": plan.gpu, "max_gpus": plan.gpu_count, "objective": ["throughput"]}
        before = solve(SolveRequest(**fields), catalog()).plan
        after = solve(SolveRequest(**{**fields, gain.change: gain.to}), catalog()).plan
        assert before is not None
        assert after is not None
        assert after.performance.output_tokens_per_s > before.performance.output_tokens_per_s


def test_an_infeasible_request_has_relaxations_instead() -> None:
    found = explain(SolveRequest(gpu="l4", max_hourly_cost=0.1), catalog())
    assert found.sensitivity == ()
    assert found.explanation is not None
    assert found.explanation.relaxations


def test_plain_solve_spends_no_time_on_it() -> None:
    assert solve(SolveRequest(**FIELDS), catalog()).sensitivity == ()


def test_two_requests_side_by_side() -> None:
    request = SolveRequest(gpu="l4", max_hourly_cost=0.1)
    found, (variant,) = compare(request, [{"max_hourly_cost": 1}], catalog())
    assert found.status == "infeasible"
    assert variant.plan is not None


def test_a_change_that_contradicts_the_rest_is_bad_input() -> None:
    with pytest.raises(InvalidRequest, match="mean_context 9000 exceeds target_context 8192"):
        compare(SolveRequest(gpu="l4"), [{"mean_context": 9000}], catalog())
