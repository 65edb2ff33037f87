"""Solve a fleet problem: lexicographic objectives, routing cuts where lengths are a histogram, honest bounds."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vllm_opt.optimizer.fleet_check import Parts, fleet_violations
from vllm_opt.optimizer.fleet_model import FleetModel
from vllm_opt.optimizer.fleet_neighbourhood import FIRST_COLUMNS, Restricted, neighbourhoods, promising, reduced_costs
from vllm_opt.optimizer.fleet_outcome import (
    Bound,
    FleetOptions,
    FleetOutcome,
    Found,
    Status,
    objective_names,
    objective_value,
)
from vllm_opt.optimizer.fleet_problem import SERVED_SCALE, FleetProblem, FleetSolution
from vllm_opt.optimizer.fleet_routing import Routing, RoutingCut, exact_parts, served_parts

LARGE = 300
"""(column, offer) pairs from which on good fleets are looked for before the proof"""
FULL_SHARE = 0.45
"""share of the time that a large full model gets before its best fleet is polished"""
MOST_ROUNDS = 1000
COARSE_GAP = 0.001
"""gap of the searches between routing cuts"""


class FleetSolver:
    """One problem, its routing programs and every cut found so far."""

    def __init__(self, problem: FleetProblem, options: FleetOptions, dropped: frozenset[str] = frozenset()) -> None:
        self.problem = problem
        self.options = options
        self.dropped = dropped
        self.model = FleetModel(problem, dropped)
        self.deadline = time.monotonic() + options.time_limit
        self.cuts: list[RoutingCut] = []
        self.best: Found | None = None
        self.fixed: list[tuple[str, int]] = []
        prices = self._prices()
        self.routings = {
            d.workload: Routing(d, {c: problem.columns[c] for c in self.model.columns_of[d.workload]}, prices)
            for d in problem.demands
            if len(d.units) > 1 and f"demand:{d.workload}" not in dropped and self.model.columns_of[d.workload]
        }

    def _prices(self) -> dict[int, int]:
        """Price one replica of every column at its cheapest offer, by GPUs used; a nominal price where it is free."""
        prices: dict[int, int] = {}
        for c, o in self.problem.pairs:
            column, offer = self.problem.columns[c], self.problem.offers[o]
            price = int(offer.cost_micro_usd_per_hour * column.gpus / offer.unit_gpus) + 1000
            prices[c] = min(price, prices.get(c, price))
        return prices

    def run(self) -> FleetOutcome:
        """Solve one objective after the other, each within the optimum of those before it."""
        if not all(routing.possible or self.problem.partial for routing in self.routings.values()):
            return FleetOutcome("infeasible")
        self._start()
        bounds: list[Bound] = []
        asked, tie_breaks = objective_names(self.problem)
        for name in (*asked, *tie_breaks):
            if name in tie_breaks and (self._left() <= 0 or not all(bound.proven for bound in bounds)):
                break
            status, bound = self._one(name, self._left() if name in asked else min(self._left(), 5.0))
            if bound is None and not bounds:
                return FleetOutcome(status)
            if bound is None:
                break
            bounds += [bound] if name in asked else []
            self.model.keep(name, bound.value)
        proven = len(bounds) == len(asked) and all(bound.proven for bound in bounds)
        return self._outcome("optimal" if proven else "feasible", bounds)

    def _left(self) -> float:
        return self.deadline - time.monotonic()

    def _outcome(self, status: Status, bounds: list[Bound]) -> FleetOutcome:
        assert self.best is not None
        broken = fleet_violations(self.problem, self.best.fleet, self.best.parts) if not self.dropped else ()
        if broken:  # a fault of this program, never of the request
            raise AssertionError(f"the fleet found breaks a rule: {broken[0].message}")
        return FleetOutcome(status, self.best.fleet, tuple(bounds), self.best.parts, tuple(self.cuts))

    def _start(self) -> None:
        """Begin with the cut at the routing programs' own optimum and a fleet rounded from it."""
        floors: dict[int, int] = {}
        for name, routing in self.routings.items():
            if routing.possible:
                self._add(routing.at({}).cut)
                spares = self.model.demand_of[name].spare_replicas
                floors |= {c: n + spares for c, n in routing.dive().items() if n}
        if floors and not self.problem.partial:
            self.best = self._repair(floors, "cost")

    def _add(self, cut: RoutingCut | None) -> None:
        if cut is not None:
            self.cuts.append(cut)
            self.model.add_cut(cut)

    def _search(self, model: FleetModel, seconds: float, gap: float) -> tuple[Status, Any]:
        from ortools.sat.python import cp_model

        solver = cp_model.CpSolver()
        parameters = solver.parameters
        parameters.max_time_in_seconds = max(0.05, seconds)
        parameters.num_workers = self.options.workers
        parameters.interleave_search = self.options.workers > 1  # the same answer whatever the threads' timing
        parameters.random_seed = self.options.seed
        parameters.relative_gap_limit = gap
        parameters.cp_model_probing_level = 0  # nearly all of its time would go there
        parameters.linearization_level = 2
        names: dict[Any, Status] = {
            cp_model.OPTIMAL: "optimal", cp_model.FEASIBLE: "feasible", cp_model.INFEASIBLE: "infeasible",
        }  # fmt: skip
        return names.get(solver.solve(model.cp), "unknown"), solver

    def _one(self, name: str, seconds: float) -> tuple[Status, Bound | None]:
        """Solve one objective to its optimum or the asked gap, or until time is up.

        Inside, every objective is counted so that smaller is better. The bound of the full model holds for the whole
        problem, because cuts only ever remove fleets that cannot route their traffic.
        """
        maximise = self.model.minimise_or_maximise(name)
        sign, limit, end = -1 if maximise else 1, -math.inf, time.monotonic() + seconds
        gap = max(self.options.relative_gap, COARSE_GAP if self.routings else 0.0)
        large = len(self.problem.pairs) > LARGE and not maximise
        prices = reduced_costs(self.model) if large else {}
        best = self._early(name, prices, seconds) if large else self.best
        share = FULL_SHARE if large else 1.0
        while True:
            if best is not None:
                self.model.hint(best.fleet)
            status, solver = self._search(self.model, min(end - time.monotonic(), share * seconds), gap)
            if status == "infeasible" and best is None:
                return status, None
            if status in ("infeasible", "unknown"):
                break
            limit = max(limit, sign * solver.best_objective_bound)
            fleet = self.model.solution(solver)
            lacking = self._lacking(fleet)
            other = self._repaired(name, fleet, lacking) if lacking else self._found(fleet)
            best = self._best_of(best, other, name, sign)
            value = math.inf if best is None else sign * self._value(name, best.fleet)
            if value - limit <= self.options.relative_gap * abs(value) + 0.5 or time.monotonic() > end:
                break
            if large and best is not None and not lacking:
                best = self._polished(name, prices, best, limit, end)
                break
            if not lacking and gap <= self.options.relative_gap:
                break
            gap = gap if lacking else self.options.relative_gap
        if best is None:
            return "unknown", None
        self.best, value = best, self._value(name, best.fleet)
        proven = sign * value - limit < 0.5
        self.fixed.append((name, value))
        return ("optimal" if proven else "feasible"), Bound(name, value, value if proven else sign * limit, proven)

    def _early(self, name: str, prices: dict[int, float], seconds: float) -> Found | None:
        """Solve the fleet over its most promising columns."""
        best = self.best
        for count in FIRST_COLUMNS:
            columns = promising(self.problem, prices, count, self._always(best))
            best = self._restricted(name, columns, best, min(self._left(), seconds / 10), COARSE_GAP)
        return best

    def _polished(self, name: str, prices: dict[int, float], best: Found, limit: float, end: float) -> Found:
        """Search neighbourhoods of the best fleet until it is close enough to the bound, or time is up."""
        rounds = 0
        while time.monotonic() < end and rounds < MOST_ROUNDS:
            rounds += 1
            columns = next(neighbourhoods(self.problem, prices, best.fleet, self._always(None), self._seed(rounds)))
            best = self._restricted(name, columns, best, min(end - time.monotonic(), 1.0), COARSE_GAP / 2) or best
            value = self._value(name, best.fleet)
            if value - limit <= self.options.relative_gap * abs(value) + 0.5:
                break
        return best

    def _seed(self, rounds: int) -> int:
        return self.options.seed * MOST_ROUNDS + rounds

    def _always(self, best: Found | None) -> set[int]:
        routed = {c for name in self.routings for c in self.model.columns_of[name]}
        return routed | ({c for c, _, _ in best.fleet.replicas} if best else set())

    def _restricted(
        self, name: str, columns: list[int], best: Found | None, seconds: float, gap: float
    ) -> Found | None:
        restricted = Restricted(self.problem, columns, self.dropped)
        for cut in self.cuts:
            restricted.add_cut(cut)
        for was, value in self.fixed:
            restricted.model.keep(was, value)
        restricted.model.minimise_or_maximise(name)
        if best is not None:
            restricted.hint(best.fleet)
        status, solver = self._search(restricted.model, seconds, gap)
        if status not in ("optimal", "feasible"):
            return best
        fleet = restricted.solution(solver)
        lacking = self._lacking(fleet)
        other = self._repaired(name, fleet, lacking) if lacking else self._found(fleet)
        return self._best_of(best, other, name, 1)

    def _value(self, name: str, fleet: FleetSolution) -> int:
        return objective_value(self.problem, fleet, name)

    def _best_of(self, one: Found | None, other: Found | None, name: str, sign: int) -> Found | None:
        """Return the better of two fleets, a fleet that undoes an earlier objective left out."""
        if other is None or not all(
            (self._value(was, other.fleet) - value) * (-1 if was.startswith("served") else 1) <= 0
            for was, value in self.fixed
        ):
            return one
        if one is None or sign * self._value(name, other.fleet) < sign * self._value(name, one.fleet):
            return other
        return one

    def _found(self, fleet: FleetSolution) -> Found:
        return Found(fleet, self._parts(fleet))

    def _working(self, name: str, fleet: FleetSolution) -> dict[int, int]:
        """Replicas of a routed workload that carry traffic: those that are not spares."""
        spares = self.model.demand_of[name].spare_replicas if f"spare_replicas:{name}" not in self.dropped else 0
        return {c: max(0, fleet.replicas_of(c) - spares) for c in self.model.columns_of[name]}

    def _lacking(self, fleet: FleetSolution) -> dict[int, int]:
        """Add the cut of every workload that cannot be routed; return the replicas that would repair it."""
        lacking: dict[int, int] = {}
        for name, routing in self.routings.items():
            share = fleet.served[name] / SERVED_SCALE
            routed = routing.at(self._working(name, fleet), share)
            if routed.missing:
                self._add(routed.cut)
                lacking |= {c: math.ceil(more - 1e-9) for c, more in routed.missing.items() if math.isfinite(more)}
        return lacking

    def _repaired(self, name: str, fleet: FleetSolution, lacking: Mapping[int, int]) -> Found | None:
        if self.problem.partial:
            return self._lowered(fleet)
        floors = {c: fleet.replicas_of(c) + lacking.get(c, 0) for c in range(len(self.problem.columns))}
        return self._repair(floors, name)

    def _lowered(self, fleet: FleetSolution) -> Found:
        """Serve with the same replicas the largest share that can be routed."""
        served = dict(fleet.served)
        for name, routing in self.routings.items():
            working, low, high = self._working(name, fleet), 0, served[name]
            while low < high:
                middle = (low + high + 1) // 2
                fits = not routing.at(working, middle / SERVED_SCALE).missing
                low, high = (middle, high) if fits else (low, middle - 1)
            served[name] = low
        lowered = replace(fleet, served=served)
        return self._found(lowered)

    def _repair(self, floors: Mapping[int, int], name: str) -> Found | None:
        """Find a fleet with at least these replicas; it routes everything."""
        model = FleetModel(self.problem, self.dropped)
        for c, floor in floors.items():
            if floor and model.of_column[c]:
                model.cp.add(model.sum(model.of_column[c]) >= floor)
        for cut in self.cuts:
            model.add_cut(cut)
        for was, value in self.fixed:
            model.keep(was, value)
        model.minimise_or_maximise(name)
        status, solver = self._search(model, min(3.0, self._left()), COARSE_GAP)
        if status not in ("optimal", "feasible"):
            return None
        fleet = model.solution(solver)
        if any(routing.at(self._working(w, fleet)).missing for w, routing in self.routings.items()):
            return None
        return self._found(fleet)

    def _parts(self, fleet: FleetSolution) -> Parts:
        parts: dict[str, Mapping[tuple[int, int], int]] = {}
        for name, routing in self.routings.items():
            share = fleet.served[name]
            shares = routing.at(self._working(name, fleet), share / SERVED_SCALE).shares
            parts[name] = exact_parts(routing.demand, routing.columns, shares, served_parts(share, SERVED_SCALE))
        return parts


def solve_fleet(problem: FleetProblem, options: FleetOptions | None = None) -> FleetOutcome:
    """Find the best fleet of a problem; infeasible and unknown are answers."""
    return FleetSolver(problem, options or FleetOptions()).run()
