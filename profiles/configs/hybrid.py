"""Readers of hybrids, whose layers mix attention with state-space or linear-attention blocks."""

from collections.abc import Callable

from vllm_opt.profiles.configs.class_defaults import take_class_defaults
from vllm_opt.profiles.configs.decoder import (
    Decoder,
    DecoderReader,
    Shape,
    attention,
    check_length,
    dense_mlp,
    head_dim,
    shape,
)
from vllm_opt.profiles.configs.experts import qwen_experts, qwen_sparse_layers
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp, Experts, FeedForward, Mixer, StateSpace


def qwen3_next(keys: ConfigKeys) -> Decoder:
    """Qwen3-Next and Qwen3.5: three gated delta nets to one attention layer with an output gate."""
    common = shape(keys)._replace(head_dim=keys.integer("head_dim", default=256))
    gate = keys.flag("attn_output_gate", default=True)
    bias = keys.flag("attention_bias")
    full = attention(common, output_gate=gate, qkv_bias=bias, qk_norm="per_head")
    linear = gated_delta_net(keys)
    kinds = keys.strings("layer_types")
    if kinds is None:
        period = keys.integer("full_attention_interval", default=4)
        kinds = ["linear_attention" if (i + 1) % period else "full_attention" for i in range(common.num_hidden_layers)]
    check_length(keys, "layer_types", len(kinds), common.num_hidden_layers)
    mixers: list[Mixer] = [_choose(keys, kind, full_attention=full, linear_attention=linear) for kind in kinds]
    feed_forwards = _qwen_feed_forwards(keys, common)
    layers = [
        DecoderLayer(mixer=mixer, feed_forward=feed_forward, norm_parameters=2 * common.hidden_size)
        for mixer, feed_forward in zip(mixers, feed_forwards, strict=True)
    ]
    return Decoder(layers, common.hidden_size)


def gated_delta_net(keys: ConfigKeys) -> StateSpace:
    """The gated delta net of Qwen3-Next: `linear_*` keys."""
    return StateSpace(
        kind="gated_delta_net",
        num_heads=keys.integer("linear_num_value_heads"),
        head_dim=keys.integer("linear_value_head_dim"),
        state_size=keys.integer("linear_key_head_dim"),
        num_groups=keys.integer("linear_num_key_heads"),
        conv_kernel=keys.integer("linear_conv_kernel_dim"),
        ssm_dtype=keys.text("mamba_ssm_dtype"),
    )


def _qwen_feed_forwards(keys: ConfigKeys, common: Shape) -> list[FeedForward]:
    if not keys.has("num_experts"):
        return [dense_mlp(keys)] * common.num_hidden_layers
    sparse = qwen_sparse_layers(keys, common.num_hidden_layers)
    experts = qwen_experts(keys)
    return [experts if moe else dense_mlp(keys) for moe in sparse]


def _choose(keys: ConfigKeys, kind: str, **mixers: Mixer) -> Mixer:
    if kind not in mixers:
        keys.refuse(f"names the layer type '{kind[:60]}', for which there is no rule yet")
    return mixers[kind]


def jamba(keys: ConfigKeys) -> Decoder:
    """Jamba: one attention layer in `attn_layer_period`, Mamba 1 elsewhere, experts every `expert_layer_period`."""
    common = shape(keys)
    hidden = common.hidden_size
    rank = keys.values.get("mamba_dt_rank")
    mamba = StateSpace(
        kind="mamba1",
        num_heads=1,
        head_dim=keys.integer("mamba_expand", default=2) * hidden,
        state_size=keys.integer("mamba_d_state"),
        conv_kernel=keys.integer("mamba_d_conv"),
        time_step_rank=-(-hidden // 16) if rank in (None, "auto") else keys.integer("mamba_dt_rank"),
        conv_bias=keys.flag("mamba_conv_bias", default=True),
        projection_bias=keys.flag("mamba_proj_bias"),
        inner_norm=True,
    )
    full = attention(common)
    experts = Experts(
        num_experts=keys.integer("num_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("intermediate_size"),
    )
    dense = dense_mlp(keys)
    period, offset = keys.integer("attn_layer_period"), keys.integer("attn_layer_offset", minimum=0)
    moe_period, moe_offset = keys.integer("expert_layer_period"), keys.integer("expert_layer_offset", minimum=0)
    layers = [
        DecoderLayer(
            mixer=full if i % period == offset else mamba,
            feed_forward=experts if i % moe_period == moe_offset and experts.num_experts > 1 else dense,
            norm_parameters=2 * hidden,
        )
        for i in range(common.num_hidden_layers)
    ]
    return Decoder(layers, hidden)


def granite_hybrid(keys: ConfigKeys) -> Decoder:
    """Granite 4.0 hybrid: Mamba 2 and attention by `layer_types`; experts beside a shared MLP, or the MLP alone."""
    common = shape(keys)
    hidden = common.hidden_size
    heads = keys.integer("mamba_n_heads")
    inner = keys.integer("mamba_expand", default=2) * hidden
    if inner % heads:
        keys.refuse(f"has a Mamba width of {inner}, which {heads} heads do not divide")
    mamba = StateSpace(
        kind="mamba2",
        num_heads=heads,
        head_dim=inner // heads,
        state_size=keys.integer("mamba_d_state"),
        num_groups=keys.integer("mamba_n_groups", default=1),
        conv_kernel=keys.integer("mamba_d_conv"),
        conv_bias=keys.flag("mamba_conv_bias", default=True),
        projection_bias=keys.flag("mamba_proj_bias"),
    )
    full = attention(common, qkv_bias=keys.flag("attention_bias"))
    kinds = keys.strings("layer_types")
    if kinds is None:
        keys.refuse("lacks layer_types, which say where its attention layers are")
    check_length(keys, "layer_types", len(kinds), common.num_hidden_layers)
    feed_forward = _granite_feed_forward(keys)
    mixers = [_choose(keys, kind, attention=full, full_attention=full, mamba=mamba) for kind in kinds]
    layers = [DecoderLayer(mixer=m, feed_forward=feed_forward, norm_parameters=2 * hidden) for m in mixers]
    return Decoder(layers, hidden)


def _granite_feed_forward(keys: ConfigKeys) -> FeedForward:
    experts = keys.optional_integer("num_local_experts", minimum=0) or 0
    shared = keys.integer("shared_intermediate_size", minimum=0 if experts else 1)
    if not experts:
        return DenseMlp(intermediate_size=shared)
    return Experts(
        num_experts=experts,
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("intermediate_size"),
        shared_expert_intermediate_size=shared,
    )


_NEMOTRON_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def nemotron_h(keys: ConfigKeys) -> Decoder:
    """Nemotron-H and Nemotron 3: each layer is one of Mamba 2, attention, a plain MLP or experts.

    The order is in `hybrid_override_pattern` (letters M * - E) or `layers_block_type` (words).
    """
    hidden = keys.integer("hidden_size")
    kinds = _nemotron_kinds(keys)
    found: dict[str, DecoderLayer] = {}
    for kind in dict.fromkeys(kinds):
        found[kind] = _nemotron_layer(keys, kind, hidden)
    return Decoder([found[kind] for kind in kinds], hidden)


def _nemotron_kinds(keys: ConfigKeys) -> list[str]:
    kinds = keys.strings("layers_block_type")
    if kinds is None:
        pattern = keys.text("hybrid_override_pattern")
        if pattern is None:
            keys.refuse("lacks hybrid_override_pattern / layers_block_type, which order its layers")
        kinds = [_NEMOTRON_LETTERS.get(letter, letter) for letter in pattern if letter != "|"]
    stated = keys.optional_integer("num_hidden_layers")
    check_length(keys, "its layer pattern", len(kinds), len(kinds) if stated is None else stated)
    if not kinds:
        keys.refuse("has an empty layer pattern")
    return kinds


def _nemotron_layer(keys: ConfigKeys, kind: str, hidden: int) -> DecoderLayer:
    readers: dict[str, Callable[[ConfigKeys], dict[str, object]]] = {
        "mamba": lambda keys: {"mixer": _nemotron_mamba(keys)},
        "attention": lambda keys: {"mixer": _nemotron_attention(keys, hidden)},
        "mlp": lambda keys: {"feed_forward": dense_mlp(keys, bias=keys.flag("mlp_bias"), gated=False)},
        "moe": lambda keys: {"feed_forward": _nemotron_experts(keys)},
    }
    if kind not in readers:
        keys.refuse(f"names the layer type '{kind[:60]}', for which there is no rule yet")
    return DecoderLayer.model_validate({"norm_parameters": hidden} | readers[kind](keys))


def _nemotron_attention(keys: ConfigKeys, hidden: int) -> Attention:
    heads = keys.integer("num_attention_heads")
    return attention(
        Shape(hidden, 1, heads, keys.integer("num_key_value_heads"), head_dim(keys, hidden, heads)),
        kind="full",
    )


def _nemotron_mamba(keys: ConfigKeys) -> StateSpace:
    bias = keys.flag("use_bias")
    return StateSpace(
        kind="mamba2",
        num_heads=keys.integer("mamba_num_heads"),
        head_dim=keys.integer("mamba_head_dim"),
        state_size=keys.integer("ssm_state_size"),
        num_groups=keys.integer("n_groups"),
        conv_kernel=keys.integer("conv_kernel"),
        conv_bias=keys.flag("use_conv_bias", default=True),
        projection_bias=bias,
        # vLLM takes float32 where a Nemotron-H config names none (`models/config.py:NemotronHForCausalLMConfig`).
        ssm_dtype=keys.text("mamba_ssm_cache_dtype") or "float32",
    )


def _nemotron_experts(keys: ConfigKeys) -> Experts:
    take_class_defaults(keys, {"moe_latent_size": None})
    shared = keys.integer("n_shared_experts", default=1, minimum=0)
    return Experts(
        num_experts=keys.integer("n_routed_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("moe_intermediate_size"),
        shared_expert_intermediate_size=shared * keys.integer("moe_shared_expert_intermediate_size", minimum=0),
        gated=False,
        router_bias=True,
        latent_size=keys.optional_integer("moe_latent_size"),
    )


READERS: dict[str, DecoderReader] = {
    "Qwen3NextForCausalLM": qwen3_next,
    "Qwen3_5ForCausalLM": qwen3_next,
    "Qwen3_5MoeForCausalLM": qwen3_next,
    "JambaForCausalLM": jamba,
    "GraniteMoeHybridForCausalLM": granite_hybrid,
    "NemotronHForCausalLM": nemotron_h,
}
"""Reader by the first entry of `architectures`."""
