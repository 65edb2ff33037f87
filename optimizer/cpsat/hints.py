"""Where the solver starts: a feasible point that the search found, hinted variable by variable."""

from dataclasses import dataclass

from vllm_opt.constraints.judging.decision_space import DecisionSpace


@dataclass(frozen=True)
class KnownPoint:
    """A feasible point that the search found: where the solver starts.

    `optima`: the best integer of each objective in its turn; `values`: the point's own; `bounds`: the smallest integer
    of each objective over all modes, on its own.
    """

    mode_index: int
    max_num_seqs: int
    gpu_memory_utilization: float
    optima: tuple[int, ...]
    values: tuple[int, ...]
    bounds: tuple[int, ...]


def start_from(space: DecisionSpace, mode_index: int, max_num_seqs: int, gpu_memory_utilization: float) -> None:
    """Hint at a feasible point."""
    model = space.model
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
