"""Readers of mixture-of-experts decoders with ordinary attention: Mixtral, Qwen MoE, gpt-oss, Llama 4, GLM 4, …"""

from collections.abc import Sequence
from typing import NamedTuple

from vllm_opt.profiles.configs.decoder import (
    Decoder,
    DecoderReader,
    attention,
    check_length,
    dense_mlp,
    shape,
    windowed,
)
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp, Experts


class MoeLayers(NamedTuple):
    """Which layers hold experts, and the two kinds of feed-forward part."""

    sparse: Sequence[bool]
    dense: DenseMlp | None
    experts: Experts

    def layers(self, mixers: Sequence[Attention], norm_parameters: int) -> list[DecoderLayer]:
        """One layer per mixer, with experts where `sparse` says so."""
        return [
            DecoderLayer(
                mixer=mixer, feed_forward=self.experts if sparse else self.dense, norm_parameters=norm_parameters
            )
            for mixer, sparse in zip(mixers, self.sparse, strict=True)
        ]


def mixtral(keys: ConfigKeys) -> Decoder:
    """Mixtral: every layer holds experts; `sliding_window` holds for every layer where not null."""
    common = shape(keys)
    mixer = windowed(attention(common), keys.optional_integer("sliding_window"))
    experts = Experts(
        num_experts=keys.integer("num_local_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("intermediate_size"),
    )
    layers = MoeLayers([True] * common.num_hidden_layers, None, experts)
    return Decoder(layers.layers([mixer] * common.num_hidden_layers, 2 * common.hidden_size), common.hidden_size)


def qwen_sparse_layers(keys: ConfigKeys, layers: int) -> list[bool]:
    """Layers with experts: every `decoder_sparse_step`-th that `mlp_only_layers` does not name."""
    step = keys.optional_integer("decoder_sparse_step") or 1
    dense = set(keys.integers("mlp_only_layers") or [])
    return [i not in dense and (i + 1) % step == 0 for i in range(layers)]


def qwen_experts(keys: ConfigKeys) -> Experts:
    """Experts of Qwen2 to Qwen3.5; a shared expert comes with a scalar gate."""
    shared = keys.optional_integer("shared_expert_intermediate_size", minimum=0) or 0
    return Experts(
        num_experts=keys.integer("num_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("moe_intermediate_size"),
        shared_expert_intermediate_size=shared,
        shared_expert_gate=shared > 0,
    )


def qwen3_moe(keys: ConfigKeys) -> Decoder:
    """Qwen3 MoE and Qwen3-VL MoE: Qwen3 attention, experts in all layers but the named ones."""
    common = shape(keys)
    mixer = attention(common, qkv_bias=keys.flag("attention_bias"), qk_norm="per_head")
    return _qwen_moe(keys, mixer)


def qwen2_moe(keys: ConfigKeys) -> Decoder:
    """Qwen2 MoE: Qwen2 attention and a shared expert."""
    return _qwen_moe(keys, attention(shape(keys), qkv_bias=True))


def _qwen_moe(keys: ConfigKeys, mixer: Attention) -> Decoder:
    if keys.flag("use_sliding_window"):
        keys.refuse("sets use_sliding_window, for which this family has no rule yet")
    common = shape(keys)
    sparse = qwen_sparse_layers(keys, common.num_hidden_layers)
    dense = None if all(sparse) else dense_mlp(keys)
    layers = MoeLayers(sparse, dense, qwen_experts(keys))
    return Decoder(layers.layers([mixer] * common.num_hidden_layers, 2 * common.hidden_size), common.hidden_size)


def gpt_oss(keys: ConfigKeys) -> Decoder:
    """gpt-oss: biased attention with sinks, a window on every even layer, biased experts in all layers."""
    common = shape(keys)
    bias = keys.flag("attention_bias", default=True)
    mixer = attention(common, qkv_bias=bias, output_bias=bias, sinks=True)
    experts = Experts(
        num_experts=keys.integer("num_local_experts", "num_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok", "experts_per_token"),
        moe_intermediate_size=keys.integer("intermediate_size"),
        bias=True,
        router_bias=True,
    )
    window = keys.integer("sliding_window", default=128)
    mixers = [windowed(mixer, window if i % 2 == 0 else None) for i in range(common.num_hidden_layers)]
    layers = MoeLayers([True] * common.num_hidden_layers, None, experts)
    return Decoder(layers.layers(mixers, 2 * common.hidden_size), common.hidden_size)


def first_dense(keys: ConfigKeys, layers: int) -> list[bool]:
    """DeepSeek's rule: `first_k_dense_replace` dense layers, then experts every `moe_layer_freq`-th layer."""
    first = keys.integer("first_k_dense_replace", minimum=0)
    every = keys.optional_integer("moe_layer_freq") or 1
    return [i >= first and i % every == 0 for i in range(layers)]


def shared_width(keys: ConfigKeys, count_key: str = "n_shared_experts") -> int:
    """Inner width of all shared experts together: their number times `moe_intermediate_size`."""
    count = keys.optional_integer(count_key, minimum=0) or 0
    if count_key not in keys.values:
        keys.take(count_key, 0, "no shared experts")
    return count * keys.integer("moe_intermediate_size")


def glm4_moe(keys: ConfigKeys) -> Decoder:
    """GLM 4.5 to 4.7: partly rotary attention, DeepSeek-style experts with a score correction per expert."""
    common = shape(keys)
    mixer = attention(
        common,
        qkv_bias=keys.flag("attention_bias"),
        qk_norm="per_head" if keys.flag("use_qk_norm") else "none",
    )
    experts = Experts(
        num_experts=keys.integer("n_routed_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("moe_intermediate_size"),
        shared_expert_intermediate_size=shared_width(keys),
        router_bias=True,
        router_dtype="float32",
    )
    layers = MoeLayers(first_dense(keys, common.num_hidden_layers), dense_mlp(keys), experts)
    return Decoder(layers.layers([mixer] * common.num_hidden_layers, 2 * common.hidden_size), common.hidden_size)


def llama4(keys: ConfigKeys) -> Decoder:
    """Llama 4: one shared expert beside the routed ones; chunked local attention on three layers of four.

    `no_rope_layers`, where given, is 0 for the layers with full attention; otherwise every fourth layer is full.
    """
    common = shape(keys)
    step = keys.integer("interleave_moe_layer_step", default=1, minimum=0)
    width = keys.integer("intermediate_size")
    experts = Experts(
        num_experts=keys.integer("num_local_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=width,
        shared_expert_intermediate_size=width,
    )
    count = common.num_hidden_layers
    sparse = [step > 0 and (i + 1) % step == 0 for i in range(count)]
    dense = None if all(sparse) else DenseMlp(intermediate_size=keys.integer("intermediate_size_mlp"))
    full = attention(common)
    chunk = keys.optional_integer("attention_chunk_size")
    local = full if chunk is None else full.model_copy(update={"kind": "chunked_local", "window_tokens": chunk})
    rope = keys.integers("no_rope_layers") or [int((i + 1) % 4 != 0) for i in range(count)]
    check_length(keys, "no_rope_layers", len(rope), count)
    mixers = [local if uses_rope else full for uses_rope in rope]
    return Decoder(MoeLayers(sparse, dense, experts).layers(mixers, 2 * common.hidden_size), common.hidden_size)


def ernie4_5_moe(keys: ConfigKeys) -> Decoder:
    """ERNIE 4.5 MoE: experts from `moe_layer_start_index` to `moe_layer_end_index`; shared experts of equal width."""
    common = shape(keys)
    bias = keys.flag("use_bias")
    last = keys.optional_integer("moe_layer_end_index", minimum=-1)
    end = common.num_hidden_layers - 1 if last is None or last < 0 else last
    start = keys.integer("moe_layer_start_index", default=1, minimum=0)
    every = keys.optional_integer("moe_layer_interval") or 1
    sparse = [start <= i <= end and (i + 1) % every == 0 for i in range(common.num_hidden_layers)]
    experts = Experts(
        num_experts=keys.integer("moe_num_experts"),
        num_experts_per_tok=keys.integer("moe_k"),
        moe_intermediate_size=keys.integer("moe_intermediate_size"),
        shared_expert_intermediate_size=shared_width(keys, "moe_num_shared_experts"),
        router_bias=True,
        router_dtype="float32",
    )
    mixer = attention(common, qkv_bias=bias, output_bias=bias)
    layers = MoeLayers(sparse, dense_mlp(keys, bias=bias), experts)
    mixers = [mixer] * common.num_hidden_layers
    return Decoder(layers.layers(mixers, 2 * common.hidden_size), common.hidden_size, tied_by_default=True)


def minimax_m2(keys: ConfigKeys) -> Decoder:
    """MiniMax M2: norms of q and k over all heads, experts in every layer with a score correction each."""
    common = shape(keys)
    if keys.text("qk_norm_type") not in (None, "per_layer"):
        keys.refuse(f"has qk_norm_type '{keys.text('qk_norm_type')}', for which there is no rule yet")
    mixer = attention(common, qk_norm="all_heads" if keys.flag("use_qk_norm", default=True) else "none")
    experts = Experts(
        num_experts=keys.integer("num_local_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_tok"),
        moe_intermediate_size=keys.integer("intermediate_size"),
        router_bias=keys.flag("use_routing_bias", default=True),
        router_dtype="float32",
    )
    layers = MoeLayers([True] * common.num_hidden_layers, None, experts)
    return Decoder(layers.layers([mixer] * common.num_hidden_layers, 2 * common.hidden_size), common.hidden_size)


def hunyuan(keys: ConfigKeys) -> Decoder:
    """Hunyuan A13B: norms of q and k per head; widths and counts may be given per layer and must agree."""
    common = shape(keys)
    if keys.flag("use_cla"):
        keys.refuse("sets use_cla (cross-layer attention), for which there is no rule yet")
    width = _same_everywhere(keys, "moe_intermediate_size")
    shared = _same_everywhere(keys, "num_shared_expert") if keys.flag("use_mixed_mlp_moe") else 0
    experts = Experts(
        num_experts=keys.integer("num_experts"),
        num_experts_per_tok=_same_everywhere(keys, "moe_topk"),
        moe_intermediate_size=width,
        shared_expert_intermediate_size=shared * keys.integer("intermediate_size"),
    )
    bias = keys.flag("attention_bias")
    qk_norm = "per_head" if keys.flag("use_qk_norm") else "none"
    mixer = attention(common, qkv_bias=bias, output_bias=bias, qk_norm=qk_norm)
    layers = MoeLayers([True] * common.num_hidden_layers, None, experts)
    return Decoder(layers.layers([mixer] * common.num_hidden_layers, 2 * common.hidden_size), common.hidden_size)


def _same_everywhere(keys: ConfigKeys, key: str) -> int:
    if not isinstance(keys.values.get(key), list):
        return keys.integer(key)
    values = keys.integers(key, minimum=1) or []
    if len(set(values)) != 1:
        keys.refuse(f"has a {key} that differs by layer, for which there is no rule yet")
    return values[0]


READERS: dict[str, DecoderReader] = {
    "MixtralForCausalLM": mixtral,
    "Qwen2MoeForCausalLM": qwen2_moe,
    "Qwen3MoeForCausalLM": qwen3_moe,
    "GptOssForCausalLM": gpt_oss,
    "Glm4MoeForCausalLM": glm4_moe,
    "Llama4ForCausalLM": llama4,
    "Ernie4_5_MoeForCausalLM": ernie4_5_moe,
    "MiniMaxM2ForCausalLM": minimax_m2,
    "HunYuanMoEV1ForCausalLM": hunyuan,
}
"""Reader by the first entry of `architectures`."""
