"""One model decided: objective after objective, each kept at its optimum while the next is decided."""

import math
import time
from dataclasses import dataclass
from typing import Any

from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem, maximised
from vllm_opt.optimizer.placement_model.deal import CannotDeal, deal
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.outcome import PlacementOptions

TURN_SHARE = 0.5
"""part of the time left that one objective gets at most, while others wait"""


@dataclass
class Turn:
    """One objective decided: its value in the model, a bound, whether they meet."""

    name: str
    value: int
    bound: int

    @property
    def proven(self) -> bool:
        """Whether the value is the optimum of its turn."""
        return self.value == self.bound


@dataclass
class Run:
    """What one model found."""

    turns: list[Turn]
    servers: tuple[PlacedServer, ...] | None
    used: frozenset[int] = frozenset()


def decided(
    model: PlacementModel, options: PlacementOptions, end: float, limits: dict[str, int] | None = None,
    held: dict[str, int] | None = None,
) -> Run:  # fmt: skip
    """Decide every objective in turn; `limits` are bounds known already, at which a turn may stop.

    `held` are values of the first objectives that a known placement reaches and that are not to be decided again.
    """
    names = model.problem.objective_names()
    turns: list[Turn] = []
    values: list[int] | None = None
    for name in names:
        model.objective(name)
    for position, name in enumerate(names):
        if name.startswith("share:") and turns and _all_served(model.problem, turns[-1]):
            continue
        if held and name in held:
            model.keep(name, held[name])
            turns.append(Turn(name, held[name], (limits or {}).get(name, held[name])))
            continue
        seconds = (end - time.monotonic()) * (1.0 if position == len(names) - 1 else TURN_SHARE)
        if seconds <= 0.05:
            break
        model.aim(name)
        if values is not None:
            _hint(model, values)
        tied = all(turn.value == (limits or {}).get(turn.name, turn.value) for turn in turns)
        limit = (limits or {}).get(name) if tied else None
        found, bound = _solved(model, name, options, seconds, limit)
        if found is None:
            break
        values = found
        value = _value_of(model, name, values)
        turns.append(Turn(name, value, bound))
        model.keep(name, value)
    if values is None:
        return Run(turns, None)
    at, solved = model.at, values
    if at.patterns.kind_of:
        return Run(turns, None, frozenset(k for k in at.total if evaluated(at.total[k], solved)))

    def value_of(variable: Any) -> int:
        return evaluated(variable, solved)

    used = frozenset(k for k in at.total if value_of(at.total[k]))
    try:
        return Run(turns, deal(at, value_of), used)
    except CannotDeal:
        return Run(turns, None, used)


def _all_served(problem: PlacementProblem, turn: Turn) -> bool:
    name, _, priority = turn.name.partition(":")
    return name == "served" and turn.value == sum(s.priority == int(priority) for s in problem.services)


def _solved(
    model: PlacementModel, name: str, options: PlacementOptions, seconds: float, limit: int | None
) -> tuple[list[int] | None, int]:
    """Values of all variables and the bound of the objective."""
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.max_time_in_seconds = max(0.05, seconds)
    parameters.num_workers = options.workers
    parameters.random_seed = options.seed % (2**31)
    parameters.relative_gap_limit = options.relative_gap
    parameters.presolve_inclusion_work_limit = 0  # its sums are 32-bit (google/or-tools #5293)
    parameters.cp_model_probing_level = 0  # nearly all of its time would go there
    parameters.linearization_level = 2
    callback = _Reached(model.objective(name), limit, up=maximised(name)) if limit is not None else None
    status = solver.solve(model.cp, callback)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None, 0
    values = list(solver.response_proto.solution)
    value = _value_of(model, name, values)
    if status == cp_model.OPTIMAL and options.relative_gap == 0:
        return values, value
    best = solver.best_objective_bound
    bound = math.floor(best + 1e-6) if maximised(name) else math.ceil(best - 1e-6)
    if limit is not None:
        bound = min(bound, limit) if maximised(name) else max(bound, limit)
    return values, bound


def _Reached(expression: Any, limit: int, *, up: bool) -> Any:  # noqa: N802 - makes an object of a late class
    """A watch that stops a search once a known bound is reached."""
    from ortools.sat.python import cp_model

    class Watch(cp_model.CpSolverSolutionCallback):
        def on_solution_callback(self) -> None:
            value = self.value(expression)
            if value >= limit if up else value <= limit:
                self.stop_search()

    return Watch()


def _hint(model: PlacementModel, values: list[int]) -> None:
    model.cp.clear_hints()  # type: ignore[no-untyped-call]  # lists of OR-Tools before 9.15 have no clear()
    hint = model.cp.proto.solution_hint
    hint.vars.extend(range(len(values)))
    hint.values.extend(values)


def evaluated(expression: Any, values: list[int]) -> int:
    """The value of a variable or a linear expression."""
    if isinstance(expression, int):
        return expression
    from ortools.sat.python import cp_model

    flat = cp_model.FlatIntExpr(expression)
    terms = zip(flat.vars, flat.coeffs, strict=True)
    return int(flat.offset) + sum(int(coefficient) * int(values[variable.index]) for variable, coefficient in terms)


def _value_of(model: PlacementModel, name: str, values: list[int]) -> int:
    return evaluated(model.objective(name), values)
