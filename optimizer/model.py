"""The CP-SAT model: one Boolean per mode, the flags as integer variables, and every rule.

Variables: [mode], [max_num_seqs = S], [gpu_memory_utilization = u] (exactly one each), num_gpu_blocks N,
max_num_batched_tokens T, max_model_len L, gpu_count. Every rule is linear in them under its mode.
"""

from dataclasses import dataclass
from typing import Any

from ortools.sat.python import cp_model

from vllm_opt.constraints.budget import MICRO
from vllm_opt.constraints.decision_space import DecisionSpace, Mode
from vllm_opt.constraints.rules import RULES
from vllm_opt.optimizer.objective import SECONDS_PER_HOUR
from vllm_opt.profiles.workload import Targets

LARGEST_POOL_BLOCKS = 2**40


@dataclass(frozen=True)
class PlanningModel:
    """The model with its decision space and the modes in order of preference."""

    space: DecisionSpace
    default_utilization: float

    @property
    def cp_model(self) -> cp_model.CpModel:
        """The underlying model."""
        return self.space.model


def build_model(
    modes: list[Mode], targets: Targets, utilizations: tuple[float, ...], default_utilization: float, limit_tokens: int
) -> PlanningModel:
    """Create the variables and let every rule add itself."""
    model = cp_model.CpModel()
    chosen = [model.new_bool_var(f"mode {mode.index}") for mode in modes]
    model.add_exactly_one(chosen)
    sizes = sorted({point.max_num_seqs for mode in modes for point in mode.points})
    sequence_choices = {size: model.new_bool_var(f"max_num_seqs = {size}") for size in sizes}
    model.add_exactly_one(sequence_choices.values())
    utilization_choices = {u: model.new_bool_var(f"gpu_memory_utilization = {u}") for u in utilizations}
    model.add_exactly_one(utilization_choices.values())
    max_num_seqs = model.new_int_var(sizes[0], sizes[-1], "max_num_seqs")
    model.add(max_num_seqs == sum(size * literal for size, literal in sequence_choices.items()))
    tokens = [mode.max_num_batched_tokens for mode in modes]
    counts = [mode.gpu_count for mode in modes]
    space = DecisionSpace(
        model=model,
        modes=modes,
        chosen=chosen,
        targets=targets,
        sequence_choices=sequence_choices,
        utilization_choices=utilization_choices,
        max_num_seqs=max_num_seqs,
        num_gpu_blocks=model.new_int_var(0, largest_need(modes), "num_gpu_blocks"),
        max_num_batched_tokens=model.new_int_var(min(tokens), max(tokens), "max_num_batched_tokens"),
        max_model_len=model.new_int_var(1, max(limit_tokens, targets.target_context), "max_model_len"),
        gpu_count=model.new_int_var(min(counts), max(counts), "gpu_count"),
        model_limit_tokens=limit_tokens,
    )
    for mode, literal in zip(modes, chosen, strict=True):
        model.add_bool_or([sequence_choices[point.max_num_seqs] for point in mode.points]).only_enforce_if(literal)
        model.add(space.gpu_count == mode.gpu_count).only_enforce_if(literal)
    # Nothing gains from a longer context than asked: memory, TTFT and throughput are all monotone in it.
    model.add(space.max_model_len == targets.target_context)
    for rule in RULES:
        rule.add(space)
    return PlanningModel(space, default_utilization)


def largest_need(modes: list[Mode]) -> int:
    """The most KV blocks that any point needs: nothing gains from a pool variable above it."""
    return max(max(mode.startup_blocks, *(point.blocks_needed for point in mode.points)) for mode in modes)


def largest_pool(modes: list[Mode], utilization: float) -> int:
    """More KV blocks than any mode can hold: the whole budget divided by its smallest block."""
    most = 0
    for mode in modes:
        blocks = [block for block in mode.block_bytes if block]
        if blocks:
            most = max(most, mode.terms.budget_bytes(utilization) // min(blocks))
    return min(most, LARGEST_POOL_BLOCKS)


def objective_expression(planning: PlanningModel, name: str) -> Any:
    """The variable that an objective minimises, tied to the chosen mode and batch (integers of `objective.py`)."""
    space = planning.space
    if name == "gpus":
        return space.gpu_count
    if name == "concurrency":
        return _concurrency(planning)
    tables = [_values(mode, name) for mode in space.modes]
    low, high = min(min(table) for table in tables), max(max(table) for table in tables)
    value = space.model.new_int_var(low, high, name)
    for mode, literal, table in zip(space.modes, space.chosen, tables, strict=True):
        expression = sum(
            number * space.sequence_choices[point.max_num_seqs]
            for number, point in zip(table, mode.points, strict=True)
        )
        space.model.add(value == expression).only_enforce_if(literal)
    return value


def _values(mode: Mode, name: str) -> list[int]:
    if name == "cost":
        return [mode.microusd_per_hour for _ in mode.points]
    if name == "throughput":
        return [-point.output_millitokens_per_s for point in mode.points]
    if name == "latency":
        return [point.e2e_us for point in mode.points]
    cost = max(1, mode.microusd_per_hour)
    return [-(point.output_millitokens_per_s * SECONDS_PER_HOUR * MICRO // cost) for point in mode.points]


def _concurrency(planning: PlanningModel) -> Any:
    """- engines x floor(max_concurrency), with N as the central estimate will report it."""
    space, model = planning.space, planning.space.model
    most = largest_pool(list(space.modes), max(space.utilization_choices))
    reported = model.new_int_var(0, most, "reported blocks")
    engines = max(mode.engines for mode in space.modes)
    many = max(most * mode.requests_per_block[0] // mode.requests_per_block[1] for mode in space.modes)
    value = model.new_int_var(-many * engines, 0, "concurrency")
    whole = model.new_int_var(0, many, "requests per engine")
    for mode, literal in zip(space.modes, space.chosen, strict=True):
        terms = mode.terms
        budget = space.utilization_table(lambda u, terms=terms: terms.budget_bytes(u))  # type: ignore[misc]
        for stage, block in enumerate(mode.block_bytes):
            outside = sum(
                point.central_outside_kv_bytes[stage] * space.sequence_choices[point.max_num_seqs]
                for point in mode.points
            )
            if block:
                model.add(outside + block * reported <= budget).only_enforce_if(literal)
        if not any(mode.block_bytes):
            model.add(reported == 0).only_enforce_if(literal)
        numerator, denominator = mode.requests_per_block
        model.add(whole * denominator <= reported * numerator).only_enforce_if(literal)
        model.add(value == -mode.engines * whole).only_enforce_if(literal)
    return value


def tie_breaker(planning: PlanningModel) -> Any:
    """What decides last: the rank of the mode, the fewest sequences, the utilisation nearest to the default."""
    space = planning.space
    default = planning.default_utilization
    steps = {u: round(abs(u - default) * 1000) * 2 + (u > default) for u in space.utilization_choices}
    widest = max(steps.values()) + 1
    sequences = max(space.sequence_choices) + 1
    rank = sum(mode.index * literal for mode, literal in zip(space.modes, space.chosen, strict=True))
    nearness = sum(distance * space.utilization_choices[u] for u, distance in steps.items())
    return (rank * sequences + space.max_num_seqs) * widest + nearness
