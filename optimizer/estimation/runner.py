"""What a server does with the model: `--runner`, `--convert`, and what the model's class says where neither is given.

Source: vLLM 0.33 `config/model.py`: a pooling runner builds no output head, and a decoder whose config says
`is_causal: false` becomes an encoder there; encoders and speech models keep prompts whole.
"""

from vllm_opt.optimizer.contract.features import Features, json_value
from vllm_opt.profiles.errors import RefusedByVllm
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, ModelProfile

WHOLE_PROMPT_POOLERS = ("MEAN", "CLS", "STEP")
"""Poolers that read every position, so that prompts are neither cut nor cached (`config/model.py`)."""


def as_served(model: ModelProfile, request: Features) -> ModelProfile:
    """Return the model as the asked runner builds it; `auto` takes what its class or its repository says.

    Raises:
        RefusedByVllm: a runner that vLLM refuses for this model.
    """
    if request.is_pooling and model.runner == "transcription":
        raise RefusedByVllm(f"runner: {model.id} writes down speech, and vLLM serves it with --runner generate only")
    if request.is_pooling or (request.runner == "auto" and model.runner == "pooling"):
        return _pooling(model, request)
    if model.runner != "pooling":
        return model
    if not model.keeps_cache or model.architecture.endswith("ForSequenceClassification"):
        raise RefusedByVllm(
            f"runner: {model.id} ({model.architecture}) has no output head and generates no text; leave --runner out "
            "or give pooling"
        )
    return model.model_copy(update={"runner": "generate", "has_lm_head": True})


def _pooling(model: ModelProfile, request: Features) -> ModelProfile:
    config = json_value(request.pooler_config)
    whole = str(config.get("seq_pooling_type", config.get("pooling_type"))).upper() in WHOLE_PROMPT_POOLERS
    kinds = model.layer_kinds if model.is_causal else tuple(_both_ways(kind) for kind in model.layer_kinds)
    return model.model_copy(
        update={"runner": "pooling", "has_lm_head": False, "layer_kinds": kinds, "whole_prompts": whole}
    )


def _both_ways(layer: DecoderLayer) -> DecoderLayer:
    if not isinstance(layer.mixer, Attention):
        return layer
    return layer.model_copy(update={"mixer": layer.mixer.model_copy(update={"causal": False})})


def runner_notes(model: ModelProfile) -> tuple[str, ...]:
    """What a reader must know of a server that is not a chat server."""
    if model.runner == "pooling" and not model.keeps_cache:
        return (
            "an encoder keeps no KV cache: prompts are computed whole, memory limits tokens per step and not "
            "sequences, and its activation peak is computed, not fitted to logs",
        )
    if model.runner == "pooling":
        return ("a pooling server computes prompts and answers with one vector or score each",)
    if model.runner == "transcription":
        return (
            "one request is one clip of up to 30 s of speech; printed concurrency counts the cross-attention cache as "
            "large as a step (max_num_batched_tokens), and lowering that towards 1,500 raises it",
        )
    return ()
