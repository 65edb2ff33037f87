"""One objective in whole servers over given patterns: an integer program for a MIP solver.

CP-SAT is slow where there are thousands of patterns and a count of GPUs is all that matters. Nodes are counted as
classes and servers of today are left out: both only loosen what the program says.
"""

import math
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Literal

from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem
from vllm_opt.optimizer.placement_model.deal import CannotDeal, deal
from vllm_opt.optimizer.placement_model.master import rows_of
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.patterns import Pattern, PatternSet
from vllm_opt.optimizer.placement_model.turns import evaluated
from vllm_opt.optimizer.placement_model.ways import served_model

NEARLY_WHOLE = 1e-6


@dataclass(frozen=True)
class Fewest:
    """The least of an objective over the patterns given."""

    status: Literal["found", "unknown"]
    bound: int = 0
    patterns: dict[str, tuple[Pattern, ...]] | None = None
    """those that it uses"""
    servers: tuple[PlacedServer, ...] | None = None
    """None where its servers do not pack into nodes this way"""


def fewest(
    problem: PlacementProblem, patterns: PatternSet, name: str, kept: dict[str, int], end: float, *,
    in_ways: bool = True,
) -> Fewest:  # fmt: skip
    """Minimise one objective with every service served in full and others kept.

    Ways of serving bring whole servers about sooner where patterns are few; where they are many, the solver sees by
    itself which of them others replace, as long as no ways stand between.
    """
    free = replace(problem, today=())
    model = served_model(free, patterns, kept["headroom"], in_ways=in_ways)
    for held, value in kept.items():
        if held != "headroom":
            model.keep(held, value)
    model.aim(name)
    seconds = end - time.monotonic()
    return Fewest("unknown") if seconds <= 0 else _solved(model, seconds)


def _solved(model: PlacementModel, seconds: float) -> Fewest:
    from ortools.linear_solver import pywraplp

    solver, proto = pywraplp.Solver.CreateSolver("SCIP"), model.cp.proto
    full = {literal.index for literal in model.full}
    variables = []
    for number, variable in enumerate(proto.variables):
        low, *_, high = list(variable.domain)
        variables.append(solver.IntVar(1 if number in full else low, high, ""))
    infinity = solver.infinity()
    for row in rows_of(model):
        low_, high_ = (None if side is None else side / row.scale for side in (row.low, row.high))
        made = solver.Constraint(-infinity if low_ is None else low_, infinity if high_ is None else high_)
        for index, coefficient in row.terms.items():
            made.SetCoefficient(variables[index], coefficient / row.scale)
    objective = solver.Objective()
    costs: dict[int, int] = defaultdict(int)
    for index, coefficient in zip(list(proto.objective.vars), list(proto.objective.coeffs), strict=True):
        costs[index] += coefficient
    for index, coefficient in costs.items():
        objective.SetCoefficient(variables[index], coefficient)
    objective.SetMinimization()
    solver.SetSolverSpecificParametersAsString("timing/clocktype = 2\n")  # by the clock, not by processor time
    solver.SetTimeLimit(math.ceil(1000 * seconds))
    status = solver.Solve()
    if status not in (solver.OPTIMAL, solver.FEASIBLE):
        return Fewest("unknown")
    bound = math.ceil(objective.BestBound() + proto.objective.offset - NEARLY_WHOLE)
    return _found(model, bound, [round(variable.solution_value()) for variable in variables])


def _found(model: PlacementModel, bound: int, values: list[int]) -> Fewest:
    used: dict[str, set[Pattern]] = defaultdict(set)
    for (pattern, b), variable in model.at.pattern.items():
        if values[variable.index]:
            used[model.at.bins[b].gpu].add(pattern)
    patterns = {gpu: tuple(sorted(mine)) for gpu, mine in used.items()}
    try:
        servers = deal(model.at, lambda variable: evaluated(variable, values))
    except CannotDeal:
        return Fewest("found", bound, patterns)
    return Fewest("found", bound, patterns, servers)
