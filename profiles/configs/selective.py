"""Readers of MiniMax M3, whose layers select key blocks, and of Step 3.5 and 3.7: more heads on sliding layers."""

from vllm_opt.profiles.configs.decoder import Decoder, DecoderReader, attention, check_length, shape, windowed
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp, Experts


def minimax_m3(keys: ConfigKeys) -> Decoder:
    """MiniMax M3: `sparse_attention_freq` is 1 for a layer with a block selector, `moe_layer_freq` 1 for experts."""
    common = shape(keys)
    hidden, count = common.hidden_size, common.num_hidden_layers
    stated = keys.child("sparse_attention_config")
    sparse = None if stated is None else stated.integers("sparse_attention_freq")
    moe = keys.integers("moe_layer_freq")
    if stated is None or sparse is None or moe is None:
        keys.refuse("lacks sparse_attention_config / moe_layer_freq, which say what its layers are")
    check_length(keys, "sparse_attention_freq", len(sparse), count)
    check_length(keys, "moe_layer_freq", len(moe), count)
    plain = attention(common, qk_norm="per_head" if keys.flag("use_qk_norm", default=True) else "none")
    selecting = plain.model_copy(
        update={
            "index_heads": stated.integer("sparse_num_index_heads"),
            "index_head_dim": stated.integer("sparse_index_dim"),
        }
    )
    shared = keys.integer("n_shared_experts", default=0, minimum=0)
    width = keys.integer("intermediate_size")
    experts = Experts(
        num_experts=keys.integer("num_local_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=width,
        shared_expert_intermediate_size=shared * keys.integer("shared_intermediate_size", default=width),
        router_bias=keys.flag("use_routing_bias", default=True),
        router_dtype="float32",
    )
    dense = DenseMlp(intermediate_size=keys.integer("dense_intermediate_size"))
    layers = [
        DecoderLayer(
            mixer=selecting if selects else plain,
            feed_forward=experts if is_moe else dense,
            norm_parameters=2 * hidden,
        )
        for selects, is_moe in zip(sparse, moe, strict=True)
    ]
    return Decoder(layers, hidden)


def step3(keys: ConfigKeys) -> Decoder:
    """Step 3.5 and 3.7: full and sliding layers with head counts of their own, one gate per head, biased routing.

    `layer_types` may go on beyond the layers, for the multi-token-prediction modules.
    """
    count, hidden = keys.layer_count(), keys.integer("hidden_size")
    kinds = keys.strings("layer_types")
    if kinds is None or len(kinds) < count:
        keys.refuse("lacks layer_types, which say where its sliding layers are")
    other = keys.child("attention_other_setting")
    if other is None:
        keys.refuse("lacks attention_other_setting, the heads of its sliding layers")
    mixers = {
        "full_attention": _step_attention(keys, keys),
        "sliding_attention": windowed(_step_attention(other, keys), keys.integer("sliding_window")),
    }
    if unknown := [kind for kind in kinds[:count] if kind not in mixers]:
        keys.refuse(f"names the layer type '{unknown[0][:60]}', for which there is no rule yet")
    for key in ("use_head_wise_attn_gate", "use_moe_router_bias", "need_fp32_gate"):
        if not keys.has(key):
            keys.refuse(f"lacks {key}, without which it cannot be sized")
    moe = _step_moe_layers(keys)
    experts = Experts(
        num_experts=keys.integer("moe_num_experts"),
        num_experts_per_tok=keys.integer("moe_top_k"),
        moe_intermediate_size=keys.integer("moe_intermediate_size"),
        shared_expert_intermediate_size=keys.integer("share_expert_dim"),
        router_bias=keys.flag("use_moe_router_bias"),
        router_dtype="float32" if keys.flag("need_fp32_gate") else "model",
    )
    dense = DenseMlp(intermediate_size=keys.integer("intermediate_size"))
    layers = [
        DecoderLayer(mixer=mixers[kind], feed_forward=experts if index in moe else dense, norm_parameters=2 * hidden)
        for index, kind in enumerate(kinds[:count])
    ]
    return Decoder(layers, hidden)


def _step_attention(stated: ConfigKeys, keys: ConfigKeys) -> Attention:
    dim = stated.integer("head_dim")
    return Attention(
        num_attention_heads=stated.integer("num_attention_heads"),
        num_key_value_heads=stated.integer("num_attention_groups"),
        head_dim=dim,
        v_head_dim=dim,
        qk_norm="per_head",
        scalar_gate_per_head=keys.flag("use_head_wise_attn_gate"),
    )


def _step_moe_layers(keys: ConfigKeys) -> set[int]:
    """The layers with experts: a text of numbers with commas between them, or all but the first."""
    listed = keys.text("moe_layers_enum")
    if listed is None:
        keys.take("moe_layers_enum", "all layers but the first", "what vLLM assumes")
        return set(range(1, keys.layer_count()))
    numbers = [part.strip() for part in listed.split(",")]
    if not all(number.isascii() and number.isdigit() and len(number) < 6 for number in numbers):
        keys.refuse(f"has moe_layers_enum = {listed[:40]!r} where layer numbers with commas between them belong")
    return {int(number) for number in numbers}


READERS: dict[str, DecoderReader] = {
    "MiniMaxM3SparseForCausalLM": minimax_m3,
    "Step3p5ForCausalLM": step3,
}
"""Reader by the first entry of `architectures`."""
