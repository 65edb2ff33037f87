"""Which rows of a table no other row beats or equals everywhere."""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
BLOCKS = (64, 256, 1024)
"""Rows that are compared with each other at a time; each pass strikes out rows, so the next one can take more."""
COMPARED = 2**24
"""Comparisons held in memory at once."""


def non_dominated(values: Integers) -> Integers:
    """Positions, ascending, of rows that no other row is at most equal to in every column; of equal rows the first.

    Rows are taken by ascending sum of their ranks, so that a row can be struck out only by one before it. Blocks of
    rows, dealt out so that each holds some of the best, strike out most; then each row that is kept strikes out what it
    beats.
    """
    if len(values) == 0:
        return np.empty(0, dtype=np.int64)
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in values.T], axis=1).astype(np.int32)
    order = np.lexsort((np.arange(len(values)), ranks.sum(axis=1)))
    columns = np.ascontiguousarray(ranks[order].T)
    rows = np.arange(len(order))
    for size in BLOCKS:
        if len(rows) > 2 * size:
            rows = _survivors(columns, rows, size)
    return np.sort(order[_kept(columns, rows)])


def _survivors(columns: NDArray[np.int32], rows: Integers, size: int) -> Integers:
    """The rows that nothing in their own block strikes out."""
    count = -(-len(rows) // size)
    padded = np.concatenate([rows, np.full(count * size - len(rows), rows[0])])
    blocks = padded.reshape(size, count).T
    before = np.triu(np.ones((size, size), dtype=bool), 1)
    found = []
    step = max(1, COMPARED // size**2)
    for start in range(0, count, step):
        part = blocks[start : start + step]
        beats = np.broadcast_to(before, (len(part), size, size)).copy()
        for column in columns:
            taken = column[part]
            beats &= taken[:, :, None] <= taken[:, None, :]
        found.append(part[~beats.any(axis=1)])
    return np.unique(np.concatenate(found))


def _kept(columns: NDArray[np.int32], rows: Integers) -> Integers:
    """The front of the rows, one by one."""
    left = columns[:, rows]
    kept = []
    while len(rows):
        kept.append(rows[0])
        survives = left[0] < left[0, 0]
        for column in left[1:]:
            survives |= column < column[0]
        left, rows = left[:, survives], rows[survives]
    return np.array(kept, dtype=np.int64)
