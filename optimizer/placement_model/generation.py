"""GPU patterns one by one, where there are too many to list in a model: those that a linear relaxation asks for.

The relaxation serves every service in full, in whole ways, with the most headroom; one objective is minimised over the
patterns known. A pattern that would lower it costs less, at the relaxation's prices, than nothing; all patterns are
priced at once. When none is left, the optimum bounds every placement, whatever patterns it uses (Gilmore and Gomory's
argument), and what a pattern costs beyond it says where the pattern cannot matter (reduced-cost fixing).
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vllm_opt.constraints.placing.site import PlacementProblem
from vllm_opt.optimizer.placement_model.listing import Listing, Whole, listings
from vllm_opt.optimizer.placement_model.master import KEPT_BITS, PRICE_BITS, SHIFT, WORTH_MORE, Duals, Master, Prices
from vllm_opt.optimizer.placement_model.patterns import Pattern, PatternSet, gpu_outlines
from vllm_opt.optimizer.placement_model.ways import served_model, service_ways

MOST_ROUNDS = 200
"""in which ways are added to outlines"""
MOST_CHEAP, OF_EACH = 5000, 3
"""cheapest patterns of a bin that one round looks at, and how often it takes one with the same server"""
NEAR = 1 << KEPT_BITS - 5
"""what a pattern may cost at the end and still be tried in whole servers: a thirty-second part of a GPU"""
NEARBY, MOST_NEARBY, NEARBY_OF_EACH = 1 << KEPT_BITS - 1, 20_000, 8
"""the same of patterns that the program never asked for, of how many, and how often with the same server"""
KEPT_TENTHS = 6
"""of the prices with the best bound so far, in those that patterns are looked for at"""
NEARLY = 1e-6


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
        self.patterns = sum(len(each.rows) for each in self.listings.values())
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
        best: tuple[int, Duals, Prices] | None = None
        done = False
        while time.monotonic() < end and not done and master.solve():
            value, now = master.value(), master.duals()
            tried = [now] if best is None else [_between(best[1], now), now]
            for duals in tried:
                prices = master.prices(duals)
                bound, more = self._priced(master, prices)
                best = (bound, duals, prices) if best is None or bound > best[0] else best
                for pattern, b in more:
                    master.add(pattern, b)
                if master.add_ways(prices) or more:
                    break
            else:
                done = True
            done |= best is not None and _rounded_up(best[0]) >= math.ceil(value - NEARLY)
        near: dict[str, tuple[Pattern, ...]] = {}
        if best is not None:
            self.last[name] = master, best[2], best[0]
            near = self._near(master, best[2])
        found = None if best is None or not self.complete else best[0]
        if not done or found is None:
            least = self._outlined(name)
            found = least if found is None else max(found, least or found)
        return Relaxed(None if found is None else _rounded_up(found), near)

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
            prices = master.prices(master.duals())
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
            rows = np.flatnonzero(costs < -WORTH_MORE)
            rows = rows[np.argsort(costs[rows], kind="stable")[:MOST_CHEAP]]
            more += [(pattern, b) for pattern in _varied(listing, rows, OF_EACH)]
        return bound, [each for each in more if each not in master.known]

    def _add_known(self, master: Master) -> None:
        for other, _, _ in self.last.values():
            for s, ways in other.tried.items():
                for way in ways:
                    master.add_way(s, way)
        for b, each in enumerate(master.model.at.bins):
            for pattern in self.known[each.gpu]:
                if all(((k,), b) in master.index for k in pattern):
                    master.add(pattern, b)

    def _near(self, master: Master, prices: Prices) -> dict[str, tuple[Pattern, ...]]:
        """Patterns of the program that cost next to nothing at its prices; the cheapest with each server; singles."""
        found: dict[str, dict[Pattern, None]] = defaultdict(dict)
        bins = master.model.at.bins
        for b, listing, costs in self._costs(master, prices):
            position = {k: at for at, k in enumerate(listing.columns)}
            mine = found[bins[b].gpu]
            mine |= dict.fromkeys((k,) for k in listing.columns if ((k,), b) in master.index)
            for pattern in sorted(pattern for pattern, of in master.known if of == b and pattern):
                if prices.empty[b] + sum(int(prices.beside[b][position[k]]) for k in pattern) <= NEAR:
                    mine[pattern] = None
            rows = np.flatnonzero(costs <= NEARBY)
            rows = rows[np.argsort(costs[rows], kind="stable")[:MOST_NEARBY]]
            mine |= dict.fromkeys(_varied(listing, rows, NEARBY_OF_EACH))
        for gpu, patterns in found.items():
            self.known[gpu] |= patterns
        return {gpu: tuple(patterns) for gpu, patterns in found.items()}


def _between(best: Duals, now: Duals) -> Duals:
    """Prices between those of the best bound and those of now: the search for patterns swings less (Wentges 1997)."""
    return {key: (KEPT_TENTHS * best.get(key, price) + (10 - KEPT_TENTHS) * price) // 10 for key, price in now.items()}


def _rounded_up(bound: int) -> int:
    return -(-bound // (1 << PRICE_BITS))


def _varied(listing: Listing, rows: npt.NDArray[np.intp], of_each: int) -> list[Pattern]:
    """Patterns in the order of `rows`, none whose servers all had their turn already."""
    taken: Counter[int] = Counter()
    found = []
    for row in rows:
        pattern = listing.pattern(int(row))
        if any(taken[k] < of_each for k in pattern):
            taken.update(pattern)
            found.append(pattern)
    return found


def _largest(problem: PlacementProblem) -> dict[str, int]:
    largest: dict[str, int] = {}
    for island in (island for node in problem.nodes for island in node.islands):
        largest[island.gpu] = max(island.gpu_bytes, largest.get(island.gpu, 0))
    return largest
