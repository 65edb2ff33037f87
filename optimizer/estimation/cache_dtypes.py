"""Flags that store part of a cache otherwise: layers left 16-bit, indexers' keys, recurrent matrices, a backend.

Source: vLLM 0.33 `config/cache.py`, `config/attention.py`, `models/deepseek_v4/attention.py`,
`models/minimax_m3/common/indexer.py`, `layers/mamba/mamba_utils.py`.
"""

from typing import Any

from vllm_opt.constraints.kv.attention_backend import CUSTOM
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.optimizer.serve_lines.command_line import has_flag
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import Attention, CompressedAttention, DecoderLayer, ModelProfile, StateSpace

FLASHINFER_V4 = "FLASHINFER_MLA_SPARSE_DSV4"
FLAGS = {
    "kv_cache_dtype_skip_layers": "kv-cache-dtype-skip-layers",
    "indexer_kv_dtype": "attention-config",
    "mamba_ssm_cache_dtype": "mamba-ssm-cache-dtype",
    "attention_backend": "attention-backend",
}


def cache_choices(request: Features, engine: EngineProfile) -> dict[str, Any]:
    """Return the fields of a Layout that these flags set.

    Raises:
        InvalidRequest: the release has no such flag.
    """
    for field, flag in FLAGS.items():
        if getattr(request, field) not in ((), None, "auto") and not has_flag(engine, flag):
            raise InvalidRequest(
                f"{field}: vLLM {engine.version} has no --{flag}; leave it out or take a newer release"
            )
    backend = request.attention_backend
    return {
        "kv_cache_dtype_skip_layers": request.kv_cache_dtype_skip_layers,
        "attention_backend": backend.upper() if backend is not None and backend.upper() != FLASHINFER_V4 else None,
    }


def with_cache_dtypes(
    model: ModelProfile, request: Features, engine: EngineProfile
) -> tuple[ModelProfile, tuple[str, ...]]:
    """Return the model with its mixers cached as the flags say, and which of them change nothing here.

    Raises:
        InvalidRequest: a dtype that this model's indexer does not have, or a flag that the release lacks.
    """
    cache_choices(request, engine)
    kinds = tuple(_changed(kind, request, model.id) for kind in model.layer_kinds)
    notes = []
    mixers = [kind.mixer for kind in model.layer_kinds]
    if request.kv_cache_dtype_skip_layers:
        notes.append(
            "kv_cache_dtype_skip_layers: no published score tells what the layers left 16-bit give back, so quality is "
            "counted as if every layer were quantised"
        )
    if request.mamba_ssm_cache_dtype != "auto" and not any(isinstance(mixer, StateSpace) for mixer in mixers):
        notes.append(f"--mamba-ssm-cache-dtype: {model.id} has no recurrent layers, so it changes nothing")
    if (request.attention_backend or "").upper() == CUSTOM:
        notes.append(
            "attention_backend CUSTOM is one that you register: its cache is taken to be laid out as vLLM's own on "
            "Hopper, and whether it serves this model is not checked"
        )
    if request.indexer_kv_dtype != "auto" and not any(_has_indexer(mixer) for mixer in mixers):
        notes.append(f"indexer_kv_dtype: {model.id} has no indexer with a choice of dtypes, so it changes nothing")
    return (model if kinds == model.layer_kinds else model.model_copy(update={"layer_kinds": kinds})), tuple(notes)


def _has_indexer(mixer: object) -> bool:
    return isinstance(mixer, CompressedAttention) or (isinstance(mixer, Attention) and mixer.index_head_dim is not None)


def _changed(kind: DecoderLayer, request: Features, name: str) -> DecoderLayer:
    mixer, changes = kind.mixer, dict[str, object]()
    if isinstance(mixer, StateSpace) and request.mamba_ssm_cache_dtype != "auto":
        changes["ssm_dtype"] = request.mamba_ssm_cache_dtype
    asked = request.indexer_kv_dtype
    if _has_indexer(mixer) and asked != "auto":
        wanted = "mxfp4" if isinstance(mixer, CompressedAttention) else "fp8"
        if asked != wanted and not (isinstance(mixer, CompressedAttention) and asked == "fp8"):
            raise InvalidRequest(f"indexer_kv_dtype: the indexer of {name} caches its keys as auto or {wanted}")
        if asked == wanted:
            changes["index_cache_dtype"] = asked
    backend = (request.attention_backend or "").upper()
    if isinstance(mixer, CompressedAttention) and backend == FLASHINFER_V4:
        changes["backend"] = FLASHINFER_V4
    if mixer is None or not changes:
        return kind
    return kind.model_copy(update={"mixer": mixer.model_copy(update=changes)})
