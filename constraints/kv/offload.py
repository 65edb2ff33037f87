"""KV offload to host memory: chunks of the tier, and the prefix tokens that they hold. It is no running capacity.

    chunk bytes = block bytes of a worker * copies * blocks per chunk, rounded up to 4096
    chunks      = floor(tier / chunk bytes)
    tokens      = chunks / sum over groups of 1 / (block tokens * blocks per chunk)

`copies` is the world size, or 1 where every rank holds the same cache (latent attention, with the windows of DeepSeek
V4, and no pipeline stages). A block
of any group takes a whole chunk. Source: vLLM 0.33 `kv_connector/v1/offloading/config.py:build_offloading_config`,
`v1/kv_offload/cpu/spec.py`.
"""

from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.kv.kv_plan import KvPlan

PAGE_BYTES = 4096
GIB = 1 << 30
REPLICATED = frozenset(("latent", "indexer", "sliding_window"))
"""Kinds of layers in a cache that every rank holds whole, where one of them is latent."""


@dataclass(frozen=True)
class OffloadTier:
    """The tier of one engine."""

    chunk_bytes: int
    num_chunks: int
    prefix_tokens: int
    """Tokens of prompts whose blocks fit in the tier, each prefix counted once."""


def is_replica(plan: KvPlan, layout: Layout) -> bool:
    """Whether all ranks of an engine hold the same cache, of which the tier keeps one copy."""
    kinds = {group.layer.kind for group in plan.groups}
    return layout.pipeline_parallel_size == 1 and "latent" in kinds and kinds <= REPLICATED


def offload_tier(plan: KvPlan, layout: Layout, size_gib: float, blocks_per_chunk: int = 1) -> OffloadTier:
    """Return what `--kv-offloading-size` (GiB over all ranks of one engine) holds."""
    copies = 1 if is_replica(plan, layout) else layout.gpus_per_engine
    raw = max(plan.block_bytes, default=0) * copies * blocks_per_chunk
    chunk = -(-raw // PAGE_BYTES) * PAGE_BYTES
    count = int(size_gib * GIB) // chunk if chunk else 0
    per_token = sum(1 / (_tokens_of_block(plan, group.layer.block_size) * blocks_per_chunk) for group in plan.groups)
    return OffloadTier(chunk, count, int(count / per_token) if per_token else 0)


def _tokens_of_block(plan: KvPlan, block_size: int) -> int:
    """A state is kept once per block of the attention layers."""
    return (block_size if block_size > 1 else plan.block_size) * plan.context_parallel
