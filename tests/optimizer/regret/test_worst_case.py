"""The closed form against brute force over the boxes, and the solver's set of possible optima against a grid."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_opt.optimizer.cpsat.possible_optima import possible_optima
from vllm_opt.optimizer.regret.stakes import NEVER, Group, Stake
from vllm_opt.optimizer.regret.worst_case import known, least_regret, regret_of, together, worst_difference

GROUPS: tuple[Group, ...] = (("h100-sxm", "fp8"), ("l40s", "bf16"))
STEP, WAIT = {GROUPS[0]: (-0.2, 0.3), GROUPS[1]: (-0.5, 0.4)}, {GROUPS[0]: (-0.6, 0.5), GROUPS[1]: (-0.3, 0.9)}
POINTS = 13


def stake(group: Group, base: float, rate: float = 0.0, step: float = NEVER, wait: float = NEVER) -> Stake:
    """A stake with the boxes of its group."""
    return Stake(group, base, rate, step, wait, STEP[group], WAIT[group])


numbers = st.floats(-0.6, 0.6).map(lambda value: round(value, 3))
limits = st.one_of(st.just(NEVER), numbers)


@st.composite
def lists_of_stakes(draw: st.DrawFn) -> list[Stake]:
    """Plans of two groups under one kind of objective."""
    rate = draw(st.sampled_from((0.0, 1.0)))
    rows = draw(st.lists(st.tuples(st.sampled_from(GROUPS), numbers, limits, limits), min_size=2, max_size=4))
    return [stake(group, base, rate, step, wait) for group, base, step, wait in rows]


def places(ends: tuple[float, float]) -> list[float]:
    """A grid over one interval, ends included."""
    return [ends[0] + (ends[1] - ends[0]) * index / (POINTS - 1) for index in range(POINTS)]


@settings(max_examples=40, deadline=None)
@given(lists_of_stakes())
def test_the_worst_difference_is_that_of_brute_force(stakes: list[Stake]) -> None:
    mine, other = stakes[:2]
    exact = worst_difference(mine, other)
    if mine.group == other.group:
        step, wait = together(mine, other)
        brute = max(mine.loss(x, y) - other.loss(x, y) for x in places(step) for y in places(wait))
    else:
        at = [list(itertools.product(places(one.step_range), places(one.wait_range))) for one in (mine, other)]
        brute = max(mine.loss(*x) for x in at[0]) - min(other.loss(*y) for y in at[1])
    assert exact == pytest.approx(brute, abs=1e-9)


def outcomes(stakes: list[Stake]) -> list[list[float]]:
    """The losses of all plans at every point of a coarse grid over both boxes."""
    boxes = [list(itertools.product(places(STEP[group])[::3], places(WAIT[group])[::3])) for group in GROUPS]
    found = []
    for first, second in itertools.product(*boxes):
        at = dict(zip(GROUPS, (first, second), strict=True))
        found.append([one.loss(*at[one.group]) for one in stakes])
    return found


def test_two_maxima_that_meet_are_told_in_time() -> None:
    """At a step of 0.3 and no wait the first is as good as the second, which has the smaller base."""
    group = GROUPS[0]
    assert possible_optima([stake(group, 0.0, 0.0, NEVER, 0.0), stake(group, -0.25, 0.0, 0.25, 0.0)]) == (True, True)


@settings(max_examples=15, deadline=None)
@given(lists_of_stakes())
def test_what_is_best_somewhere_on_a_grid_could_be_the_best(stakes: list[Stake]) -> None:
    possible = possible_optima(stakes)
    best = {index for losses in outcomes(stakes) for index, loss in enumerate(losses) if loss <= min(losses)}
    assert all(possible[index] for index in best)
    for index, could in enumerate(possible):
        if not could:
            assert index not in best
            # never within the slack of the best anywhere: on the grid neither
            assert all(losses[index] > min(losses) + 5e-5 for losses in outcomes(stakes))


@settings(max_examples=25, deadline=None)
@given(lists_of_stakes())
def test_regret_bounds_what_happens_on_the_grid(stakes: list[Stake]) -> None:
    regrets = [regret_of(one, stakes) for one in stakes]
    for losses in outcomes(stakes):
        for index, loss in enumerate(losses):
            assert math.expm1(loss - min(losses)) <= regrets[index] + 1e-9
    assert regrets[least_regret(stakes)] == pytest.approx(min(regrets), abs=1e-8)


def test_hand_computed() -> None:
    # 10 USD sure to hold its limit; 8 USD that at its slow end takes e^0.4 / e^0.2 of it.
    sure, cheap = stake(GROUPS[0], math.log(10), step=-1.0), stake(GROUPS[1], math.log(8), step=-0.2)
    assert regret_of(sure, [sure, cheap]) == pytest.approx(10 / 8 - 1)
    assert regret_of(cheap, [sure, cheap]) == pytest.approx(0.0)
    assert worst_difference(cheap, sure) == pytest.approx(math.log(8 / 10) + 0.2)
    assert possible_optima([sure, cheap]) == (False, True)
    dear = stake(GROUPS[1], math.log(9.9), step=-0.2)
    assert possible_optima([sure, dear]) == (True, True)
    assert regret_of(dear, [sure, dear]) == pytest.approx(0.99 * math.exp(0.2) - 1)


def test_a_benchmark_narrows_its_group_alone() -> None:
    one, other = stake(GROUPS[0], 0.0), stake(GROUPS[1], 0.0)
    first, second = known([one, other], GROUPS[1], 0.39, 0.0, 0.05)
    assert first == one
    assert second.step_range == pytest.approx((0.34, 0.4))
    assert second.wait_range == pytest.approx((-0.05, 0.05))
    outside = known([other], GROUPS[1], 3.0, -3.0, 0.05)[0]
    assert outside.step_range == pytest.approx((0.35, 0.4))
