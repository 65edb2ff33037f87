"""A Hugging Face `config.json` becomes a ModelProfile, or is refused by the name of what is not understood."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from vllm_opt.profiles.configs import compressed as architecture_compressed
from vllm_opt.profiles.configs import dense as architecture_dense
from vllm_opt.profiles.configs import encoders as architecture_encoders
from vllm_opt.profiles.configs import experts as architecture_experts
from vllm_opt.profiles.configs import gemma as architecture_gemma
from vllm_opt.profiles.configs import hybrid as architecture_hybrid
from vllm_opt.profiles.configs import irregular as architecture_irregular
from vllm_opt.profiles.configs import kimi as architecture_kimi
from vllm_opt.profiles.configs import latent as architecture_latent
from vllm_opt.profiles.configs import older as architecture_older
from vllm_opt.profiles.configs import selective as architecture_selective
from vllm_opt.profiles.configs import varied as architecture_varied
from vllm_opt.profiles.configs.checkpoint_format import checkpoint_quantization
from vllm_opt.profiles.configs.class_defaults import CLASS_DEFAULTS, take_class_defaults
from vllm_opt.profiles.configs.context_limit import context_limit
from vllm_opt.profiles.configs.decoder import Decoder, DecoderReader
from vllm_opt.profiles.configs.model_paths import path_id
from vllm_opt.profiles.configs.plausible import implausible
from vllm_opt.profiles.configs.reader import ConfigKeys, read_config
from vllm_opt.profiles.configs.vision_tower import vision_tower
from vllm_opt.profiles.errors import CannotBeSized, UnknownProfile, did_you_mean
from vllm_opt.profiles.nouns.model import DecoderLayer, Experts, ModelProfile

__all__ = ["ARCHITECTURES", "model_from_config", "model_from_path", "read_config"]

TEXT_READERS: dict[str, DecoderReader] = (
    architecture_dense.READERS
    | architecture_gemma.READERS
    | architecture_experts.READERS
    | architecture_latent.READERS
    | architecture_hybrid.READERS
    | architecture_older.READERS
    | architecture_irregular.READERS
    | architecture_compressed.READERS
    | architecture_kimi.READERS
    | architecture_selective.READERS
    | architecture_varied.READERS
    | architecture_encoders.READERS
)

VISION_LANGUAGE: dict[str, str] = {
    "Qwen2_5_VLForConditionalGeneration": "Qwen2ForCausalLM",
    "Qwen3VLForConditionalGeneration": "Qwen3ForCausalLM",
    "Qwen3VLMoeForConditionalGeneration": "Qwen3MoeForCausalLM",
    "Qwen3OmniMoeForConditionalGeneration": "Qwen3MoeForCausalLM",
    "Qwen3_5ForConditionalGeneration": "Qwen3_5ForCausalLM",
    "Qwen3_5MoeForConditionalGeneration": "Qwen3_5MoeForCausalLM",
    "Gemma3ForConditionalGeneration": "Gemma3ForCausalLM",
    "Gemma4ForConditionalGeneration": "Gemma4ForCausalLM",
    "Gemma4UnifiedForConditionalGeneration": "Gemma4ForCausalLM",
    "Llama4ForConditionalGeneration": "Llama4ForCausalLM",
    "Mistral3ForConditionalGeneration": "Ministral3ForCausalLM",
    "KimiK25ForConditionalGeneration": "DeepseekV3ForCausalLM",
    "KimiK3ForConditionalGeneration": "KimiK3TextModel",
    "MiniMaxM3SparseForConditionalGeneration": "MiniMaxM3SparseForCausalLM",
    "Step3p7ForConditionalGeneration": "Step3p5ForCausalLM",
    "Gemma3nForConditionalGeneration": "Gemma3nForCausalLM",
    "Glm4vForConditionalGeneration": "Glm4ForCausalLM",
    "Glm4vMoeForConditionalGeneration": "Glm4MoeForCausalLM",
    "InternVLForConditionalGeneration": "Qwen2ForCausalLM",
    "Phi4MMForCausalLM": "Phi3ForCausalLM",
    "VoxtralForConditionalGeneration": "LlamaForCausalLM",
}
"""Vision-language class -> class of its text part."""

SERVED_PART: dict[str, str] = {"Qwen3OmniMoeForConditionalGeneration": "thinker_config"}
"""Classes of which vLLM serves one part (`models/qwen3_omni_moe_thinker.py`) -> the key of that part's config."""

NO_RULE_YET: dict[str, str] = {
    "MllamaForConditionalGeneration": "vLLM dropped it after 0.10.2, and its cross attention ran on the V0 engine only",
    "MiniMaxM3ForCausalLM": "vLLM loads MiniMax M3 as MiniMaxM3SparseForConditionalGeneration; use that config",
    "Step3p7FlashForCausalLM": "vLLM loads Step 3.7 as Step3p7ForConditionalGeneration; use that config",
}
"""Architectures that are known and that vLLM itself refuses, with the reason."""

ARCHITECTURES: tuple[str, ...] = tuple(sorted(({*TEXT_READERS} | {*VISION_LANGUAGE}) - {"KimiK3TextModel"}))
"""Every architecture that can be sized."""

LAST_RELEASE: dict[str, str] = {"BaichuanForCausalLM": "0.23.0", "MiniMaxM1ForCausalLM": "0.23.0"}
"""Architectures that vLLM dropped, with the last release that loads them (`models/registry.py`, vLLM 0.33)."""

FIRST_RELEASE: dict[str, str] = {
    "DeepseekV4ForCausalLM": "0.21.0",
    "MiniMaxM3SparseForConditionalGeneration": "0.24.0",
    "KimiK3ForConditionalGeneration": "0.30.0",
    "Step3p7ForConditionalGeneration": "0.23.0",
    "Gemma4UnifiedForConditionalGeneration": "0.23.0",
}
"""The first release whose `models/registry.py` names a class of the newest families."""

CLASS_MAX_POSITION_EMBEDDINGS: dict[str, int] = {"gemma3_text": 131_072, "gemma4_text": 131_072}
"""Length of the Hugging Face class where published configs omit the key (`transformers` 5.16)."""

_DTYPES: dict[str, Literal["bfloat16", "float16", "float32"]] = {
    "bfloat16": "bfloat16",
    "float16": "float16",
    "half": "float16",
    "float32": "float32",
    "float": "float32",
}


def model_from_path(path: str | Path, model_id: str | None = None) -> ModelProfile:
    """Read the `config.json` at `path` (a file or a model folder); the id defaults to the path (`path_id`).

    ModelOpt's older checkpoints keep their `quantization_config` in `hf_quant_config.json` beside it, as vLLM knows.
    """
    file = Path(path)
    name = path_id(path)
    config = read_config(file)
    folder = file if file.is_dir() else file.resolve().parent
    beside = folder / "hf_quant_config.json"
    if "quantization_config" not in config and beside.is_file():
        config["quantization_config"] = read_config(beside)
    return model_from_config(config, model_id or name, source=str(path))


def model_from_config(config: dict[str, Any], model_id: str, *, source: str = "", **facts: Any) -> ModelProfile:
    """Return the profile of the model that `config` describes.

    `facts` are further ModelProfile fields that a catalogue knows (checkpoints, verification). Raises InvalidRequest
    for a missing, mistyped or contradictory key and UnknownProfile for an architecture without a rule.
    """
    outer = ConfigKeys(config, model_id)
    try:
        return _model(outer, model_id, source, facts)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        outer.refuse(f"gives {name} a value that cannot be: {first['msg']}")
    except ArithmeticError:
        outer.refuse("holds a number by which its sizes cannot be computed")


def _model(outer: ConfigKeys, model_id: str, source: str, facts: dict[str, Any]) -> ModelProfile:
    architecture = _architecture(outer)
    served = _served_part(outer, architecture)
    text = _text_part(served, architecture)
    take_class_defaults(text, CLASS_DEFAULTS.get(text.text("model_type") or "", {}))
    decoder = TEXT_READERS[VISION_LANGUAGE.get(architecture, architecture)](text)
    vocab_size = text.integer("vocab_size")
    limit = context_limit(text, CLASS_MAX_POSITION_EMBEDDINGS.get(text.text("model_type") or ""))
    kinds, pattern = _kinds(decoder.layers)
    fields = {
        "id": model_id,
        "model_type": outer.text("model_type") or text.text("model_type") or architecture,
        "architecture": architecture,
        "vllm_since": FIRST_RELEASE.get(architecture),
        "vllm_until": LAST_RELEASE.get(architecture),
        "hidden_size": text.integer("hidden_size", "n_embed", "n_embd", "d_model"),
        "vocab_size": vocab_size,
        "max_model_len": limit.largest,
        "default_max_model_len": limit.default if limit.default != limit.largest else None,
        "dtype": _dtype(outer, text),
        "tie_word_embeddings": _tied(outer, text, decoder),
        "layer_kinds": kinds,
        "layer_pattern": pattern,
        "final_norm_parameters": decoder.final_norm_parameters,
        "extra_parameters": decoder.extra_parameters,
        "divided_parameters": decoder.divided_parameters,
        "per_layer_embedding_width": decoder.per_layer_embedding_width,
        "hyper_connections": decoder.hyper_connections,
        "runner": _runner(architecture),
        "is_causal": text.flag("is_causal", default=outer.flag("is_causal", default=True)),
        "has_lm_head": architecture not in architecture_encoders.POOLING,
        "vision": vision_tower(served, architecture),
        "bidirectional_image_tokens": _images_attend_both_ways(outer, text),
        "native_quantization": _quantization(outer, text, decoder),
        "source": source,
    }
    notes = [*text.assumptions, *(note for note in outer.assumptions if note not in text.assumptions), *decoder.notes]
    try:
        model = ModelProfile.model_validate(fields | facts | {"assumptions": tuple(dict.fromkeys(notes))})
    except ValidationError as error:
        first = error.errors()[0]
        outer.refuse(f"gives {'.'.join(str(part) for part in first['loc'])} a value that cannot be: {first['msg']}")
    reason = implausible(model)
    if reason is not None:
        outer.refuse(reason)
    return model


def _runner(architecture: str) -> Literal["generate", "pooling", "transcription"]:
    if architecture in architecture_encoders.POOLING:
        return "pooling"
    return "transcription" if architecture in architecture_encoders.TRANSCRIPTION else "generate"


def _images_attend_both_ways(outer: ConfigKeys, text: ConfigKeys) -> bool:
    """Return what vLLM calls a prefix LM: Gemma 3 with images, and Gemma 4 where its config says so."""
    if outer.text("model_type") in ("gemma3", "paligemma"):
        return True
    return text.text("use_bidirectional_attention") == "vision"


def _architecture(keys: ConfigKeys) -> str:
    listed = keys.strings("architectures")
    if not listed:
        keys.refuse("lacks architectures, which name the class that vLLM loads")
    name = _ALIASES.get(listed[0], listed[0])
    if name in TEXT_READERS or name in VISION_LANGUAGE:
        return name
    reason = NO_RULE_YET.get(name)
    if reason is not None:
        raise CannotBeSized(f"the model {keys.model_id[:200]} ({name}) cannot be sized: {reason}")
    raise UnknownProfile(
        f"the model {keys.model_id[:200]} has the architecture '{name[:80]}', which has no rule"
        f"{did_you_mean(name, ARCHITECTURES) or '; see vllm-opt models for what can be sized'}"
    )


_ALIASES = {
    "BloomModel": "BloomForCausalLM",
    "Qwen2_5_VLForCausalLM": "Qwen2_5_VLForConditionalGeneration",
    "BailingHybridForCausalLM": "BailingMoeV3ForCausalLM",
    "Mistral4ForCausalLM": "MistralLarge3ForCausalLM",
    "Phi4MultimodalForCausalLM": "Phi4MMForCausalLM",
}
"""Classes of transformers -> what vLLM calls them."""


def _served_part(outer: ConfigKeys, architecture: str) -> ConfigKeys:
    """The config of the part that vLLM builds; nearly always the whole."""
    part = outer.child(SERVED_PART[architecture]) if architecture in SERVED_PART else None
    return outer if part is None else part


def _text_part(outer: ConfigKeys, architecture: str) -> ConfigKeys:
    """The text config of a vision-language model; some keep its keys at the top level."""
    text = outer.child("text_config") if architecture in VISION_LANGUAGE else None
    return outer if text is None else text


def _kinds(layers: Sequence[DecoderLayer]) -> tuple[tuple[DecoderLayer, ...], tuple[int, ...]]:
    """The distinct layers in order of appearance, and the index of each layer into them."""
    numbers: dict[DecoderLayer, int] = {}
    pattern = tuple(numbers.setdefault(layer, len(numbers)) for layer in layers)
    return tuple(numbers), pattern


def _dtype(outer: ConfigKeys, text: ConfigKeys) -> Literal["bfloat16", "float16", "float32"]:
    """dtype of the weights as vLLM's `auto` takes it: float32 checkpoints are loaded as bfloat16."""
    stated = outer.text("dtype", "torch_dtype") or text.text("dtype", "torch_dtype")
    if stated is None:
        text.take("dtype", "bfloat16", "what vLLM's auto makes of float32 and what nearly every checkpoint holds")
        return "bfloat16"
    name = stated.removeprefix("torch.")
    if name not in _DTYPES:
        outer.refuse(f"has dtype '{stated[:40]}' where bfloat16, float16 or float32 belongs")
    if _DTYPES[name] == "float32":
        text.assumptions.append("dtype is float32: bfloat16 taken, as vLLM's auto does, or float16 on GPUs without it")
        return "bfloat16"
    return _DTYPES[name]


def _tied(outer: ConfigKeys, text: ConfigKeys, decoder: Decoder) -> bool:
    for keys in (text, outer):
        if keys.has("tie_word_embeddings"):
            return keys.flag("tie_word_embeddings")
    text.take("tie_word_embeddings", str(decoder.tied_by_default).lower(), "the default of its Hugging Face class")
    return decoder.tied_by_default


def _quantization(outer: ConfigKeys, text: ConfigKeys, decoder: Decoder) -> Any:
    sparse = [isinstance(layer.feed_forward, Experts) for layer in decoder.layers]
    found = checkpoint_quantization(outer, len(sparse), sparse)
    if found is None and text is not outer:
        found = checkpoint_quantization(text, len(sparse), sparse)
    return found
