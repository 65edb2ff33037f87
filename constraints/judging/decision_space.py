"""What a rule's `add` writes into: the CP-SAT model, its variables, and the modes under their Booleans.

A mode is one (layout, max_num_batched_tokens, replicas) with the integer tables that follow from it; its points are
ranges of max_num_seqs over which speed and graphs are constant: one at the load asked, one for each size where the load
is free. One Boolean stands for each point and exactly one is true, so that every rule is a constraint between variables
under one Boolean. gpu_memory_utilization is one Boolean per step. Memory is in exact bytes: the
largest product, a KV block times a pool, stays below 2^60.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from vllm_opt.constraints.memory.ledger import MemoryTerms
    from vllm_opt.profiles.nouns.workload import Targets


@dataclass(frozen=True)
class SequencePoint:
    """What max_num_seqs from one value to another means under one mode. Bounds are at the confidence asked."""

    max_num_seqs: int
    """The fewest."""
    graph_bytes: int
    """CUDA graphs inside the budget, at the confidence asked; 0 where they are outside it."""
    encoder_bytes: int
    """Peak of the vision encoder on the first stage, at the confidence asked; 0 without one."""
    headroom_needed_bytes: int
    blocks_needed: int
    """KV blocks of one engine for the fewest sequences of the mean context."""
    ttft_bound_ms: float
    tpot_bound_ms: float | None
    """None with one output token."""
    bound_tokens_per_s: float
    """Of all replicas together."""
    e2e_us: int
    """Central prediction, rounded up."""
    ttft_us: int
    """Central prediction, rounded up, as the turn of TTFT compares it: eager mode after every layout with graphs."""
    output_millitokens_per_s: int
    """Of all replicas together, central prediction, rounded down."""
    most_num_seqs: int | None = None
    """The most sequences of which the same holds; None: the fewest are the only number."""
    blocks_each: int = 0
    """KV blocks of every sequence beyond the fewest."""
    highest_budget_bytes: int = 0
    """The largest budget that keeps the headroom."""
    most_concurrent: int = 0
    """min(max_num_seqs, floor(running_concurrency)) of all engines with that budget, as the plan will report it."""

    @property
    def last_num_seqs(self) -> int:
        """The most sequences of which the same holds."""
        return self.max_num_seqs if self.most_num_seqs is None else self.most_num_seqs


@dataclass(frozen=True)
class StageMemory:
    """What one pipeline stage keeps in the budget at the confidence asked, linear in max_num_seqs S and blocks N.

    fixed + forward                   + graphs + block N <= budget
    fixed + sampler + per_sequence S  + graphs + block N <= budget
    """

    fixed_bytes: int
    """Weights, what is made of them after loading, and buffers."""
    forward_bytes: int
    """The forward pass of a full step."""
    sampler_bytes: int
    sampler_bytes_per_sequence: int
    block_bytes: int


@dataclass(frozen=True)
class Mode:
    """One (layout, max_num_batched_tokens, replicas) and its tables. `index` is its rank of preference."""

    index: int
    terms: MemoryTerms
    gpu: str
    max_num_batched_tokens: int
    replicas: int
    engines: int
    gpu_count: int
    microusd_per_hour: int
    """What the objective `cost` counts: whole machines; without a price, GPUs above every price."""
    price_microusd: int | None
    """What it costs in money per hour; None without a price."""
    stages: tuple[StageMemory, ...]
    startup_blocks: int
    publisher_rank: int
    points: tuple[SequencePoint, ...]
    load_bytes: int = 0
    """What a GPU holds at the peak of loading, at the confidence asked; 0 where loading has no peak."""
    keeps_quality: bool = True
    """Whether weights and KV cache together keep what is asked, or are named."""


@dataclass
class DecisionSpace:
    """The model under construction.

    `picked[m][p]`: mode m runs at its point p; exactly one is true. `chosen[m]`: any point of mode m is picked.
    `budgets[total]`: bytes of the budget on a GPU of `total` bytes, tied to the utilisation that is chosen.
    """

    model: cp_model.CpModel
    modes: Sequence[Mode]
    chosen: Sequence[cp_model.IntVar]
    picked: Sequence[Sequence[cp_model.IntVar]]
    targets: Targets
    utilization_choices: dict[float, cp_model.IntVar]
    budgets: dict[int, cp_model.IntVar]
    max_num_seqs: cp_model.IntVar
    num_gpu_blocks: cp_model.IntVar
    max_num_batched_tokens: cp_model.IntVar
    max_model_len: cp_model.IntVar
    gpu_count: cp_model.IntVar
    model_limit_tokens: int
    sections: list[tuple[str, int]] = field(default_factory=list)
    """(name of a rule, or of what else adds rows, its first row), in the order in which rows are added."""

    def begin(self, section: str) -> None:
        """From here on rows belong to this section."""
        self.sections.append((section, len(self.model.proto.constraints)))

    def points(self) -> Iterator[tuple[Mode, SequencePoint, cp_model.IntVar]]:
        """Every operating point with its mode and its Boolean."""
        for mode, literals in zip(self.modes, self.picked, strict=True):
            for point, literal in zip(mode.points, literals, strict=True):
                yield mode, point, literal

    def budget_of(self, mode: Mode) -> cp_model.IntVar:
        """The budget variable of the GPU of a mode."""
        return self.budgets[mode.terms.total_bytes]

    def encoder_of(self, mode: Mode) -> Any:
        """Peak of the vision encoder of a mode: one constant per point, the chosen one counts."""
        literals = self.picked[self.modes.index(mode)]
        return sum(point.encoder_bytes * picked for point, picked in zip(mode.points, literals, strict=True))

    def graphs_of(self, mode: Mode) -> Any:
        """Bytes of CUDA graphs in the budget of a mode: one constant per point, the chosen one counts."""
        literals = self.picked[self.modes.index(mode)]
        return sum(
            point.graph_bytes * picked for point, picked in zip(mode.points, literals, strict=True) if point.graph_bytes
        )

    def forbid(self, breaks: Callable[[SequencePoint], bool], says: Callable[[SequencePoint], str]) -> None:
        """Rule out the points that break a limit: compared as `check` compares them; `says` names each row."""
        for _, point, picked in self.points():
            if breaks(point):
                self.model.add(picked == 0).with_name(says(point))
