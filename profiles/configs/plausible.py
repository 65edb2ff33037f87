"""A config whose every number is possible may still describe a model that cannot be: more than 10^15 parameters."""

from vllm_opt.profiles.nouns.model import (
    Attention,
    CompressedAttention,
    DecoderLayer,
    DenseMlp,
    Experts,
    LatentAttention,
    ModelProfile,
)

MOST_PARAMETERS = 10**15
"""More than three hundred times the largest published model; beyond it bytes leave the range of 64-bit solvers."""

MOST_CONTEXT_TOKENS = 10**9


def implausible(model: ModelProfile) -> str | None:
    """Return why the model cannot be, or None; widths are counted roughly, by their largest products."""
    layers = sum(_width(kind) * model.layer_pattern.count(index) for index, kind in enumerate(model.layer_kinds))
    beside = model.vocab_size * (1 + model.per_layer_embedding_width) + 3 * model.hyper_connections**2
    parameters = model.hidden_size * (layers + beside) + model.extra_parameters + model.final_norm_parameters
    parameters += model.vision.parameters if model.vision else 0
    if parameters > MOST_PARAMETERS:
        return (
            f"describes about {float(parameters):.1e} parameters, more than {MOST_PARAMETERS:.0e}, which no model has"
        )
    if model.max_model_len > MOST_CONTEXT_TOKENS:
        return f"has a context of {model.max_model_len} tokens, more than {MOST_CONTEXT_TOKENS}, which no model has"
    return None


def _width(layer: DecoderLayer) -> int:
    """Weights of one layer per element of the residual stream, and the elements of its state."""
    return _mixer_width(layer) + _inner_width(layer.feed_forward) + _inner_width(layer.parallel_feed_forward)


def _mixer_width(layer: DecoderLayer) -> int:
    mixer = layer.mixer
    if mixer is None:
        return 0
    if isinstance(mixer, Attention):
        return (mixer.num_attention_heads + mixer.num_key_value_heads) * (mixer.head_dim + mixer.v_head_dim)
    if isinstance(mixer, LatentAttention):
        rank = mixer.kv_lora_rank + (mixer.q_lora_rank or 0)
        head = mixer.qk_nope_head_dim + mixer.qk_rope_head_dim + mixer.v_head_dim
        indexer = (mixer.index_n_heads or 0) * (mixer.index_head_dim or 0)
        return rank + mixer.num_attention_heads * head + indexer
    if isinstance(mixer, CompressedAttention):
        heads = mixer.num_attention_heads * mixer.head_dim + mixer.index_n_heads * mixer.index_head_dim
        return heads + mixer.q_lora_rank + mixer.o_groups * mixer.o_lora_rank
    keys = mixer.num_groups * mixer.state_size
    values = mixer.num_heads * mixer.head_dim
    return values * (1 + mixer.conv_kernel) + keys + values * mixer.state_size // max(1, mixer.head_dim)


def _inner_width(part: DenseMlp | Experts | None) -> int:
    if part is None:
        return 0
    if isinstance(part, DenseMlp):
        return part.intermediate_size
    return part.num_experts * (1 + part.moe_intermediate_size) + part.shared_expert_intermediate_size
