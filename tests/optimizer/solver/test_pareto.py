"""The front: exactly the points that nothing beats, each a plan that holds, thinned without losing a corner."""

import math
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from oracle import Oracle, Point
from strategies import Problem, problems, request_of

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.rendering.plan_words import status_in_words
from vllm_opt.optimizer.search.search import Search
from vllm_opt.optimizer.solver.non_dominated import non_dominated
from vllm_opt.optimizer.solver.pareto import MOST_PLANS, covered, front_of
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.solver.thinning import thinned
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog


def beaten(values: np.ndarray) -> np.ndarray:
    """Rows that some row beats, or an earlier one equals: straight from the definition."""
    at_most = (values[:, None] <= values[None]).all(axis=2)
    equal = (values[:, None] == values[None]).all(axis=2)
    return (at_most & ~equal).any(axis=0) | np.triu(equal, 1).any(axis=0)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 700), distinct=st.integers(1, 50), columns=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_non_dominated_is_the_definition(rows: int, distinct: int, columns: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-distinct, distinct, (rows, columns))
    assert non_dominated(values).tolist() == np.flatnonzero(~beaten(values)).tolist()


def test_non_dominated_of_nothing_is_nothing() -> None:
    assert non_dominated(np.empty((0, 4), dtype=np.int64)).tolist() == []


def integers_of(point: Point, *, has_tpot: bool) -> tuple[int, int, int, int]:
    """What the front compares, computed from what brute force saw."""
    ttft, tpot, rate = point.speeds
    engines = point.replicas * point.layout.data_parallel_size
    return (
        point.microusd,
        -math.floor(rate * 1000) * engines,
        math.ceil(tpot * 1000) if has_tpot else 0,
        math.ceil(ttft * 1000),
    )


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)
@given(problem=problems())
def test_the_front_equals_brute_force(problem: Problem) -> None:
    with tempfile.TemporaryDirectory() as name:
        request = request_of(problem, Path(name))
        catalog = Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
        setting = resolve_solve(request, catalog)
        _, points, stopped = front_of(Search(setting), 0.0)
        assert stopped == ""
        every = {integers_of(point, has_tpot=setting.lengths[1] > 1) for point in Oracle(request).points()}
        table = np.array(sorted(every), dtype=np.int64).reshape(len(every), 4)
        expected = {tuple(row) for row in table[non_dominated(table)].tolist()}
        assert {tuple(row) for row in points.values.tolist()} == expected
        assert len(points.values) == len(expected)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)
@given(problem=problems(), tolerance=st.sampled_from((0.02, 0.1, 0.3)))
def test_with_a_tolerance_something_as_cheap_is_near_every_point(problem: Problem, tolerance: float) -> None:
    """What is left out is near something found, and that is kept or near something kept: twice the tolerance."""
    with tempfile.TemporaryDirectory() as name:
        request = request_of(problem, Path(name))
        catalog = Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
        setting = resolve_solve(request, catalog)
        _, exact, _ = front_of(Search(setting), 0.0)
        _, kept, stopped = front_of(Search(setting), tolerance)
        assert stopped == ""
        assert len(kept.values) <= len(exact.values)
        assert bool(len(kept.values)) == bool(len(exact.values))
        if len(exact.values):
            assert covered(exact.values, kept.values, (1 + tolerance) ** 2 - 1 + 1e-9).all()


def corner(plans: tuple[Plan, ...]) -> tuple[float, float, float, float]:
    """The best of each axis."""
    return (
        min(plan.cost.usd_per_hour for plan in plans if plan.cost),
        max(plan.performance.output_tokens_per_s for plan in plans),
        min(plan.performance.tpot_ms or 0.0 for plan in plans),
        min(plan.performance.ttft_ms for plan in plans),
    )


def test_a_front_of_plans() -> None:
    answer = solve(SolveRequest(gpu=("l4", "h100"), max_gpus=4, pareto=True))
    plans = answer.pareto
    assert answer.status == "optimal"
    assert answer.plan is not None
    assert answer.plan.cost is not None
    assert 3 <= len(plans) <= MOST_PLANS
    assert len({plan.command + str(plan.replicas) + plan.gpu for plan in plans}) == len(plans)
    rows = np.array(
        [
            (
                plan.cost.usd_per_hour if plan.cost else 0.0, -plan.performance.output_tokens_per_s,
                plan.performance.tpot_ms or 0.0, plan.performance.ttft_ms,
            )
            for plan in plans
        ]
    )  # fmt: skip
    assert not beaten(rows).any()
    assert rows[:, 0].tolist() == sorted(rows[:, 0].tolist())
    assert corner(plans)[0] <= answer.plan.cost.usd_per_hour
    (note,) = [note for note in answer.notes if "the front has" in note]
    assert f"{len(plans)} are shown" in note or "within" not in note


def ticking() -> Callable[[], float]:
    """A clock that moves on by one whenever it is read."""
    ticks = count()
    return lambda: float(next(ticks))


def test_a_front_that_is_cut_short_says_so_and_is_not_proven() -> None:
    request = SolveRequest(gpu=("l4", "h100"), max_gpus=4, pareto=True)
    search = Search(resolve_solve(request, Catalog()), deadline=0.0, clock=ticking())
    assert "time limit" in front_of(search, 0.05)[2]
    many = request.replaced(gpu="h100", max_gpus=400_000, concurrency=32)
    search = Search(resolve_solve(many, Catalog()), deadline=2.0, clock=ticking())
    assert "time limit" in front_of(search, 0.05)[2]


def test_a_front_that_is_cut_short_has_no_proven_header() -> None:
    answer = solve(SolveRequest(gpu="l4", max_gpus=200_000, concurrency=2, pareto=True, time_limit=1))
    assert answer.status in ("feasible", "unknown")
    assert "proven" not in status_in_words(answer)


def test_a_front_keeps_the_limits() -> None:
    answer = solve(SolveRequest(gpu="h100", max_gpus=2, pareto=True, max_ttft_ms=1500, min_output_tokens_per_s=1500))
    assert answer.pareto
    assert all(plan.performance.ttft_ms <= 1500 for plan in answer.pareto)
    assert all(plan.performance.output_tokens_per_s >= 1500 for plan in answer.pareto)


def test_no_front_without_a_plan() -> None:
    answer = solve(SolveRequest(gpu="t4", max_gpus=1, model="meta-llama/Llama-3.3-70B-Instruct", pareto=True))
    assert answer.status == "infeasible"
    assert answer.pareto == ()


def test_thinning_keeps_extremes_and_covers_the_rest() -> None:
    rng = np.random.default_rng(1)
    values = np.stack([*rng.integers(1, 10**6, (3, 3000)), -rng.integers(1, 10**6, 3000)], axis=1)
    front = values[non_dominated(values)]
    kept, (note,) = thinned(front, 20)
    assert 4 <= len(kept) <= 20
    assert (front[kept].min(axis=0) == front.min(axis=0)).all()
    stated = float(note.split("within ")[1].split("%")[0]) / 100 + 0.001
    near = (front[kept][None, :, :3] <= front[:, None, :3] * (1 + stated)).all(axis=2)
    near &= front[kept][None, :, 3] <= front[:, None, 3] / (1 + stated)
    assert near.any(axis=1).all()


@pytest.mark.parametrize("count", [0, 1, 20])
def test_a_small_front_is_shown_whole(count: int) -> None:
    kept, notes = thinned(np.arange(4 * count).reshape(count, 4), 20)
    assert kept.tolist() == list(range(count))
    assert notes == ()
