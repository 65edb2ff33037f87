"""Min-max regret in closed form: the most by which another plan could beat this one within the intervals.

Two plans of different groups err independently, so the worst case is this one at its worst and the other at its best.
Two plans of one group err together. There, with x = (x_step, x_wait) in a box,

    max_x [m_p(x) - m_q(x)],  m(x) = max(0, b_step + x_step, b_wait + x_wait)

is reached where one term of m_p is at its upper end and every other coordinate at its lower end: m_p - m_q never falls
when the coordinate that attains m_p grows, and never rises when the others do. So three points suffice.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from vllm_opt.optimizer.regret.stakes import Group, Stake


def worst_difference(mine: Stake, other: Stake) -> float:
    """The most that ln loss of `mine` may exceed that of `other`."""
    if mine.group != other.group:
        return mine.worst - other.best
    (step_low, step_high), (wait_low, wait_high) = together(mine, other)
    corners = ((step_low, wait_low), (step_high, wait_low), (step_low, wait_high))
    return max(mine.loss(*corner) - other.loss(*corner) for corner in corners)


def together(one: Stake, other: Stake) -> tuple[tuple[float, float], tuple[float, float]]:
    """The box of two plans of one group: what either may meet."""
    step = min(one.step_range[0], other.step_range[0]), max(one.step_range[1], other.step_range[1])
    wait = min(one.wait_range[0], other.wait_range[0]), max(one.wait_range[1], other.wait_range[1])
    return step, wait


def regret_of(mine: Stake, others: Sequence[Stake]) -> float:
    """Relative: 0.1 means that the best plan in hindsight may have a tenth less loss to the unit of its own."""
    return math.expm1(max(0.0, max((worst_difference(mine, other) for other in others), default=0.0)))


def least_regret(stakes: Sequence[Stake]) -> int:
    """Which plan has the least regret; the earlier one of equals."""
    regrets = [round(regret_of(stake, stakes), 9) for stake in stakes]
    return regrets.index(min(regrets))


def known(stakes: Sequence[Stake], group: Group, x_step: float, x_wait: float, noise: float) -> tuple[Stake, ...]:
    """The same stakes once a benchmark has told the factors of one group, give or take its noise."""

    def at(value: float, ends: tuple[float, float]) -> tuple[float, float]:
        middle = min(max(value, ends[0]), ends[1])
        return max(ends[0], middle - noise), min(ends[1], middle + noise)

    return tuple(
        replace(stake, step_range=at(x_step, stake.step_range), wait_range=at(x_wait, stake.wait_range))
        if stake.group == group
        else stake
        for stake in stakes
    )


def undominated(stakes: Sequence[Stake]) -> tuple[Stake, ...]:
    """Without the plans that some other one beats whatever happens: nobody regrets missing them."""
    least = min(stake.worst for stake in stakes)
    return tuple(stake for stake in stakes if stake.best <= least)
