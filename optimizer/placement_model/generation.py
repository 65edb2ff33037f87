"""GPU patterns one by one, where there are too many to list in a model: those that a linear relaxation asks for.

The relaxation serves every service in full, in whole ways, with the most headroom; one objective is minimised over the
patterns known. A pattern that would lower it costs less, at the relaxation's prices, than nothing; all patterns are
priced at once. When none is left, the optimum bounds every placement, whatever patterns it uses (Gilmore and Gomory's
argument), and what a pattern costs beyond it says where the pattern cannot matter (reduced-cost fixing).
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from vllm_opt.constraints.placing.site import PlacementProblem
from vllm_opt.optimizer.placement_model.listing import Listing, Whole, listings
from vllm_opt.optimizer.placement_model.master import KEPT_BITS, PRICE_BITS, SHIFT, WORTH_MORE, Master, Prices
from vllm_opt.optimizer.placement_model.patterns import Pattern, PatternSet, gpu_outlines
from vllm_opt.optimizer.placement_model.ways import served_model, service_ways

MOST_ROUNDS = 200
MOST_CHEAP, OF_EACH = 5000, 3
"""cheapest patterns of a bin that one round looks at, and how often it takes one with the same server"""
NEAR = 1 << KEPT_BITS - 5
"""what a pattern may cost at the end and still be tried in whole servers: a thirty-second part of a GPU"""


@dataclass(frozen=True)
class Relaxed:
    """One objective minimised in parts of servers."""

    bound: int | None
    """what no placement goes below; None where that is not known"""
    near: dict[str, tuple[Pattern, ...]]
    """SKU -> patterns that whole servers may need"""


class Relaxation:
    """A site whose services are all served; objectives are minimised in turn, each kept while the next one is."""

    def __init__(self, problem: PlacementProblem, known: dict[str, tuple[Pattern, ...]], headroom: int) -> None:
        self.problem = replace(problem, today=())
        self.listings = listings(problem)
        self.complete = all(each.complete for each in self.listings.values())
        self.largest = _largest(problem)
        singles: dict[str, dict[Pattern, None]] = defaultdict(lambda: {(): None})
        for (gpu, _), each in self.listings.items():
            singles[gpu] |= dict.fromkeys((k,) for k in each.columns)
        start = PatternSet({gpu: tuple(mine) for gpu, mine in singles.items()}, False, self.largest)
        self.model = served_model(self.problem, start, headroom)
        self.ways = service_ways(self.problem, self.model.at.total, headroom)
        self.known: dict[str, dict[Pattern, None]] = defaultdict(dict)
        for gpu, patterns in known.items():
            self.known[gpu] |= dict.fromkeys(patterns)
        self.last: dict[str, tuple[Master, Prices, int]] = {}
        """objective -> its program, the last prices, and the bound at them"""

    def keep(self, name: str, value: int) -> None:
        """Hold an objective at a value, or better."""
        self.model.keep(name, value)

    def minimised(self, name: str, end: float, *, elastic: bool = False) -> Relaxed:
        """Generate patterns until none is worth adding, or the time is up; elastic: where those known may not do."""
        self.model.aim(name)
        master = Master(self.model, self.listings, self.ways, elastic=elastic)
        self._add_known(master)
        if not master.solve() and not elastic:
            return self.minimised(name, end, elastic=True)
        prices, bound, done = None, None, False
        for _ in range(MOST_ROUNDS):
            if time.monotonic() > end or not master.solve():
                break
            prices = master.prices()
            mine, more = self._priced(master, prices)
            bound = mine if bound is None else max(bound, mine)
            for pattern, b in more:
                master.add(pattern, b)
            done = not master.add_ways(prices) and not more
            if done:
                break
        if prices is not None:
            self.last[name] = (master, prices, mine)
        near = {} if prices is None else self._near(master, prices)
        if not done or not self.complete:
            least = self._outlined(name)
            bound = least if bound is None or not self.complete else max(bound, least or bound)
        return Relaxed(None if bound is None else _rounded_up(bound), near)

    def _outlined(self, name: str) -> int | None:
        """A bound from outlines of patterns: a little weaker, and there however many patterns there are; in 2^-60."""
        model = served_model(self.problem, gpu_outlines(self.problem), self.model.kept["headroom"])
        for kept, value in self.model.kept.items():
            model.keep(kept, value)
        model.aim(name)
        master = Master(model, {}, self.ways)
        bound: int | None = None
        for _ in range(MOST_ROUNDS):
            if not master.solve():
                break
            prices = master.prices()
            bound = prices.bound if bound is None else max(bound, prices.bound)
            if not master.add_ways(prices):
                break
        return bound

    def within(self, name: str, value: int, most: int) -> dict[str, tuple[Pattern, ...]] | None:
        """Every pattern that a placement of at most `value` may use; None where there are more, or it is not known."""
        if name not in self.last or not self.complete:
            return None
        master, prices, bound = self.last[name]
        room = ((value << PRICE_BITS) - bound) >> SHIFT
        found: dict[str, dict[Pattern, None]] = defaultdict(dict)
        for b, listing, costs in self._costs(master, prices):
            rows = np.flatnonzero(costs <= room + 1)
            most -= len(rows)
            if most < 0:
                return None
            gpu = master.model.at.bins[b].gpu
            found[gpu] |= dict.fromkeys(listing.pattern(int(row)) for row in rows)
        return {gpu: tuple(mine) for gpu, mine in found.items()}

    def _costs(self, master: Master, prices: Prices) -> Iterator[tuple[int, Listing, Whole]]:
        """Bin, its patterns, and what each costs there beyond what it is worth, rounded down."""
        for b, nothing in prices.empty.items():
            each = master.model.at.bins[b]
            listing = self.listings[each.gpu, each.gpu_bytes]
            yield b, listing, listing.values(prices.beside[b]) + nothing

    def _priced(self, master: Master, prices: Prices) -> tuple[int, list[tuple[Pattern, int]]]:
        """A bound of every placement at these prices, and patterns that are worth more than they cost."""
        bound, more = prices.bound, []
        for b, listing, costs in self._costs(master, prices):
            least = min(prices.empty[b], int(costs.min())) if len(costs) else prices.empty[b]
            bound += (min(0, least) * master.model.at.bins[b].gpus) << SHIFT
            more += [(pattern, b) for pattern in _varied(listing, costs)]
        return bound, [each for each in more if each not in master.known]

    def _add_known(self, master: Master) -> None:
        for other, _, _ in self.last.values():
            for s, numbers in other.tried.items():
                for number in sorted(numbers):
                    master.add_way(s, number)
        for b, each in enumerate(master.model.at.bins):
            for pattern in self.known[each.gpu]:
                if all(((k,), b) in master.index for k in pattern):
                    master.add(pattern, b)

    def _near(self, master: Master, prices: Prices) -> dict[str, tuple[Pattern, ...]]:
        """Patterns of the program that cost next to nothing at its prices, singles among them."""
        found: dict[str, dict[Pattern, None]] = defaultdict(dict)
        bins = master.model.at.bins
        position = {b: {k: at for at, k in enumerate(self.listings[bins[b].gpu, bins[b].gpu_bytes].columns)}
                    for b in prices.empty}  # fmt: skip
        for pattern, b in sorted(master.known):
            if pattern:
                cost = prices.empty[b] + sum(int(prices.beside[b][position[b][k]]) for k in pattern)
                if len(pattern) == 1 or cost <= NEAR:
                    found[bins[b].gpu][pattern] = None
        for gpu, mine in found.items():
            self.known[gpu] |= mine
        return {gpu: tuple(mine) for gpu, mine in found.items()}


def _rounded_up(bound: int) -> int:
    return -(-bound // (1 << PRICE_BITS))


def _varied(listing: Listing, costs: Whole) -> list[Pattern]:
    """Patterns that are worth more than they cost, the best first, none whose servers all had their turn already."""
    rows = np.flatnonzero(costs < -WORTH_MORE)
    rows = rows[np.argsort(costs[rows], kind="stable")[:MOST_CHEAP]]
    taken: Counter[int] = Counter()
    found = []
    for row in rows:
        pattern = listing.pattern(int(row))
        if any(taken[k] < OF_EACH for k in pattern):
            taken.update(pattern)
            found.append(pattern)
    return found


def _largest(problem: PlacementProblem) -> dict[str, int]:
    largest: dict[str, int] = {}
    for island in (island for node in problem.nodes for island in node.islands):
        largest[island.gpu] = max(island.gpu_bytes, largest.get(island.gpu, 0))
    return largest
