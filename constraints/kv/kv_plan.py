"""KvPlan: the KV cache of one layout exactly as vLLM plans it.

bytes per block (stage) = max over groups of the pages of that group's layers on the stage;
blocks = min over stages of floor(available bytes / bytes per block);
blocks per request = sum over groups of the pages that one request of `max_model_len` tokens takes.
Source: vLLM 0.33 `v1/core/kv_cache_planning.py`, `v1/core/kv_cache_utils.py:get_kv_cache_capacity`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import lcm

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.kv.compressed import PackedCache, is_compressed, packed_cache
from vllm_opt.constraints.kv.groups import CacheGroup, CacheLayer, DecodeStep, group_layers, promote_windows
from vllm_opt.constraints.kv.layers import CacheLayers, cache_layers, layers_in_order
from vllm_opt.constraints.kv.pages import ceil_div
from vllm_opt.constraints.kv.sequence_blocks import SequenceBlocks, largest
from vllm_opt.constraints.kv.sparse import sparse_cache
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile

STEPPED = ("cross", "resident")
"""Kinds of layers that hold what a step is wide, whatever their window."""


@dataclass(frozen=True)
class KvPlan:
    """Groups, block bytes and block counts of one layout. Every method is plain integer arithmetic."""

    block_size: int
    block_bytes: tuple[int, ...]
    groups: tuple[CacheGroup, ...]
    requests: tuple[tuple[CacheLayer, int], ...]
    """Each distinct layer of the groups with the number of groups that it leads."""
    stage_layers: tuple[tuple[tuple[CacheLayer, int], ...], ...]
    """Per stage: each distinct layer before pages were made equal, with how many the stage holds."""
    in_flight_batches: int
    context_parallel: int
    engine: EngineProfile
    step: DecodeStep
    """What one decode step allocates and what is in flight beside it."""
    host_blocks: int | None = None
    """Blocks of a pool in host memory that holds every token (HiSparse); None: there is none."""

    @property
    def keeps_cache(self) -> bool:
        """Whether any layer keeps a cache: an encoder keeps none."""
        return any(self.block_bytes)

    @property
    def item_tokens(self) -> int:
        """Encoder tokens of one item that cross attention reads; 0 without."""
        return max((layer.window_tokens or 0 for layer, _ in self.requests if layer.kind == "cross"), default=0)

    @property
    def has_states(self) -> bool:
        """Whether some layer keeps a recurrent state."""
        return any(layer.kind == "state" for layer, _ in self.requests)

    @property
    def depends_on_steps(self) -> bool:
        """Whether what a request takes depends on the width of a step: windows and encoder tokens do."""
        return any(layer.kind != "state" and (layer.window_tokens is not None or layer.kind in STEPPED)
                   for layer, _ in self.requests)  # fmt: skip

    def in_flight_tokens(self, max_num_batched_tokens: int) -> int:
        """Return tokens that windows hold back for steps under way: batches in flight x tokens per batch."""
        return self.in_flight_batches * max_num_batched_tokens

    def blocks_per_request(self, max_model_len: int, max_num_batched_tokens: int) -> int:
        """Return blocks that one request of `max_model_len` tokens takes from the pool, over all groups."""
        in_flight = self.in_flight_batches * max_num_batched_tokens
        return sum(
            count * layer.pages_per_request(max_model_len, in_flight, self.context_parallel, max_num_batched_tokens)
            for layer, count in self.requests
        )

    def running_blocks_per_request(self, context: int) -> int:
        """Return the most blocks that one request of `context` tokens holds while it decodes, over all groups.

        Read off vLLM 0.33's own `KVCacheManager` for every kind of layer. Releases from 0.9 on free what lies outside a
        window by the tokens that they scheduled, 0.26 and later by those that they processed, which keeps one step
        more (read in their source, not simulated). Before that, windows keep every token (`hybrid_kv_cache`).
        """
        return sum(
            count * layer.pages_while_decoding(context, self.step, self.context_parallel)
            for layer, count in self.requests
        )

    def admission_blocks(self, prompt_tokens: int, max_num_batched_tokens: int) -> int:
        """Return the blocks that must be free before a prompt of `prompt_tokens` starts, over all groups."""
        in_flight = self.in_flight_batches * max_num_batched_tokens
        return sum(
            count * layer.pages_at_admission(prompt_tokens, in_flight, self.step, self.context_parallel)
            for layer, count in self.requests
        )

    def sequence_blocks(self, context: int, max_num_batched_tokens: int) -> SequenceBlocks:
        """Return what sequences of `context` tokens need of the pool, as a linear function of their number.

        All but one decode; one has just started and holds the blocks of its prefill, which the gate wants free.
        """
        in_flight = self.in_flight_batches * max_num_batched_tokens
        null_block = 1 if self.engine.null_block_in_fit_check else 0
        each, prefill = 0, 0
        for layer, count in self.requests:
            running = layer.pages_while_decoding(context, self.step, self.context_parallel)
            starting = layer.pages_at_admission(context, in_flight, self.step, self.context_parallel)
            each += count * running
            prefill += count * (starting - running) * (starting > running)
        return SequenceBlocks(null_block + prefill, each)

    def startup_blocks(self, max_model_len: int, max_num_batched_tokens: int) -> int:
        """Return the fewest blocks with which this release starts at `max_model_len`, the null block included."""
        if self.engine.kv_fit_check == "pool_tokens":
            # V0 divides the pool by the pipeline stages before it compares.
            return ceil_div(max_model_len, self.block_size) * len(self.block_bytes)
        if self.engine.kv_fit_check == "layers":
            return self._blocks_of_layers(max_model_len, max_num_batched_tokens)
        null_block = 1 if self.engine.null_block_in_fit_check else 0
        return null_block + self.blocks_per_request(max_model_len, max_num_batched_tokens)

    def _blocks_of_layers(self, max_model_len: int, max_num_batched_tokens: int) -> int:
        needed = self.needed_bytes(max_model_len, max_num_batched_tokens)
        return max(
            ceil_div(stage, block) if block else 0 for stage, block in zip(needed, self.block_bytes, strict=True)
        )

    def needed_bytes(self, max_model_len: int, max_num_batched_tokens: int) -> tuple[int, ...]:
        """Return the bytes per stage that one request of `max_model_len` tokens needs, as start-up sums them."""
        if self.engine.kv_fit_check != "layers":
            blocks = self.blocks_per_request(max_model_len, max_num_batched_tokens)
            return tuple(blocks * block for block in self.block_bytes)
        in_flight = self.in_flight_batches * max_num_batched_tokens
        return tuple(
            sum(
                count
                * layer.page_bytes
                * layer.pages_per_request(max_model_len, in_flight, self.context_parallel, max_num_batched_tokens)
                for layer, count in layers
            )
            for layers in self.stage_layers
        )

    def num_gpu_blocks(self, available_bytes: tuple[int, ...] | int) -> int:
        """Return floor(available / block bytes), the least over the stages; a stage without cache does not limit."""
        per_stage = (available_bytes,) * len(self.block_bytes) if isinstance(available_bytes, int) else available_bytes
        counts = [bytes_ // block for bytes_, block in zip(per_stage, self.block_bytes, strict=True) if block]
        return max(0, min(counts)) if counts else 1

    def max_concurrency(self, num_gpu_blocks: int, max_model_len: int, max_num_batched_tokens: int) -> float:
        """Return the 'Maximum concurrency for L tokens per request' that the release logs."""
        if self.engine.printed_tokens == "blocks_times_size":
            return num_gpu_blocks * self.block_size / max_model_len
        return num_gpu_blocks / max(1, self.blocks_per_request(max_model_len, max_num_batched_tokens))

    def admission_concurrency(self, num_gpu_blocks: int, prompt_tokens: int, max_num_batched_tokens: int) -> float:
        """Return how many prompts of `prompt_tokens` may start at once in an empty pool."""
        null_block = 1 if self.engine.null_block_in_fit_check else 0
        needed = self.admission_blocks(prompt_tokens, max_num_batched_tokens)
        return max(0, num_gpu_blocks - null_block) / max(1, needed)

    def running_concurrency(self, num_gpu_blocks: int, context: int) -> float:
        """Return how many requests of `context` tokens decode at once."""
        null_block = 1 if self.engine.null_block_in_fit_check else 0
        held = max(0, num_gpu_blocks - null_block) / max(1, self.running_blocks_per_request(context))
        if self.host_blocks is None:
            return held
        return min(held, self.host_blocks / ceil_div(context, self.block_size))

    def printed_tokens(self, num_gpu_blocks: int, max_model_len: int, max_num_batched_tokens: int) -> int:
        """Return N of 'GPU KV cache size: N tokens' by the release's own rule."""
        if self.engine.printed_tokens == "blocks_times_size":
            return num_gpu_blocks * self.block_size
        if self.engine.printed_tokens == "blocks_over_groups":
            # A state's group carries the attention block, or max_model_len without prefix caching: never the smallest.
            sizes = [group.layer.block_size for group in self.groups if group.layer.kind != "state"]
            smallest = min(sizes, default=max_model_len)
            return num_gpu_blocks // max(1, len(self.groups)) * smallest * self.context_parallel
        return int(self.max_concurrency(num_gpu_blocks, max_model_len, max_num_batched_tokens) * max_model_len)

    def max_supported_model_len(self, num_gpu_blocks: int, max_num_batched_tokens: int, limit: int) -> int:
        """Return the longest `max_model_len` up to `limit` that starts with so many blocks; 0 when not even one token.

        This is what `--max-model-len auto` takes and what vLLM's refusal estimates.
        """
        return largest(limit, lambda length: self.startup_blocks(length, max_num_batched_tokens) <= num_gpu_blocks)

    @property
    def bytes_per_token(self) -> tuple[int, ...]:
        """Pool bytes on each stage that one more token takes once every window is full (rounded up)."""
        growing = [
            (layer.block_size * self.context_parallel, count)
            for layer, count in self.requests
            if layer.window_tokens is None and layer.kind != "state"
        ]
        tokens = lcm(*(block_tokens for block_tokens, _ in growing))
        blocks = sum(count * tokens // block_tokens for block_tokens, count in growing)
        return tuple(ceil_div(block * blocks, tokens) for block in self.block_bytes)


LayersOf = Callable[[ModelProfile, Layout, EngineProfile, GpuProfile], CacheLayers]
AlikePlans = dict[tuple[CacheLayers, int, int], KvPlan]
"""By what layers cache, pipeline stages, and decode context parallelism: all of one model, release and request."""


def plan_kv_cache(
    model: ModelProfile, layout: Layout, engine: EngineProfile, gpu: GpuProfile, alike: AlikePlans | None = None,
    layers_of: LayersOf = cache_layers,
) -> KvPlan:  # fmt: skip
    """Return the KV cache plan of one layout in one release; one that is known in `alike` where it is the same.

    Raises:
        LayoutRefused: vLLM would not start with this combination of KV dtype, block size, model and GPU.
    """
    if is_compressed(model):
        return _packed_plan(packed_cache(model, layout, gpu), layout, engine)
    if not model.keeps_cache:
        return _empty_plan(layout, engine)
    cached = layers_of(model, layout, engine, gpu)
    key = cached, layout.pipeline_parallel_size, layout.decode_context_parallel_size
    known = {} if alike is None else alike
    if key not in known:
        known[key] = _grouped_plan(model, layout, engine, cached)
    return known[key]


def _grouped_plan(model: ModelProfile, layout: Layout, engine: EngineProfile, cached: CacheLayers) -> KvPlan:
    layers, stages, per_stage = layers_in_order(model, layout, cached)
    if layout.sparse_host_gib is not None:
        return _sparse_plan(model, layout, engine, layers, cached.block_size)
    if layout.disable_hybrid_kv_cache_manager or not engine.hybrid_kv_cache or _chunks_disable_groups(layers, engine):
        layers = promote_windows(layers)
    groups = group_layers(layers, stages)
    return KvPlan(
        block_size=cached.block_size,
        block_bytes=tuple(max((g.stage_bytes[s] for g in groups), default=0) for s in range(len(stages))),
        groups=groups,
        requests=tuple(Counter(group.layer for group in groups).items()),
        stage_layers=per_stage,
        in_flight_batches=_in_flight_batches(layout, engine),
        context_parallel=layout.decode_context_parallel_size,
        engine=engine,
        step=_decode_step(layout, engine),
    )


def _empty_plan(layout: Layout, engine: EngineProfile) -> KvPlan:
    """Return the plan of a model without a cache: no groups and one block of nothing."""
    none = (0,) * layout.pipeline_parallel_size
    size = layout.block_size or engine.default_block_size
    return KvPlan(size, none, (), (), ((),) * len(none), _in_flight_batches(layout, engine), 1, engine, DecodeStep())


def _packed_plan(cache: PackedCache, layout: Layout, engine: EngineProfile) -> KvPlan:
    return KvPlan(
        block_size=cache.block_size,
        block_bytes=cache.block_bytes,
        groups=cache.groups,
        requests=tuple(Counter(group.layer for group in cache.groups).items()),
        stage_layers=cache.stage_layers,
        in_flight_batches=_in_flight_batches(layout, engine),
        context_parallel=1,
        engine=engine,
        step=_decode_step(layout, engine),
    )


def _sparse_plan(
    model: ModelProfile, layout: Layout, engine: EngineProfile, layers: list[CacheLayer], block_size: int
) -> KvPlan:
    step = _decode_step(layout, engine)
    cache = sparse_cache(model, layout, layers, block_size, step)
    return KvPlan(
        block_size, (cache.block_bytes,), cache.groups, cache.members, (cache.members,),
        _in_flight_batches(layout, engine), 1, engine, step, cache.host_blocks,
    )  # fmt: skip


def _in_flight_batches(layout: Layout, engine: EngineProfile) -> int:
    if engine.sliding_window_in_flight == "none":
        return 0
    if engine.sliding_window_in_flight == "one_batch":
        return 1
    return layout.pipeline_parallel_size + (1 if layout.async_scheduling else 0)


def _decode_step(layout: Layout, engine: EngineProfile) -> DecodeStep:
    kept = layout.async_scheduling and engine.sliding_window_in_flight == "concurrent_batches"
    drafts = layout.speculation
    if drafts is None:
        return DecodeStep(in_flight_steps=1 if kept else 0)
    return DecodeStep(drafts.num_speculative_tokens, drafts.lookahead_tokens, 1 if kept else 0)


def _chunks_disable_groups(layers: list[CacheLayer], engine: EngineProfile) -> bool:
    return not engine.hybrid_chunked_local and any(layer.kind == "chunked_local" for layer in layers)
