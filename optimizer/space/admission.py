"""How many sequences memory admits beside each other, for one layout and one width of a step."""

from dataclasses import dataclass
from functools import cached_property

from vllm_opt.optimizer.space.physics import LayoutFacts
from vllm_opt.optimizer.space.points import sequence_grid
from vllm_opt.optimizer.space.width_memory import WidthMemory


@dataclass(frozen=True)
class Admission:
    """What the KV pool holds at T = `tokens`: sequences of `context` tokens, beside the `startup` blocks at least."""

    facts: LayoutFacts
    tokens: int
    context: int
    startup: int

    @cached_property
    def _per_sequence(self) -> int:
        return max(1, self.facts.terms.kv.blocks_per_request(self.context, self.tokens))

    @cached_property
    def _memory(self) -> WidthMemory:
        return WidthMemory(self.facts, self.tokens, self.facts.confidence)

    def capacity(self, sequences: int) -> int:
        """Sequences that the pool holds when max_num_seqs is `sequences`; 0 when the engine does not start."""
        blocks = self._memory.blocks(sequences)
        if blocks < self.startup:
            return 0
        return (blocks - self.facts.terms.null_blocks) // self._per_sequence

    def admits(self, sequences: int) -> bool:
        """Whether the pool holds as many sequences as the flags admit."""
        return self.capacity(sequences) >= sequences

    def sizes(self, least: int, most: int) -> list[int]:
        """The values of max_num_seqs worth trying where capacity never grows with max_num_seqs."""
        largest = self.largest(least, most)
        return sequence_grid(least, largest) if largest >= least else []

    def each(self, least: int, most: int) -> list[int]:
        """The same where capacity may grow with max_num_seqs: every value of the grid is asked.

        Above the largest one admitted, every size up to the next of the grid is asked too: a bisection would take for
        granted what does not hold here.
        """
        grid = sequence_grid(least, most) if least <= most else []
        found = [size for size in grid if self.admits(size)]
        if not found or found[-1] == most:
            return found
        following = grid[grid.index(found[-1]) + 1]
        above = next((size for size in range(following - 1, found[-1], -1) if self.admits(size)), found[-1])
        return sorted({*found, above})

    def largest(self, least: int, most: int) -> int:
        """The largest max_num_seqs in [least, most] that is admitted; 0 when `least` already is not.

        Capacity never grows with max_num_seqs: capacity(most) is admitted when it is below `most`, and capacity of
        that is an upper bound, so two evaluations enclose the answer, usually in a point.
        """
        if least > most:
            return 0
        low = self.capacity(most)
        if low >= most:
            return most
        if low < least:
            if self.capacity(least) < least:
                return 0
            low = least
        high = min(most - 1, self.capacity(low))
        while low < high:
            middle = (low + high + 1) // 2
            if self.admits(middle):
                low = middle
            else:
                high = middle - 1
        return low
