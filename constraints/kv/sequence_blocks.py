"""Blocks of several sequences as a linear function of their number, and the search for the longest that fits."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class SequenceBlocks:
    """KV blocks for n sequences at once: `fixed + n * each`, the null block included."""

    fixed: int
    each: int

    def needed(self, sequences: int) -> int:
        """Return the blocks that `sequences` sequences take; element by element for arrays."""
        return self.fixed + sequences * self.each

    def sequences(self, num_gpu_blocks: int) -> int:
        """Return the sequences that a pool of `num_gpu_blocks` holds, at least 0 and without a bound where none is."""
        return max(0, (num_gpu_blocks - self.fixed) // max(1, self.each))


def largest(limit: int, fits: Callable[[int], bool]) -> int:
    """Return the largest value in [0, limit] that fits, where all below it do."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low
