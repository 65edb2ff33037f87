"""How many sequences are there: cuts between neighbouring numbers, solved level by level.

Requests come in batches (those that come while a prompt halts all others), geometric with mean 1 / (1 - s); r(n) come
per second, mu(n) finish per second with n there. As often as the number rises across the cut between n and n + 1 it
falls:

    mu(n + 1) p(n + 1) = g(n + 1),      g(n + 1) = s g(n) + (1 - s) r(n) p(n)

the law of M^X/M/. with rates that depend on the state; s = 1 - 1 / z gives many servers the peakedness z. For s = 0 it
is the birth-death law. Arrivals one by one that clump or keep distance divide ln(r / mu) by their peakedness: where
service is as long for all, the law of a count of gamma intervals to the third cumulant. Above S, where mu stays what it
is, the sum over n >= S of p(n) is p(S) z / (1 - rho), rho = (r / mu(S))^(1 / peakedness).

Levels lie h apart where the law is wider than their number; then z / h is the peakedness of a level, and where that is
below 1 ln(r / mu) is multiplied by h / z instead: the same to the second order.
"""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.speed.step_time import Numbers, Scalars
from vllm_opt.profiles.elementary import exp, log

LEVELS = 192
LEAST_RATE = 1e-300
MOST_RISE = 40.0
"""Of ln p from one level to the next, so that nothing overflows far from where the law lives."""
TOO_LARGE = 1e200


@dataclass(frozen=True)
class Levels:
    """Numbers of sequences `width` apart from `low` on, for each engine (second axis)."""

    low: Numbers
    width: Numbers

    @classmethod
    def around(cls, center: Numbers, deviation: Numbers, most: Numbers) -> "Levels":
        """From six deviations below the centre to ten above, at most `most`, which is a level where it is reached."""
        low = np.floor(np.maximum(center - 6.0 * deviation - 3.0, 0.0))
        high = np.minimum(np.ceil(most), np.ceil(center + 10.0 * deviation + 6.0))
        width = np.maximum(np.ceil((high - low) / (LEVELS - 1.0) - 1e-9), 1.0)
        return cls(np.maximum(high - (LEVELS - 1.0) * width, 0.0), width)

    @property
    def numbers(self) -> Numbers:
        """Every level, ascending along the first axis."""
        return np.asarray(self.low + np.arange(float(LEVELS))[:, None] * self.width)


def level_law(levels: Levels, comes: Numbers, leaves: Numbers, peakedness: Scalars, batches: Numbers) -> Numbers:
    """p at every level, not normalised; `comes` and `leaves` are r and mu there, and nobody is beyond where none come.

    `peakedness`: of arrivals one by one that clump or keep distance; `batches`: of those that come in batches.
    """
    z = batches / levels.width
    keep, some = np.maximum(1.0 - 1.0 / z, 0.0), comes[:-1] > 0
    rise = log(np.maximum(comes[:-1], LEAST_RATE) / np.maximum(leaves[1:], LEAST_RATE))
    rise = np.clip(rise / (peakedness * np.minimum(z, 1.0)), -MOST_RISE, MOST_RISE)
    tempered = np.where(some, comes[:-1] / exp(rise), 1.0)
    found = np.empty_like(comes)
    found[0] = 1.0
    crossing = keep * leaves[0] * (levels.low > 0)
    for at in range(1, LEVELS):
        goes_on = keep * crossing + (1.0 - keep) * comes[at - 1] * found[at - 1]
        crossing = np.where(some[at - 1], goes_on, 0.0)
        found[at] = crossing / tempered[at - 1]
        large = found[at] > TOO_LARGE
        if large.any():
            scale = np.where(large, 1.0 / TOO_LARGE, 1.0)
            found[: at + 1] *= scale
            crossing = crossing * scale
    return found
