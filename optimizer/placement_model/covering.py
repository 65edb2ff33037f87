"""The cheapest replicas that serve one service, where its ways are too many to list: a small covering problem.

Least sum of price x count with sum of capacity x count >= what is needed, in whole replicas (the covering knapsack;
Martello and Toth 1990). Depth first, the best price for its capacity first; a branch whose rest, bought in parts at the
best price that is left, costs as much as the best so far is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

MOST_STEPS = 20_000
"""of one search; beyond them the bound is that of parts of replicas"""

Counts = tuple[int, ...]


@dataclass(frozen=True)
class Cover:
    """What the replicas of a service must do."""

    capacity: tuple[int, ...]
    """of one replica, column by column"""
    needed: int
    """capacity of all of them"""
    demand: int
    """capacity that is left without the largest of them, where it `survives`"""
    least: int
    most: int
    survives: bool = False

    def cheapest(self, prices: Sequence[int]) -> tuple[int, Counts | None]:
        """A bound of every cover at these prices, none below 0, and the best cover found; None where there is none."""
        if not self.survives:
            return self._within(prices, range(len(self.capacity)), self.needed, self.least, self.most)
        found: list[tuple[int, Counts | None]] = []
        for largest, capacity in enumerate(self.capacity):
            rest = max(self.needed - capacity, self.demand)
            able = [k for k, other in enumerate(self.capacity) if other <= capacity]
            bound, counts = self._within(prices, able, rest, max(0, self.least - 1), self.most - 1)
            if counts is not None:
                more = tuple(count + (k == largest) for k, count in enumerate(counts))
                found.append((bound + prices[largest], more))
        if not found:
            return 0, None
        best = min((sum(map(int.__mul__, counts, prices)), counts) for _, counts in found if counts is not None)
        return min(bound for bound, _ in found), best[1]

    def _within(
        self, prices: Sequence[int], able: Sequence[int], needed: int, least: int, most: int
    ) -> tuple[int, Counts | None]:
        search = _Search([(k, prices[k], min(self.capacity[k], max(1, needed))) for k in able], least, most)
        search.run(needed)
        counts = [0] * len(self.capacity)
        for k, count in search.best or ():
            counts[k] += count
        return search.bound, None if search.best is None else tuple(counts)


class _Search:
    """One covering problem."""

    def __init__(self, items: list[tuple[int, int, int]], least: int, most: int) -> None:
        self.items = sorted(_undominated(items), key=lambda item: (Fraction(item[1], item[2]), -item[2]))
        self.least, self.most = least, most
        self.cheapest = [min(price for _, price, _ in self.items[at:]) for at in range(len(self.items))]
        self.largest = [max(capacity for _, _, capacity in self.items[at:]) for at in range(len(self.items))]
        self.best: list[tuple[int, int]] | None = None
        self.cost: int | None = None
        self.bound = 0
        self.steps = 0

    def run(self, needed: int) -> None:
        """Search; the bound is exact unless there were too many steps."""
        if not self.items or self.most < max(self.least, 0):
            return
        self._grow(0, needed, 0, 0, [])
        exact = self.cost if self.steps <= MOST_STEPS else None
        self.bound = self._rest(0, needed, 0) if exact is None else exact

    def _rest(self, at: int, needed: int, count: int) -> int:
        """What the rest costs at least, from items at a position on."""
        _, price, capacity = self.items[at]
        return max(max(0, needed) * price // capacity, max(0, self.least - count) * self.cheapest[at])

    def _grow(self, at: int, needed: int, count: int, cost: int, chosen: list[tuple[int, int]]) -> None:
        self.steps += 1
        if needed <= 0 and count >= self.least:
            if self.cost is None or cost < self.cost:
                self.cost, self.best = cost, chosen
            return
        if at == len(self.items) or self.steps > MOST_STEPS:
            return
        if needed > (self.most - count) * self.largest[at]:
            return
        if self.cost is not None and cost + self._rest(at, needed, count) >= self.cost:
            return
        k, price, capacity = self.items[at]
        enough = max(-(-max(0, needed) // capacity), self.least - count)
        for times in range(min(enough, self.most - count), -1, -1):
            more = [*chosen, (k, times)] if times else chosen
            self._grow(at + 1, needed - times * capacity, count + times, cost + times * price, more)


def _undominated(items: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Items without those that another beats in price and capacity."""
    kept: list[tuple[int, int, int]] = []
    for item in sorted(items, key=lambda item: (item[1], -item[2])):
        if not kept or item[2] > kept[-1][2]:
            kept.append(item)
    return kept
