"""How likely a configuration is to start: the room it has, against what the fitted terms may exceed their estimates by.

    P = min over the conditions of Phi((available - needed) / spread)

Each condition is one that a rule compares: the KV cache of one longest request per stage, a block per sequence for
models with states, the memory outside the budget, and the GPU itself where the pool is given by hand. Exact terms have
no spread: there the answer is 0 or 1. Where a start with an empty compile cache may take GiBs more, and nobody says
whether it is empty, P is the weighted mean of both cases (`cold_compile.py`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.constraints.memory.cold_compile import timed_tokens
from vllm_opt.constraints.memory.ledger import GIB, MemoryTerms
from vllm_opt.constraints.memory.sampler_warmup import RELATIVE_SPREAD

COLD_SHARE = 0.8
COLD_LOG_SPREAD = 1.0


@dataclass(frozen=True)
class Margin:
    """One condition in bytes of one rank, with one standard deviation of their difference."""

    needed_bytes: int
    available_bytes: int
    spread_bytes: int
    cold_bytes: int = 0
    """Median of what an empty compile cache may take besides."""

    @property
    def probability(self) -> float:
        """The chance that the condition holds, whether or not the compile cache is filled."""
        if not self.cold_bytes:
            return self.warm_probability
        spare = self.available_bytes - self.needed_bytes
        cold = NormalDist().cdf(math.log(spare / self.cold_bytes) / COLD_LOG_SPREAD) if spare > 0 else 0.0
        return (1.0 - COLD_SHARE) * self.warm_probability + COLD_SHARE * min(cold, self.warm_probability)

    @property
    def warm_probability(self) -> float:
        """The chance that the condition holds where nothing has to be compiled."""
        spare = self.available_bytes - self.needed_bytes
        if self.spread_bytes <= 0:
            return 1.0 if spare >= 0 else 0.0
        return NormalDist().cdf(spare / self.spread_bytes)


def tightest_margin(terms: MemoryTerms, flags: EngineFlags, *, blocks_needed: int) -> Margin:
    """Return the condition that is most likely to fail; `blocks_needed` is what the pool must hold to start."""
    return min(_margins(terms, flags, blocks_needed), key=lambda margin: margin.probability)


def _margins(terms: MemoryTerms, flags: EngineFlags, blocks_needed: int) -> Iterator[Margin]:
    tokens, sequences = flags.max_num_batched_tokens, flags.max_num_seqs
    by_hand = flags.num_gpu_blocks_override is not None or flags.kv_cache_memory_bytes is not None
    spreads = terms.spread_bytes(tokens, sequences)
    available = terms.available_kv_bytes(flags)
    cold = 0 if by_hand else terms.timed_bytes_per_token * timed_tokens(tokens, sequences)
    for stage, block in enumerate(terms.kv.block_bytes):
        yield Margin(max(1, blocks_needed * block), available[stage], 0 if by_hand else spreads[stage], cold)
    if by_hand:
        yield from _whole_gpu(terms, flags, spreads)
    needed = terms.headroom_needed_bytes(tokens, sequences)
    yield Margin(needed, terms.headroom_bytes(flags.gpu_memory_utilization), _outside_spread(terms, flags))


def _whole_gpu(terms: MemoryTerms, flags: EngineFlags, spreads: tuple[int, ...]) -> Iterator[Margin]:
    outside = terms.outside_kv_bytes(flags.max_num_batched_tokens, flags.max_num_seqs)
    offloaded = int(flags.cpu_offload_gib * GIB)
    for stage, count in enumerate(terms.blocks_by_stage(flags)):
        pool = count * terms.kv.block_bytes[stage]
        yield Margin(outside[stage] + pool - offloaded + terms.context.bytes, terms.total_bytes, spreads[stage])


def _outside_spread(terms: MemoryTerms, flags: EngineFlags) -> int:
    spread = terms.context.spread_bytes
    if terms.warmup is not None:
        after = terms.after_profile_bytes(flags.max_num_batched_tokens, flags.max_num_seqs)
        spread += int(RELATIVE_SPREAD * after)
    elif terms.graphs is not None and not terms.engine.graphs_in_budget:
        captured = terms.graphs.bytes(flags.max_num_seqs, flags.max_num_batched_tokens)
        spread += int(terms.graphs.relative_spread * captured)
    return spread
