"""How many sequences memory admits beside each other, for one layout and one width of a step.

The sequences hold what `held_blocks` says, or one token each where nobody asks for their concurrency.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from vllm_opt.constraints.kv.sequence_blocks import SequenceBlocks
from vllm_opt.optimizer.space.layout_facts import LayoutFacts
from vllm_opt.optimizer.space.points import sequence_grid
from vllm_opt.optimizer.space.width_memory import WidthMemory


@dataclass(frozen=True)
class Admission:
    """What the KV pool holds at T = `tokens`, beside the `startup` blocks at least."""

    facts: LayoutFacts
    tokens: int
    startup: int
    held: bool = True

    @cached_property
    def _blocks(self) -> SequenceBlocks:
        """Blocks of so many sequences: exact where all hold the same, else no more than they hold."""
        kv, targets = self.facts.terms.kv, self.facts.setting.targets
        context = targets.mean_context if self.held else 1
        if self.held and targets.contexts_in_flight is not None:
            context = min(targets.target_context, math.floor(targets.contexts_in_flight.mean_tokens))
        return kv.sequence_blocks(context, self.tokens)

    @cached_property
    def _memory(self) -> WidthMemory:
        return WidthMemory(self.facts, self.tokens, self.facts.confidence)

    def capacity(self, sequences: int) -> int:
        """At most so many sequences does the pool hold when max_num_seqs is `sequences`; 0 when it does not start."""
        blocks = self._memory.blocks(sequences)
        if blocks < self.startup:
            return 0
        return self._blocks.sequences(blocks)

    def admits(self, sequences: int) -> bool:
        """Whether the pool holds as many sequences as the flags admit."""
        if not self.held or self.facts.setting.targets.contexts_in_flight is None:
            return self.capacity(sequences) >= sequences
        blocks = self._memory.blocks(sequences)
        return blocks >= max(self.startup, self.facts.blocks_needed(sequences, self.tokens))

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

        Capacity never grows with max_num_seqs: capacity(most) is admitted when it is below `most` and exact, and
        capacity of that is an upper bound, so two evaluations enclose the answer, usually in a point.
        """
        if least > most:
            return 0
        if self.admits(most):
            return most
        low = min(most, self.capacity(most))
        if low < least or not self.admits(low):
            if not self.admits(least):
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
