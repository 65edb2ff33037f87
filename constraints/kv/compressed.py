"""The KV cache of DeepSeek V4: window, compressed states, indexer and compressor states, packed into shared blocks.

Source: vLLM 0.33 `models/deepseek_v4/attention.py:DeepseekV4IndexerCache`, `compressor.py:CompressorStateCache`,
`v1/attention/backends/mla/sparse_swa.py` (pages), `v1/core/kv_cache_planning.py:_get_packed_kv_cache_groups,
_approximate_gcd, _get_kv_cache_bytes_per_block` (groups).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import lcm
from typing import NamedTuple, NoReturn

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.pipeline_stages import stage_layers
from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.kv.groups import CacheGroup, CacheLayer
from vllm_opt.constraints.kv.pages import ceil_div
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import CompressedAttention, ModelProfile

DEFAULT_BLOCK_TOKENS = 256
LARGEST_UNALIGNED_BLOCK_TOKENS = 256
"""Blocks above this are rounded up to whole pages of every kernel (`_get_kv_cache_bytes_per_block`)."""

WINDOW_BLOCK_TOKENS = 64
PACKED_ROW_BYTES = 584
"""One fp8_ds_mla state: 448 fp8 elements, 64 bf16 ones and eight scales."""

PACKED_ALIGNMENT, FLASHINFER_ALIGNMENT = 576, 512
INDEX_ROW_BYTES = {"auto": 132, "mxfp4": 68}
STATE_BLOCKS = {4: 4, 128: 8}
"""Ratio -> tokens per block of the compressor's state."""

FLOAT_BYTES = 4
FULL_MASK_DTYPES = frozenset({"auto", "fp8", "fp8_e4m3", "fp8_ds_mla"})


class PackedCache(NamedTuple):
    """What `constraints.kv.kv_plan` makes its plan of."""

    block_size: int
    groups: tuple[CacheGroup, ...]
    block_bytes: tuple[int, ...]
    stage_layers: tuple[tuple[tuple[CacheLayer, int], ...], ...]


def is_compressed(model: ModelProfile) -> bool:
    """Tell whether the model keeps compressed states, so that the rules of this module plan its cache."""
    return any(isinstance(kind.mixer, CompressedAttention) for kind in model.layer_kinds)


def packed_cache(model: ModelProfile, layout: Layout, gpu: GpuProfile) -> PackedCache:
    """Return the packed groups: per block, the largest sum of one group's pages on each stage.

    Buckets: windows (every layer), compressed states with the indexer's keys, states of ratio 4, states of ratio 128.
    Windows are split into groups of about as many layers as the other buckets have.

    Raises:
        LayoutRefused: vLLM fails with this KV dtype, block size, manager or context parallelism.
    """
    mixers = [kind.mixer for kind in model.layers if isinstance(kind.mixer, CompressedAttention)]
    block_size = layout.block_size or DEFAULT_BLOCK_TOKENS
    _check(mixers[0], layout, gpu, block_size)
    pages = _Pages(mixers[0], layout.kv_cache_dtype, block_size)
    owners = [
        (index, layer)
        for index, kind in enumerate(model.layers)
        if isinstance(kind.mixer, CompressedAttention)
        for layer in pages.of_layer(kind.mixer.compress_ratio)
    ]
    stages = list(stage_layers(model.num_hidden_layers, layout.pipeline_parallel_size))
    drafts = layout.speculation
    modules = 1 if drafts is not None and drafts.method == "mtp" else 0
    if modules:
        # The MTP module is one more layer of the last stage, with a window alone.
        owners.append((model.num_hidden_layers, pages.window))
        stages[-1] = range(stages[-1].start, model.num_hidden_layers + 1)
    groups = tuple(_groups(owners, mixers, stages, modules))
    block_bytes = [max(group.stage_bytes[stage] for group in groups) for stage in range(len(stages))]
    if block_size > LARGEST_UNALIGNED_BLOCK_TOKENS:
        common = lcm(*_Pages(mixers[0], layout.kv_cache_dtype, LARGEST_UNALIGNED_BLOCK_TOKENS).states)
        block_bytes = [common * ceil_div(size, common) for size in block_bytes]
    distinct = tuple(tuple(Counter(layer for index, layer in owners if index in stage).items()) for stage in stages)
    return PackedCache(block_size, groups, tuple(block_bytes), distinct)


def _refuse(message: str, needed: float | None = None, available: float | None = None, unit: str = "") -> NoReturn:
    raise LayoutRefused(Violation(rule="compatibility", message=message, needed=needed, available=available, unit=unit))


def _check(mixer: CompressedAttention, layout: Layout, gpu: GpuProfile, block_size: int) -> None:
    asked = layout.kv_cache_dtype
    if layout.kv_cache_dtype_skip_layers:
        _refuse("--kv-cache-dtype-skip-layers: DeepSeek V4 stores its states in one packed format; leave it out.")
    if mixer.backend == "auto" and asked not in FULL_MASK_DTYPES:
        _refuse(
            f"DeepseekV4 fp8_ds_mla layout only supports fp8 kv-cache, got {asked}. Please set "
            "`--kv-cache-dtype fp8` or select a backend that supports bfloat16 KV cache."
        )
    if mixer.index_cache_dtype == "mxfp4" and (gpu.compute_capability or (0, 0))[0] != 10:
        _refuse(
            "indexer_kv_dtype='mxfp4' requires Blackwell datacenter GPUs (sm_10x, e.g. B200/GB200); sm_120 (consumer "
            "Blackwell) and earlier architectures are not supported."
        )
    if block_size % 128:
        _refuse(
            f"--block-size {block_size}: integer division or modulo by zero, as a block must hold whole states of 128 "
            "tokens; leave it at 256",
            128,
            block_size,
            "tokens",
        )
    if layout.disable_hybrid_kv_cache_manager:
        _refuse("MLAAttentionSpec.__init__() got an unexpected keyword argument 'bounded_replay'")
    if layout.decode_context_parallel_size > 1:
        _refuse("DCP not support sliding window.", 1, layout.decode_context_parallel_size, "ranks")


class _Pages:
    """The pages of one layout, each padded to its kernel's alignment."""

    def __init__(self, mixer: CompressedAttention, kv_cache_dtype: str, block_size: int) -> None:
        packed = mixer.backend == "auto"
        self._alignment = PACKED_ALIGNMENT if packed else FLASHINFER_ALIGNMENT
        self._row = PACKED_ROW_BYTES
        if not packed:
            self._row = mixer.head_dim * (1 if kv_cache_dtype.startswith("fp8") else 2)
        self._mixer = mixer
        self._block = block_size
        self.window = CacheLayer(
            "sliding_window",
            WINDOW_BLOCK_TOKENS,
            self._padded(WINDOW_BLOCK_TOKENS * self._row),
            window_tokens=mixer.window_tokens,
        )

    def of_layer(self, ratio: int) -> tuple[CacheLayer, ...]:
        """Return the caches of one layer: the window, then compressed states, indexer keys and compressor states."""
        if not ratio:
            return (self.window,)
        caches = [self.window, CacheLayer("latent", self._block, self._states(ratio))]
        dim, index_dim = self._mixer.head_dim, self._mixer.index_head_dim
        if ratio == 4:
            caches.append(CacheLayer("indexer", self._block, self._index_keys))
            caches.append(self._compressor(4, 4 * dim, 2 * ratio))
            caches.append(self._compressor(4, 4 * index_dim, 2 * ratio))
        else:
            caches.append(self._compressor(128, 2 * dim, ratio))
        return tuple(caches)

    @property
    def states(self) -> tuple[int, ...]:
        """Pages of the compressed states and the indexer's keys."""
        return (self._states(4), self._index_keys, self._states(128))

    @property
    def _index_keys(self) -> int:
        return self._padded(self._block // 4 * INDEX_ROW_BYTES[self._mixer.index_cache_dtype])

    def _states(self, ratio: int) -> int:
        return self._padded(self._block // ratio * self._row)

    def _compressor(self, ratio: int, elements: int, window: int) -> CacheLayer:
        block = STATE_BLOCKS[ratio]
        page = self._padded(block * elements * FLOAT_BYTES)
        return CacheLayer("sliding_window", block, page, window_tokens=window)

    def _padded(self, size: int) -> int:
        return self._alignment * ceil_div(size, self._alignment)


def _groups(
    owners: Sequence[tuple[int, CacheLayer]],
    mixers: Sequence[CompressedAttention],
    stages: Sequence[range],
    modules: int,
) -> Iterator[CacheGroup]:
    ratios = Counter(mixer.compress_ratio for mixer in mixers)
    size = _group_size([len(mixers) + modules, ratios[4], ratios[128]], ratios[4])
    buckets: dict[tuple[str, int, int | None], list[tuple[int, CacheLayer]]] = {}
    for index, layer in owners:
        grows = layer.window_tokens is None
        key = ("states" if grows else layer.kind, layer.block_size, layer.window_tokens)
        buckets.setdefault(key, []).append((index, layer))
    for (_, block, _), members in buckets.items():
        parts = ceil_div(len(members), size) if block == WINDOW_BLOCK_TOKENS else 1
        for part in range(parts):
            dealt = members[part::parts]
            sums = tuple(sum(layer.page_bytes for index, layer in dealt if index in stage) for stage in stages)
            yield CacheGroup(dealt[0][1], len(dealt), sums)


def _group_size(counts: Sequence[int], smallest: int) -> int:
    """Return the size that pads the buckets least when they are cut into it; of equal ones the larger."""
    present = [count for count in counts if count]
    candidates = range(max(1, smallest), max(present) + 1)
    return min(candidates, key=lambda size: (sum(-count % size for count in present), -size))
