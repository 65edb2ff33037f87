"""Readers of decoders whose layers differ in shape: Nemotron NAS, MiMo V2 Flash, MiniMax M1."""

from vllm_opt.profiles.configs.decoder import Decoder, DecoderReader, Shape, attention, check_length, dense_mlp, shape
from vllm_opt.profiles.configs.experts import shared_width
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp, Experts, StateSpace


def nemotron_nas(keys: ConfigKeys) -> Decoder:
    """Llama-3.3 Nemotron Super: `block_configs` give each layer's heads and MLP width, or leave one of them out.

    Both a missing attention and a missing MLP take their norm with them (`nemotron_nas.py`, vLLM 0.33).
    """
    blocks = keys.objects("block_configs")
    if not blocks:
        keys.refuse("lacks block_configs, which describe its layers")
    check_length(keys, "block_configs", len(blocks), keys.layer_count())
    hidden, heads = keys.integer("hidden_size"), keys.integer("num_attention_heads")
    bias = keys.flag("attention_bias")
    layers = []
    for block in blocks:
        mixer = _nas_attention(block, hidden, heads, bias=bias)
        mlp = _nas_mlp(block, hidden, bias=keys.flag("mlp_bias"))
        norms = hidden * ((mixer is not None) + (mlp is not None))
        layers.append(DecoderLayer(mixer=mixer, feed_forward=mlp, norm_parameters=norms))
    return Decoder(layers, hidden)


def _nas_attention(block: ConfigKeys, hidden: int, heads: int, *, bias: bool) -> Attention | None:
    stated = block.child("attention")
    if stated is None:
        block.refuse("has a block_configs entry without attention")
    if stated.flag("replace_with_linear"):
        stated.refuse("replaces attention by a linear layer, for which there is no rule yet")
    if stated.flag("no_op"):
        return None
    group = stated.integer("n_heads_in_group")
    if heads % group or hidden % heads:
        stated.refuse(f"has {heads} heads, which do not form groups of {group} in a width of {hidden}")
    return attention(Shape(hidden, 1, heads, heads // group, hidden // heads), qkv_bias=bias, output_bias=bias)


def _nas_mlp(block: ConfigKeys, hidden: int, *, bias: bool) -> DenseMlp | None:
    stated = block.child("ffn")
    if stated is None:
        block.refuse("has a block_configs entry without ffn")
    if stated.flag("replace_with_linear"):
        stated.refuse("replaces the MLP by a linear layer, for which there is no rule yet")
    if stated.flag("no_op"):
        return None
    width = stated.optional_integer("intermediate_size")
    if width is None:
        exact = int(2 * stated.number("ffn_mult", 0.0) * hidden / 3)
        width = -(-exact // 256) * 256
    if width == 0:
        stated.refuse("lacks ffn_mult / intermediate_size, the width of the MLP")
    return DenseMlp(intermediate_size=width, bias=bias)


def mimo_v2_flash(keys: ConfigKeys) -> Decoder:
    """MiMo V2 Flash: narrower values than keys, and more key-value heads and sinks on the sliding layers.

    `hybrid_layer_pattern` is 1 for a sliding layer, `moe_layer_freq` 1 for experts (`mimo_v2.py`, vLLM 0.33).
    """
    common = shape(keys)
    hidden, count = common.hidden_size, common.num_hidden_layers
    sliding = keys.integers("hybrid_layer_pattern")
    sparse = keys.integers("moe_layer_freq")
    if sliding is None or sparse is None:
        keys.refuse("lacks hybrid_layer_pattern / moe_layer_freq, which say what its layers are")
    check_length(keys, "hybrid_layer_pattern", len(sliding), count)
    check_length(keys, "moe_layer_freq", len(sparse), count)
    bias = keys.flag("attention_bias")
    full = attention(
        common,
        v_head_dim=keys.integer("v_head_dim"),
        qkv_bias=bias,
        sinks=keys.flag("add_full_attention_sink_bias"),
    )
    local = Attention(
        kind="sliding_window",
        num_attention_heads=keys.integer("swa_num_attention_heads"),
        num_key_value_heads=keys.integer("swa_num_key_value_heads"),
        head_dim=keys.integer("swa_head_dim"),
        v_head_dim=keys.integer("swa_v_head_dim"),
        window_tokens=keys.integer("sliding_window", "sliding_window_size"),
        qkv_bias=bias,
        sinks=keys.flag("add_swa_attention_sink_bias"),
    )
    experts = Experts(
        num_experts=keys.integer("n_routed_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("moe_intermediate_size"),
        shared_expert_intermediate_size=shared_width(keys),
        router_bias=keys.text("topk_method") == "noaux_tc",
        router_dtype="float32",
    )
    dense = dense_mlp(keys)
    layers = [
        DecoderLayer(
            mixer=local if is_sliding else full, feed_forward=experts if moe else dense, norm_parameters=2 * hidden
        )
        for is_sliding, moe in zip(sliding, sparse, strict=True)
    ]
    return Decoder(layers, hidden)


def minimax_m1(keys: ConfigKeys) -> Decoder:
    """MiniMax M1: seven lightning-attention layers to a full one (`attn_type_list`: 0 and 1), experts everywhere."""
    common = shape(keys)
    hidden = common.hidden_size
    types = keys.integers("attn_type_list")
    if types is None:
        keys.refuse("lacks attn_type_list, which says where its attention layers are")
    check_length(keys, "attn_type_list", len(types), common.num_hidden_layers)
    if keys.optional_integer("shared_intermediate_size", minimum=0):
        keys.refuse("has a shared MLP, for which this family has no rule yet")
    full = attention(common)
    lightning = StateSpace(
        kind="lightning", num_heads=common.num_attention_heads, head_dim=common.head_dim, state_size=common.head_dim
    )
    experts = Experts(
        num_experts=keys.integer("num_local_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("intermediate_size"),
    )
    layers = [
        DecoderLayer(mixer=full if kind else lightning, feed_forward=experts, norm_parameters=2 * hidden)
        for kind in types
    ]
    return Decoder(layers, hidden)


READERS: dict[str, DecoderReader] = {
    "DeciLMForCausalLM": nemotron_nas,
    "MiMoV2FlashForCausalLM": mimo_v2_flash,
    "MiniMaxM1ForCausalLM": minimax_m1,
}
"""Reader by the first entry of `architectures`."""
