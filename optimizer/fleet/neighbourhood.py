"""Good fleets early: solve the fleet over a few promising columns, then over neighbourhoods of the best one.

CP-SAT proves bounds well and finds large fleets slowly. A linear relaxation prices every column (its reduced cost is
what one replica would add to the relaxed optimum), and the model restricted to the cheapest few hundred is solved in a
second. Later rounds free all columns of a few SKUs around the best fleet. Nothing here weakens the proof: bounds come
from the full model only.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_opt.optimizer.fleet.model import FleetModel
from vllm_opt.optimizer.fleet.problem import FleetProblem, FleetSolution
from vllm_opt.optimizer.fleet.routing import RoutingCut

FIRST_COLUMNS = (120, 300)
"""columns of the two restricted models that start the search"""
SKUS_PER_ROUND = 3
UNBOUNDED = 1 << 62
NEARLY_NONE = 1e-9


@dataclass(frozen=True)
class Relaxation:
    """The linear relaxation of a model: its optimum, what one replica of each column would add to it, and which are
    used."""

    value: float
    prices: dict[int, float]
    used: frozenset[int]


def reduced_costs(model: FleetModel) -> dict[int, float]:
    """Price every column in the linear relaxation of a model that has its objective; empty without an optimum."""
    found = relaxation(model)
    return {} if found is None else found.prices


def relaxation(model: FleetModel) -> Relaxation | None:
    """Solve the linear relaxation by GLOP; None where it has no solution. Conditional rows are left out.

    Where GLOP gives up, nothing is known: every column counts as used.
    """
    from ortools.linear_solver import pywraplp

    proto = model.cp.proto
    solver = pywraplp.Solver.CreateSolver("GLOP")
    variables = []
    for variable in proto.variables:
        domain = list(variable.domain)
        variables.append(solver.NumVar(domain[0], domain[-1], ""))
    for constraint in proto.constraints:
        linear = constraint.linear
        if list(constraint.enforcement_literal) or not list(linear.vars):
            continue
        domain, scale = list(linear.domain), max(abs(c) for c in linear.coeffs) or 1
        low = domain[0] / scale if domain[0] > -UNBOUNDED else -solver.infinity()
        high = domain[-1] / scale if domain[-1] < UNBOUNDED else solver.infinity()
        row = solver.Constraint(low, high)
        for index, coefficient in zip(linear.vars, linear.coeffs, strict=True):
            row.SetCoefficient(variables[index], row.GetCoefficient(variables[index]) + coefficient / scale)
    routed = [] if model.routes else _routed(solver, model, variables)
    for index, coefficient in zip(proto.objective.vars, proto.objective.coeffs, strict=True):
        solver.Objective().SetCoefficient(variables[index], coefficient)
    solver.Objective().SetMinimization()
    status = solver.Solve()
    if status == solver.INFEASIBLE:
        return None
    if status != solver.OPTIMAL:
        every = range(len(model.problem.columns))
        return Relaxation(-math.inf, dict.fromkeys(every, 0.0), frozenset(every))
    prices: dict[int, float] = {}
    used = set()
    slack = {c: worth * _share_of_worth(model, c) for c, worth in _idle_worth(routed).items()}
    for (c, _, _), var in model.replicas.items():
        price = variables[var.index].reduced_cost() + slack.get(c, 0.0)
        prices[c] = min(price, prices.get(c, price))
        if variables[var.index].solution_value() > NEARLY_NONE:
            used.add(c)
    return Relaxation(solver.Objective().Value(), prices, frozenset(used))


@dataclass(frozen=True)
class _Routed:
    """One workload's routes in the relaxation: a row per bar, a row per column, and one replica's load by bar."""

    whole: list[Any]
    load: dict[int, Any]
    each: dict[tuple[int, int], float]


def _routed(solver: Any, model: FleetModel, variables: list[Any]) -> list[_Routed]:
    """Split every bar of the histograms over the columns that serve it, within their working replicas."""
    found = []
    for demand in model.problem.demands:
        columns = model.columns_of[demand.workload]
        if len(demand.units) < 2 or not columns or f"demand:{demand.workload}" in model.dropped:
            continue
        rows = _Routed([solver.Constraint(1, 1) for _ in demand.units], {}, {})
        for c in columns:
            row = rows.load[c] = solver.Constraint(-solver.infinity(), 0)
            for var in model.of_column[c]:
                row.SetCoefficient(variables[var.index], -1.0)
            if c in model.idle:
                row.SetCoefficient(variables[model.idle[c][0].index], float(model.idle[c][1]))
            for bar, units in enumerate(demand.units):
                if capacity := model.problem.columns[c].capacity[bar]:
                    share = solver.NumVar(0, solver.infinity(), "")
                    rows.whole[bar].SetCoefficient(share, 1)
                    rows.each[bar, c] = units / capacity
                    row.SetCoefficient(share, units / capacity)
        found.append(rows)
    return found


def _idle_worth(routed: list[_Routed]) -> dict[int, float]:
    """What the price of a column's load exceeds the least that its routes ask for: unused columns have a choice."""
    slack: dict[int, float] = {}
    for rows in routed:
        least: dict[int, float] = {}
        for (bar, c), load in rows.each.items():
            least[c] = max(least.get(c, 0.0), rows.whole[bar].dual_value() / load)
        slack |= {c: max(0.0, -row.dual_value() - least.get(c, 0.0)) for c, row in rows.load.items()}
    return slack


def _share_of_worth(model: FleetModel, c: int) -> float:
    """How much of that a column's price may take: a lower price of its load is one of its idle replicas' too.

    With k idle replicas of every column in use, u of at most m, rows n <= m u give k / m of it back; where columns
    share them, nothing is left.
    """
    if c not in model.idle:
        return 1.0
    reserved = bool(model.problem.columns[c].reserve)
    return 0.0 if reserved else max(0.0, 1.0 - model.idle[c][1] / model.most_replicas[c])


class Restricted:
    """The same problem over some of its columns and offers, and the way back."""

    def __init__(
        self, problem: FleetProblem, columns: Sequence[int], dropped: frozenset[str],
        offers: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self.kept = tuple(sorted(columns))
        self.offers = tuple(range(len(problem.offers))) if offers is None else tuple(sorted(offers))
        self._place = {c: position for position, c in enumerate(self.kept)}
        self._of_offer = {o: position for position, o in enumerate(self.offers)}
        smaller = problem.changed(
            columns=tuple(problem.columns[c] for c in self.kept), offers=tuple(problem.offers[o] for o in self.offers)
        )
        self.model = FleetModel(smaller, dropped)

    @property
    def cp(self) -> Any:
        """The model in CP-SAT."""
        return self.model.cp

    def keep(self, name: str, value: int) -> None:
        """Hold an objective at the value that it reached."""
        self.model.keep(name, value)

    def minimise_or_maximise(self, name: str) -> bool:
        """Set the objective; say whether it is maximised."""
        return self.model.minimise_or_maximise(name)

    def add_cut(self, cut: RoutingCut) -> None:
        """Add a routing cut of the full problem; every column of a routed workload is kept."""
        prices = {self._place[c]: price for c, price in cut.prices.items()}
        self.model.add_cut(RoutingCut(cut.workload, prices, cut.needed))

    def hint(self, fleet: FleetSolution) -> None:
        """Start from a fleet of the full problem."""
        inside = {
            (self._place[c], self._of_offer[o], z): n
            for (c, o, z), n in fleet.replicas.items()
            if c in self._place and o in self._of_offer
        }
        units = {(self._of_offer[o], z): n for (o, z), n in fleet.units.items() if o in self._of_offer}
        self.model.hint(FleetSolution(inside, units, fleet.served))

    def solution(self, solver: Any) -> FleetSolution:
        """Read what was found, in the numbering of the full problem."""
        found = self.model.solution(solver)
        replicas = {(self.kept[c], self.offers[o], z): count for (c, o, z), count in found.replicas.items()}
        units = {(self.offers[o], z): count for (o, z), count in found.units.items()}
        patterns = {(self.offers[o], z): filled for (o, z), filled in found.patterns.items()}
        return FleetSolution(replicas, units, found.served, patterns)


def promising(problem: FleetProblem, prices: dict[int, float], count: int, always: set[int]) -> list[int]:
    """Return the `count` columns of lowest reduced cost, and those that must be there."""
    ranked = sorted(prices, key=lambda c: (prices[c], c))
    cheapest: dict[str, int] = {}
    for c in ranked:
        cheapest.setdefault(problem.columns[c].workload, c)
    return sorted({*ranked[:count], *cheapest.values(), *always})


def neighbourhoods(
    problem: FleetProblem, prices: dict[int, float], fleet: FleetSolution, always: set[int], seed: int
) -> Iterator[list[int]]:
    """Yield column sets without end: what the fleet uses, the columns of a few of its SKUs, and of a few others."""
    generator = random.Random(seed)
    by_gpu: dict[str, list[int]] = {}
    for c in sorted(prices, key=lambda c: (prices[c], c)):
        by_gpu.setdefault(problem.columns[c].gpu, []).append(c)
    used = {c for c, _, _ in fleet.replicas}
    inside = sorted({problem.columns[c].gpu for c in used})
    outside = sorted(set(by_gpu) - set(inside))
    while True:
        chosen = generator.sample(inside, min(len(inside), SKUS_PER_ROUND))
        chosen += generator.sample(outside, min(len(outside), SKUS_PER_ROUND))
        yield sorted({*used, *always, *(c for gpu in chosen for c in by_gpu.get(gpu, ()))})
