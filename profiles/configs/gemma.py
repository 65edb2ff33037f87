"""Readers of Gemma 1 to 4: sliding and full layers in turn, two to six norms per layer, tied embeddings."""

from vllm_opt.profiles.configs.context_limit import rope_parameters
from vllm_opt.profiles.configs.decoder import (
    Decoder,
    DecoderReader,
    Shape,
    attention,
    dense_mlp,
    key_value_heads,
    layer_windows,
    windowed,
)
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp, Experts


def gemma(keys: ConfigKeys) -> Decoder:
    """Gemma: two norms, full attention throughout, head_dim 256 unless stated (`models/gemma.py`)."""
    common = gemma_shape(keys)
    layer = DecoderLayer(mixer=attention(common), feed_forward=dense_mlp(keys), norm_parameters=2 * common.hidden_size)
    return Decoder([layer] * common.num_hidden_layers, common.hidden_size, tied_by_default=True)


def gemma2(keys: ConfigKeys) -> Decoder:
    """Gemma 2: four norms, every second layer full, head_dim 256 unless stated."""
    common = gemma_shape(keys)
    windows = layer_windows(keys, common.num_hidden_layers, default_window=4096, default_period=2)
    return _decoder(keys, common, attention(common), windows)


def gemma3(keys: ConfigKeys) -> Decoder:
    """Gemma 3: as Gemma 2 with norms of q and k per head and five sliding layers to a full one."""
    common = gemma_shape(keys)
    windows = layer_windows(keys, common.num_hidden_layers, default_window=4096, default_period=6)
    # Full layers have a rotary table of their own, lengthened by linear scaling; sliding layers keep the plain one.
    factor = max((rope.number("factor", 1.0) for rope in rope_parameters(keys)), default=1.0)
    decoder = _decoder(keys, common, attention(common, qk_norm="per_head"), windows)
    return decoder._replace(layers=[_lengthened(layer, factor) for layer in decoder.layers])


def _lengthened(layer: DecoderLayer, factor: float) -> DecoderLayer:
    if not isinstance(layer.mixer, Attention) or layer.mixer.kind != "full":
        return layer
    return layer.model_copy(
        update={"mixer": layer.mixer.model_copy(update={"rotary_position_factor": max(1.0, factor)})}
    )


def gemma_shape(keys: ConfigKeys) -> Shape:
    """The common numbers with Gemma's own default for `head_dim`."""
    stated = keys.integer("head_dim", default=256)
    heads = keys.integer("num_attention_heads")
    kv_heads = key_value_heads(keys, heads, "num_key_value_heads")
    return Shape(keys.integer("hidden_size"), keys.layer_count(), heads, kv_heads, stated)


def _decoder(keys: ConfigKeys, common: Shape, mixer: Attention, windows: list[int | None]) -> Decoder:
    mlp, norms = dense_mlp(keys), 4 * common.hidden_size
    layers = [DecoderLayer(mixer=windowed(mixer, w), feed_forward=mlp, norm_parameters=norms) for w in windows]
    return Decoder(layers, common.hidden_size, tied_by_default=True)


def gemma4(keys: ConfigKeys) -> Decoder:
    """Gemma 4 (`gemma4.py`, vLLM 0.33): wider heads on full layers, shared caches last, experts beside the MLP."""
    common = gemma_shape(keys)
    count, hidden = common.num_hidden_layers, common.hidden_size
    windows = layer_windows(keys, count, default_window=512, default_period=6)
    sharing = keys.optional_integer("num_kv_shared_layers", minimum=0) or 0
    per_layer = keys.optional_integer("hidden_size_per_layer_input", minimum=0) or 0
    layers = [
        _gemma4_layer(keys, common, window, shares=i >= count - sharing, per_layer=per_layer)
        for i, window in enumerate(windows)
    ]
    width = per_layer * count
    return Decoder(
        layers,
        hidden,
        tied_by_default=True,
        extra_parameters=per_layer,
        per_layer_embedding_width=width,
    )


def _gemma4_layer(keys: ConfigKeys, common: Shape, window: int | None, *, shares: bool, per_layer: int) -> DecoderLayer:
    hidden = common.hidden_size
    experts = _gemma4_experts(keys)
    width = keys.integer("intermediate_size") * (2 if shares and keys.flag("use_double_wide_mlp") else 1)
    mlp = DenseMlp(intermediate_size=width)
    router_extras = 0 if experts is None else hidden + experts.num_experts
    return DecoderLayer(
        mixer=_gemma4_attention(keys, common, window, shares=shares),
        feed_forward=mlp if experts is None else experts,
        parallel_feed_forward=None if experts is None else mlp,
        norm_parameters=hidden * (4 + (3 if experts else 0) + (1 if per_layer else 0)),
        extra_parameters=2 * hidden * per_layer + router_extras,
    )


def _gemma4_attention(keys: ConfigKeys, common: Shape, window: int | None, *, shares: bool) -> Attention:
    bias = keys.flag("attention_bias")
    if window is not None:
        local = attention(common, qkv_bias=bias, output_bias=bias, qk_norm="per_head", shares_kv_cache=shares)
        return windowed(local, window)
    same = keys.flag("attention_k_eq_v")
    kv_heads = keys.optional_integer("num_global_key_value_heads") if same else None
    full = common._replace(
        head_dim=keys.integer("global_head_dim", default=512),
        num_key_value_heads=kv_heads or common.num_key_value_heads,
    )
    return attention(
        full, qkv_bias=bias, output_bias=bias, qk_norm="per_head", shares_kv_cache=shares, keys_are_values=same
    )


def _gemma4_experts(keys: ConfigKeys) -> Experts | None:
    count = keys.optional_integer("num_experts")
    if count is None:
        if keys.flag("enable_moe_block"):
            keys.refuse("sets enable_moe_block and lacks num_experts")
        return None
    return Experts(
        num_experts=count,
        num_experts_per_tok=keys.integer("top_k_experts"),
        moe_intermediate_size=keys.integer("moe_intermediate_size", "expert_intermediate_size"),
    )


READERS: dict[str, DecoderReader] = {
    "GemmaForCausalLM": gemma,
    "Gemma2ForCausalLM": gemma2,
    "Gemma3ForCausalLM": gemma3,
    "Gemma4ForCausalLM": gemma4,
}
"""Reader by the first entry of `architectures`."""
