"""What a rule's `add` writes into: the CP-SAT model, its variables, and the modes under their Booleans.

A mode is one (layout, max_num_batched_tokens, replicas) with the integer tables that follow from it; exactly one mode
is chosen. `max_num_seqs` and `gpu_memory_utilization` are chosen from small grids by one Boolean per value, so that
any table over them is linear. Memory is in exact bytes: the largest product, a KV block times a pool, stays below 2^60.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from vllm_opt.constraints.memory_ledger import MemoryTerms
    from vllm_opt.profiles.workload import Targets


@dataclass(frozen=True)
class SequencePoint:
    """What one value of max_num_seqs means under one mode. Bounds are at the confidence asked."""

    max_num_seqs: int
    outside_kv_bytes: tuple[int, ...]
    """Everything in the budget but the KV cache, per pipeline stage, at the confidence asked."""
    central_outside_kv_bytes: tuple[int, ...]
    """The same as the central estimate: what the plan will report."""
    headroom_needed_bytes: int
    blocks_needed: int
    """KV blocks of one engine for that many sequences of the mean context."""
    ttft_bound_ms: float
    tpot_bound_ms: float | None
    """None with one output token."""
    bound_tokens_per_s: float
    """Of all replicas together."""
    e2e_us: int
    """Central prediction, rounded up."""
    output_millitokens_per_s: int
    """Of all replicas together, central prediction, rounded down."""


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
    priced: bool
    block_bytes: tuple[int, ...]
    startup_blocks: int
    requests_per_block: tuple[int, int]
    """max_concurrency over the blocks of the pool, as a fraction."""
    points: tuple[SequencePoint, ...]
    parked_sequences: int = 0
    """Sequences that the CPU tier of one engine holds besides those that run."""


@dataclass
class DecisionSpace:
    """The model under construction."""

    model: cp_model.CpModel
    modes: Sequence[Mode]
    chosen: Sequence[cp_model.IntVar]
    targets: Targets
    sequence_choices: dict[int, cp_model.IntVar]
    utilization_choices: dict[float, cp_model.IntVar]
    max_num_seqs: cp_model.IntVar
    num_gpu_blocks: cp_model.IntVar
    max_num_batched_tokens: cp_model.IntVar
    max_model_len: cp_model.IntVar
    gpu_count: cp_model.IntVar
    model_limit_tokens: int

    def table(self, mode: Mode, value: str) -> cp_model.LinearExprT:
        """Return the linear expression of a `SequencePoint` field under `mode`: sum over S of value(S) x [S chosen]."""
        return sum(getattr(point, value) * self.sequence_choices[point.max_num_seqs] for point in mode.points)

    def forbid(self, mode: Mode, chosen: cp_model.IntVar, breaks: Callable[[SequencePoint], bool]) -> None:
        """Rule out the values of max_num_seqs that break a limit under `mode`: compared as `check` compares them."""
        for point in mode.points:
            if breaks(point):
                self.model.add_bool_or([chosen.negated(), self.sequence_choices[point.max_num_seqs].negated()])

    def utilization_table(self, value: Callable[[float], int]) -> cp_model.LinearExprT:
        """Return the linear expression of a function of gpu_memory_utilization: sum over u of value(u) x [u chosen]."""
        return sum(value(utilization) * literal for utilization, literal in self.utilization_choices.items())
