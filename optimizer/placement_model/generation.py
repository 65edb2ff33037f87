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
from vllm_opt.optimizer.placement_model.listing import Listing, Rows, Whole, listings
from vllm_opt.optimizer.placement_model.master import KEPT_BITS, PRICE_BITS, SHIFT, WORTH_MORE, Duals, Master, Prices
from vllm_opt.optimizer.placement_model.patterns import Pattern, PatternSet, gpu_outlines
from vllm_opt.optimizer.placement_model.ways import served_model, service_ways

MOST_ROUNDS = 200
"""in which ways are added to outlines"""
MOST_CHEAP, OF_EACH = 5000, 2
"""cheapest patterns of a bin that one round looks at, and how often it takes one with the same server"""
NEAR = 1 << KEPT_BITS - 5
"""what a pattern may cost at the end and still be tried in whole servers: a thirty-second part of a GPU"""
NEARBY, MOST_NEARBY, NEARBY_OF_EACH = 1 << KEPT_BITS - 1, 20_000, 8
"""the same of patterns that the program never asked for, of how many, and how often with the same server"""
KEPT_TENTHS = 6
"""of the prices with the best bound so far, in those that patterns are looked for at"""
NEARLY = 1e-6


@dataclass(frozen=True, eq=False)
class Priced:
    """The program of one objective, and of all prices tried those with the best bound."""

    master: Master
    duals: Duals
    prices: Prices
    bound: int
    """in 2^-60"""


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
        self.last: dict[str, Priced] = {}
        """objective -> its program and the prices with the best bound"""

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
        best: Priced | None = None
        done = False
        while time.monotonic() < end and not done and master.solve():
            value = master.value()
            best, added = self._round(master, best)
            done = not added or _rounded_up(best.bound) >= math.ceil(value - NEARLY)
        near: dict[str, tuple[Pattern, ...]] = {}
        if best is not None:
            self.last[name] = best
            near = self._near(master, best.prices)
        found = None if best is None or not self.complete else best.bound
        if not done or found is None:
            least = self._outlined(name)
            found = least if found is None else max(found, least or found)
        return Relaxed(None if found is None else _rounded_up(found), near)

    def tightened(self, name: str, value: int, most: int, end: float) -> int | None:
        """Go on until at most `most` patterns could be in a placement of at most `value`; the bound that is reached.

        The first search stops where its bound, rounded up, is the relaxation's optimum, which says how many there are
        at least. How few patterns can matter is said by the fraction below it.
        """
        if name not in self.last or not self.complete:
            return None
        best = self.last[name]
        counted, many = -1, True
        while time.monotonic() < end:
            if best.bound > counted:
                counted, many = best.bound, sum(len(rows) for _, _, rows in self._usable(best, value)) > most
            if not many or not best.master.solve():
                break
            best, added = self._round(best.master, best)
            if not added:
                break
        self.last[name] = best
        return _rounded_up(best.bound)

    def _round(self, master: Master, best: Priced | None) -> tuple[Priced, bool]:
        """Price every pattern and way at the optimum just found, and add what is worth it; whether there was any."""
        now = master.duals()
        for duals in [now] if best is None else [_between(best.duals, now), now]:
            prices = master.prices(duals)
            bound, more = self._priced(master, prices)
            best = Priced(master, duals, prices, bound) if best is None or bound > best.bound else best
            for pattern, b in more:
                master.add(pattern, b)
            if master.add_ways(prices) or more:
                return best, True
        assert best is not None
        return best, False

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
        last = self.last[name]
        found: dict[str, dict[Pattern, None]] = defaultdict(dict)
        for b, listing, rows in self._usable(last, value):
            most -= len(rows)
            if most < 0:
                return None
            gpu = last.master.model.at.bins[b].gpu
            found[gpu] |= dict.fromkeys(listing.pattern(int(row)) for row in rows)
        return {gpu: tuple(mine) for gpu, mine in found.items()}

    def _usable(self, last: Priced, value: int) -> Iterator[tuple[int, Listing, Rows]]:
        """Bin, its patterns, and which of them a placement of at most `value` may use: the others cost too much."""
        room = ((value << PRICE_BITS) - last.bound) >> SHIFT
        for b, listing, costs in self._costs(last.master, last.prices):
            yield b, listing, np.flatnonzero(costs <= room + 1)

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
            more += [(pattern, b) for pattern in varied(listing, rows, OF_EACH)]
        return bound, [each for each in more if each not in master.known]

    def _add_known(self, master: Master) -> None:
        for other in self.last.values():
            for s, ways in other.master.tried.items():
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
            mine |= dict.fromkeys(varied(listing, rows, NEARBY_OF_EACH))
        for gpu, patterns in found.items():
            self.known[gpu] |= patterns
        return {gpu: tuple(patterns) for gpu, patterns in found.items()}


def _between(best: Duals, now: Duals) -> Duals:
    """Prices between those of the best bound and those of now: the search for patterns swings less (Wentges 1997)."""
    return {key: (KEPT_TENTHS * best.get(key, price) + (10 - KEPT_TENTHS) * price) // 10 for key, price in now.items()}


def _rounded_up(bound: int) -> int:
    return -(-bound // (1 << PRICE_BITS))


def varied(listing: Listing, rows: npt.NDArray[np.intp], of_each: int) -> list[Pattern]:
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
