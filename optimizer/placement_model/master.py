"""The linear relaxation of a model whose services are all served: its rows in whole numbers, its prices, its bound.

What a bound says must not hang on the last digits of a floating-point solver. The prices that it returns are rounded to
whole multiples of 2^-60, and whatever they are, weak duality makes a bound of them: what the rows ask for, at these
prices, and for every variable the least that it can add within its own limits. That sum is in whole numbers.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from vllm_opt.optimizer.placement_model.listing import Kind, Listing, Whole
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.patterns import Pattern

PRICE_BITS, KEPT_BITS = 60, 40
"""of prices, and of what patterns cost at them, which is rounded down"""
NO_LIMIT = 2**61
NOT_HERE = 1 << 50
"""what a server costs where it may not stand; four of them are still a whole number of 64 bits"""


@dataclass(frozen=True)
class Row:
    """low <= sum of coefficients x variables <= high."""

    low: int | None
    high: int | None
    terms: dict[int, int]

    @property
    def scale(self) -> int:
        """The largest coefficient, by which the solver's row is divided."""
        return max(abs(coefficient) for coefficient in self.terms.values())


@dataclass(frozen=True, eq=False)
class Prices:
    """What a GPU of each bin and each server on it cost beyond what they are worth, in 2^-40 of the objective."""

    bound: int
    """of every placement that serves all, but for what patterns cost less than nothing, in 2^-60"""
    empty: dict[int, int]
    """bin -> a GPU that holds nothing"""
    beside: dict[int, Whole]
    """bin -> by position in the listing of its SKU, what one more server adds; huge where it may not stand"""


def is_linear(constraint: Any) -> bool:
    """Whether a constraint is linear; releases of the library ask in two ways."""
    asked = constraint.HasField("linear") if hasattr(constraint, "HasField") else constraint.has_linear()
    return bool(asked)


def rows_of(model: PlacementModel) -> list[Row]:
    """The linear rows that hold where every service is served in full."""
    full = {literal.index for literal in model.full}
    rows = []
    for constraint in model.cp.proto.constraints:
        if not is_linear(constraint) or not all(literal in full for literal in constraint.enforcement_literal):
            continue
        linear = constraint.linear
        low, *_, high = list(linear.domain)
        terms: dict[int, int] = defaultdict(int)
        for index, coefficient in zip(list(linear.vars), list(linear.coeffs), strict=True):
            terms[index] += coefficient
        terms = {index: coefficient for index, coefficient in terms.items() if coefficient}
        if terms:
            rows.append(Row(None if low < -NO_LIMIT else low, None if high > NO_LIMIT else high, terms))
    return rows


ELASTIC_COST = 1000.0
"""of going beyond a row that limits from above, where patterns that fit are not known yet; bounds never count on it"""


class Master:
    """The program over the patterns known so far, to which more are added."""

    def __init__(self, model: PlacementModel, listings: dict[Kind, Listing], *, elastic: bool = False) -> None:
        from ortools.linear_solver import pywraplp

        self.model, self.listings = model, listings
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        proto = model.cp.proto
        full = {literal.index for literal in model.full}
        self.limits: list[tuple[int, int]] = []
        for number, variable in enumerate(proto.variables):
            low, *_, high = list(variable.domain)
            self.limits.append((1 if number in full else low, high))
        self.variables = [self.solver.NumVar(low, high, "") for low, high in self.limits]
        self.rows = rows_of(model)
        self.constraints = [self._constraint(row) for row in self.rows]
        self.rows_with: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, row in enumerate(self.rows):
            for index, coefficient in row.terms.items():
                self.rows_with[index].append((number, coefficient))
        self.costs: dict[int, int] = defaultdict(int)
        for index, coefficient in zip(list(proto.objective.vars), list(proto.objective.coeffs), strict=True):
            self.costs[index] += coefficient
        self.offset = round(proto.objective.offset)
        objective = self.solver.Objective()
        for index, coefficient in self.costs.items():
            objective.SetCoefficient(self.variables[index], coefficient)
        objective.SetMinimization()
        for row, made in zip(self.rows, self.constraints, strict=True) if elastic else ():
            if row.high is not None and row.low is None:
                beyond = self.solver.NumVar(0, self.solver.infinity(), "")
                made.SetCoefficient(beyond, -1.0)
                objective.SetCoefficient(beyond, ELASTIC_COST)
        self.index = {key: variable.index for key, variable in model.at.pattern.items()}
        self.known: set[tuple[Pattern, int]] = set(self.index)

    def _constraint(self, row: Row) -> Any:
        infinity, scale = self.solver.infinity(), row.scale
        low = -infinity if row.low is None else row.low / scale
        made = self.solver.Constraint(low, infinity if row.high is None else row.high / scale)
        for index, coefficient in row.terms.items():
            made.SetCoefficient(self.variables[index], coefficient / scale)
        return made

    def solve(self) -> bool:
        """Whether there is an optimum."""
        return bool(self.solver.Solve() == self.solver.OPTIMAL)

    def value(self) -> float:
        """The optimum over the patterns known, as the solver has it."""
        return float(self.solver.Objective().Value()) + self.offset

    def prices(self) -> Prices:
        """What patterns cost at the optimum's prices, and the bound over those of the program."""
        duals = []
        for row, made in zip(self.rows, self.constraints, strict=True):
            price = round(made.dual_value() / row.scale * 2.0**PRICE_BITS)
            side = row.low if price > 0 else row.high
            duals.append(0 if side is None else price)
        bound = self.offset << PRICE_BITS
        for row, price in zip(self.rows, duals, strict=True):
            side = row.low if price > 0 else row.high
            bound += price * (side or 0)

        def reduced(index: int) -> int:
            cost = self.costs.get(index, 0) << PRICE_BITS
            return cost - sum(duals[number] * coefficient for number, coefficient in self.rows_with[index])

        shared = set(self.index.values()) if self.listings else set()
        for index, (low, high) in enumerate(self.limits):
            if index not in shared:
                rest = reduced(index)
                bound += rest * (low if rest > 0 else high)
        empty: dict[int, int] = {}
        beside: dict[int, Whole] = {}
        shift = PRICE_BITS - KEPT_BITS
        for b, each in enumerate(self.model.at.bins):
            if not self.listings:
                break
            nothing = reduced(self.index[(), b])
            empty[b] = nothing >> shift
            beside[b] = np.array(
                [
                    (reduced(self.index[(k,), b]) - nothing) >> shift if ((k,), b) in self.index else NOT_HERE
                    for k in self.listings[each.gpu, each.gpu_bytes].columns
                ],
                dtype=np.int64,
            )
        return Prices(bound, empty, beside)

    def add(self, pattern: Pattern, b: int) -> None:
        """Add a pattern to a bin: its rows are those of its servers alone, with one GPU, not many."""
        if (pattern, b) in self.known:
            return
        self.known.add((pattern, b))
        terms: dict[int, int] = defaultdict(int)
        cost = 0
        for single, times in (*(((k,), 1) for k in pattern), ((), 1 - len(pattern))):
            index = self.index[single, b]
            for number, coefficient in self.rows_with[index]:
                terms[number] += times * coefficient
            cost += times * self.costs.get(index, 0)
        variable = self.solver.NumVar(0, self.model.at.bins[b].gpus, "")
        for number, coefficient in terms.items():
            if coefficient:
                self.constraints[number].SetCoefficient(variable, coefficient / self.rows[number].scale)
        self.solver.Objective().SetCoefficient(variable, cost)
