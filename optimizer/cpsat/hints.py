"""Where the solver starts: a feasible point that the search found, hinted variable by variable."""

from dataclasses import dataclass

from vllm_opt.constraints.judging.decision_space import DecisionSpace

Point = tuple[int, int, float]
"""The index of a mode, max_num_seqs, gpu_memory_utilization."""


@dataclass(frozen=True)
class KnownPoint:
    """The search's pick: where the solver starts. `optima`: the best integer of each objective in its turn."""

    mode_index: int
    max_num_seqs: int
    gpu_memory_utilization: float
    optima: tuple[int, ...]

    @property
    def point(self) -> Point:
        """The point alone."""
        return self.mode_index, self.max_num_seqs, self.gpu_memory_utilization


def start_from(space: DecisionSpace, mode_index: int, max_num_seqs: int, gpu_memory_utilization: float) -> None:
    """Hint at a feasible point."""
    model = space.model
    model.clear_hints()  # type: ignore[no-untyped-call]
    hinted = space.modes[mode_index]
    for mode, chosen in zip(space.modes, space.chosen, strict=True):
        model.add_hint(chosen, mode is hinted)
    for mode, point, picked in space.points():
        mine = mode is hinted and point.max_num_seqs <= max_num_seqs <= point.last_num_seqs
        model.add_hint(picked, mine)
        if mine:
            needed = point.blocks_needed + point.blocks_each * (max_num_seqs - point.max_num_seqs)
            model.add_hint(space.num_gpu_blocks, max(mode.startup_blocks, needed))
    for step, literal in space.utilization_choices.items():
        model.add_hint(literal, step == gpu_memory_utilization)
    model.add_hint(space.max_num_seqs, max_num_seqs)
    model.add_hint(space.max_num_batched_tokens, hinted.max_num_batched_tokens)
    model.add_hint(space.max_model_len, space.targets.target_context)
    model.add_hint(space.gpu_count, hinted.gpu_count)
