"""Quadrature over chance: a fixed lattice of uniform numbers, and the quantile functions that it is sent through."""

from functools import cache
from statistics import NormalDist

import numpy as np

from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.profiles.elementary import exp

POINTS, FEW_POINTS = 384, 96
"""Requests that stand for all; few where the means are known and only the spread around them is asked."""
COORDINATES = 8
GOLDEN = 1.0969815577985598
"""Root of x^8 = x + 1: its powers generate a low-discrepancy sequence in seven dimensions (R. Kronecker's
additive recurrence; M. Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018)."""
EXACT_MEAN = 9.0
ENOUGH = 5.0
"""Standard deviations beyond the mean at which the sums end: beyond every point of the lattice."""


@cache
def lattice(points: int = POINTS) -> Numbers:
    """Coordinates of every point, shape (COORDINATES, points): fixed, so that equal inputs give equal answers.

    Where they are many every coordinate takes each of as many equal strata once, in the order of the sequence: laws of
    one coordinate keep their mean and their tail.
    """
    index = np.arange(points, dtype=np.float64)
    stratified = (index + 0.5) / points
    rest = [(0.5 + index / GOLDEN**power) % 1.0 for power in range(1, COORDINATES)]
    if points > FEW_POINTS:
        rest = [(np.argsort(np.argsort(each)) + 0.5) / points for each in rest]
    coordinates = np.stack([stratified, *rest])
    coordinates.flags.writeable = False
    return coordinates


def normal_quantile(uniform: Numbers) -> Numbers:
    """Standard normal quantiles of the lattice's fixed coordinates."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse(min(max(value, 1e-9), 1 - 1e-9)) for value in uniform.ravel().tolist()]).reshape(
        uniform.shape
    )


def poisson_quantile(uniform: Numbers, mean: Numbers) -> Numbers:
    """Quantile of a Poisson law: exact sums for small means, Wilson and Hilferty's cube of a normal for large ones."""
    uniform, mean = np.broadcast_arrays(np.asarray(uniform, dtype=np.float64), np.asarray(mean, dtype=np.float64))
    small = np.minimum(mean, EXACT_MEAN)
    term = exp(-small)
    total, count = term.copy(), np.zeros_like(small)
    largest = float(small.max(initial=0.0))
    for number in range(1, int(largest + ENOUGH * largest**0.5) + 6):
        count += uniform > total
        term = term * small / number
        total = total + term
    if not (mean > EXACT_MEAN).any():
        return count
    z = normal_quantile(uniform[:, :1]) if uniform.ndim > 1 else normal_quantile(uniform)
    large = np.maximum(mean, 1.0)
    root = np.maximum(1.0 - 1.0 / (9.0 * large) + z / (3.0 * np.sqrt(large)), 0.0)
    return np.where(mean > EXACT_MEAN, np.round(large * root * root * root), count)


def percentile_of(samples: Numbers, percent: float) -> Numbers:
    """Percentile over the points (first axis), each of which stands for an equal share of requests."""
    ordered = np.sort(samples, axis=0)
    position = min(max(percent / 100.0 * len(ordered) - 0.5, 0.0), len(ordered) - 1.0)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return np.asarray(ordered[low] + (position - low) * (ordered[high] - ordered[low]))


def mean_of(samples: Numbers) -> Numbers:
    """Mean over the points, added in the same order for one engine as for many: a plan repeats what a search found."""
    return np.asarray(np.cumsum(samples, axis=0)[-1] / len(samples))
