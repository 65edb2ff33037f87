"""The rules of thumb that vLLM users know, as exact functions, so that the tool can say where they mislead.

They hold for plain multi-head attention and nothing else resident. The physics of this package (`weights.py`,
`kv_cache.py`, `memory_ledger.py`) replaces every one of them; `explain --equations` shows both side by side.
"""

from fractions import Fraction

from vllm_opt.profiles.nouns.model import Attention, CompressedAttention, LatentAttention, ModelProfile, StateSpace

BITS_PER_BYTE = 8


def weights_bytes(parameters: int, bits_per_parameter: int) -> Fraction:
    """Parameters x bits / 8. Ignores scales, zero points, and the layers that a format leaves at 16 bits."""
    return Fraction(parameters * bits_per_parameter, BITS_PER_BYTE)


def multi_head_kv_bytes_per_token(num_hidden_layers: int, hidden_size: int, bytes_per_element: int = 2) -> int:
    """2 x layers x hidden size x bytes: key and value of every head. Wrong for GQA, MQA, MLA, windows and states."""
    return 2 * num_hidden_layers * hidden_size * bytes_per_element


def kv_pool_bytes(total_bytes: int, utilization: Fraction, resident_bytes: int) -> Fraction:
    """Total x utilisation - everything resident. What is resident depends on the release: see `memory_ledger.py`."""
    return total_bytes * utilization - resident_bytes


def sequences_held(pool_bytes: int, bytes_per_sequence: int) -> int:
    """Pool / bytes of one sequence, whole sequences only."""
    return pool_bytes // bytes_per_sequence


def tokens_held(pool_bytes: int, swap_bytes: int, bytes_per_token: int) -> int:
    """(Pool + swap) / bytes per token: the swap tier adds to what is held, not to what one step runs."""
    return (pool_bytes + swap_bytes) // bytes_per_token


def last_block_waste_tokens(block_size: int) -> int:
    """At most block size - 1 tokens of the last block of a sequence stay empty."""
    return block_size - 1


def why_not_multi_head(model: ModelProfile) -> str | None:
    """Why the plain KV formula misleads for this model; None when it holds."""
    mixers = {kind.mixer for kind in model.layer_kinds if kind.mixer is not None}
    reasons = []
    grouped = next(
        (m for m in mixers if isinstance(m, Attention) and m.num_key_value_heads < m.num_attention_heads), None
    )
    if grouped is not None:
        reasons.append(f"{grouped.num_key_value_heads} KV heads serve {grouped.num_attention_heads} query heads")
    if any(isinstance(m, LatentAttention) for m in mixers):
        reasons.append("latent attention caches one compressed vector per token instead of keys and values")
    if any(isinstance(m, Attention) and m.kind != "full" for m in mixers):
        reasons.append("windowed layers keep only their window")
    if any(isinstance(m, CompressedAttention) for m in mixers):
        reasons.append("one compressed state stands for several tokens beyond a short window")
    if any(isinstance(m, StateSpace) for m in mixers):
        reasons.append("recurrent layers keep a state that does not grow with the context")
    if any(isinstance(m, Attention) and m.head_dim * m.num_attention_heads != model.hidden_size for m in mixers):
        reasons.append("the head width is not hidden size / heads")
    return "; ".join(reasons) or None
