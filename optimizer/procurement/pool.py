"""The columns of a fleet by column generation: classes of plans are closed when the fleet could use them, not before.

Open classes stand in the fleet's linear relaxation with their ceilings, so its optimum L bounds every fleet of every
plan from below. What the relaxation uses is closed first, until it uses nothing open. A fleet U over the closed columns
follows; with r the reduced cost of a column, a fleet that uses it costs at least L + r, so every open class with
L + r <= U is closed too, those of least r first. Where a workload has one length, L and r also count replicas whole
(`fleet/covers.py`). What is left open then belongs to no fleet as good as U: the closed columns hold every optimum, and
what is proven over them is proven over all plans. In the time left the classes up to U and the tolerance follow, for a
simpler fleet that costs a little more.

A histogram of a few bars has its ceilings bar by bar (`bar_columns.py`). The plans for a longer one are tuned for a few
typical requests, and no ceiling is known for all of its bars: only promising classes are closed, and nothing is claimed
about the others.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from vllm_opt.optimizer.fleet.covers import SURELY, covers_of
from vllm_opt.optimizer.fleet.outcome import FleetOptions, objective_names
from vllm_opt.optimizer.fleet.problem import (
    SLOTS_PER_GPU,
    FleetColumn,
    FleetProblem,
    without_dominated,
)
from vllm_opt.optimizer.fleet.relaxed import Relaxed, relaxed
from vllm_opt.optimizer.fleet.solver import solve_fleet
from vllm_opt.optimizer.fleet.whole_units import narrowed
from vllm_opt.optimizer.procurement.bar_columns import BarSearch, WorkloadColumns
from vllm_opt.optimizer.procurement.columns import ColumnSearch, Kind, ReplicaPlan
from vllm_opt.optimizer.procurement.replica_searches import close_within

Open = dict[str, tuple[FleetColumn, ColumnSearch | BarSearch, Kind]]
"""column name -> the class at its ceiling, and where it is found"""
BEST_OF_EACH = 3
"""open classes of each workload that are closed besides those that the relaxation uses"""
NEAREST = 12
"""open classes of each workload that are closed together while its cheapest cover uses an open one"""
WINDOW = 2.0
"""a histogram's class is left open when even its ceiling costs so many times what the best plan found does"""
UPPER_BOUND_GAP = 0.005


@dataclass(frozen=True)
class ClosedProblem:
    """A fleet problem over closed columns. `covered`: they hold every optimum of all plans.

    `unfinished`: time left classes open that may matter; `bound` is then what the first objective of no fleet of any
    plan falls below, where such a bound is known.
    """

    problem: FleetProblem
    covered: bool
    unfinished: bool = False
    bound: float | None = None


class ColumnPool:
    """Every plan of every workload, found or bounded."""

    def __init__(self, workloads: Iterable[WorkloadColumns], cap: Fraction, tolerance: Fraction) -> None:
        self.workloads = tuple(workloads)
        self.cap = cap
        self.tolerance = tolerance
        self.plans: dict[str, ReplicaPlan] = {}
        """column name -> plan"""

    @property
    def routed(self) -> bool:
        """Whether some plans serve a histogram of lengths."""
        return any(item.routed for item in self.workloads)

    @property
    def bounded(self) -> bool:
        """Whether every plan that may serve a workload is found or bounded."""
        return all(item.bounded for item in self.workloads)

    @property
    def servers(self) -> int:
        """Servers (SKU, weights, shape) behind the columns."""
        return sum(search.servers for search in dict.fromkeys(s for item in self.workloads for s in item.searches))

    def dropped(self, workload: str) -> dict[str, Counter[str]]:
        """SKU -> rule -> servers of a workload that it ruled out."""
        found: dict[str, Counter[str]] = {}
        for item in self.workloads:
            for search in item.searches if item.workload.name == workload else ():
                for gpu, rules in search.dropped.items():
                    found.setdefault(gpu, Counter()).update(rules)
        return found

    def closed_columns(self) -> tuple[FleetColumn, ...]:
        """The best plan found so far of every class; of an open one it may not be the best."""
        found = []
        for item in self.workloads:
            for number, search in enumerate(item.searches, 1):
                for kind, which, plan in search.columns():
                    column = self._column(item, kind, number, item.served_by(number - 1, plan))
                    name = f"{column.name}~{plan.capacity[0]}" if kind in search.open else f"{column.name}{which}"
                    kept = replace(column, name=name, format=plan.candidate.unit.facts.weights.quantization.id)
                    self.plans[name] = plan
                    found.append(kept)
        return tuple(found)

    def open_columns(self) -> Open:
        """Every class that is open, at its ceiling, by column name; those of histograms have none."""
        found: Open = {}
        for item in self.workloads:
            for number, search in enumerate(item.searches, 1):
                opened: Mapping[Kind, int | tuple[int, ...]] = {} if item.routed else search.open
                for kind, ceiling in sorted(opened.items()):
                    column = self._column(item, kind, number, item.ceilings(number - 1, ceiling))
                    name = f"{column.name}?"
                    found[name] = replace(column, name=name), search, kind
        return found

    def columns_on(self, workload: str, gpu: str, *, closed: bool = False) -> list[FleetColumn]:
        """Columns of one workload on one SKU; open ones at their ceilings, unless `closed`."""
        opened = () if closed else (column for column, _, _ in self.open_columns().values())
        return [c for c in (*self.closed_columns(), *opened) if (c.workload, c.gpu) == (workload, gpu)]

    def able_on(self, gpu: str) -> set[str]:
        """Workloads that may have a plan on a SKU."""
        columns = (*self.closed_columns(), *(column for column, _, _ in self.open_columns().values()))
        return {column.workload for column in columns if column.gpu == gpu and any(column.capacity)}

    def _column(self, item: WorkloadColumns, kind: Kind, number: int, capacity: tuple[int, ...]) -> FleetColumn:
        slots = SLOTS_PER_GPU // kind.cut if kind.cut > 1 else SLOTS_PER_GPU * kind.gpus // kind.nodes
        part = f"1/{kind.cut}" if kind.cut > 1 else str(kind.gpus)
        name = f"{item.workload.name}@{kind.gpu}x{part}over{kind.nodes}#{number}"
        usable = tuple(math.floor(units * self.cap) for units in capacity)
        reserve = item.reserve(number - 1)
        return FleetColumn(name, item.workload.name, kind.gpu, slots, usable, kind.nodes, reserve=reserve)

    def close_all(self, deadline: float) -> None:
        """Close every class that can be closed in time."""
        for item in self.workloads:
            for search in item.searches:
                search.close(tuple(search.open), deadline)

    def close_promising(self, base: FleetProblem, deadline: float) -> None:
        """Close the classes that cost least for what they serve, and for histograms all on stock.

        Without limits and whole nodes, the fleet's relaxation would use the cheapest of each workload and nothing else.
        """
        prices: dict[str, Fraction] = {}
        stock = set()
        for offer in base.offers:
            each = Fraction(offer.cost_micro_usd_per_hour, offer.unit_gpus)
            if offer.kind == "stock":
                stock.add(offer.gpu)
            else:
                prices[offer.gpu] = min(each, prices.get(offer.gpu, each))
        for item, demand in zip(self.workloads, base.demands, strict=True):
            window, most = (WINDOW, math.inf) if item.routed else (1, Fraction(demand.units[0]) / self.cap)
            for search in item.searches:
                if not isinstance(search, ColumnSearch) or item.by_bar:
                    continue  # what the relaxation uses is found first
                if item.routed:
                    search.close([kind for kind in search.open if kind.gpu in stock], deadline)
                close_within(search, prices, window, most, deadline)

    def closed_for(self, base: FleetProblem, options: FleetOptions, deadline: float) -> ClosedProblem:
        """The problem over the columns that can matter for it; `base` has everything but columns."""
        name = objective_names(base)[0][0]
        if base.partial:
            self.close_all(deadline)
            unfinished = bool(self.open_columns())
            return ClosedProblem(self.over_closed(base), covered=self.bounded and not unfinished, unfinished=unfinished)
        best: float | None = None
        covered = False
        if name == "cost":
            self._close_covers(base, deadline)
        while True:
            open_ones = self.open_columns()
            rest = self._relaxed(base, name, open_ones)
            if rest is None:  # not even the ceilings suffice
                return ClosedProblem(self.over_closed(base), covered=self.bounded)
            wanted = self._used(rest, open_ones)
            if not wanted:
                best = self._upper_bound(base, name, options, deadline) if best is None else best
                wanted = self._within(rest, open_ones, best)
                if wanted and best is not None:
                    left = narrowed(rest.problem, best)
                    rest = replace(rest, value=max(rest.value, left.bound))
                    near = set(wanted)
                    wanted = [rest.columns[c].name for c in left.columns if rest.columns[c].name in near]
                covered = covered or not wanted
                if covered and best is not None and self.tolerance:  # then what a simpler fleet may use
                    wanted = self._within(rest, open_ones, best * float(1 + self.tolerance))
            late = time.monotonic() > deadline
            if not wanted or (covered and late):
                return ClosedProblem(self.over_closed(base), covered=self.bounded)
            if late:  # what has no plan yet gets one all the same
                served = {column.workload for column in self.closed_columns()}
                wanted = [name for name in wanted if open_ones[name][0].workload not in served]
            if late and not wanted:
                bound = None if self.routed else rest.value * (1 - SURELY)
                return ClosedProblem(self.over_closed(base), covered=False, unfinished=True, bound=bound)
            _close(wanted, open_ones, deadline)

    def _close_covers(self, base: FleetProblem, deadline: float) -> None:
        """Close what the cheapest covers use, and what adds least to them, until they use nothing open."""
        late = False
        while not late:
            late = time.monotonic() > deadline  # one round is made, whatever the time
            open_ones = self.open_columns()
            columns = (*self.closed_columns(), *(column for column, _, _ in open_ones.values()))
            wanted: list[str] = []
            for cover in covers_of(base.changed(columns=columns)).values():
                if any(columns[c].name in open_ones for c in cover.used()):
                    added = cover.with_one()
                    near = sorted((cost, c) for c, cost in added.items() if columns[c].name in open_ones)
                    wanted += [columns[c].name for _, c in near[: BEST_OF_EACH if late else NEAREST]]
            if not wanted:
                return
            _close(wanted, open_ones, deadline)

    def over_closed(self, base: FleetProblem) -> FleetProblem:
        """The problem over the columns closed so far."""
        exact = any(item.by_bar for item in self.workloads)
        return base.changed(columns=without_dominated(self.closed_columns()), exact_routes=exact)

    def _relaxed(self, base: FleetProblem, name: str, open_ones: Open) -> Relaxed | None:
        """The relaxation over all classes, open ones at their ceilings; None where it has no solution."""
        columns = without_dominated((*self.closed_columns(), *(column for column, _, _ in open_ones.values())))
        problem = base.changed(columns=columns)
        if any(all(column.workload != demand.workload for column in columns) for demand in base.demands):
            return None
        return relaxed(problem, name)

    def _used(self, rest: Relaxed, open_ones: Open) -> list[str]:
        """What the relaxation uses that is open, and beside it the cheapest open classes of each workload."""
        using = rest.found.used.union(*(cover.used() for cover in rest.covers.values()))
        used = [rest.columns[c].name for c in sorted(using) if rest.columns[c].name in open_ones]
        if not used:
            return []
        cheapest: dict[str, list[str]] = {}
        prices = rest.with_one
        for c in sorted(prices, key=lambda c: (prices[c], c)):
            of_workload = cheapest.setdefault(rest.columns[c].workload, [])
            if rest.columns[c].name in open_ones and len(of_workload) < BEST_OF_EACH:
                of_workload.append(rest.columns[c].name)
        return list(dict.fromkeys([*used, *(name for names in cheapest.values() for name in names)]))

    def _within(self, rest: Relaxed, open_ones: Open, best: float | None) -> list[str]:
        """The open classes that a fleet of at most `best` may use; all of them where no fleet is known."""
        if best is None:
            return list(open_ones)
        return [
            rest.columns[c].name
            for c, value in sorted(rest.with_one.items(), key=lambda item: (item[1], item[0]))
            if rest.columns[c].name in open_ones and value * (1 - SURELY) <= best + 1
        ]

    def _upper_bound(self, base: FleetProblem, name: str, options: FleetOptions, deadline: float) -> float | None:
        """What a fleet over the closed columns reaches; None: none was found."""
        seconds = max(0.5, min(options.time_limit / 4, deadline - time.monotonic()))
        rough = replace(options, time_limit=seconds, relative_gap=UPPER_BOUND_GAP, tie_breaks=False)
        outcome = solve_fleet(self.over_closed(base), rough)
        value = next((bound.value for bound in outcome.bounds if bound.name == name), None)
        return None if value is None else float(value)


def _close(names: Iterable[str], open_ones: Open, deadline: float) -> None:
    kinds: dict[ColumnSearch | BarSearch, list[Kind]] = {}
    for name in names:
        _, search, kind = open_ones[name]
        kinds.setdefault(search, []).append(kind)
    for search, mine in kinds.items():
        search.close(mine, deadline)
