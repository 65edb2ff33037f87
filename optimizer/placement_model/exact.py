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
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.patterns import Pattern, PatternSet
from vllm_opt.optimizer.placement_model.rows import costs_of, limits_of, rows_of
from vllm_opt.optimizer.placement_model.turns import evaluated
from vllm_opt.optimizer.placement_model.ways import served_model

NEARLY_WHOLE = 1e-6
BEYOND_COST = 20
"""of a GPU or a server beyond what is kept, in a search that must start somewhere"""
MOST_BEYOND = 1 << 20


@dataclass(frozen=True)
class Fewest:
    """The least of an objective over the patterns given."""

    status: Literal["found", "none", "unknown"]
    """none: no placement over these patterns keeps what must be kept"""
    bound: int = 0
    patterns: dict[str, tuple[Pattern, ...]] | None = None
    """those that it uses"""
    servers: tuple[PlacedServer, ...] | None = None
    """None where its servers do not pack into nodes this way"""


def fewest(
    problem: PlacementProblem, patterns: PatternSet, name: str, kept: dict[str, int], end: float, *,
    strict: bool = False, at_root: bool = False,
) -> Fewest:  # fmt: skip
    """Minimise one objective with every service served in full and others kept.

    Counts that are kept may be exceeded at a price, so that the search has something to start from; the bound holds all
    the same. `strict`: they may not. `at_root`: only the bound is wanted, and cuts at the root give most of it. What
    the objective is known to be at least is no row: with one, the search finds its first placements far later.
    """
    free = replace(problem, today=())
    model = served_model(free, patterns, kept["headroom"])
    aim = model.objective(name)
    for held, value in kept.items():
        if held == "headroom":
            continue
        if strict:
            model.keep(held, value)
            continue
        beyond = model.cp.new_int_var(0, MOST_BEYOND, "")
        model.cp.add(model.objective(held) - beyond <= value)
        aim += BEYOND_COST * beyond
    model.cp.minimize(aim)
    seconds = end - time.monotonic()
    return Fewest("unknown") if seconds <= 0 else _solved(model, seconds, at_root=at_root)


def _solved(model: PlacementModel, seconds: float, *, at_root: bool = False) -> Fewest:
    from ortools.linear_solver import pywraplp

    solver = pywraplp.Solver.CreateSolver("SCIP")
    variables = [solver.IntVar(low, high, "") for low, high in limits_of(model)]
    for row in rows_of(model):
        row.made(solver, variables)
    objective = solver.Objective()
    for index, cost in costs_of(model).items():
        objective.SetCoefficient(variables[index], cost)
    objective.SetMinimization()
    by_the_clock = "timing/clocktype = 2\n"  # and not by processor time
    solver.SetSolverSpecificParametersAsString(by_the_clock + ("limits/nodes = 1\n" if at_root else ""))
    solver.SetTimeLimit(math.ceil(1000 * seconds))
    status = solver.Solve()
    if status == solver.INFEASIBLE:
        return Fewest("none")
    if status not in (solver.OPTIMAL, solver.FEASIBLE):
        return Fewest("unknown")
    bound = math.ceil(objective.BestBound() + model.cp.proto.objective.offset - NEARLY_WHOLE)
    return _found(model, bound, [round(variable.solution_value()) for variable in variables])


def _found(model: PlacementModel, bound: int, values: list[int]) -> Fewest:
    if model.at.patterns.kind_of:
        return Fewest("found", bound)
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
