"""The largest context that vLLM derives from a config, and the one it takes when none is asked."""

from typing import NamedTuple

from vllm_opt.profiles.configs.reader import ConfigKeys

LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
"""The smallest of these counts, except that `model_max_length` wins (`model_arch_config_convertor.py`, vLLM 0.33)."""

ALREADY_SCALED = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
"""RoPE types whose `factor` is already in `max_position_embeddings` (`config/model.py:_get_and_verify_max_len`)."""

ROPE_TYPES = (
    "default", "linear", "ntk", "dynamic", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "llama3", "mllama4",
    "longrope", "su", "mrope", "proportional", "openpangu", "bailing_mrope",
)  # fmt: skip
"""What vLLM 0.33 builds (`rotary_embedding/__init__.py:get_rope`), older spellings included; it refuses others."""

FALLBACK_TOKENS = 2048
"""What vLLM assumes when no key states a length."""


class ContextLimit(NamedTuple):
    """Tokens that a request may ask for at most, and tokens that vLLM takes unasked."""

    largest: int
    default: int


def context_limit(keys: ConfigKeys, class_default: int | None) -> ContextLimit:
    """Derive both from the text config `keys`, as vLLM 0.33 does.

    largest = smallest length key, times the RoPE `factor` unless its type leaves the key already scaled (Gemma 3's key
    always is). default = largest, except for LongRoPE, which starts at `original_max_position_embeddings`.
    `class_default` is the length of the Hugging Face class for families whose configs omit it.
    """
    stated = [keys.integer(key) for key in LENGTH_KEYS if keys.has(key)]
    if keys.has("model_max_length"):
        length = keys.integer("model_max_length")
    elif stated:
        length = min(stated)
    else:
        length = class_default or FALLBACK_TOKENS
        keys.take("max_position_embeddings", length, "what vLLM assumes for this class")
    ropes = rope_parameters(keys)
    types = [rope.text("rope_type", "type") or "default" for rope in ropes]
    for rope_type in types:
        if rope_type not in ROPE_TYPES:
            keys.refuse(f"has the rope_type {rope_type[:40]!r}, which vLLM does not know")
    factor = 1.0
    for rope, rope_type in zip(ropes, types, strict=True):
        if rope_type not in ALREADY_SCALED:
            factor = rope.number("factor", factor)
    if "gemma3" not in (keys.text("model_type") or ""):
        length = int(length * factor)
    if "longrope" in types or "su" in types:
        return ContextLimit(length, keys.optional_integer("original_max_position_embeddings") or length)
    return ContextLimit(length, length)


def rope_parameters(keys: ConfigKeys) -> list[ConfigKeys]:
    """The RoPE objects of a config: one, or one per layer type; `rope_scaling` is the older name."""
    found = keys.child("rope_parameters") or keys.child("rope_scaling")
    if found is None:
        return []
    if found.values and all(isinstance(value, dict) for value in found.values.values()):
        return [rope for name in found.values if (rope := found.child(name)) is not None]
    return [found]
