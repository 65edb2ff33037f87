"""Solve one objective after another, each fixed at its proven optimum before the next."""

import math
import time
from dataclasses import dataclass

from ortools.sat.python import cp_model

from vllm_opt.constraints.judging.decision_space import DecisionSpace, Mode
from vllm_opt.optimizer.cpsat.hints import KnownPoint, start_from
from vllm_opt.optimizer.cpsat.model import build_model
from vllm_opt.optimizer.cpsat.objectives import objective_expression, tie_breaker
from vllm_opt.optimizer.space.setting import SolveSetting

LEAST_SECONDS = 0.05
"""What each objective gets at least, so that a spent time limit does not hide a proof that is at hand."""


@dataclass(frozen=True)
class ProvenPoint:
    """What CP-SAT decided. `objectives`: (name, integer value, proven integer bound), as minimised."""

    mode_index: int
    max_num_seqs: int
    gpu_memory_utilization: float
    objectives: tuple[tuple[str, int, int], ...]
    optimal: bool


def configured_solver(setting: SolveSetting, seconds: float) -> cp_model.CpSolver:
    """A solver without presolve: these models are small, and presolve is wrong on some of them.

    With coefficients of bytes, the presolve of ortools 9.15 calls feasible models infeasible and cuts optima off
    (docs/solver-speed.md); the search alone is also no slower.
    """
    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.max_time_in_seconds = seconds
    parameters.num_workers = setting.request.workers
    parameters.random_seed = setting.request.seed % (2**31)
    parameters.cp_model_presolve = False
    return solver


def solve_lexicographically(
    modes: list[Mode],
    setting: SolveSetting,
    utilizations: tuple[float, ...],
    known: KnownPoint,
    *,
    time_limit: float,
) -> ProvenPoint:
    """Return the best point and its proof.

    `known` is a feasible point to start from; it is the answer when the time limit comes before any other, with the
    bounds that each objective has on its own.
    """
    deadline = time.monotonic() + time_limit
    limit = max(setting.model.max_model_len, setting.targets.target_context)
    space = build_model(modes, setting.targets, utilizations, limit)
    default = setting.engine.gpu_memory_utilization
    point = known.mode_index, known.max_num_seqs, known.gpu_memory_utilization
    proven: list[tuple[str, int, int]] = []
    names = setting.request.objective
    for name in (*names, None):
        start_from(space, *point)
        expression = tie_breaker(space, default) if name is None else objective_expression(space, name)
        space.model.minimize(expression)
        solver = configured_solver(setting, max(LEAST_SECONDS, deadline - time.monotonic()))
        status = solver.solve(space.model)
        if status == cp_model.INFEASIBLE:
            raise RuntimeError("the model contradicts the bounds that chose its modes")
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            break
        point = _read(space, solver)
        if name is None:
            break
        value = round(solver.objective_value)
        proven.append((name, value, value if status == cp_model.OPTIMAL else math.ceil(solver.best_objective_bound)))
        if status != cp_model.OPTIMAL:
            break
        space.model.add(expression <= value)
    confirmed = len(proven) == len(names) and all(value == bound for _, value, bound in proven)
    if confirmed and tuple(value for _, value, _ in proven) != known.objectives:
        raise RuntimeError("the model and the exact tables disagree on the optimum")
    if len(proven) < len(names):
        point = known.mode_index, known.max_num_seqs, known.gpu_memory_utilization
        settled = {name: bound for name, value, bound in proven if value == bound}
        proven = [
            (name, value, settled.get(name, bound))
            for name, value, bound in zip(names, known.objectives, known.bounds, strict=True)
        ]
    return ProvenPoint(*point, objectives=tuple(proven), optimal=confirmed)


def _read(space: DecisionSpace, solver: cp_model.CpSolver) -> tuple[int, int, float]:
    mode = next(index for index, literal in enumerate(space.chosen) if solver.boolean_value(literal))
    utilization = next(u for u, literal in space.utilization_choices.items() if solver.boolean_value(literal))
    return mode, solver.value(space.max_num_seqs), utilization
