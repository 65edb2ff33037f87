"""Readers of decoders with layer norms and plain MLPs: BLOOM, Falcon, StarCoder 2."""

from vllm_opt.profiles.configs.decoder import Decoder, DecoderReader, Shape, attention, shape, windowed
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import DecoderLayer, DenseMlp


def bloom(keys: ConfigKeys) -> Decoder:
    """BLOOM: ALiBi positions, biases everywhere, a norm after the embedding, an MLP of four times the width."""
    common = shape(keys)
    hidden = common.hidden_size
    layer = DecoderLayer(
        mixer=attention(common, qkv_bias=True, output_bias=True),
        feed_forward=DenseMlp(intermediate_size=4 * hidden, gated=False, bias=True),
        norm_parameters=4 * hidden,
    )
    layers = [layer] * common.num_hidden_layers
    return Decoder(layers, 2 * hidden, tied_by_default=True, extra_parameters=2 * hidden)


def falcon(keys: ConfigKeys) -> Decoder:
    """Falcon: multi-query heads with `multi_query`, grouped ones with `new_decoder_architecture`."""
    hidden = keys.integer("hidden_size")
    heads = keys.integer("num_attention_heads", "n_head")
    if hidden % heads:
        keys.refuse(f"has hidden_size {hidden}, which {heads} heads do not divide")
    new = keys.flag("new_decoder_architecture")
    kv_heads = heads
    if new:
        kv_heads = keys.integer("num_kv_heads", "n_head_kv")
    elif keys.flag("multi_query", default=True):
        kv_heads = 1
    common = Shape(hidden, keys.layer_count(), heads, kv_heads, hidden // heads)
    bias = keys.flag("bias")
    layer = DecoderLayer(
        mixer=attention(common, qkv_bias=bias, output_bias=bias),
        feed_forward=DenseMlp(
            intermediate_size=keys.optional_integer("ffn_hidden_size") or 4 * hidden, gated=False, bias=bias
        ),
        norm_parameters=2 * hidden * _falcon_norms(keys, new=new),
    )
    return Decoder([layer] * common.num_hidden_layers, 2 * hidden, tied_by_default=True)


def _falcon_norms(keys: ConfigKeys, *, new: bool) -> int:
    """Layer norms per layer: one before parallel attention and MLP, two otherwise or with two parallel norms."""
    stated = keys.optional_integer("num_ln_in_parallel_attn")
    if stated is not None:
        return stated
    return 2 if new or not keys.flag("parallel_attn", default=True) else 1


def starcoder2(keys: ConfigKeys) -> Decoder:
    """StarCoder 2: biases with `use_bias`, layer norms, a window on every layer where stated."""
    common = shape(keys)
    bias = keys.flag("use_bias", default=True)
    mixer = attention(common, qkv_bias=bias, output_bias=bias)
    layer = DecoderLayer(
        mixer=windowed(mixer, keys.optional_integer("sliding_window")),
        feed_forward=DenseMlp(intermediate_size=keys.integer("intermediate_size"), gated=False, bias=bias),
        norm_parameters=4 * common.hidden_size,
    )
    layers = [layer] * common.num_hidden_layers
    return Decoder(layers, 2 * common.hidden_size, tied_by_default=True)


READERS: dict[str, DecoderReader] = {
    "BloomForCausalLM": bloom,
    "FalconForCausalLM": falcon,
    "Starcoder2ForCausalLM": starcoder2,
}
"""Reader by the first entry of `architectures`."""
