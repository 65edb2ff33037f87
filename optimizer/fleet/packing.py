"""Which replicas fit together on how many nodes: exact linear rows, exact patterns, and a placement that shows it.

When every replica size divides the next larger one, first-fit decreasing wastes nothing, and N nodes of G slots hold
the replicas if and only if for every size s: sum over sizes t >= s of (t/s) * count_t <= N * floor(G/s). (Larger
pieces fill multiples of s, so each node has floor(G/s) places of size s left and taken.) Other sizes, 3 or 6 GPUs on a
node of 8, need the maximal patterns of one node, which are few.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

MOST_PATTERNS = 400


@dataclass(frozen=True, slots=True)
class PackingRow:
    """`sum(coefficients[size] * pieces[size]) <= per_node * nodes`."""

    coefficients: Mapping[int, int]
    per_node: int


def is_chain(sizes: Sequence[int]) -> bool:
    """Say whether every size divides the next larger one."""
    ordered = sorted(set(sizes))
    return all(large % small == 0 for small, large in pairwise(ordered))


def chain_rows(sizes: Sequence[int], node_slots: int) -> tuple[PackingRow, ...]:
    """Return the rows that are necessary and sufficient for a chain of sizes, implied ones left out."""
    ordered = sorted(set(sizes))
    rows = []
    for position, small in enumerate(ordered):
        if position and node_slots % small == 0:
            continue  # the row of the smallest size says the same
        rows.append(PackingRow({size: size // small for size in ordered[position:]}, node_slots // small))
    return tuple(rows)


def maximal_patterns(sizes: Sequence[int], node_slots: int) -> tuple[dict[int, int], ...] | None:
    """Return every way to fill one node so that nothing more fits; None when there are too many to list."""
    ordered = sorted(set(sizes), reverse=True)
    patterns: list[dict[int, int]] = []

    def fill(position: int, left: int, chosen: dict[int, int]) -> bool:
        if position == len(ordered):
            if left < ordered[-1]:
                patterns.append({size: count for size, count in chosen.items() if count})
            return len(patterns) <= MOST_PATTERNS
        size = ordered[position]
        counts = range(left // size, -1, -1)
        return all(fill(position + 1, left - count * size, {**chosen, size: count}) for count in counts)

    return tuple(patterns) if fill(0, node_slots, {}) else None


def is_exact(sizes: Sequence[int], node_slots: int) -> bool:
    """Say whether sizes on a node are counted exactly, rather than rounded up."""
    return is_chain(sizes) or maximal_patterns(sizes, node_slots) is not None


def rounded_up(size: int) -> int:
    """Return the next power of two: the size that stands in when patterns are too many (safe, not tight)."""
    return 1 << (size - 1).bit_length()


def place(pieces: Sequence[tuple[int, str]], node_slots: int) -> tuple[tuple[tuple[str, int], ...], ...]:
    """Put pieces (slots, label) on nodes, best-fit decreasing; return the labels and slots on each node.

    Exact for a chain of sizes; for others `pack` searches.
    """
    nodes: list[list[tuple[str, int]]] = []
    free: list[int] = []
    for slots, label in sorted(pieces, key=lambda piece: (-piece[0], piece[1])):
        fitting = [index for index, left in enumerate(free) if left >= slots]
        index = min(fitting, key=lambda i: (free[i], i)) if fitting else len(nodes)
        if not fitting:
            nodes.append([])
            free.append(node_slots)
        nodes[index].append((label, slots))
        free[index] -= slots
    return tuple(tuple(node) for node in nodes)


def pack(
    pieces: Sequence[tuple[int, str]], node_slots: int, pattern_counts: Sequence[tuple[Mapping[int, int], int]]
) -> tuple[tuple[tuple[str, int], ...], ...]:
    """Put pieces on nodes as the chosen patterns say; without patterns, best-fit decreasing."""
    if not pattern_counts:
        return place(pieces, node_slots)
    waiting: dict[int, list[str]] = {}
    for slots, label in sorted(pieces, reverse=True):
        waiting.setdefault(slots, []).append(label)
    nodes = []
    for pattern, count in pattern_counts:
        for _ in range(count):
            taken = [
                (waiting[size].pop(), size)
                for size, most in pattern.items()
                for _ in range(min(most, len(waiting.get(size, ()))))
            ]
            nodes.append(tuple(taken))
    return tuple(nodes)
