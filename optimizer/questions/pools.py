"""Memory of many layouts at once, as exact integer arrays: demand of every stage against the highest usable budget.

The same sums as `MemoryTerms` and `LayoutFacts.blocks_at`, vectorised over rows (one row per layout): explanations ask
the same question for thousands of layouts under dozens of changed limits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.kv.held_blocks import held_blocks
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.memory.overheads import FittedBytes
from vllm_opt.constraints.memory.sampler_warmup import FACTOR, PROMPT_TOKENS, REDUNDANCY_BYTES, RELATIVE_SPREAD
from vllm_opt.optimizer.questions.graph_table import GraphTable
from vllm_opt.optimizer.space.layout_facts import utilization_steps
from vllm_opt.profiles.normal import normal_quantile
from vllm_opt.profiles.nouns.workload import Targets

Integers = NDArray[np.int64]
Item = TypeVar("Item")
APART = 2**50
"""bytes: more than any GPU has, so that the budgets of one follow on those of another"""
PADDED_TOGETHER = 2**14
"""rows x stages: beyond, rows of about as many stages are counted apart, so that little is padded"""
UNKNOWN = -(2**62)
"""stands in a table for what was not computed yet"""


@dataclass(frozen=True)
class Demand:
    """Bytes at the stage that is nearest to its budget (or furthest above it), one entry per row."""

    needed: Integers
    available: Integers

    @property
    def fits(self) -> NDArray[np.bool_]:
        """Whether every stage fits: the shown one is the worst."""
        return self.needed <= self.available


class MemoryTable:
    """Arrays of the memory terms of many layouts, stages padded to the longest pipeline.

    Rows come in pairs: row 2 i is layout i with CUDA graphs, row 2 i + 1 the same layout in eager mode. `eager`: what
    each takes outside PyTorch then, inside the budget and outside.
    """

    def __init__(
        self, terms: Sequence[MemoryTerms], eager: Sequence[tuple[FittedBytes, FittedBytes]], confidence: float
    ) -> None:
        self._terms = terms
        stages = max((item.stages for item in terms), default=1)
        z = max(0.0, normal_quantile(confidence))
        self._stages = np.array([item.stages for item in terms], dtype=np.int64)
        self._weights = _padded([_sums(item.weights, item.weights_extra) for item in terms], stages)
        self._block = _padded([item.kv.block_bytes for item in terms], stages)
        peaks, self._peak_of = _indexed([item.activation for item in terms], id)
        self._forward = _padded([peak.forward_fixed_bytes for peak in peaks], stages)
        self._forward_token = _padded([peak.forward_bytes_per_token for peak in peaks], stages)
        self._sampler = _padded([peak.sampler_fixed_bytes for peak in peaks], stages)
        self._sampler_token = _padded([peak.sampler_bytes_per_token for peak in peaks], stages)
        self._sampler_sequence = _padded([peak.sampler_bytes_per_sequence for peak in peaks], stages)
        self._peak_factor = np.array([1.0 + z * peak.relative_spread for peak in peaks])
        self._raised: dict[int, tuple[Integers, ...]] = {}
        own = [(item.non_torch, item.context) for item in terms]
        pairs = [one for pair in zip(own, eager, strict=True) for one in pair]
        upper = {id(fitted): fitted.at(confidence) for pair in pairs for fitted in pair}
        self._non_torch, self._context = (
            np.array([upper[id(pair[part])] for pair in pairs], dtype=np.int64) for part in (0, 1)
        )
        self._encodes = any(peak.has_floor for peak in peaks)
        self._compiled = np.array([peak.compile_bytes for peak in peaks], dtype=np.int64)[self._peak_of]
        self._load = np.zeros(len(pairs), dtype=np.int64)
        for row, (_, context) in enumerate(pairs):
            item = terms[row // 2]
            if item.load_peak and (loaded := max(item.load_peak) + upper[id(context)]) > item.total_bytes:
                self._load[row] = loaded
        self._graphs = GraphTable([item.graphs for item in terms], z)
        self._in_budget = np.array([item.engine.graphs_in_budget for item in terms], dtype=np.bool_)
        self._frees_peak = bool(terms and terms[0].engine.engine == "v0")
        self._central_graphs = GraphTable([item.graphs for item in terms], 0.0)
        self._warms_up = np.array([item.warmup is not None for item in terms], dtype=np.bool_)
        self._warmed_each = np.array([item.warmup.bytes_per_sequence if item.warmup else 0 for item in terms])
        self._warmup_factor = 1.0 + z * RELATIVE_SPREAD
        self._plans, self._plan = _indexed([item.kv for item in terms], id)
        self._totals, self._total = _indexed([item.total_bytes for item in terms], int)
        self._startup: dict[tuple[int, int], Integers] = {}
        self._sequences: dict[tuple[int, int], Integers] = {}
        self._budgets: dict[float, Integers] = {}

    def startup_blocks(self, layouts: Integers, context: int, tokens: int) -> Integers:
        """The fewest KV blocks that start, one entry per layout."""
        plans, key = self._plan[layouts], (context, tokens)
        known = self._startup.setdefault(key, np.full(len(self._plans), UNKNOWN))
        for plan in self._unknown(known, plans):
            known[plan] = self._plans[plan].startup_blocks(context, tokens)
        found: Integers = known[plans]
        return found

    @staticmethod
    def _unknown(known: Integers, plans: Integers) -> list[int]:
        """The plans among these of which a table holds nothing."""
        missing: list[int] = np.unique(plans[known[plans] == UNKNOWN]).tolist()
        return missing

    def held_blocks(self, layouts: Integers, held: Targets | None, tokens: int, sequences: Integers) -> Integers:
        """`constraints/kv/held_blocks.py`, one entry per layout and number of sequences."""
        if held is None or held.contexts_in_flight is None:
            return self.sequence_blocks(layouts, 1 if held is None else held.mean_context, tokens, sequences)
        plans, found = self._plan[layouts], np.zeros(len(layouts), dtype=np.int64)
        for plan, count in {*zip(plans.tolist(), sequences.tolist(), strict=True)}:
            found[(plans == plan) & (sequences == count)] = held_blocks(self._plans[plan], held, count, tokens)
        return found

    def sequence_blocks(self, layouts: Integers, context: int, tokens: int, sequences: Integers) -> Integers:
        """KV blocks of `sequences` sequences of `context` tokens, one entry per layout."""
        plans, key = self._plan[layouts], (context, tokens)
        fixed, each = self._sequences.setdefault(key, np.full((2, len(self._plans)), UNKNOWN))
        for plan in self._unknown(fixed, plans):
            blocks = self._plans[plan].sequence_blocks(context, tokens)
            fixed[plan], each[plan] = blocks.fixed, blocks.each
        found: Integers = fixed[plans] + sequences * each[plans]
        return found

    def demand(
        self,
        rows: Integers,
        tokens: int,
        sequences: Integers,
        context: int,
        held: Targets | None,
        ceiling: float,
        *,
        headroom: bool = True,
    ) -> Demand:
        """Needed and available bytes for `sequences` sequences in steps of `tokens` tokens.

        `context`: max_model_len, for which the server must start; `held`: how many tokens sequences hold, None for one.
        Without `headroom` the whole budget at the utilisation `ceiling` counts.
        """
        stages = self._stages[rows // 2]
        if len(rows) * int(stages.max(initial=1)) <= PADDED_TOGETHER:
            return self._demand(rows, tokens, sequences, context, held, ceiling, headroom=headroom)
        needed, available = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.int64)
        for low, high in pairwise((0, 1, 2, 4, 8, int(stages.max()))):
            mine = np.flatnonzero((stages > low) & (stages <= high))
            if len(mine):
                part = self._demand(rows[mine], tokens, sequences[mine], context, held, ceiling, headroom=headroom)
                needed[mine], available[mine] = part.needed, part.available
        return Demand(needed, available)

    def _demand(
        self, rows: Integers, tokens: int, sequences: Integers, context: int, held: Targets | None, ceiling: float, *,
        headroom: bool,
    ) -> Demand:  # fmt: skip
        """The same, all rows padded to the longest pipeline among them."""
        loading = self._load[rows]
        captured = rows % 2 == 0
        graphs = np.where(captured, self._graphs.bytes(rows // 2, tokens, sequences), 0)
        non_torch, outside = self._non_torch[rows], self._context[rows]
        rows = rows // 2
        width = int(self._stages[rows].max(initial=1))
        floor = self._floor(rows, captured, tokens, sequences)
        factored = self._factored(rows, tokens, sequences, width, floor)
        blocks = np.maximum(
            self.startup_blocks(rows, context, tokens),
            self.held_blocks(rows, held, tokens, sequences),
        )
        counted = self._in_budget[rows]
        fixed = non_torch + np.where(counted, graphs, 0)
        needed = self._weights[rows, :width] + factored + fixed[:, None] + blocks[:, None] * self._block[rows, :width]
        needed = np.where(np.arange(width) < self._stages[rows, None], needed, 0).max(axis=1)
        needed = np.maximum(needed, loading)
        if not counted.all():
            freed: Integers | int = 0
            if self._frees_peak:
                peak = self._peak(rows, tokens, sequences, width, floor)
                stages = np.arange(width) < self._stages[rows, None]
                freed = np.where(stages, peak, np.iinfo(np.int64).max).min(axis=1)
            after = self._after_profile(rows, captured, tokens, sequences, width)
            outside = outside + np.where(counted, 0, np.where(after > 0, after, np.maximum(0, graphs - freed)))
        return Demand(needed, self._highest_budget(rows, ceiling, outside if headroom else None))

    def _factored(self, rows: Integers, tokens: int, sequences: Integers, width: int, floor: Integers) -> Integers:
        """Upper end of the activation peak per row and stage: `ActivationPeak.bytes_at`, term by term."""
        mine = self._peak_of[rows]
        forward, sampler, each = (table[mine, :width] for table in self._raised_at(tokens))
        peak: Integers = np.maximum(forward, sampler + each * np.minimum(sequences, tokens)[:, None])
        if self._encodes:
            peak[:, 0] = np.maximum(peak[:, 0], np.ceil(floor * self._peak_factor[mine]).astype(np.int64))
        return peak

    def _raised_at(self, tokens: int) -> tuple[Integers, ...]:
        """Upper ends per distinct peak and stage: forward pass, sampler, and what each sequence adds to that."""
        if tokens not in self._raised:
            factor = self._peak_factor[:, None]
            central = (
                self._forward + self._forward_token * tokens,
                self._sampler + self._sampler_token * tokens,
                self._sampler_sequence,
            )
            self._raised[tokens] = tuple(np.ceil(part * factor).astype(np.int64) for part in central)
        return self._raised[tokens]

    def _after_profile(
        self, rows: Integers, captured: NDArray[np.bool_], tokens: int, sequences: Integers, width: int
    ) -> Integers:
        """Upper end of what the V2 runner takes after its profile, per row: `MemoryTerms.after_profile_bytes`."""
        if not self._warms_up.any():
            return np.zeros(len(rows), dtype=np.int64)
        encoder = self._floor(rows, np.zeros_like(captured), tokens, sequences)
        peak = self._peak(rows, tokens, sequences, width, encoder)
        freed = np.take_along_axis(peak, self._stages[rows, None] - 1, axis=1)[:, 0]
        warmed = np.maximum(1, np.minimum(sequences, tokens // PROMPT_TOKENS))
        warmup = REDUNDANCY_BYTES + self._warmed_each[rows] * warmed
        graphs = self._central_graphs.bytes(rows, tokens, sequences)
        central = np.ceil(FACTOR * (graphs + np.maximum(0, warmup - freed))).astype(np.int64)
        upper = np.ceil(central * self._warmup_factor).astype(np.int64)
        return np.where(captured & self._warms_up[rows], upper, 0)

    def _floor(self, rows: Integers, captured: NDArray[np.bool_], tokens: int, sequences: Integers) -> Integers:
        """Central floor of the first stage's peak per row: the vision encoder's, or what compiling takes."""
        if not self._encodes:
            return np.zeros(len(rows), dtype=np.int64)
        pairs = list(zip(rows.tolist(), sequences.tolist(), strict=True))
        distinct = {(row, count): self._terms[row].activation.encoder_bytes(tokens, count) for row, count in set(pairs)}
        encoder = np.array([distinct[pair] for pair in pairs], dtype=np.int64)
        return np.maximum(encoder, np.where(captured, self._compiled[rows], 0))

    def _peak(self, rows: Integers, tokens: int, sequences: Integers, width: int, floor: Integers) -> Integers:
        """Central activation peak per row and stage."""
        mine, sampled = self._peak_of[rows], np.minimum(sequences, tokens)[:, None]
        forward = self._forward[mine, :width] + self._forward_token[mine, :width] * tokens
        sampler = self._sampler[mine, :width] + self._sampler_token[mine, :width] * tokens
        peak: Integers = np.maximum(forward, sampler + self._sampler_sequence[mine, :width] * sampled)
        if self._encodes:
            peak[:, 0] = np.maximum(peak[:, 0], floor)
        return peak

    def _highest_budget(self, rows: Integers, ceiling: float, outside: Integers | None) -> Integers:
        """The largest budget among the utilisation steps that leaves `outside` untouched; -1 when none does."""
        if ceiling not in self._budgets:
            steps = utilization_steps(ceiling)
            owners = [int(np.flatnonzero(self._total == index)[0]) for index in range(len(self._totals))]
            self._budgets[ceiling] = np.array(
                [[self._terms[owner].budget_bytes(step) for step in steps] for owner in owners], dtype=np.int64
            ).reshape(len(owners), len(steps))
        budgets, totals = self._budgets[ceiling], self._total[rows]
        if outside is None:
            highest: Integers = budgets[totals, -1]
            return highest
        ascending = (budgets + APART * np.arange(len(budgets))[:, None]).reshape(-1)
        left = np.maximum(np.array(self._totals, dtype=np.int64)[totals] - outside, 0)
        at = np.searchsorted(ascending, left + APART * totals, side="right") - totals * budgets.shape[1]
        return np.where(at > 0, budgets[totals, at - 1], -1)


def _sums(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _padded(values: Sequence[tuple[int, ...]], width: int) -> Integers:
    """Tuples of different length as one table, zeros behind."""
    table = np.zeros((len(values), width), dtype=np.int64)
    for row, numbers in enumerate(values):
        table[row, : len(numbers)] = numbers
    return table


def _indexed(items: Sequence[Item], key: Callable[[Item], int]) -> tuple[list[Item], Integers]:
    """The distinct items and, for each given one, which of them it is."""
    known: dict[int, int] = {}
    distinct: list[Item] = []
    index = np.empty(len(items), dtype=np.int64)
    for position, item in enumerate(items):
        at = known.setdefault(key(item), len(distinct))
        if at == len(distinct):
            distinct.append(item)
        index[position] = at
    return distinct, index
