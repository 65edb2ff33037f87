"""The fewest GPUs, and with them the fewest servers, over every pattern: an integer program for a MIP solver.

A placement that serves everything with the most headroom needs at least so many. CP-SAT proves it slowly where there
are thousands of patterns, and a linear relaxation falls a little short of it. Nodes are counted as classes and servers
of today are left out: both only loosen it.
"""

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_opt.constraints.placing.site import PlacementProblem
from vllm_opt.optimizer.placement_model.classes import node_classes
from vllm_opt.optimizer.placement_model.generation import is_linear
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.patterns import Pattern, gpu_patterns

MOST_LISTED = 20_000
NEARLY_WHOLE = 1e-6


@dataclass(frozen=True)
class Fewest:
    """Bounds by objective, and the patterns that reach them."""

    bounds: dict[str, int] = field(default_factory=dict)
    patterns: dict[str, tuple[Pattern, ...]] = field(default_factory=dict)


def fewest(problem: PlacementProblem, end: float) -> Fewest:
    """The fewest GPUs, then servers where no other objective stands between; nothing where time or patterns forbid."""
    patterns = gpu_patterns(problem, most=MOST_LISTED)
    if not patterns.complete or time.monotonic() > end:
        return Fewest()
    free = replace(problem, today=())
    model = PlacementModel(free, node_classes(free, split=False), patterns, tuple(range(len(problem.columns))))
    model.keep("headroom", problem.most_headroom)
    bounds: dict[str, int] = {}
    used: dict[str, set[Pattern]] = defaultdict(set)
    for name in ("gpus", "servers"):
        if name == "servers" and (problem.today or "watts" in problem.objectives):
            break
        model.aim(name)
        found = _minimum(model, end - time.monotonic())
        if found is None:
            break
        value, bound, values = found
        bounds[name] = bound
        for (pattern, b), variable in model.at.pattern.items():
            if values[variable.index] > NEARLY_WHOLE:
                used[model.at.bins[b].gpu].add(pattern)
        if value != bound:
            break
        model.keep(name, value)
    return Fewest(bounds, {gpu: tuple(sorted(mine)) for gpu, mine in used.items()})


def _minimum(model: PlacementModel, seconds: float) -> tuple[int, int, list[float]] | None:
    """Value, bound and variables of the least of the model's objective, with every service served in full."""
    from ortools.linear_solver import pywraplp

    if seconds <= 0:
        return None
    solver, proto = pywraplp.Solver.CreateSolver("SCIP"), model.cp.proto
    full = {literal.index for literal in model.full}
    variables = []
    for number, variable in enumerate(proto.variables):
        low, *_, high = list(variable.domain)
        variables.append(solver.IntVar(1 if number in full else low, high, ""))
    for constraint in proto.constraints:
        if is_linear(constraint) and all(literal in full for literal in constraint.enforcement_literal):
            _row(solver, variables, constraint.linear)
    objective = solver.Objective()
    for index, coefficient in zip(proto.objective.vars, proto.objective.coeffs, strict=True):
        objective.SetCoefficient(variables[index], objective.GetCoefficient(variables[index]) + coefficient)
    objective.SetMinimization()
    solver.SetTimeLimit(math.ceil(1000 * seconds))
    if solver.Solve() not in (solver.OPTIMAL, solver.FEASIBLE):
        return None
    offset = proto.objective.offset
    bound = math.ceil(objective.BestBound() + offset - NEARLY_WHOLE)
    return round(objective.Value() + offset), bound, [variable.solution_value() for variable in variables]


def _row(solver: Any, variables: list[Any], linear: Any) -> None:
    """One linear row, scaled to coefficients of at most 1."""
    infinity = solver.infinity()
    low, *_, high = list(linear.domain)
    summed: dict[int, float] = defaultdict(float)
    for index, coefficient in zip(linear.vars, linear.coeffs, strict=True):
        summed[index] += coefficient
    scale = max((abs(coefficient) for coefficient in summed.values()), default=1.0) or 1.0
    row = solver.Constraint(-infinity if low < -(2**61) else low / scale, infinity if high > 2**61 else high / scale)
    for index, coefficient in summed.items():
        row.SetCoefficient(variables[index], coefficient / scale)
