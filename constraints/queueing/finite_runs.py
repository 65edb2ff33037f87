"""Percentiles over the few requests of one run, as a client computes them: between the order statistics of N times.

A run of N requests has its p-th percentile at (N - 1) p among its sorted times. Where times follow from the place in
the row alone they are the same in every run. Where lengths differ, a run is a sample, and the mean of its j-th smallest
time over runs is a weighted mean of all times, with the weights of a beta law:

    E[X_(j)] = sum over sorted x_i of x_i (B(i / n) - B((i - 1) / n)),      B(u) = P(at least j of N are below u)
"""

import math
from functools import cache

import numpy as np

from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.profiles.elementary import whole_power

MANY = 128
"""Requests from which a run is as good as the law."""


def percentile_of_runs(samples: Numbers, percent: float, requests: Numbers, *, drawn: bool) -> Numbers:
    """Percentile over the requests of a run; `samples`: equally likely times (first axis) of each engine.

    `drawn`: a run is a sample of them, else each of its requests has its own share of them.
    """
    ordered = np.sort(samples, axis=0)
    found = np.empty(ordered.shape[1])
    numbers = np.maximum(np.rint(requests), 1.0)
    for number in np.unique(numbers).tolist():
        columns = numbers == number
        weights = _weights(len(ordered), min(int(number), MANY), percent, drawn)
        found[columns] = _weighted(ordered[:, columns], weights)
    return found


def percentile_of_all(samples: Numbers, percent: float) -> Numbers:
    """Percentile of the law that equally likely times stand for: the mean over samples as large as they are many.

    One time more or less beyond the percentile moves it by a little then, not by the distance of two times (F. Harrell
    and C. Davis, A new distribution-free quantile estimator, 1982).
    """
    return _weighted(np.sort(samples, axis=0), _weights(len(samples), len(samples), percent, True))


def _weighted(ordered: Numbers, weights: Numbers) -> Numbers:
    """Weighted mean of sorted times, exactly theirs where all are the same."""
    return np.asarray(ordered[0] + np.cumsum((ordered - ordered[0]) * weights[:, None], axis=0)[-1])


@cache
def _weights(points: int, requests: int, percent: float, drawn: bool) -> Numbers:
    """Weights of the sorted points, which add up to 1."""
    position = (requests - 1) * percent / 100.0
    low = min(int(position), requests - 1)
    share = position - low
    first = _order_statistic(points, low + 1, requests, drawn)
    return np.asarray((1.0 - share) * first + share * _order_statistic(points, min(low + 2, requests), requests, drawn))


def _order_statistic(points: int, place: int, requests: int, drawn: bool) -> Numbers:
    """Weights of the sorted points in the `place`-th smallest of so many times."""
    edges = np.arange(points + 1) / points
    if not drawn:
        own = np.ceil((np.arange(points) + 0.5) / points * requests) == place
        return np.asarray(own / own.sum())
    fewer = np.zeros(points + 1)
    for below in range(place):
        chance = whole_power(edges, np.full_like(edges, below)) * whole_power(
            1.0 - edges, np.full_like(edges, requests - below)
        )
        fewer += float(math.comb(requests, below)) * chance
    return np.diff(1.0 - fewer)
