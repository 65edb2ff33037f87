"""What a fleet costs at least with the units of one offer counted whole, and which offers it may use at all.

Covers (`covers.py`) pay for the slots that replicas take. Nodes are paid whole, so a fleet pays for idle slots too.
For one offer g of price P per unit of S slots, and h(k) what a workload costs at least beside k slots on g, all
workloads together cost at least

    min over k of  P ceil(k / S) + min { sum h(k_w) : sum k_w = k },   h(k) = z without g (D - G(k))

G(k) is the most of the demand that replicas on k slots of g serve. Both minima are exact sums of tables. A fleet known
to cost U bounds the tables: what exceeds it is left out, and so are offers of which even one unit exceeds it. Without
them prices rise, so all is asked again until no offer is left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.fleet.covers import SURELY, Cover, covers_of, least_of, within
from vllm_opt.optimizer.fleet.problem import SLOTS_PER_GPU, FleetProblem, NodeOffer

MOST_SLOTS = 4096
"""slots of one offer that the replicas of a workload may take; where they may take more, the offer is not bounded"""
MOST_TURNS = 8
Costs = NDArray[np.float64]


@dataclass(frozen=True)
class Narrowed:
    """What a fleet of at most so much may consist of, and what none costs less than; at most what was asked about."""

    columns: tuple[int, ...]
    usable: tuple[int, ...]
    """offers"""
    bound: float
    offers: tuple[int, ...]
    """without those that smaller units of the same SKU replace at no higher cost"""


def counts_whole(problem: FleetProblem) -> bool:
    """Whether all workloads have one length and are served whole, so that covers bound the fleet."""
    return not problem.partial and all(len(demand.units) == 1 for demand in problem.demands)


def narrowed(problem: FleetProblem, most: float, dropped: frozenset[str] = frozenset()) -> Narrowed:
    """The columns and offers that a fleet of at most `most` micro-USD per hour may use.

    For problems whose workloads all have one length and are served whole; other ones are left as they are.
    """
    columns, offers = tuple(range(len(problem.columns))), tuple(range(len(problem.offers)))
    if not counts_whole(problem):
        return Narrowed(columns, offers, 0.0, offers)
    bound = 0.0
    for _ in range(MOST_TURNS):
        part = problem.changed(
            columns=tuple(problem.columns[c] for c in columns), offers=tuple(problem.offers[o] for o in offers)
        )
        placed = {c for c, _ in part.pairs}
        columns = tuple(columns[c] for c in within(part, most, dropped) if c in placed)
        part = part.changed(columns=tuple(problem.columns[c] for c in columns))
        counted = _Counted(part, most, dropped)
        bound = max(bound, min(most, counted.least * (1 - SURELY)))
        usable = counted.usable()
        bound = max(bound, min(most, counted.bound * (1 - SURELY)))
        if len(usable) == len(offers):
            break
        offers = tuple(offers[o] for o in usable)
    return Narrowed(columns, offers, bound, _without_replaced(problem, columns, offers))


def _without_replaced(problem: FleetProblem, columns: tuple[int, ...], offers: tuple[int, ...]) -> tuple[int, ...]:
    """The offers but for those that smaller units of the same SKU, no dearer per GPU, replace."""
    sizes: dict[str, set[int]] = {}
    for c in columns:
        sizes.setdefault(problem.columns[c].gpu, set()).add(problem.columns[c].slots)
    kept: list[int] = []
    for o in sorted(offers, key=lambda o: (problem.offers[o].unit_gpus, _per_gpu(problem.offers[o]), o)):
        rivals = (problem.offers[q] for q in kept if problem.offers[q].gpu == problem.offers[o].gpu)
        if problem.spare_nodes or not any(_replaces(problem, rival, o, sizes) for rival in rivals):
            kept.append(o)
    return tuple(sorted(kept))


def _replaces(problem: FleetProblem, small: NodeOffer, o: int, sizes: dict[str, set[int]]) -> bool:
    """Whether units of one offer stand for a unit of another, piece by piece: every piece divides the smaller unit."""
    large, limits = problem.offers[o], problem.limits
    slots = small.unit_gpus * SLOTS_PER_GPU
    return (
        large.unit_gpus % small.unit_gpus == 0
        and _per_gpu(small) <= _per_gpu(large)
        and small.max_units is None
        and (not small.hosted or limits.watts is limits.rack_milliunits is limits.capex_cents is None)
        and all(slots % size == 0 for size in sizes.get(small.gpu, ()))
    )


def _per_gpu(offer: NodeOffer) -> Fraction:
    return Fraction(offer.cost_micro_usd_per_hour, offer.unit_gpus)


class _Counted:
    """One problem: its covers, and the bound that each offer's whole units give."""

    def __init__(self, problem: FleetProblem, most: float, dropped: frozenset[str]) -> None:
        self.problem, self.covers = problem, covers_of(problem, dropped)
        self.least = least_of(self.covers)
        self.bound = self.least
        self.gap = most * (1 + SURELY) + 1 - self.least
        self.spares = 0 if "spare_nodes" in dropped else problem.spare_nodes
        self.fares: dict[int, list[tuple[float, int]]] = {}
        """column -> what its slots cost on each offer that takes it, the cheapest first"""
        for c, o in problem.pairs:
            offer, column = problem.offers[o], problem.columns[c]
            price = offer.cost_micro_usd_per_hour / (offer.unit_gpus * SLOTS_PER_GPU)
            self.fares.setdefault(c, []).append((price * column.slots * column.nodes * (1 - SURELY), o))
        for fares in self.fares.values():
            fares.sort()

    def usable(self) -> list[int]:
        """The offers of which a fleet may use a unit; the bound rises with every offer looked at."""
        taken: dict[int, dict[str, list[int]]] = {}
        for workload, cover in self.covers.items():
            for at, c in enumerate(cover.columns):
                for _, o in self.fares[c]:
                    taken.setdefault(o, {}).setdefault(workload, []).append(at)
        found = []
        for o in sorted(taken):
            without, using = self._least_of(o, taken[o])
            if using <= self.gap:
                found.append(o)
            self.bound = max(self.bound, self.least + min(without, using))
        return found

    def _least_of(self, o: int, taken: dict[str, list[int]]) -> tuple[float, float]:
        """What fleets without the offer, and with units of it, cost at least above the covers."""
        offer = self.problem.offers[o]
        size, unit = offer.unit_gpus * SLOTS_PER_GPU, float(offer.cost_micro_usd_per_hour)
        tables = []
        for workload, places in taken.items():
            table = self._table(self.covers[workload], o, places, unit / size * (1 - SURELY))
            if table is None:
                return 0.0, 0.0
            tables.append(table)
        tables.sort(key=len)
        total = _summed(tables, self.gap)
        slots = np.arange(len(total))
        units = -(-slots // size)
        idle = unit * units - unit / size * (1 - SURELY) * slots
        using = float((total + idle)[1:].min(initial=np.inf)) + self.spares * unit
        return float(total[0]), using

    def _table(self, cover: Cover, o: int, places: list[int], price: float) -> Costs | None:
        """What a workload costs above its cover with 0, 1, 2 … slots of an offer; None where they may be too many."""
        served = [0]
        each = _efficient((self._slots(cover.columns[at]), cover.cells[at]) for at in places)
        while served[-1] < cover.needed:
            if len(served) > MOST_SLOTS:
                return None
            here = len(served)
            served.append(max([served[-1], *(served[here - slots] + cells for slots, cells in each if slots <= here)]))
        rest = self._without(cover, o).costs[cover.needed - np.minimum(np.array(served), cover.needed)]
        table = rest + price * np.arange(len(served)) - cover.least
        return _trimmed(table, self.gap)

    def _without(self, cover: Cover, o: int) -> Cover:
        """The cover at the prices of all other offers."""
        if all(self.fares[c][0][1] != o for c in cover.columns):
            return cover
        prices = [next((price for price, other in self.fares[c] if other != o), np.inf) for c in cover.columns]
        kept = [at for at, price in enumerate(prices) if price < np.inf]
        return Cover(
            tuple(cover.columns[at] for at in kept), tuple(prices[at] for at in kept),
            tuple(cover.cells[at] for at in kept), cover.needed,
        )  # fmt: skip

    def _slots(self, c: int) -> int:
        return self.problem.columns[c].slots * self.problem.columns[c].nodes


def _efficient(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """(slots, cells) that no fewer slots serve."""
    kept: list[tuple[int, int]] = []
    for slots, cells in sorted(set(pairs), key=lambda pair: (pair[0], -pair[1])):
        if cells > (kept[-1][1] if kept else 0):
            kept.append((slots, cells))
    return kept


def _trimmed(table: Costs, most: float) -> Costs:
    """The same without its end that is above the most."""
    able = np.flatnonzero(table <= most)
    table = np.where(table <= most, table, np.inf)
    return table[: able[-1] + 1] if able.size else table[:1]


def _summed(tables: list[Costs], most: float) -> Costs:
    """What so many slots cost all workloads together: the least over ways to share them."""
    total: Costs = np.zeros(1)
    for table in tables:
        one, other = (total, table) if len(total) >= len(table) else (table, total)
        both = np.full(len(total) + len(table) - 1, np.inf)
        for at in np.flatnonzero(np.isfinite(other)):
            here = both[at : at + len(one)]
            np.minimum(here, one + other[at], out=here)
        total = _trimmed(both, most)
    return total
