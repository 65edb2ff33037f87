"""The CP-SAT model: one Boolean per operating point, the flags as integer variables, and every rule.

Variables: [point = (mode, max_num_seqs S)] and [gpu_memory_utilization = u] (exactly one each), [mode], num_gpu_blocks
N, max_num_batched_tokens T, max_model_len L, gpu_count, and per GPU size the budget in bytes. Every rule is linear in
them under one Boolean.
"""

from dataclasses import dataclass
from typing import Any

from ortools.sat.python import cp_model

from vllm_opt.constraints.budget import MICRO
from vllm_opt.constraints.decision_space import DecisionSpace, Mode
from vllm_opt.constraints.rules import RULES
from vllm_opt.optimizer.objective import SECONDS_PER_HOUR
from vllm_opt.profiles.workload import Targets


@dataclass(frozen=True)
class KnownPoint:
    """A feasible point that the search found: where the solver starts.

    `objectives`: its exact integers; `bounds`: the smallest integer of each objective over all modes, on its own.
    """

    mode_index: int
    max_num_seqs: int
    gpu_memory_utilization: float
    objectives: tuple[int, ...]
    bounds: tuple[int, ...]


@dataclass(frozen=True)
class PlanningModel:
    """The model with its decision space and the modes in order of preference."""

    space: DecisionSpace
    default_utilization: float

    @property
    def cp_model(self) -> cp_model.CpModel:
        """The underlying model."""
        return self.space.model


def start_from(planning: PlanningModel, mode_index: int, max_num_seqs: int, gpu_memory_utilization: float) -> None:
    """Hint at a feasible point."""
    space, model = planning.space, planning.space.model
    model.clear_hints()  # type: ignore[no-untyped-call]
    hinted = space.modes[mode_index]
    for mode, chosen in zip(space.modes, space.chosen, strict=True):
        model.add_hint(chosen, mode is hinted)
    for mode, point, picked in space.points():
        mine = mode is hinted and point.max_num_seqs == max_num_seqs
        model.add_hint(picked, mine)
        if mine:
            model.add_hint(space.num_gpu_blocks, max(mode.startup_blocks, point.blocks_needed))
    for step, literal in space.utilization_choices.items():
        model.add_hint(literal, step == gpu_memory_utilization)
    model.add_hint(space.max_num_seqs, max_num_seqs)
    model.add_hint(space.max_num_batched_tokens, hinted.max_num_batched_tokens)
    model.add_hint(space.max_model_len, space.targets.target_context)
    model.add_hint(space.gpu_count, hinted.gpu_count)


def build_model(
    modes: list[Mode], targets: Targets, utilizations: tuple[float, ...], default_utilization: float, limit_tokens: int
) -> PlanningModel:
    """Create the variables and let every rule add itself."""
    model = cp_model.CpModel()
    chosen = [model.new_bool_var(f"mode {mode.index}") for mode in modes]
    picked = [
        [model.new_bool_var(f"mode {mode.index}, max_num_seqs {point.max_num_seqs}") for point in mode.points]
        for mode in modes
    ]
    utilization_choices = {u: model.new_bool_var(f"gpu_memory_utilization {u}") for u in utilizations}
    sizes = [point.max_num_seqs for mode in modes for point in mode.points]
    tokens = [mode.max_num_batched_tokens for mode in modes]
    counts = [mode.gpu_count for mode in modes]
    space = DecisionSpace(
        model=model,
        modes=modes,
        chosen=chosen,
        picked=picked,
        targets=targets,
        utilization_choices=utilization_choices,
        budgets=_budgets(model, modes, utilization_choices),
        max_num_seqs=model.new_int_var(min(sizes), max(sizes), "max_num_seqs"),
        num_gpu_blocks=model.new_int_var(0, largest_need(modes), "num_gpu_blocks"),
        max_num_batched_tokens=model.new_int_var(min(tokens), max(tokens), "max_num_batched_tokens"),
        max_model_len=model.new_int_var(1, max(limit_tokens, targets.target_context), "max_model_len"),
        gpu_count=model.new_int_var(min(counts), max(counts), "gpu_count"),
        model_limit_tokens=limit_tokens,
    )
    _tie_choices(space)
    for rule in RULES:
        rule.add(space)
    return PlanningModel(space, default_utilization)


def _budgets(
    model: cp_model.CpModel, modes: list[Mode], utilization_choices: dict[float, cp_model.IntVar]
) -> dict[int, cp_model.IntVar]:
    """Per GPU size, the budget in bytes as a variable that follows the utilisation chosen."""
    budgets = {}
    for terms in {mode.terms.total_bytes: mode.terms for mode in modes}.values():
        values = {step: terms.budget_bytes(step) for step in utilization_choices}
        domain = cp_model.Domain.from_values(sorted(set(values.values())))
        budget = model.new_int_var_from_domain(domain, f"budget of {terms.total_bytes}")
        for step, literal in utilization_choices.items():
            model.add(budget == values[step]).only_enforce_if(literal)
        budgets[terms.total_bytes] = budget
    return budgets


def _tie_choices(space: DecisionSpace) -> None:
    """One point, hence one mode and one max_num_seqs; one utilisation; a context as long as asked, and no longer.

    Nothing gains from a longer context: memory, TTFT and throughput are all monotone in it.
    """
    model = space.model
    model.add_exactly_one(space.chosen)
    model.add_exactly_one(literal for literals in space.picked for literal in literals)
    model.add_exactly_one(space.utilization_choices.values())
    for mode, chosen, literals in zip(space.modes, space.chosen, space.picked, strict=True):
        for literal in literals:
            model.add_implication(literal, chosen)
        model.add(space.gpu_count == mode.gpu_count).only_enforce_if(chosen)
    for _, point, picked in space.points():
        model.add(space.max_num_seqs == point.max_num_seqs).only_enforce_if(picked)
    model.add(space.max_model_len == space.targets.target_context)


def largest_need(modes: list[Mode]) -> int:
    """The most KV blocks that any point needs: nothing gains from a pool variable above it."""
    return max(max(mode.startup_blocks, *(point.blocks_needed for point in mode.points)) for mode in modes)


def objective_expression(planning: PlanningModel, name: str) -> Any:
    """The variable that an objective minimises, tied to the chosen point (integers of `objective.py`).

    `variable >= value of the point`, one implication each: bounds propagate at once, and minimising makes it equal.
    """
    space = planning.space
    if name == "gpus":
        return space.gpu_count
    tables = [_values(mode, name) for mode in space.modes]
    low, high = min(min(table) for table in tables), max(max(table) for table in tables)
    value = space.model.new_int_var(low, high, name)
    for literals, table in zip(space.picked, tables, strict=True):
        for literal, number in zip(literals, table, strict=True):
            space.model.add(value >= number).only_enforce_if(literal)
    if name == "concurrency":
        # The pool grows with the utilisation, and nothing else that is asked does.
        for mode, point, picked in space.points():
            space.model.add(space.budget_of(mode) >= point.highest_budget_bytes).only_enforce_if(picked)
    return value


def _values(mode: Mode, name: str) -> list[int]:
    if name == "cost":
        return [mode.microusd_per_hour for _ in mode.points]
    if name == "throughput":
        return [-point.output_millitokens_per_s for point in mode.points]
    if name == "latency":
        return [point.e2e_us for point in mode.points]
    if name == "concurrency":
        return [-point.most_concurrent for point in mode.points]
    cost = max(1, mode.microusd_per_hour)
    return [-(point.output_millitokens_per_s * SECONDS_PER_HOUR * MICRO // cost) for point in mode.points]


def tie_breaker(planning: PlanningModel) -> Any:
    """What decides last: the rank of the mode, the fewest sequences, the utilisation nearest to the default."""
    space, model = planning.space, planning.space.model
    default = planning.default_utilization
    steps = {u: round(abs(u - default) * 1000) * 2 + (u > default) for u in space.utilization_choices}
    most = max(point.max_num_seqs for _, point, _ in space.points()) + 1
    rank = model.new_int_var(0, max(mode.index for mode in space.modes) * most + most, "rank")
    for mode, point, picked in space.points():
        model.add(rank >= mode.index * most + point.max_num_seqs).only_enforce_if(picked)
    distance = model.new_int_var(0, max(steps.values()), "distance from the default utilisation")
    for step, literal in space.utilization_choices.items():
        model.add(distance >= steps[step]).only_enforce_if(literal)
    return rank * (max(steps.values()) + 1) + distance
