"""The variables of the CP-SAT model, and what ties them to the one point that is chosen.

[point = (mode, range of max_num_seqs S)] and [gpu_memory_utilization = u] (exactly one each), [mode], max_num_seqs S,
num_gpu_blocks N, max_num_batched_tokens T, max_model_len L, gpu_count, and per GPU size the budget in bytes.
"""

from ortools.sat.python import cp_model

from vllm_opt.constraints.judging.decision_space import DecisionSpace, Mode, SequencePoint
from vllm_opt.optimizer.cpsat.layout_words import layout_in_words
from vllm_opt.profiles.nouns.workload import Targets


def new_variables(
    model: cp_model.CpModel, modes: list[Mode], targets: Targets, utilizations: tuple[float, ...], limit_tokens: int
) -> DecisionSpace:
    """Create every variable with its domain."""
    chosen = [model.new_bool_var(f"mode {mode.index}: {layout_in_words(mode)}") for mode in modes]
    picked = [
        [model.new_bool_var(f"mode {mode.index}, max_num_seqs {_sizes(point)}") for point in mode.points]
        for mode in modes
    ]
    utilization_choices = {u: model.new_bool_var(f"gpu_memory_utilization {u}") for u in utilizations}
    points = [point for mode in modes for point in mode.points]
    fewest, most = min(point.max_num_seqs for point in points), max(point.last_num_seqs for point in points)
    tokens = [mode.max_num_batched_tokens for mode in modes]
    counts = [mode.gpu_count for mode in modes]
    return DecisionSpace(
        model=model,
        modes=modes,
        chosen=chosen,
        picked=picked,
        targets=targets,
        utilization_choices=utilization_choices,
        budgets=_budgets(model, modes, utilization_choices),
        max_num_seqs=model.new_int_var(fewest, most, "max_num_seqs"),
        num_gpu_blocks=model.new_int_var(0, largest_need(modes), "num_gpu_blocks"),
        max_num_batched_tokens=model.new_int_var(min(tokens), max(tokens), "max_num_batched_tokens"),
        max_model_len=model.new_int_var(1, max(limit_tokens, targets.target_context), "max_model_len"),
        gpu_count=model.new_int_var(min(counts), max(counts), "gpu_count"),
        model_limit_tokens=limit_tokens,
    )


def _sizes(point: SequencePoint) -> str:
    last = point.last_num_seqs
    return f"{point.max_num_seqs}" if last == point.max_num_seqs else f"{point.max_num_seqs} to {last}"


def _budgets(
    model: cp_model.CpModel, modes: list[Mode], utilization_choices: dict[float, cp_model.IntVar]
) -> dict[int, cp_model.IntVar]:
    """Per GPU size, the budget in bytes as a variable that follows the utilisation chosen."""
    budgets = {}
    for terms in {mode.terms.total_bytes: mode.terms for mode in modes}.values():
        values = {step: terms.budget_bytes(step) for step in utilization_choices}
        domain = cp_model.Domain.from_values(sorted(set(values.values())))
        budget = model.new_int_var_from_domain(domain, f"budget_bytes of {terms.total_bytes}")
        for step, literal in utilization_choices.items():
            model.add(budget == values[step]).only_enforce_if(literal).with_name(f"{step:g} of {terms.total_bytes}")
        budgets[terms.total_bytes] = budget
    return budgets


def tie_choices(space: DecisionSpace) -> None:
    """One point, hence one mode, and a max_num_seqs in its range; one utilisation; a context as long as asked.

    Nothing gains from a longer context: memory, TTFT and throughput are all monotone in it.
    """
    model = space.model
    model.add_exactly_one(space.chosen).with_name("one layout")
    points = (literal for literals in space.picked for literal in literals)
    model.add_exactly_one(points).with_name("one point")
    model.add_exactly_one(space.utilization_choices.values()).with_name("one utilisation")
    for mode, chosen, literals in zip(space.modes, space.chosen, space.picked, strict=True):
        for literal in literals:
            model.add_implication(literal, chosen).with_name("layout of the point")
        model.add(space.gpu_count == mode.gpu_count).only_enforce_if(chosen).with_name("GPUs of the layout")
    for _, point, picked in space.points():
        sizes = model.add_linear_constraint(space.max_num_seqs, point.max_num_seqs, point.last_num_seqs)
        sizes.only_enforce_if(picked).with_name("sizes of the point")
    model.add(space.max_model_len == space.targets.target_context).with_name("as long as asked")


def largest_need(modes: list[Mode]) -> int:
    """The most KV blocks that any point needs: nothing gains from a pool variable above it."""
    return max(
        max(
            mode.startup_blocks,
            *(
                point.blocks_needed + point.blocks_each * (point.last_num_seqs - point.max_num_seqs)
                for point in mode.points
            ),
        )
        for mode in modes
    )
