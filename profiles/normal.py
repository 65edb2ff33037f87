"""Quantiles of the normal distribution: the confidence asked, in standard deviations."""

from functools import lru_cache
from statistics import NormalDist


@lru_cache(maxsize=256)
def normal_quantile(probability: float) -> float:
    """Standard deviations below which a normal value stays with this probability, 0 < p < 1.

    Remembered: a search asks for the same few thousands of times.
    """
    return NormalDist().inv_cdf(probability)
