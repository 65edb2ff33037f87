"""Readers of decoders that differ from the common families in one thing each: OLMoE, Apertus, Laguna, Hunyuan 3, …"""

from vllm_opt.profiles.configs.class_defaults import take_class_defaults
from vllm_opt.profiles.configs.decoder import (
    Decoder,
    DecoderReader,
    attention,
    check_length,
    dense_mlp,
    layer_kind,
    shape,
    windowed,
)
from vllm_opt.profiles.configs.experts import MoeLayers
from vllm_opt.profiles.configs.latent import latent_attention
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp, Experts


def olmoe(keys: ConfigKeys) -> Decoder:
    """OLMoE: norms of q and k over all heads, experts in every layer."""
    common = shape(keys)
    mixer = attention(common, qk_norm="all_heads", replicated_qk_norm=True)
    experts = Experts(
        num_experts=keys.integer("num_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("intermediate_size"),
    )
    count = common.num_hidden_layers
    layers = MoeLayers([True] * count, None, experts).layers([mixer] * count, 2 * common.hidden_size)
    return Decoder(layers, common.hidden_size)


def apertus(keys: ConfigKeys) -> Decoder:
    """Apertus: norms of q and k per head, and an MLP of up and down alone with a learned activation (xIELU).

    The activation's two scalars per layer are the only parameters beyond the matrices and norms.
    """
    common = shape(keys)
    bias = keys.flag("attention_bias") or keys.flag("bias")
    mixer = attention(common, qkv_bias=bias, output_bias=bias, qk_norm="per_head")
    mlp = dense_mlp(keys, bias=keys.flag("mlp_bias"), gated=False)
    layer = DecoderLayer(mixer=mixer, feed_forward=mlp, norm_parameters=2 * common.hidden_size, extra_parameters=2)
    return Decoder([layer] * common.num_hidden_layers, common.hidden_size)


def laguna(keys: ConfigKeys) -> Decoder:
    """Laguna: heads and window by layer, a gate per head (`gating` true) or per element, one shared expert."""
    common = shape(keys)
    hidden, count = common.hidden_size, common.num_hidden_layers
    take_class_defaults(keys, {"gating": True, "layer_types": None, "num_attention_heads_per_layer": None})
    heads = keys.integers("num_attention_heads_per_layer", minimum=1) or [common.num_attention_heads] * count
    kinds = keys.strings("layer_types") or ["full_attention"] * count
    sparse = mlp_layer_kinds(keys, count)
    check_length(keys, "num_attention_heads_per_layer", len(heads), count)
    check_length(keys, "layer_types", len(kinds), count)
    shared = keys.integer("shared_expert_intermediate_size", default=0, minimum=0)
    experts = Experts(
        num_experts=keys.integer("num_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("moe_intermediate_size"),
        shared_expert_intermediate_size=shared,
        router_bias=True,
        router_dtype="float32",
    )
    mixers = [
        windowed(
            attention(common, num_attention_heads=number, qk_norm="per_head", **_gate(keys)),
            keys.integer("sliding_window") if layer_kind(keys, kind) == "sliding_attention" else None,
        )
        for number, kind in zip(heads, kinds, strict=True)
    ]
    dense = None if all(sparse) else dense_mlp(keys)
    return Decoder(MoeLayers(sparse, dense, experts).layers(mixers, 2 * hidden), hidden)


def _gate(keys: ConfigKeys) -> dict[str, object]:
    stated = keys.values.get("gating", False)
    if stated is True or stated == "per-head":
        return {"scalar_gate_per_head": True}
    return {"output_gate": True} if stated == "per-element" else {}


def mlp_layer_kinds(keys: ConfigKeys, count: int) -> list[bool]:
    """Which layers hold experts: `mlp_layer_types`, else all from `first_k_dense_replace` (1 where absent) on."""
    kinds = keys.strings("mlp_layer_types")
    if kinds is None:
        first = keys.integer("first_k_dense_replace", default=1, minimum=0)
        return [index >= first for index in range(count)]
    check_length(keys, "mlp_layer_types", len(kinds), count)
    if set(kinds) - {"dense", "sparse"}:
        keys.refuse("names an MLP layer type other than 'dense' and 'sparse', for which there is no rule yet")
    return [kind == "sparse" for kind in kinds]


def hunyuan_v3(keys: ConfigKeys) -> Decoder:
    """Hunyuan 3: norms of q and k per head, experts after the first layers, router in float32."""
    common = shape(keys)
    width = keys.integer("moe_intermediate_size", "expert_hidden_dim")
    shared = keys.integer("num_shared_experts", default=1, minimum=0)
    experts = Experts(
        num_experts=keys.integer("num_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=width,
        shared_expert_intermediate_size=shared * width,
        router_bias=True,
        router_dtype="float32",
    )
    mixer = attention(common, qk_norm="per_head" if keys.flag("qk_norm", default=True) else "none")
    count = common.num_hidden_layers
    layers = MoeLayers(mlp_layer_kinds(keys, count), dense_mlp(keys), experts)
    return Decoder(layers.layers([mixer] * count, 2 * common.hidden_size), common.hidden_size)


def glm4(keys: ConfigKeys) -> Decoder:
    """GLM-4 0414 and the text of GLM-4.1V: four norms per layer, biased q, k and v."""
    common = shape(keys)
    mixer = attention(common, qkv_bias=keys.flag("attention_bias", default=True))
    layer = DecoderLayer(mixer=mixer, feed_forward=dense_mlp(keys), norm_parameters=4 * common.hidden_size)
    return Decoder([layer] * common.num_hidden_layers, common.hidden_size)


def longcat_flash(keys: ConfigKeys) -> Decoder:
    """LongCat Flash: each of `num_layers` blocks is two latent-attention layers with dense MLPs, experts beside one.

    The router also scores `zero_expert_num` experts that do nothing.
    """
    hidden, count = keys.integer("hidden_size"), keys.integer("num_layers", "num_hidden_layers")
    if count > 1000:
        keys.refuse(f"has num_layers = {count}, more than 1000, which no model of this family has")
    mixer = latent_attention(keys)
    dense = DenseMlp(intermediate_size=keys.integer("ffn_hidden_size", "intermediate_size"))
    zero = keys.integer("zero_expert_num", default=0, minimum=0)
    experts = Experts(
        num_experts=keys.integer("n_routed_experts"),
        num_experts_per_tok=keys.integer("moe_topk"),
        moe_intermediate_size=keys.integer("expert_ffn_hidden_size", "moe_intermediate_size"),
        router_bias=True,
        router_dtype="float32",
    )
    # Rows and corrections of the experts that do nothing are float32, two 16-bit parameters each.
    first = DecoderLayer(
        mixer=mixer,
        feed_forward=experts,
        parallel_feed_forward=dense,
        norm_parameters=2 * hidden,
        extra_parameters=2 * zero * (hidden + 1),
    )
    second = DecoderLayer(mixer=mixer, feed_forward=dense, norm_parameters=2 * hidden)
    return Decoder([first, second] * count, hidden)


def gemma3n(keys: ConfigKeys) -> Decoder:
    """Gemma 3n: alternating updates (AltUp), a low-rank residual (Laurel) and an embedding per layer.

    The last `num_kv_shared_layers` layers read the cache of an earlier one (`models/gemma3n.py`, vLLM 0.33).
    """
    common = shape(keys)
    hidden, count = common.hidden_size, common.num_hidden_layers
    widths = keys.values.get("intermediate_size")
    inner = keys.integers("intermediate_size", minimum=1) if isinstance(widths, list) else None
    inner = inner or [keys.integer("intermediate_size")] * count
    kinds = keys.strings("layer_types")
    if kinds is None:
        kinds = ["full_attention" if (i + 1) % 5 == 0 else "sliding_attention" for i in range(count)]
        keys.take("layer_types", "one full layer in 5", "the default of its Hugging Face class")
    check_length(keys, "intermediate_size", len(inner), count)
    check_length(keys, "layer_types", len(kinds), count)
    streams, rank = keys.integer("altup_num_inputs", default=4), keys.integer("laurel_rank", default=64)
    width = keys.integer("hidden_size_per_layer_input", default=256)
    beside = hidden * (1 + streams + 1) + streams * streams * (streams + 1) + hidden * (2 * rank + 1)
    beside += 2 * hidden * width + hidden
    window = keys.integer("sliding_window", default=512)
    shared_from = count - keys.integer("num_kv_shared_layers", default=15, minimum=0)
    layers = [
        DecoderLayer(
            mixer=_gemma3n_attention(keys, kind, window, shares=index >= shared_from),
            feed_forward=DenseMlp(intermediate_size=inner[index]),
            norm_parameters=4 * hidden,
            extra_parameters=beside,
        )
        for index, kind in enumerate(kinds)
    ]
    streams_in_and_out = 2 * (streams - 1) * hidden * hidden + width
    return Decoder(
        layers,
        hidden,
        tied_by_default=True,
        extra_parameters=streams_in_and_out,
        per_layer_embedding_width=width * count,
        notes=("the image and audio encoders (about 1 billion parameters) are not counted",),
    )


def _gemma3n_attention(keys: ConfigKeys, kind: str, window: int, *, shares: bool) -> Attention:
    mixer = attention(shape(keys), qk_norm="per_head", shares_kv_cache=shares)
    return windowed(mixer, window if layer_kind(keys, kind) == "sliding_attention" else None)


READERS: dict[str, DecoderReader] = {
    "OlmoeForCausalLM": olmoe,
    "ApertusForCausalLM": apertus,
    "LagunaForCausalLM": laguna,
    "HYV3ForCausalLM": hunyuan_v3,
    "Glm4ForCausalLM": glm4,
    "LongcatFlashForCausalLM": longcat_flash,
    "Gemma3nForCausalLM": gemma3n,
}
"""Reader by the first entry of `architectures`."""
