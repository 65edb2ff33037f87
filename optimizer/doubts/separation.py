"""The benchmark that tells most: which group's speed, once known, leaves the least regret.

A run on a server of a group (GPU and weight format) tells how far off all plans of that group are, give or take the
noise of a run. For each group the outcomes on a grid over its box, weighted as a normal law whose 90 % interval the box
is, leave a least regret each; their mean is what the run is worth. Of the groups whose mean is nearly the least, the
one with the fewest GPU-minutes is taken.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.regret.stakes import Group, Stake
from vllm_opt.optimizer.regret.worst_case import known, regret_of, undominated

NOISE = 0.05
"""ln error of one run: repeats of published benchmarks differ by about 3 to 5 %."""
HALF_WIDTH = 1.645
GRID = (-1.0, -0.6, -0.25, 0.0, 0.25, 0.6, 1.0)
WAITS = (-0.8, 0.0, 0.8)
NEARLY = 0.02
"""Means that differ by less than this are taken for equal: the shorter run is preferred."""


@dataclass(frozen=True)
class Separation:
    """What a run on one group leaves."""

    group: Group
    mean: float
    worst: float


def separations(stakes: Sequence[Stake]) -> tuple[Separation, ...]:
    """For each group, the least regret that a run on it leaves."""
    alive = undominated(stakes)
    return tuple(separation(alive, group) for group in dict.fromkeys(stake.group for stake in alive))


def separation(stakes: Sequence[Stake], group: Group) -> Separation:
    """Mean and worst over the outcomes of one run."""
    members = [stake for stake in stakes if stake.group == group]
    step = min(one.step_range[0] for one in members), max(one.step_range[1] for one in members)
    wait = min(one.wait_range[0] for one in members), max(one.wait_range[1] for one in members)
    total, weights, worst = 0.0, 0.0, 0.0
    for at in GRID:
        for later in WAITS:
            weight = math.exp(-0.5 * (HALF_WIDTH * at) ** 2 - 0.5 * (HALF_WIDTH * later) ** 2)
            left = least_left(known(stakes, group, within(step, at), within(wait, later), NOISE))
            total, weights, worst = total + weight * left, weights + weight, max(worst, left)
    return Separation(group, total / weights, worst)


def within(ends: tuple[float, float], at: float) -> float:
    """A place between the ends, from -1 to 1."""
    return ends[0] + (ends[1] - ends[0]) * (at + 1.0) / 2.0


def least_left(stakes: Sequence[Stake]) -> float:
    """The least regret that any plan has."""
    return min(regret_of(stake, stakes) for stake in stakes)


def best_group(found: Sequence[Separation], gpu_minutes: dict[Group, float]) -> Separation:
    """The least mean; of nearly equal ones the run with the fewest GPU-minutes."""
    least = min(one.mean for one in found)
    near = [one for one in found if one.mean <= least + NEARLY]
    return min(near, key=lambda one: (gpu_minutes[one.group], one.mean, one.group))
