"""Readers of decoders with multi-head latent attention: DeepSeek V2 to V3.2, Kimi K2, GLM 4.7 Flash and GLM 5."""

from typing import Literal

from vllm_opt.profiles.configs.decoder import Decoder, DecoderReader, check_length, dense_mlp
from vllm_opt.profiles.configs.experts import first_dense, shared_width
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import DecoderLayer, Experts, LatentAttention


def latent_attention(keys: ConfigKeys) -> LatentAttention:
    """Latent attention without an indexer."""
    bias = keys.flag("attention_bias")
    if "q_lora_rank" not in keys.values:
        keys.take("q_lora_rank", "none", "a query projection without a rank")
    return LatentAttention(
        num_attention_heads=keys.integer("num_attention_heads"),
        q_lora_rank=keys.optional_integer("q_lora_rank"),
        kv_lora_rank=keys.integer("kv_lora_rank"),
        qk_nope_head_dim=keys.integer("qk_nope_head_dim"),
        qk_rope_head_dim=keys.integer("qk_rope_head_dim"),
        v_head_dim=keys.integer("v_head_dim"),
        qkv_bias=bias,
        output_bias=bias,
    )


def deepseek(keys: ConfigKeys) -> Decoder:
    """DeepSeek V2, V3, R1 and Kimi K2."""
    mixer = latent_attention(keys)
    return _decoder(keys, [mixer] * keys.layer_count())


def deepseek_sparse(keys: ConfigKeys) -> Decoder:
    """DeepSeek V3.2 and GLM 5: an indexer picks `index_topk` tokens for each query.

    GLM 5.2 names in `indexer_types` the layers that have an indexer of their own ("full"); the others use its choice.
    """
    count = keys.layer_count()
    plain = latent_attention(keys)
    if plain.q_lora_rank is None:
        keys.refuse("has an indexer but no q_lora_rank, which its query projection starts from")
    indexed = plain.model_copy(
        update={
            "index_n_heads": keys.integer("index_n_heads"),
            "index_head_dim": keys.integer("index_head_dim"),
            "index_topk": keys.integer("index_topk"),
        }
    )
    types = keys.strings("indexer_types") or ["full"] * count
    check_length(keys, "indexer_types", len(types), count)
    if set(types) - {"full", "shared"}:
        keys.refuse("names an indexer type other than 'full' and 'shared', for which there is no rule yet")
    return _decoder(keys, [indexed if kind == "full" else plain for kind in types])


def glm4_lite(keys: ConfigKeys) -> Decoder:
    """GLM 4.7 Flash: DeepSeek V3 with its router in float32."""
    return _decoder(keys, [latent_attention(keys)] * keys.layer_count(), "float32")


def _decoder(
    keys: ConfigKeys, mixers: list[LatentAttention], router_dtype: Literal["model", "float32"] = "model"
) -> Decoder:
    hidden_size = keys.integer("hidden_size")
    if "topk_method" not in keys.values:
        keys.take("topk_method", "none", "a router without a score correction")
    correction = keys.text("topk_method") == "noaux_tc"
    experts = Experts(
        num_experts=keys.integer("n_routed_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("moe_intermediate_size"),
        shared_expert_intermediate_size=shared_width(keys),
        router_bias=correction,
        router_dtype=router_dtype,
    )
    dense = dense_mlp(keys)
    sparse = first_dense(keys, len(mixers))
    layers = [
        DecoderLayer(mixer=mixer, feed_forward=experts if moe else dense, norm_parameters=2 * hidden_size)
        for mixer, moe in zip(mixers, sparse, strict=True)
    ]
    return Decoder(layers, hidden_size)


READERS: dict[str, DecoderReader] = {
    "DeepseekV2ForCausalLM": deepseek,
    "DeepseekV3ForCausalLM": deepseek,
    "Glm4MoeLiteForCausalLM": glm4_lite,
    "DeepseekV32ForCausalLM": deepseek_sparse,
    "GlmMoeDsaForCausalLM": deepseek_sparse,
    "MistralLarge3ForCausalLM": deepseek,
}
"""Reader by the first entry of `architectures`."""
