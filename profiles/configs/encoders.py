"""Readers of encoders: BERT, RoBERTa, Nomic, ModernBERT, Jina, and Whisper's encoder with its decoder.

They keep no cache of a growing text. vLLM 0.33 builds token, position and type embeddings with their rows padded to 64
(`models/bert.py`, `roberta.py`, `whisper.py`).
"""

from vllm_opt.profiles.configs.decoder import Decoder, DecoderReader, attention, dense_mlp, shape
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp

ROW_PADDING = 64
CLASSIFIERS = frozenset({"XLMRobertaForSequenceClassification", "BertForSequenceClassification"})
POOLING = frozenset({
    "BertModel", "RobertaModel", "XLMRobertaModel", "JinaEmbeddingsV3Model", "NomicBertModel", "ModernBertModel",
    "MistralModel", "Qwen2Model", "Qwen3Model", "Qwen3ForSequenceClassification", *CLASSIFIERS,
})  # fmt: skip
"""Classes that embed or score text."""

TRANSCRIPTION = frozenset({"WhisperForConditionalGeneration"})


def _padded(rows: int) -> int:
    return -(-rows // ROW_PADDING) * ROW_PADDING


def _encoder(mixer: Attention) -> Attention:
    return mixer.model_copy(update={"causal": False})


def bert(keys: ConfigKeys) -> Decoder:
    """BERT, RoBERTa and XLM-RoBERTa: biases everywhere, layer norms, learned positions and token types."""
    common = shape(keys)
    hidden = common.hidden_size
    mixer = _encoder(attention(common, qkv_bias=True, output_bias=True))
    mlp = dense_mlp(keys, bias=True, gated=False)
    layer = DecoderLayer(mixer=mixer, feed_forward=mlp, norm_parameters=4 * hidden)
    rotary = (keys.strings("architectures") or [""])[0] == "JinaEmbeddingsV3Model"
    positions = 0 if rotary else _padded(keys.integer("max_position_embeddings"))
    types = _padded(keys.integer("type_vocab_size", default=2))
    beside = 2 * hidden
    if (keys.strings("architectures") or [""])[0] in CLASSIFIERS:
        beside += 2 * (hidden * hidden + hidden + hidden + 1)  # a float32 head of two layers
    tables = (positions + types) * hidden
    layers = [layer] * common.num_hidden_layers
    return Decoder(layers, 0, tied_by_default=True, extra_parameters=beside, divided_parameters=tables)


def nomic_bert(keys: ConfigKeys) -> Decoder:
    """Nomic BERT: rotary positions, a gated MLP, no biases."""
    common = shape(keys)
    hidden = common.hidden_size
    mixer = _encoder(attention(common))
    layer = DecoderLayer(mixer=mixer, feed_forward=dense_mlp(keys), norm_parameters=4 * hidden)
    types = _padded(keys.integer("type_vocab_size", default=2)) * hidden
    layers = [layer] * common.num_hidden_layers
    return Decoder(layers, 0, tied_by_default=True, extra_parameters=2 * hidden, divided_parameters=types)


def modern_bert(keys: ConfigKeys) -> Decoder:
    """ModernBERT: a gated MLP, norms without biases, rotary positions; every third layer attends to all tokens."""
    common = shape(keys)
    hidden = common.hidden_size
    layer = DecoderLayer(mixer=_encoder(attention(common)), feed_forward=dense_mlp(keys), norm_parameters=2 * hidden)
    # The first layer has no norm before its attention.
    return Decoder(
        [layer.model_copy(update={"norm_parameters": hidden}), *[layer] * (common.num_hidden_layers - 1)],
        hidden,
        tied_by_default=True,
        extra_parameters=hidden,
    )


def whisper(keys: ConfigKeys) -> Decoder:
    """Whisper: encoder layers, then self attention and cross attention of the decoder, as a layer each.

    The projection of keys has no bias, the decoder's positions are learned, the output head is tied.
    """
    hidden, heads = keys.integer("d_model"), keys.integer("decoder_attention_heads")
    if hidden % heads:
        keys.refuse(f"has d_model {hidden}, which {heads} heads do not divide")
    own = Attention(
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=hidden // heads,
        v_head_dim=hidden // heads,
        qkv_bias=True,
        output_bias=True,
    )
    encoder_mlp = DenseMlp(intermediate_size=keys.integer("encoder_ffn_dim"), gated=False, bias=True)
    decoder_mlp = DenseMlp(intermediate_size=keys.integer("decoder_ffn_dim"), gated=False, bias=True)
    encoder = DecoderLayer(mixer=_encoder(own), feed_forward=encoder_mlp, norm_parameters=4 * hidden)
    reading = DecoderLayer(mixer=own, norm_parameters=2 * hidden)
    heard = keys.integer("max_source_positions", default=1500)
    cross = own.model_copy(update={"kind": "cross", "window_tokens": heard})
    crossing = DecoderLayer(mixer=cross, feed_forward=decoder_mlp, norm_parameters=4 * hidden)
    layers = [encoder] * _count(keys, "encoder_layers") + [reading, crossing] * _count(keys, "decoder_layers")
    convolutions = hidden * (3 * keys.integer("num_mel_bins", default=80) + 1) + hidden * (3 * hidden + 1)
    positions = (heard + keys.integer("max_target_positions")) * hidden
    beside = convolutions + positions + 2 * hidden
    return Decoder(layers, 2 * hidden, tied_by_default=True, extra_parameters=beside)


def _count(keys: ConfigKeys, key: str) -> int:
    count = keys.integer(key)
    if count > 1000:
        keys.refuse(f"has {key} = {count}, more than 1000, which no model of this family has")
    return count


READERS: dict[str, DecoderReader] = {
    "BertModel": bert,
    "BertForSequenceClassification": bert,
    "RobertaModel": bert,
    "XLMRobertaModel": bert,
    "XLMRobertaForSequenceClassification": bert,
    "JinaEmbeddingsV3Model": bert,
    "NomicBertModel": nomic_bert,
    "ModernBertModel": modern_bert,
    "WhisperForConditionalGeneration": whisper,
}
"""Reader by the first entry of `architectures`."""
