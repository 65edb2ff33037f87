"""`--speculative-config` as vLLM takes it, read into a drafter with its shape.

Source: vLLM 0.33 `config/speculative.py:SpeculativeConfig`. A drafter's own config is read where `model` names a
config.json, a folder with one, or a published drafter; else EAGLE drafts take the target's shape, and that is noted.
"""

import json
from pathlib import Path
from typing import Any, get_args

from vllm_opt.constraints.decisions.speculation import DraftShape, Method, Speculation, has_mtp
from vllm_opt.optimizer.contract.features import Features, json_value
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, RefusedByVllm, UnknownProfile, did_you_mean
from vllm_opt.profiles.nouns.drafter import load_drafters
from vllm_opt.profiles.nouns.model import Attention, DenseMlp, Experts, ModelProfile

METHODS: tuple[str, ...] = get_args(Method)
USUAL_DRAFT_VOCABULARY = 32_000
"""Of published EAGLE-3 heads, where the drafter's own config is not at hand."""
MOST_DRAFT_TOKENS = 256
LONGEST_CONFIG = 1_000_000
FAMILIES_WITH_MTP = (
    "Bailing", "Deepseek", "Dots", "Ernie", "Exaone", "Gemma4", "Glm", "GlmMoeDsa", "HY", "HunYuan", "Inkling", "Kimi",
    "Longcat", "MiMo", "MiniMaxM", "NemotronH", "Pangu", "Qwen3Next", "Qwen3_5", "Qwen4", "Step",
)  # fmt: skip
"""Beginnings of the classes for which 0.33 names an `…_mtp` method (`config/speculative.py`)."""


def speculation_of(
    request: Features, model: ModelProfile, catalog: Catalog
) -> tuple[Speculation | None, tuple[str, ...]]:
    """Return the drafter that the request asks for, and what had to be assumed of it.

    Raises:
        InvalidRequest: what vLLM refuses before anything is loaded.
        UnknownProfile: a draft model that the catalogue does not hold.
    """
    config = json_value(request.speculative_config)
    if not config:
        return None, ()
    method = _method(config)
    tokens = _tokens(config, method)
    _check_ranks(config, method, getattr(request, "tensor_parallel_size", None))
    common: dict[str, Any] = {
        "method": method,
        "num_speculative_tokens": tokens,
        "kv_cache_dtype": _text(config, "kv_cache_dtype"),
        "probabilistic": config.get("draft_sample_method") == "probabilistic",
    }
    if method in ("eagle", "eagle3", "dflash"):
        shape, notes = _shape(config, method, model, files=catalog.reads_files)
        return Speculation(**common, shape=shape), notes
    if method == "draft_model":
        return Speculation(**common, **_draft_model(config, model, catalog)), ()
    if method == "mtp" and not model.architecture.startswith(FAMILIES_WITH_MTP):
        raise RefusedByVllm(
            f"speculative_config: Unsupported speculative method: 'mtp' for {model.id}, "
            "which has no multi-token prediction module"
        )
    if method == "mtp" and not has_mtp(model):
        raise InvalidRequest(
            f"speculative_config: no multi-token prediction module of {model.id} is known here; take another method"
        )
    return Speculation(**common), ()


def _method(config: dict[str, Any]) -> str:
    """Read the method; family names such as deepseek_mtp are old aliases, and a model alone is told by its name."""
    method = config.get("method")
    if method is None:
        name = str(config.get("model") or "")
        lower = name.lower()
        guesses = (
            ("ngram", "ngram"), ("eagle3", "eagle3"), ("eagle-3", "eagle3"), ("eagle", "eagle"), ("dflash", "dflash"),
        )  # fmt: skip
        method = next((found for part, found in guesses if part in lower), "draft_model" if name else None)
    if method is None:
        raise InvalidRequest(f"speculative_config: give a method, one of {', '.join(METHODS)}, or a model")
    if isinstance(method, str) and method.endswith("_mtp"):
        return "mtp"
    if method not in METHODS:
        shown = str(method)[:40]
        raise InvalidRequest(
            f"speculative_config: method '{shown}' is not one of {', '.join(METHODS)}{did_you_mean(shown, METHODS)}"
        )
    return str(method)


def _tokens(config: dict[str, Any], method: str) -> int:
    value = config.get("num_speculative_tokens")
    if value is None and method == "mtp":
        return 1
    if value is None:
        raise InvalidRequest("speculative_config: num_speculative_tokens is missing; give how many tokens are drafted")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_DRAFT_TOKENS:
        raise InvalidRequest(
            f"speculative_config: num_speculative_tokens must be a whole number from 1 to {MOST_DRAFT_TOKENS}"
        )
    return value


def _check_ranks(config: dict[str, Any], method: str, ranks: int | None) -> None:
    """A drafter runs on as many ranks as its target. EAGLE heads take 1 too, and are divided all the same.

    Source: vLLM 0.33 `config/speculative.py:_verify_and_get_draft_tp`, `v1/spec_decode/draft_model.py`.
    """
    value = config.get("draft_tensor_parallel_size")
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidRequest("speculative_config: draft_tensor_parallel_size must be a whole number, 1 or more")
    allowed = {ranks} if method == "draft_model" else {1, ranks}
    if value in allowed:
        return
    if ranks is None:
        raise InvalidRequest(
            "speculative_config: leave draft_tensor_parallel_size out, and the drafter follows the layout found; "
            "or give tensor_parallel_size"
        )
    raise InvalidRequest(
        f"speculative_config: draft_tensor_parallel_size={value} cannot be other than "
        f"{'' if method == 'draft_model' else '1 or '}tensor_parallel_size, which is {ranks}"
    )


def _text(config: dict[str, Any], key: str) -> str | None:
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"speculative_config: {key} must be text")
    return None if value in (None, "auto") else value


def _shape(
    config: dict[str, Any], method: str, model: ModelProfile, *, files: bool
) -> tuple[DraftShape, tuple[str, ...]]:
    name = _text(config, "model")
    own = _own_config(name) if files else None
    own = _published(name, method) if own is None else own
    target = next((layer.mixer for layer in model.layers if isinstance(layer.mixer, Attention)), None)
    if own is None and (target is None or method == "dflash"):
        raise InvalidRequest(
            f"speculative_config: the shape of this {method} drafter is not known; give the path of its config.json as "
            "model"
        )
    if own is not None:
        shape = _shape_of_config(own, method, model)
        if method == "dflash" and shape.hidden_size != model.hidden_size:
            raise InvalidRequest(
                f"speculative_config: a dflash drafter shares the target's embedding, and is {shape.hidden_size} wide "
                f"where {model.id} is {model.hidden_size}; take the drafter that was trained for this model"
            )
        return shape, ()
    assert target is not None
    shape = DraftShape(
        hidden_size=model.hidden_size,
        target_hidden_size=model.hidden_size,
        intermediate_size=_inner_width(model),
        attention=_plain(target.num_attention_heads, target.num_key_value_heads, target.head_dim),
        vocab_size=model.vocab_size,
        draft_vocab_size=USUAL_DRAFT_VOCABULARY if method == "eagle3" else None,
    )
    note = (
        f"the {method} drafter's config is not at hand: one layer of the target's widths"
        + (f" and a vocabulary of {USUAL_DRAFT_VOCABULARY:,} are taken" if method == "eagle3" else " is taken")
        + "; give the path of its config.json as model for exact bytes"
        + (", and vLLM starts with none" if name is None else "")
    )
    return shape, (note,)


def _inner_width(model: ModelProfile) -> int:
    """The target's MLP, or for mixtures of experts what their active experts add up to."""
    widths = []
    for kind in model.layer_kinds:
        if isinstance(kind.feed_forward, DenseMlp):
            widths.append(kind.feed_forward.intermediate_size)
        elif isinstance(kind.feed_forward, Experts):
            experts = kind.feed_forward
            widths.append(
                experts.moe_intermediate_size * experts.num_experts_per_tok + experts.shared_expert_intermediate_size
            )
    return max(widths, default=4 * model.hidden_size)


def _plain(heads: int, kv_heads: int, head_dim: int) -> Attention:
    return Attention(num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim, v_head_dim=head_dim)


def _own_config(name: str | None) -> dict[str, Any] | None:
    """Read a drafter's config.json; None where the name is no path that exists.

    Raises:
        InvalidRequest: the file cannot be read or holds no JSON object.
    """
    if name is None:
        return None
    path = Path(name)
    try:
        path = path / "config.json" if path.is_dir() else path
        if not path.is_file():
            return None
        if path.stat().st_size > LONGEST_CONFIG:
            raise InvalidRequest(f"speculative_config: {path.name} is too large for a config.json")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InvalidRequest(f"speculative_config: the config.json of model '{name[:200]}' cannot be read") from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"speculative_config: the config.json of model '{name[:200]}' holds no JSON object")
    return value


def _shape_of_config(own: dict[str, Any], method: str, model: ModelProfile) -> DraftShape:
    width, heads = _whole(own, "hidden_size"), _whole(own, "num_attention_heads")
    draft_vocabulary = _whole(own, "draft_vocab_size", model.vocab_size)
    joined = own.get("dflash_config")
    layers = joined.get("target_layer_ids") if isinstance(joined, dict) else None
    return DraftShape(
        hidden_size=width,
        target_hidden_size=_whole(own, "target_hidden_size", model.hidden_size),
        intermediate_size=_whole(own, "intermediate_size"),
        attention=_plain(heads, _whole(own, "num_key_value_heads", heads), _whole(own, "head_dim", width // heads)),
        num_layers=_whole(own, "num_hidden_layers", 1),
        vocab_size=model.vocab_size,
        draft_vocab_size=draft_vocabulary if method == "eagle3" else None,
        target_layers=len(layers) if isinstance(layers, list) and layers else 1,
    )


def _published(name: str | None, method: str) -> dict[str, Any] | None:
    """Return the config of a drafter that the data file knows by its id."""
    known = None if name is None else load_drafters().named(name)
    if known is not None and known.method != method:
        raise InvalidRequest(f"speculative_config: {known.id} drafts by method {known.method}, not {method}")
    return None if known is None else known.config


def _whole(own: dict[str, Any], key: str, default: int | None = None) -> int:
    value = own.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise InvalidRequest(f"speculative_config: {key} of the drafter's config.json must be a positive whole number")
    return value


def _draft_model(config: dict[str, Any], model: ModelProfile, catalog: Catalog) -> dict[str, Any]:
    name = _text(config, "model")
    if name is None:
        raise InvalidRequest("speculative_config: method draft_model needs a model")
    try:
        draft = catalog.model(name)
    except UnknownProfile as fault:
        raise UnknownProfile(f"speculative_config: {fault}") from None
    if draft.vocab_size != model.vocab_size:
        raise RefusedByVllm(
            "speculative_config: Target and draft model should have the same vocabulary size. Target model "
            f"vocab_size={model.vocab_size}. Draft model vocab_size={draft.vocab_size}"
        )
    native = draft.native_quantization.quantization if draft.native_quantization else "bf16"
    asked = _text(config, "quantization")
    return {"model": draft, "quantization": catalog.quantization(asked or native)}
