"""What must go together: weight format, KV dtype, block size and release on one SKU.

Sources: vLLM 0.33 `config/vllm.py:_get_quantization_config, _reject_mismatched_float_kv_cache,
validate_nvfp4_kv_cache_with_mla`, and the backend choice of `attention_backend.py`.
"""

from collections.abc import Iterator
from typing import Literal

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.pipeline_stages import stage_layers
from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.kv.dtype import runtime_dtype
from vllm_opt.constraints.kv.kv_plan import plan_kv_cache
from vllm_opt.constraints.weights.adapters import WRAPS_EMBEDDING, WRAPS_EMBEDDING_ONLY
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import Attention, LatentAttention, Mixer, ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

AttentionKind = Literal["full", "sliding_window", "chunked_local", "cross"]

METHOD_NAMES = {"mxfp4": "gpt_oss_mxfp4", "awq": "auto_awq", "gptq": "auto_gptq", "gptq_int8": "auto_gptq"}
"""What vLLM calls a format in its messages, where that is not our id."""


FORMATS_WITH_KV_SCALES = frozenset({"fp8_block", "fp8_per_tensor", "nvfp4"})
"""Formats whose loader creates KV scales (`quantization/fp8.py:Fp8KVCacheMethod`, `modelopt.py`)."""


def violations(
    model: ModelProfile, quantization: Quantization, layout: Layout, engine: EngineProfile, gpu: GpuProfile
) -> tuple[Violation, ...]:
    """Return every combination that vLLM would refuse; an empty tuple when all go together."""
    found = choice_violations(model, quantization, layout, engine, gpu)
    if found or layout.pipeline_parallel_size > model.num_hidden_layers:
        return found
    try:
        plan_kv_cache(model, layout, engine, gpu)
    except LayoutRefused as refusal:
        return (refusal.violation,)
    return ()


def choice_violations(
    model: ModelProfile, quantization: Quantization, layout: Layout, engine: EngineProfile, gpu: GpuProfile
) -> tuple[Violation, ...]:
    """Return what is refused before any attention backend is chosen.

    Of the parallel sizes only the pipeline stages matter, and only where layers share caches (`shares_caches`).
    """
    return (
        *_weight_format(model, quantization, gpu),
        *_release(model, quantization, engine),
        *_kv_cache_dtype(model, layout, engine, gpu),
        *_block_size(layout, engine),
        *_shared_caches(model, layout),
        *_adapters(model, layout),
    )


def shares_caches(model: ModelProfile) -> bool:
    """Whether some layer reads the cache of another one."""
    return any(_shared_kind(kind.mixer) for kind in model.layer_kinds)


def _violation(message: str, needed: float | None = None, available: float | None = None, unit: str = "") -> Violation:
    return Violation(rule="compatibility", message=message, needed=needed, available=available, unit=unit)


def _weight_format(model: ModelProfile, quantization: Quantization, gpu: GpuProfile) -> Iterator[Violation]:
    method = METHOD_NAMES.get(quantization.id, quantization.id)
    if gpu.vendor not in quantization.vendors:
        yield _violation(f"{quantization.title} has no kernels in vLLM for {gpu.vendor} GPUs such as {gpu.name}.")
    capability, lowest = gpu.compute_capability, quantization.min_capability
    if capability is not None and lowest is not None and capability < lowest:
        message = (
            f"The quantization method {method} is not supported for the current GPU. Minimum capability: "
            f"{_as_integer(lowest)}. Current capability: {_as_integer(capability)}."
        )
        yield _violation(message, _as_integer(lowest), _as_integer(capability), "compute capability")
    highest = quantization.capability_below
    if capability is not None and highest is not None and capability >= highest:
        message = f"{quantization.title} is refused from compute capability {highest[0]}.{highest[1]} on ({gpu.name})."
        yield _violation(message, _as_integer(highest), _as_integer(capability), "compute capability")
    dtype = runtime_dtype(model, gpu)
    if quantization.scale_granularity != "none" and dtype not in quantization.activation_dtypes:
        supported = ", ".join(f"torch.{name}" for name in quantization.activation_dtypes)
        yield _violation(
            f"torch.{dtype} is not supported for quantization method {method}. Supported dtypes: [{supported}]"
        )


def _as_integer(capability: tuple[int, int]) -> int:
    return capability[0] * 10 + capability[1]


def _release(model: ModelProfile, quantization: Quantization, engine: EngineProfile) -> Iterator[Violation]:
    release = _parts(engine.version)
    if model.vllm_until is not None and release > _parts(model.vllm_until)[: len(release)]:
        yield _violation(
            f"vLLM {engine.version} no longer loads {model.architecture}; the last release that did is "
            f"{model.vllm_until}."
        )
    if quantization.vllm_since is not None and release < _parts(quantization.vllm_since)[: len(release)]:
        yield _violation(f"vLLM {engine.version} does not load {quantization.id}; {quantization.vllm_since} does.")
    if quantization.vllm_until is not None and release > _parts(quantization.vllm_until)[: len(release)]:
        yield _violation(
            f"vLLM {engine.version} does not load {quantization.id} without a plugin; the last release that did is "
            f"{quantization.vllm_until}."
        )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _kv_cache_dtype(model: ModelProfile, layout: Layout, engine: EngineProfile, gpu: GpuProfile) -> Iterator[Violation]:
    asked = layout.kv_cache_dtype
    if asked not in engine.kv_cache_dtypes:
        choices = ", ".join(engine.kv_cache_dtypes)
        yield _violation(f"--kv-cache-dtype: invalid choice: '{asked}' (choose from {choices}).")
        return
    dtype = runtime_dtype(model, gpu)
    if asked in ("float16", "bfloat16") and asked != dtype:
        allowed = f"`auto` or `{dtype}`" if dtype in ("float16", "bfloat16") else "`auto`"
        yield _violation(
            f'kv_cache_dtype="{asked}" is incompatible with dtype="{dtype}". '
            f"Please set `--kv-cache-dtype` to {allowed}."
        )
    native = model.native_quantization
    if asked == "fp8_e5m2" and native is not None and native.quantization in FORMATS_WITH_KV_SCALES:
        yield _violation("fp8_e5m2 kv-cache is not supported with fp8 checkpoints.")
    latent = any(isinstance(kind.mixer, LatentAttention) for kind in model.layer_kinds)
    if latent and asked.startswith("nvfp4") and not asked.endswith("_ds_mla"):
        yield _violation(
            "nvfp4 KV cache is not supported with MLA (Multi-head Latent Attention) backends. Please use a different "
            "--kv-cache-dtype (e.g., 'fp8', 'auto', or 'nvfp4_ds_mla' with a sparse MLA backend) for MLA models such "
            "as DeepSeek."
        )


WITHOUT_ADAPTERS = frozenset((
    "BloomForCausalLM", "BloomModel", "FalconForCausalLM", "KimiK25ForConditionalGeneration",
    "KimiK3ForConditionalGeneration", "MiMoV2FlashForCausalLM", "MiniMaxM3SparseForCausalLM",
    "MiniMaxM3SparseForConditionalGeneration", "Step3p7ForConditionalGeneration",
))  # fmt: skip
"""Classes without SupportsLoRA in 0.33."""
LARGEST_ADAPTED_VOCABULARY = 258_048


def _adapters(model: ModelProfile, layout: Layout) -> Iterator[Violation]:
    """What `config/lora.py`, `config/vllm.py` and the wrapped layers refuse."""
    if layout.adapters is None:
        return
    if model.architecture in WITHOUT_ADAPTERS:
        yield _violation(f"LoRA is not supported for {model.architecture}.")
    wrapped = model.architecture in WRAPS_EMBEDDING - WRAPS_EMBEDDING_ONLY
    if wrapped and model.vocab_size > LARGEST_ADAPTED_VOCABULARY:
        yield _violation(
            f"When using LoRA, vocab size must be <= {LARGEST_ADAPTED_VOCABULARY}",
            model.vocab_size, LARGEST_ADAPTED_VOCABULARY, "tokens",
        )  # fmt: skip


def _block_size(layout: Layout, engine: EngineProfile) -> Iterator[Violation]:
    asked, choices = layout.block_size, engine.block_size_choices
    if asked is not None and choices is not None and asked not in choices:
        shown = ", ".join(str(choice) for choice in choices)
        yield _violation(f"--block-size: invalid choice: {asked} (choose from {shown}).", asked)


def _shared_caches(model: ModelProfile, layout: Layout) -> Iterator[Violation]:
    """A layer that reads another layer's cache must be on that layer's pipeline stage."""
    if layout.pipeline_parallel_size == 1 or not shares_caches(model):
        return
    shares = [_shared_kind(model.layer_kinds[kind].mixer) for kind in model.layer_pattern]
    first_shared = next(index for index, kind in enumerate(shares) if kind)
    owners = {
        mixer.kind: index
        for index, kind in enumerate(model.layer_pattern[:first_shared])
        if isinstance(mixer := model.layer_kinds[kind].mixer, Attention)
    }
    stages = stage_layers(model.num_hidden_layers, layout.pipeline_parallel_size)
    for index, kind in enumerate(shares):
        if kind and not any(index in stage and owners.get(kind) in stage for stage in stages):
            yield _violation(
                f"Specified KV sharing target layer for model.layers.{index}.self_attn.attn is not valid: target layer "
                f"model.layers.{owners.get(kind)}.self_attn.attn is not a valid Attention layer in the model: "
                f"it is on another of the {layout.pipeline_parallel_size} pipeline stages."
            )
            return


def _shared_kind(mixer: Mixer | None) -> AttentionKind | None:
    return mixer.kind if isinstance(mixer, Attention) and mixer.shares_kv_cache else None
