"""What serving one workload costs at least, replicas counted whole: an integer knapsack per workload.

The linear relaxation of a fleet takes parts of replicas, and for small demands whole ones cost far more. With p the
least that the slots of one replica cost on any offer that takes it, a fleet pays at least sum p n, and for a workload

    z(D) = min { sum p n : sum n capacity >= D, n whole },   z(j) by dynamic programming over cells

A replica's capacity is rounded up to whole cells, so z is never above the truth. A cell is a whole part of the replica
that serves cheapest, so that nothing of that one is rounded, and D is then rounded up to cells too: sums of whole cells
reach it or the next. The sum of z over the workloads bounds every fleet, and with one replica of a column c among them
that workload costs p(c) + z(D - capacity(c)) at least.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.fleet.problem import SLOTS_PER_GPU, FleetColumn, FleetDemand, FleetProblem

CELLS = 4096
"""of the demand, about"""
WHOLE = 10**9
"""demand with spares, in parts"""
ROUNDING = 1e-9
SURELY = 1e-6
"""relative error of sums in floating point, and more"""


@dataclass(frozen=True)
class Cover:
    """One workload of one length: its columns, what a replica of each costs at least, and the cells that it covers."""

    columns: tuple[int, ...]
    prices: tuple[float, ...]
    cells: tuple[int, ...]
    needed: int
    """cells of the demand"""

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """What covering so many cells costs at least: of each column 1, 2, 4 … replicas may be added."""
        costs = np.full(self.needed + 1, np.inf)
        costs[0] = 0.0
        for once, of_one in self._efficient():
            price, cells = once, of_one
            while cells < self.needed:
                above = costs[cells + 1 :]
                np.minimum(above, price + costs[1 : self.needed + 1 - cells].copy(), out=above)
                np.minimum(costs[1 : cells + 1], price, out=costs[1 : cells + 1])
                price, cells = 2 * price, 2 * cells
            np.minimum(costs[1:], price, out=costs[1:])
        return costs

    def _efficient(self) -> list[tuple[float, int]]:
        """Pairs that no cheaper one covers, cheapest first."""
        kept: list[tuple[float, int]] = []
        for price, cells in sorted(
            set(zip(self.prices, self.cells, strict=True)), key=lambda pair: (pair[0], -pair[1])
        ):
            if cells > (kept[-1][1] if kept else 0):
                kept.append((price, cells))
        return kept

    @property
    def least(self) -> float:
        """What the workload costs at least; infinite without columns."""
        return float(self.costs[self.needed])

    def with_one(self) -> dict[int, float]:
        """Column -> what the workload costs at least with one replica of it."""
        return {
            c: price + float(self.costs[self.needed - cells])
            for c, price, cells in zip(self.columns, self.prices, self.cells, strict=True)
        }

    def used(self) -> set[int]:
        """The columns of one cheapest cover."""
        found: set[int] = set()
        left = self.needed
        while left > 0 and np.isfinite(self.costs[left]):
            rest = [
                price + float(self.costs[max(0, left - n)]) for price, n in zip(self.prices, self.cells, strict=True)
            ]
            at = int(np.argmin(rest))
            found.add(self.columns[at])
            left -= self.cells[at]
        return found


def covers_of(
    problem: FleetProblem, dropped: frozenset[str] = frozenset(), *, finest: bool = False
) -> dict[str, Cover]:
    """The cover of every workload of one length that must be served whole.

    `finest`: at the prices of the smallest units, which bound nothing but tell what a lone replica costs.
    """
    if problem.partial:
        return {}
    prices = _prices(problem, finest=finest)
    found = {}
    for demand in problem.demands:
        if len(demand.units) == 1 and f"demand:{demand.workload}" not in dropped:
            mine = [c for c in prices if problem.columns[c].workload == demand.workload]
            spares = 0 if f"spare_replicas:{demand.workload}" in dropped else demand.spare_replicas
            served = {c: _served(demand, problem.columns[c], spares) for c in mine}
            found[demand.workload] = _cover(served, prices, WHOLE if spares else demand.units[0])
    return found


def _prices(problem: FleetProblem, *, finest: bool) -> dict[int, float]:
    """Millionths of a dollar per hour that the slots of one replica cost at least, by column that any offer takes."""
    best: dict[int, tuple[float, float]] = {}
    for c, o in problem.pairs:
        column, offer = problem.columns[c], problem.offers[o]
        slots = column.slots * column.nodes
        price = offer.cost_micro_usd_per_hour * slots / (offer.unit_gpus * SLOTS_PER_GPU)
        key = (float(offer.unit_gpus) if finest else 0.0, price)
        best[c] = min(key, best.get(c, key))
    return {c: price * (1 - ROUNDING) for c, (_, price) in best.items()}


def _served(demand: FleetDemand, column: FleetColumn, spares: int) -> int:
    """What one replica serves of the demand at most; with spares n c / (D + k c) of it, rounded up (`rules.py`)."""
    needed, capacity = demand.units[0], min(demand.units[0], column.capacity[0])
    return -(-capacity * WHOLE // (needed + spares * capacity)) if spares else capacity


def _cover(served: dict[int, int], prices: dict[int, float], needed: int) -> Cover:
    """Count in cells: as many of the cheapest replica for what it serves as make about `CELLS` of the demand."""
    served = {c: most for c, most in served.items() if most}
    one, parts = needed, CELLS
    if served:
        best = min(served, key=lambda c: (prices[c] / served[c], c))
        if whole := CELLS * served[best] // needed:
            one, parts = served[best], whole
    cells = -(-needed * parts // one)
    return Cover(
        tuple(served), tuple(prices[c] for c in served),
        tuple(min(cells, -(-most * parts // one)) for most in served.values()), cells,
    )  # fmt: skip


def least_of(covers: dict[str, Cover]) -> float:
    """What no fleet costs less than, by its workloads of one length alone."""
    return sum(cover.least for cover in covers.values())


def within(problem: FleetProblem, most: float, dropped: frozenset[str] = frozenset()) -> list[int]:
    """The columns that a fleet of at most this cost may use, as far as covers tell."""
    covers = covers_of(problem, dropped)
    least, above = least_of(covers), set()
    for cover in covers.values():
        others = least - cover.least
        above |= {c for c, cost in cover.with_one().items() if (others + cost) * (1 - SURELY) > most + 1}
    return [c for c in range(len(problem.columns)) if c not in above]


def added_costs(problem: FleetProblem, dropped: frozenset[str] = frozenset()) -> dict[int, float]:
    """Column -> what one replica of it adds to the cheapest cover, at the cheapest and at the finest prices."""
    added: dict[int, float] = {}
    for finest in (False, True):
        for cover in covers_of(problem, dropped, finest=finest).values():
            for c, cost in cover.with_one().items():
                added[c] = min(cost - cover.least, added.get(c, np.inf))
    return added


def rows_of(covers: Sequence[Cover]) -> list[tuple[dict[int, int], int]]:
    """Rows sum weight n >= needed that every fleet keeps, in whole numbers small enough for any solver."""
    rows = []
    for cover in covers:
        if np.isfinite(cover.least) and cover.least > 0:
            unit = max(1.0, cover.least / 10**6)
            weights = {c: int(np.ceil(price / unit)) for c, price in zip(cover.columns, cover.prices, strict=True)}
            rows.append((weights, int(cover.least / unit * (1 - ROUNDING))))
    return rows
