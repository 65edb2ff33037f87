"""`--hf-overrides`: a longer context by RoPE scaling, as the release derives it, with what it costs in quality.

Source: `config/model.py:_get_and_verify_max_len`. Until 0.28 YaRN takes original_max_position_embeddings x factor; from
0.29 on `max_position_embeddings` must already hold the scaled length, so it is overridden with the RoPE parameters.
"""

from typing import Any

from vllm_opt.optimizer.contract.features import Features, json_value
from vllm_opt.profiles.configs.context_limit import ALREADY_SCALED, ROPE_TYPES
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import ModelProfile

UNDERSTOOD = ("rope_parameters", "rope_scaling", "max_position_embeddings", "rope_theta", "text_config")
LONGEST_CONTEXT = 2**31 - 1
QUALITY = (
    "a context extended by {kind} with factor {factor:g} is static: short prompts lose some accuracy too, so extend no "
    "further than you need, and test at your own lengths"
)


def with_overrides(
    model: ModelProfile, request: Features, engine: EngineProfile
) -> tuple[ModelProfile, tuple[str, ...]]:
    """Return the model with the overridden context, and what to know about it.

    Raises:
        InvalidRequest: an override that cannot be understood, or RoPE parameters that vLLM refuses.
    """
    overrides = json_value(request.hf_overrides)
    if not overrides:
        return model, ()
    text = overrides.get("text_config")
    flat = {**overrides, **text} if isinstance(text, dict) else overrides
    stated = _length(flat, "max_position_embeddings")
    rope = flat.get("rope_parameters") or flat.get("rope_scaling")
    others = sorted(key for key in flat if key not in UNDERSTOOD)
    notes = [f"--hf-overrides: {', '.join(others)[:120]} is not modelled"] if others else []
    if rope is None:
        return (model, tuple(notes)) if stated is None else (_longer(model, stated), tuple(notes))
    if not isinstance(rope, dict):
        raise InvalidRequest('hf_overrides: rope_parameters must be an object such as {"rope_type": "yarn"}')
    kind, factor = _kind(rope), _factor(rope)
    base = stated or model.max_model_len
    length = base
    if kind == "yarn" and engine.yarn_scales_context:
        original = _length(rope, "original_max_position_embeddings")
        if original is None:
            raise InvalidRequest("hf_overrides: yarn needs original_max_position_embeddings")
        length = int(original * factor)
    elif kind not in ALREADY_SCALED:
        length = int(base * factor)
    elif stated is None and factor > 1:
        notes.append(
            f"vLLM {engine.version} takes the context from max_position_embeddings and not from {kind}'s factor: "
            "override max_position_embeddings too"
        )
    if factor > 1 and length > model.max_model_len:
        notes.append(QUALITY.format(kind=kind, factor=factor))
    return _longer(model, min(length, LONGEST_CONTEXT)), tuple(notes)


def _longer(model: ModelProfile, length: int) -> ModelProfile:
    return model.model_copy(update={"max_model_len": length, "default_max_model_len": None, "context_of": None})


def _length(values: dict[str, Any], key: str) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LONGEST_CONTEXT:
        raise InvalidRequest(f"hf_overrides: {key} must be a positive whole number of tokens")
    return value


def _kind(rope: dict[str, Any]) -> str:
    kind = rope.get("rope_type", rope.get("type"))
    if kind not in ROPE_TYPES:
        raise InvalidRequest(f"hf_overrides: rope_type '{str(kind)[:40]}' is none that vLLM knows")
    return str(kind)


def _factor(rope: dict[str, Any]) -> float:
    factor = rope.get("factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1e6:
        raise InvalidRequest("hf_overrides: factor must be a positive number")
    return float(factor)
