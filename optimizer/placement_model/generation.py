"""GPU patterns one by one, where there are too many to list: those that a linear relaxation asks for, and its bound.

The relaxation serves every service in full with the most headroom and minimises GPUs over the patterns known; a pattern
that would lower it is one whose servers are worth more, at the relaxation's prices, than the GPU that holds them. When
none is left, its optimum bounds the GPUs of every placement, whatever patterns it uses (Gilmore and Gomory's argument).
What servers are worth is read off reduced costs: of a GPU that holds nothing, and of one that holds a single server.
"""

import math
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from vllm_opt.constraints.placing.gpu_memory import MOST_ON_GPU, awake_together, fits_gpu, settled_bytes
from vllm_opt.constraints.placing.site import PlacementProblem
from vllm_opt.optimizer.placement_model.classes import node_classes
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.patterns import Pattern, PatternSet, gpu_outlines, is_useful

MOST_ROUNDS = 80
NEARLY = 0.25
"""part of its GPU's price that a pattern may be short of and still be tried in whole servers"""
MOST_NEARLY = 400
"""such patterns of one kind of bin, those worth most"""
WORTH_MORE = 1e-6
MOST_VISITED, MOST_VISITED_LAST = 20_000, 400_000
"""patterns that one search for better ones looks at, and the last one, which must see that there are none"""


@dataclass(frozen=True)
class Generated:
    """Patterns that matter, and the fewest GPUs of any placement that serves all; None where that is not known."""

    patterns: PatternSet
    fewest_gpus: int | None


def generated_patterns(problem: PlacementProblem, end: float) -> Generated:
    """Patterns for a placement that serves everything, by column generation until `end`."""
    free = replace(problem, today=())
    largest: dict[str, int] = {}
    for island in (island for node in problem.nodes for island in node.islands):
        largest[island.gpu] = max(island.gpu_bytes, largest.get(island.gpu, 0))
    shared = {
        gpu: [k for k, x in enumerate(problem.columns) if x.shared and x.gpu == gpu and fits_gpu([x], total)]
        for gpu, total in largest.items()
    }
    start = PatternSet({gpu: ((), *((k,) for k in mine)) for gpu, mine in shared.items()}, False, largest)
    model = PlacementModel(free, node_classes(free, split=False), start, tuple(range(len(problem.columns))))
    for full in model.full:
        model.cp.add(full == 1)
    model.keep("headroom", problem.most_headroom)
    model.aim("gpus")
    program = _Program(model)
    pool: dict[str, list[Pattern]] = {gpu: [(k,) for k in mine] for gpu, mine in shared.items()}
    bound: int | None = None
    for number in range(MOST_ROUNDS):
        value = program.solve()
        if value is None:
            break
        last = number == MOST_ROUNDS - 1 or time.monotonic() > end
        known = set().union(*pool.values())
        priced = program.wanted(largest, known, MOST_VISITED_LAST if last else MOST_VISITED)
        if not priced.found and not priced.complete and not last:
            priced = program.wanted(largest, known, MOST_VISITED_LAST)
        if priced.complete:
            reached = math.ceil(value / priced.excess - WORTH_MORE)
            bound = reached if bound is None else max(bound, reached)
        last |= not priced.found
        more = [*priced.found, *(program.nearly(largest) if last else ())]
        for gpu, pattern in dict.fromkeys(more):
            if pattern not in known:
                pool[gpu].append(pattern)
        if last:
            break
        for gpu, pattern in priced.found:
            program.add(gpu, pattern)
    if bound is None:
        bound = _outlined(free)
    return Generated(PatternSet({gpu: tuple(mine) for gpu, mine in pool.items()}, False, largest), bound)


def _outlined(problem: PlacementProblem) -> int | None:
    """A bound from outlines of patterns: weaker, and always there."""
    every = tuple(range(len(problem.columns)))
    model = PlacementModel(problem, node_classes(problem, split=False), gpu_outlines(problem), every)
    model.keep("headroom", problem.most_headroom)
    model.aim("gpus")
    value = _Program(model).solve()
    return None if value is None else math.ceil(value - WORTH_MORE)


@dataclass(frozen=True)
class Priced:
    """What one search for better patterns found.

    `excess`: the most that a pattern costs at the relaxation's prices, where its GPU costs 1. Prices divided by it are
    prices that no pattern exceeds, so the relaxation's value divided by it is a bound already (Farley's argument).
    """

    found: list[tuple[str, Pattern]]
    complete: bool
    excess: float


class _Program:
    """The linear relaxation of a model whose services are all served, to which patterns are added."""

    def __init__(self, model: PlacementModel) -> None:
        from ortools.linear_solver import pywraplp

        self.model = model
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        proto = model.cp.proto
        domains = [list(variable.domain) for variable in proto.variables]
        self.variables = [self.solver.NumVar(domain[0], domain[-1], "") for domain in domains]
        full = {literal.index for literal in model.full}
        self.rows: dict[int, list[tuple[Any, float]]] = defaultdict(list)
        for constraint in proto.constraints:
            if is_linear(constraint) and all(literal in full for literal in constraint.enforcement_literal):
                self._row(constraint.linear)
        objective = self.solver.Objective()
        for index, coefficient in zip(proto.objective.vars, proto.objective.coeffs, strict=True):
            variable = self.variables[index]
            objective.SetCoefficient(variable, objective.GetCoefficient(variable) + coefficient)
        objective.SetMinimization()
        self.offset = proto.objective.offset
        self.of: dict[tuple[Pattern, int], Any] = {
            key: self.variables[variable.index] for key, variable in model.at.pattern.items()
        }
        self.index = {key: variable.index for key, variable in model.at.pattern.items()}

    def _row(self, linear: Any) -> None:
        infinity = self.solver.infinity()
        low, *_, high = list(linear.domain)
        summed: dict[int, float] = defaultdict(float)
        for index, coefficient in zip(linear.vars, linear.coeffs, strict=True):
            summed[index] += coefficient
        scale = max((abs(coefficient) for coefficient in summed.values()), default=1.0) or 1.0
        row = self.solver.Constraint(
            -infinity if low < -(2**61) else low / scale, infinity if high > 2**61 else high / scale
        )
        for index, coefficient in summed.items():
            row.SetCoefficient(self.variables[index], coefficient / scale)
            self.rows[index].append((row, coefficient / scale))

    def solve(self) -> float | None:
        """The optimum; None where there is none."""
        if self.solver.Solve() != self.solver.OPTIMAL:
            return None
        return float(self.solver.Objective().Value() + self.offset)

    def wanted(self, largest: dict[str, int], known: set[Pattern], most: int) -> "Priced":
        """For every kind of bin the patterns that are worth more than their GPU."""
        found: dict[tuple[str, Pattern], None] = {}
        complete, excess = True, 1.0
        for b, each in enumerate(self.model.at.bins):
            if ((), b) not in self.of:
                continue
            price, worth = self._prices(b)
            search = _Best(self.model.problem, worth, largest[each.gpu], most)
            for pattern, value in search.found(price):
                excess = max(excess, 1 - price + value)
                if value > price + WORTH_MORE and pattern not in known:
                    found[each.gpu, pattern] = None
            complete &= search.complete
        return Priced(list(found), complete, excess)

    def nearly(self, largest: dict[str, int]) -> list[tuple[str, Pattern]]:
        """Patterns that are worth nearly their GPU: whole servers may need them where parts of servers do not."""
        found: dict[tuple[str, Pattern], None] = {}
        for b, each in enumerate(self.model.at.bins):
            if ((), b) in self.of:
                price, worth = self._prices(b)
                every = _Every(self.model.problem, worth, largest[each.gpu], price)
                found |= {(each.gpu, pattern): None for pattern in every.found()}
        return list(found)

    def _prices(self, b: int) -> tuple[float, dict[int, float]]:
        """What a GPU of a bin costs at the relaxation's prices, and what each server alone on one is worth."""
        price = self.of[(), b].reduced_cost()
        worth = {
            pattern[0]: price - variable.reduced_cost()
            for (pattern, of), variable in self.of.items()
            if of == b and len(pattern) == 1
        }
        return price, {k: value for k, value in worth.items() if value > WORTH_MORE}

    def add(self, gpu: str, pattern: Pattern) -> None:
        """Add a pattern to every bin of its SKU: its rows are those of its servers alone, with one GPU, not many."""
        objective = self.solver.Objective()
        for b, each in enumerate(self.model.at.bins):
            if each.gpu != gpu or any(((k,), b) not in self.of for k in pattern):
                continue
            rows: dict[Any, float] = defaultdict(float)
            cost = 0.0
            for single, times in (*(((k,), 1) for k in pattern), ((), 1 - len(pattern))):
                for row, coefficient in self.rows[self.index[single, b]]:
                    rows[row] += times * coefficient
                cost += times * objective.GetCoefficient(self.of[single, b])
            variable = self.solver.NumVar(0, each.gpus, "")
            for row, coefficient in rows.items():
                if coefficient:
                    row.SetCoefficient(variable, coefficient)
            objective.SetCoefficient(variable, cost)
            self.of[pattern, b] = variable


def is_linear(constraint: Any) -> bool:
    """Whether a constraint is linear; releases of the library ask in two ways."""
    asked = constraint.HasField("linear") if hasattr(constraint, "HasField") else constraint.has_linear()
    return bool(asked)


class _Best:
    """The patterns that are worth more than their GPU, by depth-first search with a bound; of each start the best."""

    def __init__(self, problem: PlacementProblem, worth: dict[int, float], total: int, most: int) -> None:
        self.problem, self.worth, self.total, self.most = problem, worth, total, most
        self.order = sorted(worth, key=lambda k: (-worth[k], k))
        self.visited = 0
        self.best: dict[tuple[int, int], tuple[float, Pattern]] = {}

    @property
    def complete(self) -> bool:
        """Whether everything was looked at that could be better."""
        return self.visited < self.most

    def found(self, price: float) -> list[tuple[Pattern, float]]:
        """For each number of turns and each most valuable server the best pattern worth more than `price`."""
        self._search(price)
        return [(tuple(sorted(pattern)), value) for value, pattern in self.best.values()]

    def _densest(self, able: list[int]) -> list[float]:
        """From each position on, the most that a byte is worth."""
        held = [max(1, settled_bytes(self.problem.columns[k])) for k in able]
        best = 0.0
        found = []
        for k, size in zip(reversed(able), reversed(held), strict=True):
            best = max(best, self.worth[k] / size)
            found.append(best)
        return found[::-1]

    def _search(self, price: float) -> None:
        """Try every start."""
        for turns in sorted({self.problem.columns[k].most_on_gpu for k in self.order}):
            able = [k for k in self.order if self.problem.columns[k].most_on_gpu >= turns]
            self.densest = self._densest(able)
            for at in range(len(able)):
                free = self.total - settled_bytes(self.problem.columns[able[at]])
                self._grow(able, turns, at, (able[at],), self.worth[able[at]], free, price)

    def _grow(
        self, able: list[int], turns: int, start: int, pattern: Pattern, value: float, free: int, price: float
    ) -> None:
        floor = self._seen(turns, pattern, value, price)
        slots = MOST_ON_GPU - len(pattern)
        for at in range(start, len(able)):
            most = min(slots * self.worth[able[at]], free * self.densest[at])
            if slots <= 0 or value + most <= floor + WORTH_MORE or not self.complete:
                return
            left = free - settled_bytes(self.problem.columns[able[at]])
            self.visited += 1
            larger = (*pattern, able[at])
            if left < 0 or not is_useful(self.problem, larger):
                continue
            columns = [self.problem.columns[k] for k in larger]
            if awake_together(columns) <= turns and fits_gpu(columns, self.total):
                self._grow(able, turns, at, larger, value + self.worth[able[at]], left, price)
                floor = self._seen(turns, pattern, value, price)

    def _seen(self, turns: int, pattern: Pattern, value: float, price: float) -> float:
        """Remember a pattern that is better, and say what others must exceed."""
        key = (turns, pattern[0])
        floor = max(price, self.best.get(key, (price, ()))[0])
        if len(pattern) > 1 and value > floor + WORTH_MORE:
            self.best[key] = (value, pattern)
            return value
        return floor


class _Every(_Best):
    """The patterns that are worth nearly their GPU, most valuable first."""

    def __init__(self, problem: PlacementProblem, worth: dict[int, float], total: int, price: float) -> None:
        super().__init__(problem, worth, total, MOST_VISITED)
        self.floor = price * (1 - NEARLY)
        self.all: dict[Pattern, float] = {}

    def found(self, price: float = 0.0) -> list[Pattern]:  # type: ignore[override]
        """At most so many patterns."""
        self._search(price)
        return sorted(self.all, key=lambda pattern: (-self.all[pattern], pattern))[:MOST_NEARLY]

    def _seen(self, turns: int, pattern: Pattern, value: float, price: float) -> float:  # noqa: ARG002
        if len(pattern) > 1 and value > self.floor:
            self.all[tuple(sorted(pattern))] = value
        return self.floor
