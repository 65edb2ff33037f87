"""What lies beside the decoder layers, and on which pipeline stages vLLM 0.33 allocates it.

Usually the embedding is on the first stage, final norm and output head on the last, and a tied embedding on both. Some
model classes build one or more of them on every stage, unused, which costs memory all the same (`models/*.py`; read
from the parameters that vLLM itself builds).
"""

from typing import Literal

from vllm_opt.constraints.weights.compressed_tensors import FLOAT_BYTES, hyper_connection_head_parameters
from vllm_opt.constraints.weights.storage import HALF_BYTES, StorageFormat, linear_bytes
from vllm_opt.profiles.nouns.model import ModelProfile

VOCABULARY_PADDING = 64

End = Literal["embedding", "norm", "lm_head"]

_EVERYTHING: frozenset[End] = frozenset(("embedding", "norm", "lm_head"))
_EMBEDDING_AND_NORM: frozenset[End] = frozenset(("embedding", "norm"))
_EMBEDDING: frozenset[End] = frozenset(("embedding",))

ON_EVERY_STAGE: dict[str, frozenset[End]] = {
    "GptOssForCausalLM": _EVERYTHING,
    "JambaForCausalLM": _EVERYTHING,
    "MixtralForCausalLM": _EVERYTHING,
    "NemotronHForCausalLM": _EVERYTHING,
    "Qwen3MoeForCausalLM": _EVERYTHING,
    "Qwen3OmniMoeForConditionalGeneration": _EVERYTHING,
    "Qwen3VLMoeForConditionalGeneration": _EVERYTHING,
    "CohereForCausalLM": _EMBEDDING_AND_NORM,
    "Cohere2ForCausalLM": _EMBEDDING_AND_NORM,
    "FalconForCausalLM": _EMBEDDING_AND_NORM,
    "Gemma2ForCausalLM": _EMBEDDING_AND_NORM,
    "Gemma3ForCausalLM": _EMBEDDING_AND_NORM,
    "Gemma3ForConditionalGeneration": _EMBEDDING_AND_NORM,
    "Gemma4ForCausalLM": _EMBEDDING_AND_NORM,
    "Gemma4ForConditionalGeneration": _EMBEDDING_AND_NORM,
    "Gemma4UnifiedForConditionalGeneration": _EMBEDDING_AND_NORM,
    "GraniteMoeHybridForCausalLM": _EMBEDDING_AND_NORM,
    "Qwen3NextForCausalLM": frozenset(("embedding", "lm_head")),
    "Qwen3_5ForConditionalGeneration": _EMBEDDING,
    "Qwen3_5MoeForConditionalGeneration": _EMBEDDING,
}
"""Classes that allocate an end on every stage; every other class follows the usual placement."""


def end_bytes(model: ModelProfile, ranks: int, stages: int, lm_head: StorageFormat) -> tuple[int, ...]:
    """Return the bytes beside the decoder layers per stage, on one of `ranks` tensor-parallel ranks.

    Embedding and output head have `vocab_size` rounded up to 64 rows, divided by TP; norms and `extra_parameters` are
    whole on every rank.
    """
    # Whisper's embedding is PyTorch's own: neither padded nor divided (`models/whisper.py`, vLLM 0.33).
    rows = model.vocab_size if model.runner == "transcription" else -(-padded_vocabulary(model) // ranks)
    embedding = rows * model.hidden_size * HALF_BYTES
    head = linear_bytes((rows,), model.hidden_size, lm_head) if model.has_lm_head else 0
    norm = model.final_norm_parameters * HALF_BYTES
    joined = hyper_connection_head_parameters(model.hyper_connections, model.hidden_size) * FLOAT_BYTES
    everywhere = ON_EVERY_STAGE.get(model.architecture, frozenset())
    width = model.per_layer_embedding_width
    shared = -(-model.divided_parameters // ranks)
    beside = (model.extra_parameters + shared + rows * width + -(-width // ranks) * model.hidden_size) * HALF_BYTES
    totals = []
    for stage in range(stages):
        first, last = stage == 0, stage == stages - 1
        tied_copy = last and model.tie_word_embeddings and model.has_lm_head
        total = _vision_bytes(model, ranks) if first else 0
        # Per-layer embeddings and their projection (Gemma 4) follow the embedding.
        total += beside if first or ("embedding" in everywhere and model.per_layer_embedding_width) else 0
        total += embedding if first or tied_copy or "embedding" in everywhere else 0
        total += joined  # built on every stage, used on the last
        total += norm if last or "norm" in everywhere else 0
        total += head if not model.tie_word_embeddings and (last or "lm_head" in everywhere) else 0
        totals.append(total)
    return tuple(totals)


def _vision_bytes(model: ModelProfile, ranks: int) -> int:
    if model.vision is None:
        return 0
    whole = model.vision.replicated_parameters if model.vision.sharded_by_tensor_parallel else model.vision.parameters
    return (whole + -(-(model.vision.parameters - whole) // ranks)) * HALF_BYTES


def padded_vocabulary(model: ModelProfile) -> int:
    """Return `vocab_size` rounded up to the padding of vLLM's embedding."""
    return -(-model.vocab_size // VOCABULARY_PADDING) * VOCABULARY_PADDING
