"""Fewer points of a front than there are: what is left out is near something that is shown."""

import numpy as np
from numpy.typing import NDArray

from vllm_opt.profiles.elementary import expm1, log
from vllm_opt.profiles.reading.quantities import counted

Integers = NDArray[np.int64]
STEPS = 24
"""Bisections of the tolerance."""


def thinned(values: Integers, most: int) -> tuple[Integers, tuple[str, ...]]:
    """At most `most` positions of a front, and what to say about the rest.

    The best point of each column stays. Every other point that is left out is within a factor 1 + e of one that is
    shown, in every column, for the smallest e (found by bisection) that leaves few enough.
    """
    if len(values) <= most:
        return np.arange(len(values)), ()
    logs = log(np.maximum(np.abs(values).astype(np.float64), 1.0)) * np.where(values < 0, -1.0, 1.0)
    low, high = 0.0, float(np.ptp(logs, axis=0).max())
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if len(_cover(logs, middle, most)) <= most else (middle, high)
    kept = _cover(logs, high, most)
    note = (
        f"the front has {counted(len(values), 'point')}; {len(kept)} are shown, and every other one is within "
        f"{expm1(high):.1%} of one of them in cost, throughput, TPOT and TTFT"
    )
    return kept, (note,)


def _cover(logs: NDArray[np.float64], tolerance: float, most: int) -> Integers:
    """Positions such that each point is at most `tolerance` better than one of them in any column: greedy."""
    extremes = sorted({int(np.lexsort((logs.sum(axis=1), logs[:, column]))[0]) for column in range(logs.shape[1])})
    uncovered = np.ones(len(logs), dtype=bool)
    kept: list[int] = []
    following = [
        position for position in np.argsort(logs.sum(axis=1), kind="stable").tolist() if position not in extremes
    ]
    for position in (*extremes, *following):
        if not uncovered[position] and len(kept) >= len(extremes):
            continue
        kept.append(position)
        uncovered &= (logs[position] > logs + tolerance).any(axis=1)
        if len(kept) > most or not uncovered.any():
            break
    return np.array(sorted(kept), dtype=np.int64)
