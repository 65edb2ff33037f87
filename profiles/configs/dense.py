"""Readers of dense decoders: Llama and the many that differ from it in a bias, a norm or a window."""

from vllm_opt.profiles.configs.decoder import (
    Decoder,
    DecoderReader,
    Shape,
    attention,
    dense_mlp,
    layer_windows,
    shape,
    windowed,
)
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp


def same_layers(common: Shape, mixer: Attention, feed_forward: DenseMlp, norms: int = 2) -> list[DecoderLayer]:
    """Identical layers with `norms` RMS norms of hidden_size each."""
    layer = DecoderLayer(mixer=mixer, feed_forward=feed_forward, norm_parameters=norms * common.hidden_size)
    return [layer] * common.num_hidden_layers


def llama(keys: ConfigKeys) -> Decoder:
    """Llama 1 to 3, Yi, CodeLlama, SmolLM, Granite 3, InternLM2, Seed-OSS: `attention_bias` and `mlp_bias` decide."""
    common = shape(keys)
    bias = keys.flag("attention_bias") or keys.flag("bias")
    output_bias = keys.flag("attention_out_bias", default=bias)
    mixer = attention(common, qkv_bias=bias, output_bias=output_bias)
    layers = same_layers(common, mixer, dense_mlp(keys, bias=keys.flag("mlp_bias")))
    return Decoder(layers, common.hidden_size)


def smollm3(keys: ConfigKeys) -> Decoder:
    """SmolLM3: Llama with tied embeddings, and windows only where `use_sliding_window` is set."""
    if keys.flag("use_sliding_window"):
        keys.refuse("sets use_sliding_window, for which this family has no rule yet")
    return llama(keys)._replace(tied_by_default=True)


def mistral(keys: ConfigKeys) -> Decoder:
    """Mistral, Ministral and Devstral: Llama whose `sliding_window`, where not null, holds for every layer."""
    common = shape(keys)
    if any(key in keys.values for key in ("sliding_window", "sliding_window_size")):
        window = keys.optional_integer("sliding_window", "sliding_window_size")
    else:
        window = keys.integer("sliding_window", default=4096)
    return Decoder(same_layers(common, windowed(attention(common), window), dense_mlp(keys)), common.hidden_size)


def ministral3(keys: ConfigKeys) -> Decoder:
    """Ministral 3: Mistral whose window defaults to none."""
    common = shape(keys)
    mixer = windowed(attention(common), keys.optional_integer("sliding_window"))
    return Decoder(same_layers(common, mixer, dense_mlp(keys)), common.hidden_size)


def baichuan(keys: ConfigKeys) -> Decoder:
    """Baichuan: Llama with as many key-value heads as heads."""
    return llama(keys)


def qwen2(keys: ConfigKeys) -> Decoder:
    """Qwen2 and Qwen2.5: q, k and v biases; a window only with `use_sliding_window`."""
    common = shape(keys)
    mixer = attention(common, qkv_bias=True)
    return Decoder(_qwen_layers(keys, common, mixer), common.hidden_size)


def qwen3(keys: ConfigKeys) -> Decoder:
    """Qwen3: norms of q and k per head, biases with `attention_bias`."""
    common = shape(keys)
    mixer = attention(common, qkv_bias=keys.flag("attention_bias"), qk_norm="per_head")
    labels = keys.integer("num_labels", default=1) if keys.has("classifier_from_token") else 0
    score = 2 * labels * common.hidden_size  # a float32 row per label (Qwen3-Reranker)
    return Decoder(_qwen_layers(keys, common, mixer), common.hidden_size, extra_parameters=score)


def _qwen_layers(keys: ConfigKeys, common: Shape, mixer: Attention) -> list[DecoderLayer]:
    layers = same_layers(common, mixer, dense_mlp(keys))
    if not keys.flag("use_sliding_window") or not keys.has("sliding_window"):
        return layers
    sliding = same_layers(common, windowed(mixer, keys.integer("sliding_window")), dense_mlp(keys))
    first = keys.integer("max_window_layers", default=28, minimum=0)
    return layers[:first] + sliding[first:]


def phi3(keys: ConfigKeys) -> Decoder:
    """Phi-3, 3.5 and 4: Llama with fused projections and an optional window for every layer."""
    common = shape(keys)
    mixer = windowed(attention(common), keys.optional_integer("sliding_window"))
    return Decoder(same_layers(common, mixer, dense_mlp(keys)), common.hidden_size)


def exaone4(keys: ConfigKeys) -> Decoder:
    """EXAONE 4: norms after attention and MLP, norms of q and k per head, three sliding layers to a full one."""
    common = shape(keys)
    mixer, mlp = attention(common, qk_norm="per_head"), dense_mlp(keys)
    if keys.has("sliding_window"):
        windows = layer_windows(keys, common.num_hidden_layers, default_window=None, default_period=4)
    else:
        windows = [None] * common.num_hidden_layers
    norms = 2 * common.hidden_size
    layers = [DecoderLayer(mixer=windowed(mixer, w), feed_forward=mlp, norm_parameters=norms) for w in windows]
    return Decoder(layers, common.hidden_size)


def olmo2(keys: ConfigKeys) -> Decoder:
    """OLMo 2: norms of q and k over all heads together."""
    common = shape(keys)
    mixer = attention(common, qk_norm="all_heads", replicated_qk_norm=True, qkv_bias=keys.flag("attention_bias"))
    return Decoder(same_layers(common, mixer, dense_mlp(keys)), common.hidden_size)


def olmo3(keys: ConfigKeys) -> Decoder:
    """OLMo 3: OLMo 2 with three sliding layers to a full one."""
    common = shape(keys)
    mixer, mlp = attention(common, qk_norm="all_heads", replicated_qk_norm=True), dense_mlp(keys)
    windows = layer_windows(keys, common.num_hidden_layers, default_window=4096, default_period=4)
    norms = 2 * common.hidden_size
    layers = [DecoderLayer(mixer=windowed(mixer, w), feed_forward=mlp, norm_parameters=norms) for w in windows]
    return Decoder(layers, common.hidden_size)


def cohere(keys: ConfigKeys) -> Decoder:
    """Command R and Aya: one norm per layer, attention and MLP in parallel, tied embeddings."""
    common = shape(keys)
    qk_norm = "all_heads" if keys.flag("use_qk_norm") else "none"
    mixer = attention(common, qkv_bias=keys.flag("attention_bias"), qk_norm=qk_norm)
    return Decoder(same_layers(common, mixer, dense_mlp(keys), norms=1), common.hidden_size, tied_by_default=True)


def cohere2(keys: ConfigKeys) -> Decoder:
    """Command R7B and Command A: Cohere with three sliding layers to a full one.

    A sliding layer sees `sliding_window` tokens before its own, so vLLM keeps one more (`commandr.py`, 0.33).
    """
    common = shape(keys)
    mixer, mlp = attention(common, qkv_bias=keys.flag("attention_bias")), dense_mlp(keys)
    windows = layer_windows(keys, common.num_hidden_layers, default_window=4096, default_period=4)
    kept = [None if w is None else w + 1 for w in windows]
    layers = [
        DecoderLayer(mixer=windowed(mixer, w), feed_forward=mlp, norm_parameters=common.hidden_size) for w in kept
    ]
    return Decoder(layers, common.hidden_size, tied_by_default=True)


READERS: dict[str, DecoderReader] = {
    "LlamaForCausalLM": llama,
    "LLaMAForCausalLM": llama,
    "InternLM2ForCausalLM": llama,
    "GraniteForCausalLM": llama,
    "SeedOssForCausalLM": llama,
    "BaichuanForCausalLM": baichuan,
    "SmolLM3ForCausalLM": smollm3,
    "MistralForCausalLM": mistral,
    "MistralModel": mistral,
    "Qwen2Model": qwen2,
    "Qwen3Model": qwen3,
    "Qwen3ForSequenceClassification": qwen3,
    "Ministral3ForCausalLM": ministral3,
    "Qwen2ForCausalLM": qwen2,
    "MiMoForCausalLM": qwen2,
    "Qwen3ForCausalLM": qwen3,
    "Phi3ForCausalLM": phi3,
    "Exaone4ForCausalLM": exaone4,
    "Olmo2ForCausalLM": olmo2,
    "Olmo3ForCausalLM": olmo3,
    "CohereForCausalLM": cohere,
    "Cohere2ForCausalLM": cohere2,
}
"""Reader by the first entry of `architectures`."""
