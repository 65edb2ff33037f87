"""HiSparse: sparse latent rows in host memory; on the GPU the indexer, tokens in flight, and what queries read.

Latent layers are joined as many to a group as fit beside the indexer's pages. Per request of L tokens, F in flight:

    indexer ceil(L / b); g resident groups of ceil(min(F, L) / b), 2 while decoding; g hot groups of ceil((q + 1) k / b)

with k = index_topk and q the tokens of a step; a block is the indexer's pages rounded up to whole latent pages.
Source: vLLM 0.33 `v1/hisparse/layout.py`, `v1/hisparse/runtime.py`.
"""

from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.kv.groups import CacheGroup, CacheLayer, DecodeStep
from vllm_opt.constraints.kv.pages import ceil_div
from vllm_opt.profiles.nouns.model import LatentAttention, ModelProfile

HOST_PAGE_BYTES = 4096
GIB = 1 << 30


@dataclass(frozen=True)
class SparseCache:
    """Block bytes, the layers that lead a group with their number of groups, and the blocks of the host's pool."""

    block_bytes: int
    members: tuple[tuple[CacheLayer, int], ...]
    host_blocks: int

    @property
    def groups(self) -> tuple[CacheGroup, ...]:
        """Every group of the device's pool."""
        return tuple(CacheGroup(layer, 1, (self.block_bytes,)) for layer, count in self.members for _ in range(count))


def sparse_cache(
    model: ModelProfile, layout: Layout, layers: list[CacheLayer], block_size: int, step: DecodeStep
) -> SparseCache:
    """Return the cache under HiSparseConnector with `layout.sparse_host_gib` of host memory.

    Raises:
        LayoutRefused: the model has no sparse latent attention, or is split in a way that the connector refuses.
    """
    mixers = (kind.mixer for kind in model.layer_kinds)
    read = next((mixer.index_topk for mixer in mixers if isinstance(mixer, LatentAttention) and mixer.index_topk), None)
    latent = [layer.page_bytes for layer in layers if layer.kind == "latent"]
    keys = sum(layer.page_bytes for layer in layers if layer.kind == "indexer")
    if read is None or not latent or not keys:
        raise _refused("HiSparse is only supported for DSA models with index_topk.")
    if layout.pipeline_parallel_size > 1 or layout.decode_context_parallel_size > 1:
        raise _refused("HiSparse supports neither pipeline parallelism nor decode context parallelism.")
    page = latent[0]
    groups = ceil_div(len(latent), max(1, keys // page))
    block_bytes = ceil_div(keys, page) * page
    hot = ceil_div((2 + step.speculative_tokens) * read, block_size)
    host_block = ceil_div(len(latent) * page, HOST_PAGE_BYTES) * HOST_PAGE_BYTES
    return SparseCache(
        block_bytes,
        (
            (CacheLayer("indexer", block_size, block_bytes), 1),
            (CacheLayer("resident", block_size, block_bytes, state_pages=2), groups),
            (CacheLayer("hot", block_size, block_bytes, state_pages=hot), groups),
        ),
        int((layout.sparse_host_gib or 0) * GIB) // host_block,
    )


def _refused(message: str) -> LayoutRefused:
    return LayoutRefused(Violation(rule="compatibility", message=message))
