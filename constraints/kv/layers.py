"""The cache layers of one layout: KV dtype, backend and pages of every kind of decoder layer.

Sources: vLLM 0.33 `layers/attention/attention.py:get_kv_cache_spec`, `layers/attention/mla_attention.py`,
`layers/mamba/abstract.py`, `models/deepseek_v2.py:DeepseekV32IndexerCache`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.pipeline_stages import stage_layers
from vllm_opt.constraints.decisions.speculation import has_mtp, mtp_kind, mtp_modules
from vllm_opt.constraints.kv.attention_backend import AttentionNeed, check_mixed_layouts, choose_backend
from vllm_opt.constraints.kv.attention_backends import AttentionBackend, any_backend
from vllm_opt.constraints.kv.block_size import (
    Backends,
    CacheContext,
    TokenMixer,
    checkpoint_tokens,
    resolve_block_size,
)
from vllm_opt.constraints.kv.dtype import (
    boundary_layers,
    check_native_fp8,
    resolved_kv_cache_dtype,
    runtime_element_bytes,
    skipped_layers,
    stored_latent_dtype,
)
from vllm_opt.constraints.kv.groups import CacheLayer
from vllm_opt.constraints.kv.pages import (
    ceil_div,
    indexer_token_bytes,
    is_quantized,
    kv_heads_per_rank,
    state_bytes,
)
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import Attention, LatentAttention, ModelProfile, StateSpace


@dataclass(frozen=True)
class CacheLayers:
    """What every decoder layer caches: `kinds[i]` for layer kind i, `native_kinds[i]` on the layers left 16-bit."""

    block_size: int
    kinds: tuple[tuple[CacheLayer, ...], ...]
    native_kinds: tuple[tuple[CacheLayer, ...], ...]
    native_layers: frozenset[int]
    drafter: tuple[CacheLayer, ...] = ()
    """Layers of the drafter, behind the last decoder layer."""


def cache_layers(model: ModelProfile, layout: Layout, engine: EngineProfile, gpu: GpuProfile) -> CacheLayers:
    """Return the cache layers of each layer kind and the block size that all attention layers share.

    Raises:
        LayoutRefused: no backend serves the KV dtype or block size on this GPU.
    """
    element_bytes = runtime_element_bytes(model, gpu)
    kv_cache_dtype = resolved_kv_cache_dtype(model, layout, engine, gpu)
    context = CacheContext(model, layout, engine, gpu, kv_cache_dtype, element_bytes)
    native_layers = boundary_layers(model, kv_cache_dtype) | skipped_layers(model, layout, kv_cache_dtype)
    backends = {mixer: _backend(context, mixer, kv_cache_dtype) for mixer in context.mixers}
    block_size = resolve_block_size(context, backends, bool(native_layers))
    kinds = tuple(_kind_layers(context, kind, block_size, backends) for kind in range(len(model.layer_kinds)))
    drafter = draft_layers(context, kinds, block_size)
    if not native_layers:
        return CacheLayers(block_size, kinds, kinds, native_layers, drafter)
    native = CacheContext(model, layout, engine, gpu, "auto", element_bytes)
    native_backends = {mixer: _backend(native, mixer, "auto") for mixer in context.mixers}
    native_kinds = tuple(
        tuple(_as_large_pages(layer, kinds[kind]) for layer in _kind_layers(native, kind, block_size, native_backends))
        for kind in range(len(model.layer_kinds))
    )
    check_mixed_layouts((*backends.values(), *native_backends.values()))
    return CacheLayers(block_size, kinds, native_kinds, native_layers, drafter)


def _as_large_pages(layer: CacheLayer, quantized: tuple[CacheLayer, ...]) -> CacheLayer:
    """Give a 16-bit window as large a page as it would have quantised: fewer tokens (`kv_cache_dtype_skip_layers`)."""
    same = next((other for other in quantized if other.kind == layer.kind), None)
    if layer.kind != "sliding_window" or same is None or layer.page_bytes % same.page_bytes:
        return layer
    times = layer.page_bytes // same.page_bytes
    if layer.block_size % times:
        return layer
    size = layer.block_size // times
    return replace(layer, block_size=size, page_bytes=same.page_bytes, own_bytes=same.page_bytes)


def draft_layers(
    context: CacheContext, kinds: tuple[tuple[CacheLayer, ...], ...], block_size: int
) -> tuple[CacheLayer, ...]:
    """Return the cache layers of the drafter: it joins the target's groups (`v1/worker/gpu/spec_decode`)."""
    drafts = context.layout.speculation
    if drafts is None:
        return ()
    if drafts.method == "mtp" and has_mtp(context.model):
        return kinds[mtp_kind(context.model)] * mtp_modules(context.model)
    if drafts.shape is not None:
        mixers = [drafts.shape.attention] * drafts.shape.num_layers
    elif drafts.model is not None:
        mixers = [layer.mixer for layer in drafts.model.layers if isinstance(layer.mixer, Attention)]
    else:
        return ()
    own = replace(context, kv_cache_dtype=drafts.kv_cache_dtype or context.kv_cache_dtype)
    found = {mixer: _backend(own, mixer, own.kv_cache_dtype) for mixer in set(mixers)}
    return tuple(_attention_layer(own, mixer, block_size, found[mixer]) for mixer in mixers)


def _backend(context: CacheContext, mixer: TokenMixer, kv_cache_dtype: str) -> AttentionBackend:
    if context.engine.engine == "v0":
        return any_backend(latent=isinstance(mixer, LatentAttention))
    need = _need(context, mixer, kv_cache_dtype)
    kv_heads = kv_heads_per_rank(mixer.num_key_value_heads, context.tp) if isinstance(mixer, Attention) else 1
    backend = choose_backend(need, kv_heads)
    check_native_fp8(backend, kv_cache_dtype, context.gpu)
    return backend


def _need(context: CacheContext, mixer: TokenMixer, kv_cache_dtype: str) -> AttentionNeed:
    layout = context.layout
    latent = isinstance(mixer, LatentAttention)
    block_size = layout.block_size if context.engine.attention_blocks == "backend" else None
    return AttentionNeed(
        head_size=mixer.kv_lora_rank + mixer.qk_rope_head_dim if isinstance(mixer, LatentAttention) else mixer.head_dim,
        kv_cache_dtype=kv_cache_dtype,
        capability=context.gpu.compute_capability,
        block_size=block_size,
        latent=latent,
        sparse=isinstance(mixer, LatentAttention) and mixer.index_head_dim is not None,
        sinks=isinstance(mixer, Attention) and mixer.sinks,
        sliding_window=isinstance(mixer, Attention) and mixer.kind == "sliding_window",
        context_parallel=layout.decode_context_parallel_size > 1,
        query_heads=mixer.num_attention_heads // context.tp,
        qk_nope_head_dim=mixer.qk_nope_head_dim if isinstance(mixer, LatentAttention) else 0,
        bidirectional_images=context.model.bidirectional_image_tokens,
        backend=layout.attention_backend,
        unequal_value_heads=isinstance(mixer, Attention) and mixer.v_head_dim != mixer.head_dim,
    )


def _kind_layers(context: CacheContext, kind: int, block_size: int, backends: Backends) -> tuple[CacheLayer, ...]:
    mixer = context.model.layer_kinds[kind].mixer
    if mixer is None:
        return ()
    if isinstance(mixer, StateSpace):
        return _state_layer(context, mixer, block_size)
    if isinstance(mixer, LatentAttention):
        return _latent_layers(context, mixer, block_size, backends[mixer])
    if not isinstance(mixer, Attention) or mixer.shares_kv_cache or not mixer.causal:
        return ()
    layer = _attention_layer(context, mixer, block_size, backends[mixer])
    return (layer, *_selector_layers(context, mixer, block_size))


def _selector_layers(context: CacheContext, mixer: Attention, block_size: int) -> tuple[CacheLayer, ...]:
    """Return the key-only cache of a block selector: one vector per token, whole on every rank (MiniMax M3)."""
    if mixer.index_head_dim is None:
        return ()
    element = 1 if is_quantized(mixer.index_cache_dtype) else context.element_bytes
    page = block_size * mixer.index_head_dim * element
    return (CacheLayer("indexer", block_size, page, (page,), own_bytes=page),)


def _state_layer(context: CacheContext, mixer: StateSpace, block_size: int) -> tuple[CacheLayer, ...]:
    if not context.engine.hybrid_kv_cache:
        return ()
    drafts = context.layout.speculation
    ahead = drafts.num_speculative_tokens if drafts is not None else 0
    size = state_bytes(mixer, context.tp, context.element_bytes, ahead)
    page = size
    if context.mixers:
        page = block_size * context.token_bytes(context.first, context.kv_cache_dtype)
    pages = 1
    if context.layout.enable_prefix_caching:
        exports = mixer.kind == "mamba2" or checkpoint_tokens(context) > 1 or _exports_kimi_delta(context, mixer)
        pages = 3 if exports and context.engine.state_checkpoint_page else 2
    return (CacheLayer("state", 1, page, (size,), state_pages=pages + ahead, own_bytes=size),)


def _exports_kimi_delta(context: CacheContext, mixer: StateSpace) -> bool:
    """Tell whether FlashKDA serves the layer, which checkpoints its state (compute capability 9.0 and above)."""
    capability = context.gpu.compute_capability
    return mixer.kind == "kimi_delta" and capability is not None and capability >= (9, 0)


def _latent_layers(
    context: CacheContext, mixer: LatentAttention, block_size: int, backend: AttentionBackend
) -> tuple[CacheLayer, ...]:
    row = _latent_row(context, mixer, backend)
    page = block_size * row
    layers = [CacheLayer("latent", block_size, page, (row,), own_bytes=page)]
    if mixer.index_head_dim is not None:
        index = block_size * indexer_token_bytes(mixer)
        layers.append(CacheLayer("indexer", block_size, index, (index,), own_bytes=index))
    return tuple(layers)


def _latent_row(context: CacheContext, mixer: LatentAttention, backend: AttentionBackend) -> int:
    """Return bytes per token of an MLA layer in this release: the latent, perhaps padded, or every head expanded."""
    element_bytes = 1 if is_quantized(context.kv_cache_dtype) else context.element_bytes
    expanded = context.engine.latent_expanded_head_dim
    if expanded is not None:
        return mixer.num_attention_heads // context.tp * 2 * expanded * element_bytes
    row = context.token_bytes(mixer, stored_latent_dtype(backend, context.kv_cache_dtype))
    alignment = context.engine.latent_row_alignment_elements * element_bytes
    return ceil_div(row, alignment) * alignment


def _attention_layer(context: CacheContext, mixer: Attention, block_size: int, backend: AttentionBackend) -> CacheLayer:
    # A block selector's attention reads plain fp8, without the scales per token and head.
    plain = mixer.index_head_dim is not None and context.kv_cache_dtype == "fp8_per_token_head"
    token = context.token_bytes(mixer, "fp8" if plain else context.kv_cache_dtype)
    shape = (kv_heads_per_rank(mixer.num_key_value_heads, context.tp), mixer.head_dim, mixer.v_head_dim, token)
    if mixer.kind == "sliding_window":
        block_size = backend.largest_kernel_block(block_size)
    page = token * block_size
    drafts = context.layout.speculation
    # Each further MTP module reads one token further back (`num_prefill_lookahead`).
    kept = 0
    if drafts is not None and drafts.method == "mtp" and mtp_modules(context.model) > 1:
        kept = drafts.num_speculative_tokens - 1
    return CacheLayer(
        kind=mixer.kind,
        block_size=block_size,
        page_bytes=page,
        shape=shape,
        window_tokens=None if mixer.kind == "full" or mixer.window_tokens is None else mixer.window_tokens + kept,
        own_bytes=page,
    )


def layers_in_order(
    model: ModelProfile, layout: Layout, cached: CacheLayers
) -> tuple[list[CacheLayer], list[range], tuple[tuple[tuple[CacheLayer, int], ...], ...]]:
    """Return the cache layers in model order, the range of each stage in them, and the distinct layers per stage."""
    layers: list[CacheLayer] = []
    stages: list[range] = []
    distinct = []
    for decoder_layers in stage_layers(model.num_hidden_layers, layout.pipeline_parallel_size):
        start = len(layers)
        for index in decoder_layers:
            kinds = cached.native_kinds if index in cached.native_layers else cached.kinds
            layers.extend(kinds[model.layer_pattern[index]])
        if decoder_layers.stop == model.num_hidden_layers:
            layers.extend(cached.drafter)
        stages.append(range(start, len(layers)))
        distinct.append(tuple(_counted(layers[start:]).items()))
    return layers, stages, tuple(distinct)


def _counted(layers: Sequence[CacheLayer]) -> dict[CacheLayer, int]:
    """How often each layer comes, in the order of the first ones; few objects stand for all, so those are counted."""
    objects = {id(layer): layer for layer in layers}
    counts: dict[CacheLayer, int] = {}
    for identity, count in Counter(map(id, layers)).items():
        layer = objects[identity]
        counts[layer] = counts.get(layer, 0) + count
    return counts
