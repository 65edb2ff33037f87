"""Solve one objective after another, each fixed at its proven optimum before the next."""

import time
from dataclasses import dataclass

from ortools.sat.python import cp_model

from vllm_opt.constraints.decision_space import Mode
from vllm_opt.optimizer.model import PlanningModel, build_model, objective_expression, tie_breaker
from vllm_opt.optimizer.solve_setting import SolveSetting


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
    modes: list[Mode], setting: SolveSetting, utilizations: tuple[float, ...], *, time_limit: float
) -> ProvenPoint | None:
    """Return the best point and its proof; None when the time limit came before any solution."""
    deadline = time.monotonic() + time_limit
    limit = max(setting.model.max_model_len, setting.targets.target_context)
    planning = build_model(modes, setting.targets, utilizations, setting.engine.gpu_memory_utilization, limit)
    proven: list[tuple[str, int, int]] = []
    best: tuple[int, int, float] | None = None
    optimal = True
    for name in (*setting.request.objective, None):
        expression = tie_breaker(planning) if name is None else objective_expression(planning, name)
        planning.cp_model.minimize(expression)
        solver = configured_solver(setting, max(0.05, deadline - time.monotonic()))
        status = solver.solve(planning.cp_model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            if status == cp_model.INFEASIBLE:
                raise RuntimeError("the model contradicts the bounds that chose its modes")
            optimal = False
            break
        best = _read(planning, solver)
        value = round(solver.objective_value)
        if name is None:
            break
        proven.append((name, value, value if status == cp_model.OPTIMAL else round(solver.best_objective_bound)))
        optimal = optimal and status == cp_model.OPTIMAL
        planning.cp_model.add(expression <= value)
    if best is None:
        return None
    return ProvenPoint(*best, objectives=tuple(proven), optimal=optimal)


def _read(planning: PlanningModel, solver: cp_model.CpSolver) -> tuple[int, int, float]:
    space = planning.space
    mode = next(index for index, literal in enumerate(space.chosen) if solver.boolean_value(literal))
    utilization = next(u for u, literal in space.utilization_choices.items() if solver.boolean_value(literal))
    return mode, solver.value(space.max_num_seqs), utilization
