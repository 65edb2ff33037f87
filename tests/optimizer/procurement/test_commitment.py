"""What to sign now: against trying every commitment, and as a user asks."""

import itertools
import time

import numpy as np
import pytest

from vllm_opt.optimizer.procurement.commitment import Choice, CommitmentProblem, Tier, commit, rate_of
from vllm_opt.optimizer.procurement.request import FleetRequest
from vllm_opt.optimizer.procurement.scenarios import HOURS_PER_WEEK, ServiceLevel, whole_week
from vllm_opt.profiles.errors import InvalidRequest


def random_problem(seed: int, level: ServiceLevel) -> CommitmentProblem:
    chance = np.random.default_rng(seed)
    scenarios = 3
    demand = np.repeat(chance.integers(0, 9, (2, scenarios, HOURS_PER_WEEK // 24)), 24, axis=2).astype(float)
    probability = chance.integers(1, 4, scenarios).astype(float)
    choices = tuple(
        tuple(
            tuple(Choice(gpu, float(gpus), float(capacity), "c") for gpu, gpus, capacity in mine)
            for _ in range(scenarios)
        )
        for mine in ((("a", 1, 2), ("b", 2, 3)), (("a", 1, 1), ("b", 1, 2)))
    )
    tiers = {"a": (Tier("owned", 0.1, 2), Tier("reserved-1y", 0.6, None)), "b": (Tier("reserved-1y", 1.1, None),)}
    recourse = np.array([[1.0], [1.9]]) * chance.uniform(0.7, 1.5, (1, scenarios))
    return CommitmentProblem(
        ("v", "w"), demand, probability / probability.sum(), choices, ("a", "b"), tiers, recourse, level
    )


def cheapest(problem: CommitmentProblem) -> float:
    """Every SKU for every workload, every number of committed GPUs."""
    best = np.inf
    weight = problem.probability[:, None] / HOURS_PER_WEEK * np.ones((1, HOURS_PER_WEEK))
    for skus in itertools.product("ab", repeat=2):
        used = {gpu: np.zeros(weight.shape) for gpu in "ab"}
        for w, gpu in enumerate(skus):
            choice = next(c for c in problem.choices[w][0] if c.gpu == gpu)
            used[gpu] += np.ceil(problem.demand[w] / choice.capacity) * choice.gpus
        total = 0.0
        for g, gpu in enumerate("ab"):
            total += min(
                rate_of(problem.tiers[gpu], n)
                + float((weight * problem.recourse[g][:, None] * np.maximum(0, used[gpu] - n)).sum())
                for n in range(int(used[gpu].max()) + 1)
            )
        best = min(best, total)
    return float(best)


@pytest.mark.parametrize("seed", range(8))
def test_the_commitment_costs_what_the_cheapest_of_all_does(seed: int) -> None:
    problem = random_problem(seed, ServiceLevel())
    found = commit(problem, time.monotonic() + 10)
    assert found is not None
    assert found.usd_per_hour == pytest.approx(cheapest(problem))
    assert found.gap == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("level", [ServiceLevel(missed_hours=0.1), ServiceLevel(cvar=0.2, tail=0.1)])
def test_hours_that_may_be_missed_lower_the_cost_within_the_level_and_the_bound_holds(level: ServiceLevel) -> None:
    strict = commit(random_problem(3, ServiceLevel()), time.monotonic() + 10)
    found = commit(random_problem(3, level), time.monotonic() + 10)
    assert strict is not None
    assert found is not None
    assert found.bound <= found.usd_per_hour <= strict.usd_per_hour
    weight = random_problem(3, level).probability[:, None] / HOURS_PER_WEEK
    if level.missed_hours:
        assert float((found.missed * weight).sum()) <= level.missed_hours + 1e-9


def test_a_day_becomes_a_week_and_other_lengths_are_refused() -> None:
    assert whole_week(tuple(range(24)))[24:26] == (0, 1)
    with pytest.raises(InvalidRequest, match="24 numbers, 168"):
        FleetRequest(workloads=[{"name": "w", "model": "m", "requests_per_s": 1, "profile": [1, 2]}])
    with pytest.raises(InvalidRequest, match="names the workload 'x'"):
        FleetRequest(
            workloads=[{"name": "w", "model": "m", "requests_per_s": 1}], scenarios=[{"name": "s", "swap": {"x": "y"}}]
        )
