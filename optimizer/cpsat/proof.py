"""The proof: one turn after another, each kept within its slack of its proven optimum before the next."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ortools.sat.python import cp_model

from vllm_opt.constraints.judging.decision_space import DecisionSpace, Mode
from vllm_opt.optimizer.cpsat.hints import KnownPoint, Point, start_from
from vllm_opt.optimizer.cpsat.model import build_model
from vllm_opt.optimizer.cpsat.objectives import (
    FIRST_TOKEN,
    OBJECTIVE,
    PUBLISHER,
    TIE,
    lowest,
    objective_expression,
    publisher_expression,
    tie_breaker,
    ttft_expression,
    value_at,
)
from vllm_opt.optimizer.cpsat.turns import Turn
from vllm_opt.optimizer.search.order import Order
from vllm_opt.optimizer.space.setting import SolveSetting

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
    docs/solver-speed.md); `presolve_inclusion_work_limit = 0` leaves the fault out where presolve is on. Probing and
    the search for symmetry take longer than these proofs.
    """
    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.max_time_in_seconds = seconds
    parameters.num_workers = setting.request.workers
    parameters.random_seed = setting.request.seed % (2**31)
    parameters.cp_model_presolve = False
    parameters.presolve_inclusion_work_limit = 0
    parameters.cp_model_probing_level = 0
    parameters.symmetry_level = 0
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
    known: KnownPoint | None,
    *,
    time_limit: float,
    prove: bool = True,
) -> ProvenPoint | None:
    """Return the best point and its proof; None when time ran out before any point was known.

    `known` is a feasible point to start from. It is the answer when the time limit comes before the proof, and what is
    proven must agree with it. Without one the solver finds its own way; without `prove` no turn is taken.

    Raises:
        RuntimeError: the model and the exact tables disagree, which is a fault of this program.
    """
    deadline = time.monotonic() + time_limit
    limit = max(setting.model.max_model_len, setting.targets.target_context)
    space = build_model(modes, setting.targets, utilizations, limit)
    found = _Found(None if known is None else known.point)
    for stage in stages_of(space, order):
        if not prove or not _settled(space, setting, order, stage, found, deadline):
            break
    else:
        found.complete = True
        space.begin(f"{OBJECTIVE} {TIE}")
        tie = Stage(TIE, tie_breaker(space, setting.engine.gpu_memory_utilization))
        _settled(space, setting, order, tie, found, deadline)
        best = {turn.name: turn.best for turn in found.turns}
        if known is not None and tuple(best[name] for name in order.names) != known.optima:
            raise RuntimeError("the model and the exact tables disagree on the optimum")
    if not found.complete and known is not None:
        found.point = known.point
    return None if found.point is None else _proven(SolvedModel(space, tuple(found.turns)), order, found, known)


@dataclass
class _Found:
    """Where the turns stand: the best point so far, and whether every objective is proven."""

    point: Point | None
    turns: list[Turn] = field(default_factory=list)
    complete: bool = False


def _settled(
    space: DecisionSpace, setting: SolveSetting, order: Order, stage: Stage, found: _Found, deadline: float
) -> bool:
    """Take one turn from the best point so far, and keep what it proves for later ones; whether it was proven."""
    best, bound, point = _minimised(space, setting, stage.expression, found.point, deadline)
    if point is None:
        return False
    found.point, proven = point, best == bound
    worst = None
    if proven and stage.name != TIE:
        worst = best if stage.position is None else int(order.worst(stage.position, best))
        space.model.add(stage.expression <= worst).with_name("kept in later turns")
    found.turns.append(Turn(stage.name, best, bound, worst))
    return proven


def _proven(model: SolvedModel, order: Order, found: _Found, known: KnownPoint | None) -> ProvenPoint:
    """The point with its objectives. What no turn proved is bounded by the least of all points."""
    mode_index, sequences, utilization = found.point or (0, 0, 0.0)
    modes = model.space.modes
    turns = {turn.name: turn for turn in model.turns if turn.best == turn.bound}
    objectives = []
    for position, name in enumerate(order.names):
        value = int(value_at(modes[mode_index], name, sequences))
        turn, optimum = turns.get(name), value if known is None else known.optima[position]
        best, bound = (optimum, lowest(modes, name)) if turn is None else (turn.best, turn.bound)
        objectives.append((name, value, best, bound))
    return ProvenPoint(
        mode_index, sequences, utilization, objectives=tuple(objectives), optimal=found.complete, model=model
    )


def _minimised(
    space: DecisionSpace, setting: SolveSetting, expression: Any, point: Point | None, deadline: float
) -> tuple[int, int, Point | None]:
    """(value, proven bound, point) of one turn; no point when time ran out before any was found.

    Raises:
        RuntimeError: no point is left, although the bounds left some.
    """
    if point is not None:
        start_from(space, *point)
    space.model.minimize(expression)
    solver = configured_solver(setting, max(LEAST_SECONDS, deadline - time.monotonic()))
    status = solver.solve(space.model)
    if status == cp_model.INFEASIBLE:
        raise RuntimeError(
            "the model contradicts the bounds that chose its modes: some rule forbids what the search lets through"
        )
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return 0, 0, None
    value = round(solver.objective_value)
    bound = value if status == cp_model.OPTIMAL else math.ceil(solver.best_objective_bound)
    return value, bound, _read(space, solver)


def _read(space: DecisionSpace, solver: cp_model.CpSolver) -> tuple[int, int, float]:
    mode = next(index for index, literal in enumerate(space.chosen) if solver.boolean_value(literal))
    utilization = next(u for u, literal in space.utilization_choices.items() if solver.boolean_value(literal))
    return mode, solver.value(space.max_num_seqs), utilization
