"""What a published checkpoint leaves in 16 bit, by the modules that it ignores and by the bytes that it stores."""

from typing import Protocol

from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization


class Weights(Protocol):
    """The part of a model's work that a checkpoint's own bytes change."""

    quantized_dense: float
    half_dense: float
    expert_weights: float
    moe_layers: int
    bytes_per_quantized_weight: float


def keeps_attention_half(model: ModelProfile, quantization: Quantization) -> bool:
    """Whether the checkpoint leaves attention in 16 bit: only experts are quantised, or attention is ignored."""
    native = model.native_quantization
    if quantization.experts_only:
        return True
    if native is None:
        return False
    named = sum("attn" in name or "attention" in name for name in native.ignored_modules)
    listed_all = any("attn" in name and not any(c.isdigit() for c in name) for name in native.ignored_modules)
    return native.experts_only or listed_all or named >= model.num_hidden_layers


def keeps_half(model: ModelProfile, *words: str) -> bool:
    """Whether the checkpoint leaves every module named by one of the words in 16 bit, on all layers (no digits)."""
    native = model.native_quantization
    names = native.ignored_modules if native is not None else ()
    plain = [name for name in names if not any(character.isdigit() for character in name)]
    return any(word in name for name in plain for word in words)


def keep_wide(model: ModelProfile, quantization: Quantization, work: Weights) -> None:
    """Move to 16 bit as many dense weights as a published size beyond the count asks for: they are left wide first."""
    native = model.native_quantization
    if native is None or not _is_stored_as(native.quantization, quantization) or native.stored_bytes is None:
        return
    if not work.moe_layers:
        return
    narrow = (work.quantized_dense + work.expert_weights) * work.bytes_per_quantized_weight
    beyond = native.stored_bytes - narrow - _wide_bytes(model, work)
    moved = min(work.quantized_dense, max(0.0, beyond) / (2.0 - work.bytes_per_quantized_weight))
    work.half_dense, work.quantized_dense = work.half_dense + moved, work.quantized_dense - moved


def _is_stored_as(native: str, quantization: Quantization) -> bool:
    """Whether the checkpoint's own bytes are those read: also where a kernel unpacks them to 16 bit (`_w4a16`)."""
    return native in (quantization.id, quantization.id.removesuffix("_w4a16"))


def _wide_bytes(model: ModelProfile, work: Weights) -> float:
    """Bytes that are 16 bit in any checkpoint: what is counted so, embeddings and vision."""
    embedding = model.vocab_size * model.hidden_size * (1 if model.tie_word_embeddings else 2)
    return 2.0 * (work.half_dense + embedding + (model.vision.parameters if model.vision else 0))


def published_share(model: ModelProfile, quantization: Quantization, work: Weights) -> float:
    """How many more bytes a published checkpoint streams than the count of its format, at least 1.

    What its published size has beyond the count (`CheckpointQuantization.stored_bytes`) is put on the quantised
    weights: which of them are wider is not known. Where the size is not published either, the count is the centre:
    the margin that memory keeps for it (`size_margin`) is an upper end, and would make every prediction slow.
    """
    native = model.native_quantization
    narrow = (work.quantized_dense + work.expert_weights) * work.bytes_per_quantized_weight
    if native is None or not _is_stored_as(native.quantization, quantization) or not narrow:
        return 1.0
    if native.stored_bytes is None:
        return 1.0
    return max(1.0, (native.stored_bytes - _wide_bytes(model, work)) / narrow)
