"""Long length histograms: the same fleet as a mixed-integer program with continuous routes, solved by HiGHS.

With hundreds of buckets the routes are many and continuous, which is what linear-programming branch and bound is made
for and CP-SAT is not: 400 buckets x 50 columns take HiGHS seconds, where routing cuts alone need minutes. What comes
back is used as advice: the replicas are solved and checked again in whole numbers, and the bound is lowered by its
tolerance before it counts. OR-Tools brings HiGHS along; without it the routing cuts do the work.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_opt.optimizer.fleet.model import FleetModel
from vllm_opt.optimizer.fleet.neighbourhood import UNBOUNDED
from vllm_opt.optimizer.fleet.routing import Routing

BOUND_TOLERANCE = 1e-6
"""relative error that the floating-point bound may have"""


@dataclass(frozen=True)
class Advice:
    """Replicas of every routed column, and a lower bound on the objective."""

    replicas: Mapping[int, int]
    bound: float


def advise(model: FleetModel, routings: Mapping[str, Routing], seconds: float, gap: float) -> Advice | None:
    """Solve a model that has its minimised objective, with routes; None when there is no solver or no solution.

    Rules that hold only under a condition are left out, so the bound stays a bound and the replicas stay advice.
    """
    try:
        from ortools.math_opt.python import mathopt
    except ImportError:
        return None
    program = mathopt.Model()
    variables = _linear_rows(program, model)
    for routing in routings.values():
        _routes(program, model, routing, variables)
    limits = mathopt.SolveParameters(
        time_limit=datetime.timedelta(seconds=max(0.5, seconds)), relative_gap_tolerance=gap
    )  # fmt: skip
    try:
        result = mathopt.solve(program, mathopt.SolverType.HIGHS, params=limits)
    except (ValueError, RuntimeError, AttributeError):  # this build has no HiGHS
        return None
    bound = result.termination.objective_bounds.dual_bound
    if not result.has_primal_feasible_solution():
        return None
    values = result.variable_values()
    replicas = {
        c: round(sum(values[variables[var.index]] for var in model.of_column[c]))
        for routing in routings.values()
        for c in routing.columns
    }
    return Advice({c: count for c, count in replicas.items() if count}, bound - abs(bound) * BOUND_TOLERANCE)


def _linear_rows(program: Any, model: FleetModel) -> list[Any]:
    """Copy every unconditional linear row and the objective; rows are scaled to coefficients of at most 1."""
    proto = model.cp.proto
    variables = []
    for variable in proto.variables:
        domain = list(variable.domain)
        variables.append(program.add_integer_variable(lb=float(domain[0]), ub=float(domain[-1])))
    for constraint in proto.constraints:
        linear = constraint.linear
        if list(constraint.enforcement_literal) or not list(linear.vars):
            continue
        domain, scale = list(linear.domain), max(abs(c) for c in linear.coeffs) or 1
        row = program.add_linear_constraint(
            lb=domain[0] / scale if domain[0] > -UNBOUNDED else -float("inf"),
            ub=domain[-1] / scale if domain[-1] < UNBOUNDED else float("inf"),
        )
        sums: dict[int, float] = {}
        for index, coefficient in zip(linear.vars, linear.coeffs, strict=True):
            sums[index] = sums.get(index, 0.0) + coefficient / scale
        for index, coefficient in sums.items():
            row.set_coefficient(variables[index], coefficient)
    for index, coefficient in zip(proto.objective.vars, proto.objective.coeffs, strict=True):
        program.objective.set_linear_coefficient(variables[index], float(coefficient))
    program.objective.is_maximize = False
    return variables


def _routes(program: Any, model: FleetModel, routing: Routing, variables: list[Any]) -> None:
    """Split every bucket over the columns that can serve it, within their working replicas."""
    loads = {}
    for c in routing.columns:
        row = loads[c] = program.add_linear_constraint(ub=0.0)
        for var in model.of_column[c]:
            row.set_coefficient(variables[var.index], -1.0)
        if c in model.idle:
            used, spares = model.idle[c]
            row.set_coefficient(variables[used.index], float(spares))
    for bucket, units in enumerate(routing.units):
        whole = program.add_linear_constraint(lb=1.0, ub=1.0)
        for c, column in routing.columns.items():
            if column.capacity[bucket]:
                share = program.add_variable(lb=0.0, ub=1.0)
                whole.set_coefficient(share, 1.0)
                loads[c].set_coefficient(share, units / column.capacity[bucket])
