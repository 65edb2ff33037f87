"""The proof: one turn after another, each kept within its slack of its proven optimum before the next."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ortools.sat.python import cp_model

from vllm_opt.constraints.judging.decision_space import DecisionSpace, Mode
from vllm_opt.optimizer.cpsat.hints import KnownPoint, start_from
from vllm_opt.optimizer.cpsat.model import build_model
from vllm_opt.optimizer.cpsat.objectives import (
    FIRST_TOKEN,
    OBJECTIVE,
    PUBLISHER,
    TIE,
    objective_expression,
    publisher_expression,
    tie_breaker,
    ttft_expression,
    value_at,
)
from vllm_opt.optimizer.cpsat.turns import Turn
from vllm_opt.optimizer.search.order import Order
from vllm_opt.optimizer.space.setting import SolveSetting

Point = tuple[int, int, float]
LEAST_SECONDS = 0.05
"""What each objective gets at least, so that a spent time limit does not hide a proof that is at hand."""


@dataclass(frozen=True)
class ProvenPoint:
    """What CP-SAT decided. `objectives`: (name, value of the point, best value in its turn, proven bound of that).

    All are integers as minimised; the value may be conceded within the slack of its turn.
    """

    mode_index: int
    max_num_seqs: int
    gpu_memory_utilization: float
    objectives: tuple[tuple[str, int, int, int], ...]
    optimal: bool
    model: "SolvedModel" = field(repr=False, compare=False)


@dataclass(frozen=True)
class SolvedModel:
    """The model as the last turn left it, and what every turn found."""

    space: DecisionSpace
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Stage:
    """One turn of the order: what is minimised."""

    name: str
    expression: Any
    position: int | None = None
    """Of an objective; None where nothing is conceded."""


def configured_solver(setting: SolveSetting, seconds: float) -> cp_model.CpSolver:
    """A solver without presolve: these models are small, and presolve is wrong on some of them.

    With coefficients of bytes, the presolve of ortools 9.15 cuts optima off (32-bit sums, google/or-tools #5293;
    docs/solver-speed.md); `presolve_inclusion_work_limit = 0` leaves the fault out where presolve is on.
    """
    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.max_time_in_seconds = seconds
    parameters.num_workers = setting.request.workers
    parameters.random_seed = setting.request.seed % (2**31)
    parameters.cp_model_presolve = False
    parameters.presolve_inclusion_work_limit = 0
    return solver


def stages_of(space: DecisionSpace, order: Order) -> Iterator[Stage]:
    """The turns of the order, each expression made when it is reached."""
    for position, name in enumerate(order.names):
        space.begin(f"{OBJECTIVE} {name}")
        yield Stage(name, objective_expression(space, name), position)
        if position == 0 and not order.strict:
            space.begin(f"{OBJECTIVE} {PUBLISHER}")
            yield Stage(PUBLISHER, publisher_expression(space))
    if not order.strict:
        space.begin(f"{OBJECTIVE} {FIRST_TOKEN}")
        yield Stage(FIRST_TOKEN, ttft_expression(space))


def solve_in_order(
    modes: list[Mode],
    setting: SolveSetting,
    order: Order,
    utilizations: tuple[float, ...],
    known: KnownPoint,
    *,
    time_limit: float,
) -> ProvenPoint:
    """Return the best point and its proof.

    `known` is a feasible point to start from; it is the answer when the time limit comes before the proof, with the
    bounds that each objective has on its own.

    Raises:
        RuntimeError: the model and the exact tables disagree, which is a fault of this program.
    """
    deadline = time.monotonic() + time_limit
    limit = max(setting.model.max_model_len, setting.targets.target_context)
    space = build_model(modes, setting.targets, utilizations, limit)
    point = known.mode_index, known.max_num_seqs, known.gpu_memory_utilization
    proven: dict[str, tuple[int, int]] = {}
    complete, turns = True, list[Turn]()
    for stage in stages_of(space, order):
        best, bound, found = _minimised(space, setting, stage.expression, point, deadline)
        if found is None:
            complete = False
            break
        point, proven[stage.name] = found, (best, bound)
        if best != bound:
            turns.append(Turn(stage.name, best, bound, None))
            complete = False
            break
        worst = best if stage.position is None else int(order.worst(stage.position, best))
        space.model.add(stage.expression <= worst).with_name("kept in later turns")
        turns.append(Turn(stage.name, best, bound, worst))
    if complete:
        space.begin(f"{OBJECTIVE} {TIE}")
        tie = tie_breaker(space, setting.engine.gpu_memory_utilization)
        best, bound, found = _minimised(space, setting, tie, point, deadline)
        if found is not None:
            point = found
            turns.append(Turn(TIE, best, bound, None))
        if tuple(proven[name][0] for name in order.names) != known.optima:
            raise RuntimeError("the model and the exact tables disagree on the optimum")
        mode = modes[point[0]]
        solved = SolvedModel(space, tuple(turns))
        values = [int(value_at(mode, name, point[1])) for name in order.names]
        found_objectives = tuple((name, value, *proven[name]) for name, value in zip(order.names, values, strict=True))
        return ProvenPoint(*point, objectives=found_objectives, optimal=True, model=solved)
    settled = {name: bound for name, (best, bound) in proven.items() if best == bound}
    objectives = tuple(
        (name, value, best, settled.get(name, bound))
        for name, value, best, bound in zip(order.names, known.values, known.optima, known.bounds, strict=True)
    )
    return ProvenPoint(
        known.mode_index,
        known.max_num_seqs,
        known.gpu_memory_utilization,
        objectives=objectives,
        optimal=False,
        model=SolvedModel(space, tuple(turns)),
    )


def _minimised(
    space: DecisionSpace, setting: SolveSetting, expression: Any, point: Point, deadline: float
) -> tuple[int, int, Point | None]:
    """(value, proven bound, point) of one turn; no point when time ran out before any was found.

    Raises:
        RuntimeError: no point is left, although one is known.
    """
    start_from(space, *point)
    space.model.minimize(expression)
    solver = configured_solver(setting, max(LEAST_SECONDS, deadline - time.monotonic()))
    status = solver.solve(space.model)
    if status == cp_model.INFEASIBLE:
        raise RuntimeError("the model contradicts the bounds that chose its modes")
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return 0, 0, None
    value = round(solver.objective_value)
    bound = value if status == cp_model.OPTIMAL else math.ceil(solver.best_objective_bound)
    return value, bound, _read(space, solver)


def _read(space: DecisionSpace, solver: cp_model.CpSolver) -> tuple[int, int, float]:
    mode = next(index for index, literal in enumerate(space.chosen) if solver.boolean_value(literal))
    utilization = next(u for u, literal in space.utilization_choices.items() if solver.boolean_value(literal))
    return mode, solver.value(space.max_num_seqs), utilization
