"""Routing a length histogram to several SKUs: is it possible with these replicas, and if not, which cut says so.

Traffic of bucket b may be split freely over the columns p that can serve it. Replicas n suffice if and only if
`min over splits x of max overload` is not positive, a small linear program. By its duality n must satisfy, for every
price vector pi >= 0,

    sum_p pi_p * n_p  >=  sum_b min_p pi_p * units_b / capacity_bp

(each bucket goes where it is cheapest at those prices). The linear program proposes pi; the cut is then computed in
whole numbers, so it is valid whatever the floating-point solver did. This replaces buckets x columns variables by a
few dozen rows over the replicas. The idea of routing by length is Mélange's (Griggs et al., 2024); the cuts are
Benders'.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_opt.optimizer.fleet.problem import FleetColumn, FleetDemand

MARGIN_PPM = 2
"""routed demand is raised by so many millionths, which pays for rounding the linear program's answer"""
PRICE_SCALE = 100_000
RHS_SCALE = 1 << 20
PARTS = 1_000_000
"""a bucket's traffic is routed in millionths"""
LOAD_SCALE = 10**9


@dataclass(frozen=True, slots=True)
class RoutingCut:
    """`sum(prices[p] * n_p) >= needed`, prices and need whole numbers."""

    workload: str
    prices: Mapping[int, int]
    needed: int


@dataclass(frozen=True, slots=True)
class Routed:
    """What the linear program found at one replica vector."""

    missing: Mapping[int, float]
    """column -> replicas that the cheapest repair adds"""
    cut: RoutingCut | None
    shares: Mapping[tuple[int, int], float]
    """(bucket, column) -> share of the bucket"""


class Routing:
    """The routing of one workload over its columns."""

    def __init__(self, demand: FleetDemand, columns: Mapping[int, FleetColumn], prices: Mapping[int, int]) -> None:
        from ortools.linear_solver import pywraplp

        self.demand = demand
        self.columns = dict(columns)
        self.units = tuple(-(-units * (1_000_000 + MARGIN_PPM) // 1_000_000) for units in demand.units)
        self._costs = {p: max(1, prices.get(p, 1)) for p in columns}
        self._solver = pywraplp.Solver.CreateSolver("GLOP")
        self._build()

    def _build(self) -> None:
        solver: Any = self._solver
        infinity = solver.infinity()
        scale = max(self._costs.values())
        self._extra = {p: solver.NumVar(0, infinity, "") for p in self.columns}
        self._load = {p: solver.Constraint(-infinity, 0) for p in self.columns}
        self._all = []
        self._share: dict[tuple[int, int], Any] = {}
        for p, row in self._load.items():
            row.SetCoefficient(self._extra[p], -1)
            solver.Objective().SetCoefficient(self._extra[p], self._costs[p] / scale)
        for bucket, units in enumerate(self.units):
            whole = solver.Constraint(1, 1)
            self._all.append(whole)
            for p, column in self.columns.items():
                if column.capacity[bucket]:
                    share = solver.NumVar(0, infinity, "")
                    whole.SetCoefficient(share, 1)
                    self._load[p].SetCoefficient(share, units / column.capacity[bucket])
                    self._share[bucket, p] = share
        solver.Objective().SetMinimization()

    @property
    def possible(self) -> bool:
        """Whether every length bucket has a column that can serve it."""
        return all(any(c.capacity[bucket] for c in self.columns.values()) for bucket in range(len(self.units)))

    def at(self, replicas: Mapping[int, float], served: float = 1.0, fixed: frozenset[int] = frozenset()) -> Routed:
        """Find the cheapest replicas to add so that the share `served` of every bucket can be routed.

        Columns in `fixed` get none added. The cut is None when nothing is missing, or nothing can be proven missing.
        """
        solver: Any = self._solver
        for p, row in self._load.items():
            row.SetUb(float(replicas.get(p, 0)))
            self._extra[p].SetUb(0.0 if p in fixed else solver.infinity())
        for whole in self._all:
            whole.SetBounds(served, served)
        if solver.Solve() != solver.OPTIMAL:
            return Routed(dict.fromkeys(self.columns, math.inf), None, {})
        missing = {p: extra.solution_value() for p, extra in self._extra.items() if extra.solution_value() > 1e-7}
        shares = {key: share.solution_value() for key, share in self._share.items() if share.solution_value() > 0}
        if not missing:
            return Routed({}, None, shares)
        cut = self.cut({p: max(0.0, -row.dual_value()) for p, row in self._load.items()})
        return Routed(missing, cut, shares)

    def cut(self, prices: Mapping[int, float]) -> RoutingCut | None:
        """Return the exact cut at these prices, scaled to whole numbers; None when it says nothing."""
        highest = max(prices.values(), default=0.0)
        if highest <= 0:
            return None
        whole = {p: round(price / highest * PRICE_SCALE) for p, price in prices.items()}
        needed = 0
        for bucket, units in enumerate(self.units):
            needed += min(
                whole[p] * units * RHS_SCALE // column.capacity[bucket]
                for p, column in self.columns.items()
                if column.capacity[bucket]
            )
        return RoutingCut(self.demand.workload, whole, -(-needed // RHS_SCALE))

    def dive(self) -> dict[int, int]:
        """Round the linear program's replicas one column at a time; a good start, feasible by construction."""
        chosen: dict[int, int] = {}
        for _ in self.columns:
            missing = self.at(chosen, fixed=frozenset(chosen)).missing
            if not missing:
                break
            if any(math.isinf(value) for value in missing.values()):
                return {p: math.ceil(value) for p, value in self.at({}).missing.items()}
            p = max(missing, key=lambda p: (-abs(missing[p] - round(missing[p])), missing[p], -p))
            lone = len(missing) == 1
            chosen[p] = math.ceil(missing[p] - 1e-9) if lone else max(1, round(missing[p]))
        rest = self.at(chosen).missing
        return {p: chosen.get(p, 0) + math.ceil(rest.get(p, 0) - 1e-9) for p in {*chosen, *rest}}


def exact_parts(
    demand: FleetDemand, columns: Mapping[int, FleetColumn], shares: Mapping[tuple[int, int], float], parts: int
) -> dict[tuple[int, int], int]:
    """Round shares to whole parts of each bucket, exactly `parts` of them in all (1,000,000 serves everything)."""
    result: dict[tuple[int, int], int] = {}
    for bucket in range(len(demand.units)):
        mine = {p: shares.get((bucket, p), 0.0) for p, column in columns.items() if column.capacity[bucket]}
        rounded = {p: max(0, math.floor(share * PARTS)) for p, share in mine.items()}
        largest = max(mine, key=lambda p: (mine[p], -p))
        rounded[largest] += parts - sum(rounded.values())
        result.update({(bucket, p): count for p, count in rounded.items() if count > 0})
    return result


def load_of(demand: FleetDemand, column: FleetColumn, parts: Mapping[int, int]) -> int:
    """Replicas (in billionths, rounded up) that a column needs for parts per bucket, in whole numbers."""
    return sum(
        -(-count * demand.units[bucket] * LOAD_SCALE // (PARTS * column.capacity[bucket]))
        for bucket, count in parts.items()
    )


def served_parts(served: int, scale: int) -> int:
    """Parts of each bucket at a served share of `served / scale`, rounded down."""
    return PARTS * served // scale
