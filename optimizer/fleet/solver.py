"""Solve a fleet problem: lexicographic objectives, good fleets early, honest bounds."""

import math
import time

from vllm_opt.optimizer.fleet.check import fleet_violations
from vllm_opt.optimizer.fleet.covers import added_costs
from vllm_opt.optimizer.fleet.histogram import advise
from vllm_opt.optimizer.fleet.model import FleetModel
from vllm_opt.optimizer.fleet.neighbourhood import FIRST_COLUMNS, Restricted, neighbourhoods, promising, reduced_costs
from vllm_opt.optimizer.fleet.outcome import Bound, FleetOptions, FleetOutcome, Found, Status, objective_names
from vllm_opt.optimizer.fleet.problem import FleetProblem
from vllm_opt.optimizer.fleet.rules import MOST_ROUTES
from vllm_opt.optimizer.fleet.search import COARSE_GAP, FleetSearch
from vllm_opt.optimizer.fleet.whole_units import Narrowed, counts_whole, narrowed

LARGE = 300
"""(column, offer) pairs from which on good fleets are looked for before the proof"""
FULL_SHARE = 0.45
"""share of the time that a large full model gets before its best fleet is polished"""
ADVICE_SHARE = 0.7
"""share of the time in which a long histogram is solved with continuous routes"""
MOST_ROUNDS = 1000
MOST_IN_VAIN = 4
"""neighbourhoods that may give nothing better before the proof is tried"""
TIE_SECONDS = 5.0
"""for each turn that makes a fleet simple and unique"""
PROVEN_WITHIN = 2e-6
"""relative distance from the bound that counts as proven: the tolerance of a floating-point bound"""


def is_proven(value: int, bound: float) -> bool:
    """Whether no smaller whole number lies above a lower bound, or above one that is off by a float's tolerance."""
    return value - bound < max(0.5, PROVEN_WITHIN * abs(value))


class FleetSolver(FleetSearch):
    """Decides one objective after the other, each within the optimum of those before it."""

    def run(self) -> FleetOutcome:
        """Solve one objective after the other, each within the optimum of those before it."""
        if not all(routing.possible or self.problem.partial for routing in self.routings.values()):
            return FleetOutcome("infeasible")
        self._start()
        bounds: list[Bound] = []
        asked, tie_breaks = objective_names(self.problem)
        for name in asked:
            status, bound = self._one(name, self._left())
            if bound is None and not bounds:
                return FleetOutcome(status)
            if bound is None:
                break
            bounds.append(bound)
            self.model.keep(name, bound.value)
            if name == "cost":
                self._leave_out(bound.value)
        proven = len(bounds) == len(asked) and all(bound.proven for bound in bounds)
        if self.options.tie_breaks and proven and not self._long_histograms:
            self._settle(asked, tie_breaks)
        return self._outcome("optimal" if proven else "feasible", bounds)

    def _settle(self, asked: tuple[str, ...], tie_breaks: tuple[str, ...]) -> None:
        """Of the fleets within the tolerance take the simplest, of those the best, and of equal ones always the same.

        What time leaves undecided stays as it was found.
        """
        names = ("mix", *tie_breaks, "tie")
        if self.problem.tolerance_ppm and not self.problem.partial:
            self._concede(asked)
            names = ("mix", *asked, *tie_breaks, "tie")
        for name in names:
            if self._left() <= 0:
                return
            bound = self._one(name, min(self._left(), TIE_SECONDS), tie=True)[1]
            if bound is None or not bound.proven:
                return
            self.model.keep(name, bound.value)

    def _concede(self, asked: tuple[str, ...]) -> None:
        """Loosen the first objective by the tolerance, and with the new money its sum with the running cost."""
        loose = {asked[0], *(("cost",) if asked[0] == "ordered" else ())}
        share = 1_000_000 + self.problem.tolerance_ppm
        self.fixed = [(name, value * share // 1_000_000 if name in loose else value) for name, value in self.fixed]
        self.model = self.whole = FleetModel(self.problem, self.dropped)
        for cut in self.cuts:
            self.model.add_cut(cut)
        for name, value in self.fixed:
            self.model.keep(name, value)
        if asked[0] == "cost":
            self._leave_out(self.fixed[0][1])

    def _leave_out(self, most: int) -> None:
        """Go on without the columns and offers that no fleet of at most this cost uses."""
        if len(self.problem.pairs) > LARGE and counts_whole(self.problem):
            left = narrowed(self.problem, most, self.dropped)
            self.model = self._over(left.columns, None, left.usable)

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
                spares = self.whole.demand_of[name].spare_replicas
                floors |= {c: n + spares for c, n in routing.dive().items() if n}
        if floors and not self.problem.partial:
            self.best = self._repair(floors, "cost")

    def _one(self, name: str, seconds: float, *, tie: bool = False) -> tuple[Status, Bound | None]:
        """Solve one objective to its optimum or the asked gap, or until time is up.

        Inside, every objective is counted so that smaller is better. The bound of the full model holds for the whole
        problem, because cuts only ever remove fleets that cannot route their traffic.
        """
        maximise = self.model.minimise_or_maximise(name)
        sign, limit, end = -1 if maximise else 1, -math.inf, time.monotonic() + seconds
        gap = max(self.options.relative_gap, COARSE_GAP if self.routings else 0.0)
        large = len(self.problem.pairs) > LARGE and not maximise and not tie
        prices = self._prices_for(name) if large else {}
        best = self._early(name, prices, seconds) if large else self.best
        share = FULL_SHARE if large and not (name == "cost" and counts_whole(self.problem)) else 1.0
        if self._long_histograms and not maximise:
            best, limit = self._advised(name, best, ADVICE_SHARE * seconds)
            if best is not None and self._close(name, best, limit):
                return self._reached(name, best, sign, limit)
        model: FleetModel | Restricted = self.model
        if name == "cost" and large and best is not None and counts_whole(self.problem):
            best, left = self._narrowed(name, prices, best, end)
            model, limit = self._over(left.columns, name, left.offers), left.bound
            if self._close(name, best, limit):
                return self._reached(name, best, sign, limit)
        while True:
            if best is not None:
                model.hint(best.fleet)
            status, solver = self._search(model, self._seconds(end, share * seconds), gap)
            if status == "infeasible" and best is None:
                return status, None
            if status == "unknown" and time.monotonic() < end:
                gap = max(gap, self._gap)
                continue
            if status in ("infeasible", "unknown"):
                break
            limit = max(limit, sign * solver.best_objective_bound)
            fleet = model.solution(solver)
            lacking = self._lacking(fleet)
            other = self._repaired(name, fleet, lacking) if lacking else self._found(fleet)
            best = self._best_of(best, other, name, sign)
            value = math.inf if best is None else sign * self._value(name, best.fleet)
            if value - limit <= self._gap * abs(value) + 0.5 or time.monotonic() > end:
                break
            if large and best is not None and not lacking:
                best = self._polished(name, prices, best, limit, end)
                break
            if not lacking and status == "optimal" and gap <= self.options.relative_gap:
                break
            gap = gap if lacking else self._gap
        return self._reached(name, best, sign, limit)

    def _seconds(self, end: float, most: float) -> float:
        """How long the next search may take: up to half of the time, where the rest would accept the fallback."""
        now = time.monotonic()
        early = self.options.fallback_gap > self.options.relative_gap and now < self.halfway
        return min(end - now, most, self.halfway - now if early else math.inf)

    def _reached(self, name: str, best: Found | None, sign: int, limit: float) -> tuple[Status, Bound | None]:
        if best is None:
            return "unknown", None
        self.best, value = best, self._value(name, best.fleet)
        proven = is_proven(sign * value, limit)
        self.fixed.append((name, value))
        return ("optimal" if proven else "feasible"), Bound(name, value, value if proven else sign * limit, proven)

    @property
    def _long_histograms(self) -> bool:
        routes = [len(routing.units) * len(routing.columns) for routing in self.routings.values()]
        return any(count > MOST_ROUTES for count in routes) or bool(routes and self.problem.exact_routes)

    def _advised(self, name: str, best: Found | None, seconds: float) -> tuple[Found | None, float]:
        """Ask a mixed-integer program for replicas and a bound, and make a checked fleet of them."""
        advice = advise(self.whole, self.routings, seconds, max(self.options.relative_gap, COARSE_GAP) / 2)
        if advice is None:
            return best, -math.inf
        return self._best_of(best, self._repair(advice.replicas, name), name, 1), advice.bound

    def _prices_for(self, name: str) -> dict[int, float]:
        """What one replica of each column adds: in whole replicas where every workload has one length."""
        if name == "cost" and all(len(demand.units) == 1 for demand in self.problem.demands):
            return added_costs(self.problem, self.dropped)
        model = FleetModel(self.problem, self.dropped, covered=False)
        for was, value in self.fixed:
            model.keep(was, value)
        model.minimise_or_maximise(name)
        return reduced_costs(model)

    def _early(self, name: str, prices: dict[int, float], seconds: float) -> Found | None:
        """Solve the fleet over its most promising columns."""
        best = self.best
        for count in FIRST_COLUMNS:
            columns = promising(self.problem, prices, count, self._always(best))
            best = self._restricted(name, columns, best, min(self._left(), seconds / 10), COARSE_GAP)
            if name == "cost" and best is not None and counts_whole(self.problem):
                break  # a bound that is nearly as good leaves few columns
        return best

    def _narrowed(self, name: str, prices: dict[int, float], best: Found, end: float) -> tuple[Found, Narrowed]:
        """A better fleet leaves fewer columns and offers to look at: search neighbourhoods while that helps."""
        left = narrowed(self.problem, self._value(name, best.fleet), self.dropped)
        vain = rounds = 0
        while vain < MOST_IN_VAIN and not self._close(name, best, left.bound) and time.monotonic() < end:
            rounds += 1
            columns = next(neighbourhoods(self.problem, prices, best.fleet, set(), self._seed(rounds)))
            inside = sorted(set(columns).intersection(left.columns))
            other = self._restricted(name, inside, best, min(end - time.monotonic(), 1.0), COARSE_GAP / 2) or best
            vain += 1
            if self._value(name, other.fleet) < self._value(name, best.fleet):
                best, vain = other, 0
                left = narrowed(self.problem, self._value(name, best.fleet), self.dropped)
        return best, left

    def _polished(self, name: str, prices: dict[int, float], best: Found, limit: float, end: float) -> Found:
        """Search neighbourhoods of the best fleet until it is close enough to the bound, or time is up."""
        rounds = 0
        while time.monotonic() < end and rounds < MOST_ROUNDS:
            rounds += 1
            columns = next(neighbourhoods(self.problem, prices, best.fleet, self._always(None), self._seed(rounds)))
            best = self._restricted(name, columns, best, min(end - time.monotonic(), 1.0), COARSE_GAP / 2) or best
            value = self._value(name, best.fleet)
            if value - limit <= self._gap * abs(value) + 0.5:
                break
        return best

    def _seed(self, rounds: int) -> int:
        return self.options.seed * MOST_ROUNDS + rounds


def solve_fleet(problem: FleetProblem, options: FleetOptions | None = None) -> FleetOutcome:
    """Find the best fleet of a problem; infeasible and unknown are answers."""
    return FleetSolver(problem, options or FleetOptions()).run()
