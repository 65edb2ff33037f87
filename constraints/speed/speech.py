"""What hearing one clip of speech costs before its first word is written down."""

from vllm_opt.constraints.speed.model_work import encodes, mixer_weights, mlp_weights
from vllm_opt.profiles.nouns.model import Attention, DenseMlp, ModelProfile


def encoder_flop(model: ModelProfile) -> float:
    """FLOP of hearing one clip: the encoder's layers over its tokens, and the keys and values that decoding reads."""
    cross = [kind.mixer for kind in model.layers if isinstance(kind.mixer, Attention) and kind.mixer.kind == "cross"]
    tokens = max((mixer.window_tokens or 0 for mixer in cross), default=0)
    flop = 0.0
    for layer in model.layers:
        if not isinstance(layer.mixer, Attention):
            continue
        if layer.mixer.kind == "cross":
            width = layer.mixer.num_key_value_heads * (layer.mixer.head_dim + layer.mixer.v_head_dim)
            flop += 2.0 * tokens * model.hidden_size * width
        elif encodes(layer) and isinstance(layer.feed_forward, DenseMlp):
            weights = mixer_weights(layer, model.hidden_size) + mlp_weights(layer.feed_forward, model.hidden_size)
            flop += 2.0 * tokens * (weights + tokens * layer.mixer.num_attention_heads * 2 * layer.mixer.head_dim)
    return flop
