"""One search for a fleet: solving a model, separating routing cuts, repairing and comparing fleets."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vllm_opt.optimizer.fleet.check import Parts
from vllm_opt.optimizer.fleet.model import FleetModel
from vllm_opt.optimizer.fleet.neighbourhood import Restricted
from vllm_opt.optimizer.fleet.outcome import FleetOptions, Found, Status, objective_value
from vllm_opt.optimizer.fleet.problem import SERVED_SCALE, FleetColumn, FleetProblem, FleetSolution, spares_of
from vllm_opt.optimizer.fleet.routing import Routing, RoutingCut, exact_parts, served_parts

COARSE_GAP = 0.001
"""gap of the searches between routing cuts"""
PORTFOLIO = 8
"""threads from which CP-SAT runs its strategies side by side"""


def configured_solver(options: FleetOptions, seconds: float, gap: float) -> Any:
    """A solver with presolve, but without the part of it that cuts optima off."""
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.max_time_in_seconds = max(0.05, seconds)
    # fewer threads are no portfolio: two in turns took six times as long as one
    parameters.num_workers = options.workers if options.workers >= PORTFOLIO else 1
    parameters.random_seed = options.seed % (2**31)
    parameters.relative_gap_limit = gap
    parameters.presolve_inclusion_work_limit = 0  # its sums are 32-bit (google/or-tools #5293)
    parameters.cp_model_probing_level = 0  # nearly all of its time would go there
    parameters.linearization_level = 2
    return solver


class FleetSearch:
    """One problem, its routing programs, every cut found so far, and the objectives already decided."""

    def __init__(self, problem: FleetProblem, options: FleetOptions, dropped: frozenset[str] = frozenset()) -> None:
        self.problem = problem
        self.options = options
        self.dropped = dropped
        self.whole = FleetModel(problem, dropped)
        self.model: FleetModel | Restricted = self.whole
        self.deadline = time.monotonic() + options.time_limit
        self.halfway = time.monotonic() + options.time_limit / 2
        self.cuts: list[RoutingCut] = []
        self.best: Found | None = None
        self.fixed: list[tuple[str, int]] = []
        prices = self._prices()
        self.routings = {
            d.workload: Routing(d, self._routable(d.workload, prices), prices)
            for d in problem.demands
            if len(d.units) > 1 and f"demand:{d.workload}" not in dropped and self.whole.columns_of[d.workload]
        }

    def _routable(self, workload: str, placed: Mapping[int, int]) -> dict[int, FleetColumn]:
        """The columns that requests may go to: those that any offer takes, where there are such."""
        every = {c: self.problem.columns[c] for c in self.whole.columns_of[workload]}
        return {c: column for c, column in every.items() if c in placed} or every

    def _prices(self) -> dict[int, int]:
        """Price one replica of every column at its cheapest offer, by GPUs used; a nominal price where it is free."""
        prices: dict[int, int] = {}
        for c, o in self.problem.pairs:
            column, offer = self.problem.columns[c], self.problem.offers[o]
            price = int(offer.cost_micro_usd_per_hour * column.gpus / offer.unit_gpus) + 1000
            prices[c] = min(price, prices.get(c, price))
        return prices

    def _left(self) -> float:
        return self.deadline - time.monotonic()

    def _add(self, cut: RoutingCut | None) -> None:
        if cut is not None:
            self.cuts.append(cut)
            self.model.add_cut(cut)

    def _search(self, model: FleetModel | Restricted, seconds: float, gap: float) -> tuple[Status, Any]:
        from ortools.sat.python import cp_model

        solver = configured_solver(self.options, seconds, gap)
        names: dict[Any, Status] = {
            cp_model.OPTIMAL: "optimal", cp_model.FEASIBLE: "feasible", cp_model.INFEASIBLE: "infeasible",
        }  # fmt: skip
        return names.get(solver.solve(model.cp), "unknown"), solver

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

    def _close(self, name: str, best: Found, limit: float) -> bool:
        value = self._value(name, best.fleet)
        return value - limit <= self._gap * abs(value) + 0.5

    @property
    def _gap(self) -> float:
        """The distance from the bound that is close enough now."""
        late = time.monotonic() > self.halfway
        return max(self.options.relative_gap, self.options.fallback_gap if late else 0.0)

    def _always(self, best: Found | None) -> set[int]:
        routed = {c for name in self.routings for c in self.whole.columns_of[name]}
        return routed | ({c for c, _, _ in best.fleet.replicas} if best else set())

    def _over(self, columns: Sequence[int], name: str | None, offers: Sequence[int] | None = None) -> Restricted:
        """The model over some columns and offers, with its objective, every cut, and what was decided before."""
        restricted = Restricted(self.problem, columns, self.dropped, offers)
        for cut in self.cuts:
            restricted.add_cut(cut)
        for was, value in self.fixed:
            restricted.keep(was, value)
        if name is not None:
            restricted.minimise_or_maximise(name)
        return restricted

    def _restricted(
        self, name: str, columns: list[int], best: Found | None, seconds: float, gap: float
    ) -> Found | None:
        restricted = self._over(columns, name)
        if best is not None:
            restricted.hint(best.fleet)
        status, solver = self._search(restricted, seconds, gap)
        if status not in ("optimal", "feasible"):
            return best
        fleet = restricted.solution(solver)
        lacking = self._lacking(fleet)
        other = self._repaired(name, fleet, lacking) if lacking else self._found(fleet)
        return self._best_of(best, other, name, 1)

    def _working(self, name: str, fleet: FleetSolution) -> dict[int, int]:
        """Replicas of a routed workload that carry traffic: those that are not spares."""
        spares = self.whole.demand_of[name].spare_replicas if f"spare_replicas:{name}" not in self.dropped else 0
        counts = {c: fleet.replicas_of(c) for c in self.whole.columns_of[name]}
        idle = spares_of({c: self.problem.columns[c] for c in counts}, counts, spares)
        return {c: max(0, count - idle.get(c, 0)) for c, count in counts.items()}

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
