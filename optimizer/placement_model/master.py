"""The linear relaxation of a model whose services are all served: its rows in whole numbers, its prices, its bound.

Every service is served by a mixture of its whole ways. What a bound says must not hang on the last digits of a
floating-point solver: the prices that it returns are rounded to whole multiples of 2^-60, and whatever they are, weak
duality makes a bound of them. It is what the rows ask for at these prices, and for every variable the least that it can
add within its own limits, for every service its cheapest way, for every GPU its cheapest pattern; in whole numbers.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from vllm_opt.optimizer.placement_model.covering import Counts
from vllm_opt.optimizer.placement_model.listing import Kind, Listing, Whole
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.patterns import Pattern
from vllm_opt.optimizer.placement_model.rows import costs_of, limits_of, rows_of, summed
from vllm_opt.optimizer.placement_model.ways import Ways

PRICE_BITS, KEPT_BITS = 60, 40
"""of prices, and of what patterns and ways cost at them, which is rounded down"""
SHIFT = PRICE_BITS - KEPT_BITS
NOT_HERE = 1 << 50
"""what a server costs where it may not stand; four of them are still a whole number of 64 bits"""
ELASTIC_COST = 1000.0
"""of going beyond a row that limits from above, where patterns that fit are not known yet; bounds never count on it"""
WORTH_MORE = 1 << KEPT_BITS - 20
KEEP_BASIS = "use_preprocessing: false"
"""a program that has grown by some columns starts from its last optimum, which a simplified one could not"""
WAYS_AT_ONCE = 3
"""ways of one service that one round adds"""


Duals = dict[int, int]


@dataclass(frozen=True, eq=False)
class Prices:
    """What a GPU of each bin and each server on it cost beyond what they are worth, in 2^-40 of the objective."""

    bound: int
    """of every placement that serves all, but for what patterns cost less than nothing; 2^-60"""
    empty: dict[int, int]
    """bin -> a GPU that holds nothing"""
    beside: dict[int, Whole]
    """bin -> by position in the listing of its kind, what one more server adds"""
    replicas: dict[int, tuple[int, ...]]
    """service -> what one more replica of each of its columns costs in a way"""
    ways: dict[int, tuple[int, tuple[Counts, ...]]]
    """service -> what each of its ways costs at least, and the cheapest ways"""


class Master:
    """The program over the patterns and ways known so far, to which more are added."""

    def __init__(
        self, model: PlacementModel, listings: dict[Kind, Listing], ways: dict[int, Ways], *, elastic: bool = False
    ) -> None:
        from ortools.linear_solver import pywraplp

        self.model, self.listings, self.ways = model, listings, ways
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        self.solver.SetSolverSpecificParametersAsString(KEEP_BASIS)
        self.limits, self.rows, self.costs = limits_of(model), rows_of(model), costs_of(model)
        self.variables = [self.solver.NumVar(low, high, "") for low, high in self.limits]
        self.made = [row.made(self.solver, self.variables) for row in self.rows]
        self.rows_with: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, row in enumerate(self.rows):
            for index, coefficient in row.terms.items():
                self.rows_with[index].append((number, coefficient))
        self.offset = round(model.cp.proto.objective.offset)
        objective = self.solver.Objective()
        for index, coefficient in self.costs.items():
            objective.SetCoefficient(self.variables[index], coefficient)
        objective.SetMinimization()
        for row, made in zip(self.rows, self.made, strict=True) if elastic else ():
            if row.high is not None and row.low is None:
                beyond = self.solver.NumVar(0, self.solver.infinity(), "")
                made.SetCoefficient(beyond, -1.0)
                objective.SetCoefficient(beyond, ELASTIC_COST)
        self.index = {key: variable.index for key, variable in model.at.pattern.items()}
        self.known: set[tuple[Pattern, int]] = set(self.index)
        self._serve_in_ways()

    def _serve_in_ways(self) -> None:
        """One way of every service, and as many replicas of each column as the mixture of its ways has."""
        from ortools.sat.python import cp_model

        self.one: dict[int, Any] = {}
        self.enough: dict[int, tuple[Any, dict[int, int]]] = {}
        self.tried: dict[int, dict[Counts, None]] = defaultdict(dict)
        for s, ways in self.ways.items():
            self.one[s] = self.solver.Constraint(1, 1)
            for k in ways.columns:
                flat = cp_model.FlatIntExpr(self.model.at.total[k])
                terms = summed([variable.index for variable in flat.vars], flat.coeffs)
                made = self.solver.Constraint(0, self.solver.infinity())
                for index, coefficient in terms.items():
                    made.SetCoefficient(self.variables[index], coefficient)
                    self.rows_with[index].append((-1 - k, coefficient))
                self.enough[k] = made, terms
            for way in ways.cheapest([1] * len(ways.columns), WAYS_AT_ONCE)[1]:
                self.add_way(s, way)

    def add_way(self, s: int, way: Counts) -> bool:
        """Add a way; whether it is new."""
        if way in self.tried[s]:
            return False
        self.tried[s][way] = None
        part = self.solver.NumVar(0, 1, "")
        self.one[s].SetCoefficient(part, 1)
        for k, count in zip(self.ways[s].columns, way, strict=True):
            if count:
                self.enough[k][0].SetCoefficient(part, -count)
        return True

    def add_ways(self, prices: Prices) -> bool:
        """Add ways that are cheaper than those of the mixture; whether there were any."""
        added = False
        for s, (_, cheapest) in prices.ways.items():
            known = min(_cost(way, prices.replicas[s]) for way in self.tried[s])
            for way in cheapest:
                if _cost(way, prices.replicas[s]) < known - WORTH_MORE:
                    added |= self.add_way(s, way)
        return added

    def solve(self) -> bool:
        """Whether there is an optimum."""
        return bool(self.solver.Solve() == self.solver.OPTIMAL)

    def value(self) -> float:
        """The optimum over the patterns and ways known, right after it was found."""
        return float(self.solver.Objective().Value()) + self.offset

    def duals(self) -> Duals:
        """The optimum's prices of rows, and of replicas beyond the mixture of ways below 0, in 2^-60."""
        duals: Duals = {}
        for number, (row, made) in enumerate(zip(self.rows, self.made, strict=True)):
            duals[number] = round(made.dual_value() / row.scale * 2.0**PRICE_BITS)
        for k, (made, _) in self.enough.items():
            duals[-1 - k] = round(made.dual_value() * 2.0**PRICE_BITS)
        return duals

    def prices(self, asked: Duals) -> Prices:
        """What patterns and ways cost at some prices of rows, and the bound over those of the program."""
        duals: Duals = {}
        bound = self.offset << PRICE_BITS
        for number, row in enumerate(self.rows):
            price = asked[number]
            side = row.low if price > 0 else row.high
            duals[number] = 0 if side is None else price
            bound += price * side if side is not None else 0
        for k in self.enough:
            duals[-1 - k] = max(0, asked[-1 - k])

        def reduced(index: int) -> int:
            cost = self.costs.get(index, 0) << PRICE_BITS
            return cost - sum(duals[number] * coefficient for number, coefficient in self.rows_with[index])

        shared = set(self.index.values()) if self.listings else set()
        for index, (low, high) in enumerate(self.limits):
            if index not in shared:
                rest = reduced(index)
                bound += rest * (low if rest > 0 else high)
        replicas = {s: tuple(duals[-1 - k] >> SHIFT for k in of.columns) for s, of in self.ways.items()}
        ways = {s: of.cheapest(replicas[s], WAYS_AT_ONCE) for s, of in self.ways.items()}
        bound += sum(least for least, _ in ways.values()) << SHIFT
        empty, beside = {}, {}
        for b, bin_ in enumerate(self.model.at.bins if self.listings else ()):
            nothing = reduced(self.index[(), b])
            empty[b] = nothing >> SHIFT
            columns = self.listings[bin_.gpu, bin_.gpu_bytes].columns
            beside[b] = np.array(
                [
                    (reduced(self.index[(k,), b]) - nothing) >> SHIFT if ((k,), b) in self.index else NOT_HERE
                    for k in columns
                ],
                dtype=np.int64,
            )
        return Prices(bound, empty, beside, replicas, ways)

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
            if coefficient and number >= 0:
                self.made[number].SetCoefficient(variable, coefficient / self.rows[number].scale)
            elif coefficient:
                self.enough[-1 - number][0].SetCoefficient(variable, coefficient)
        self.solver.Objective().SetCoefficient(variable, cost)


def _cost(way: Counts, replicas: tuple[int, ...]) -> int:
    return sum(count * price for count, price in zip(way, replicas, strict=True))
