"""From a configuration to the `vllm serve` line that makes it so: only flags that the plan relies on."""

import shlex

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.decisions.engine_defaults import async_scheduling_default, prefix_caching_default
from vllm_opt.profiles.configs.model_paths import served_folder
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

FlagValue = str | int | float | bool
SEVERAL_VALUES = frozenset({"kv-cache-dtype-skip-layers", "lora-target-modules"})
"""Flags whose value is a list, here with blanks between."""


def has_flag(engine: EngineProfile, name: str) -> bool:
    """Whether this release knows the flag."""
    return any(flag.name == name for flag in engine.flags)


def flags_of(
    model: ModelProfile, quantization: Quantization, layout: Layout, flags: EngineFlags, engine: EngineProfile
) -> dict[str, FlagValue]:
    """The flags by name without dashes; memory flags always, the others where they differ from the default.

    Memory flags are stated even when they equal the default, because the plan relies on them and defaults differ
    between releases and GPUs.
    """
    found: dict[str, FlagValue] = {}
    for name, size in (
        ("tensor-parallel-size", layout.tensor_parallel_size),
        ("pipeline-parallel-size", layout.pipeline_parallel_size),
        ("data-parallel-size", layout.data_parallel_size),
        ("decode-context-parallel-size", layout.decode_context_parallel_size),
    ):
        if size > 1:
            found[name] = size
    if layout.expert_parallel:
        found["enable-expert-parallel"] = True
    if layout.nodes > 1:
        found["distributed-executor-backend"] = "ray"
    load_flag = quantize_at_load_flag(model, quantization, layout, engine)
    if load_flag:
        found["quantization"] = load_flag
    if layout.kv_cache_dtype != "auto":
        found["kv-cache-dtype"] = layout.kv_cache_dtype
    found["max-model-len"] = flags.max_model_len
    found["max-num-seqs"] = flags.max_num_seqs
    found["max-num-batched-tokens"] = flags.max_num_batched_tokens
    found["gpu-memory-utilization"] = flags.gpu_memory_utilization
    if layout.block_size is not None:
        found["block-size"] = layout.block_size
    if layout.enforce_eager:
        found["enforce-eager"] = True
    found.update(_switches(model, layout, engine))
    if flags.swap_space_gib is not None and flags.swap_space_gib != engine.default_swap_space_gib:
        found["swap-space"] = flags.swap_space_gib
    if flags.kv_offloading_size_gib:
        found["kv-offloading-size"] = flags.kv_offloading_size_gib
    return {name: value for name, value in found.items() if has_flag(engine, name)}


def _switches(model: ModelProfile, layout: Layout, engine: EngineProfile) -> dict[str, FlagValue]:
    found: dict[str, FlagValue] = {}
    if layout.enable_prefix_caching != prefix_caching_default(engine, model):
        found["enable-prefix-caching"] = layout.enable_prefix_caching
    if model.cuts_prompts and (
        engine.chunked_prefill_default == "on_above_32k"
        or layout.enable_chunked_prefill != (engine.chunked_prefill_default == "on")
    ):
        found["enable-chunked-prefill"] = layout.enable_chunked_prefill
    if layout.async_scheduling != async_scheduling_default(engine, model):
        found["async-scheduling"] = layout.async_scheduling
    if layout.disable_hybrid_kv_cache_manager:
        found["disable-hybrid-kv-cache-manager"] = True
    return found


def quantize_at_load_flag(
    model: ModelProfile, quantization: Quantization, layout: Layout, engine: EngineProfile
) -> str | None:
    """The value of --quantization when vLLM makes the format from the 16-bit checkpoint while loading."""
    native = model.native_quantization.quantization if model.native_quantization else "bf16"
    if quantization.id == native or layout.checkpoint != model.id:
        return None
    return load_flag_value(quantization, engine)


def load_flag_value(quantization: Quantization, engine: EngineProfile) -> str | None:
    """The value of --quantization with which this release makes the format at load; None when it cannot."""
    if not quantization.quantizes_at_load or quantization.experts_only_at_load:
        return None
    fitting = [
        flag.value
        for flag in quantization.load_flags
        if not_above(flag.since, engine.version) and (flag.until is None or not_above(engine.version, flag.until))
    ]
    return fitting[-1] if fitting else None


def not_above(left: str, right: str) -> bool:
    """Whether release `left` is not newer than `right`; '0.33' stands for every 0.33.x."""
    parts = [tuple(int(part) for part in text.split("-")[0].split(".")) for text in (left, right)]
    shared = min(len(part) for part in parts)
    return parts[0][:shared] <= parts[1][:shared]


def command_of(checkpoint: str, flags: dict[str, FlagValue], engine: EngineProfile) -> str:
    """One line that the release's own parser accepts, quoted for a POSIX shell."""
    reads_truth = {flag.name for flag in engine.flags if flag.takes_truth}
    words = ["vllm", "serve", served_folder(checkpoint)]
    for name, value in flags.items():
        if value is True:
            words.append(f"--{name}")
        elif value is False:
            words.append(f"--{name}=False" if name in reads_truth else f"--no-{name}")
        elif name in SEVERAL_VALUES:
            words += [f"--{name}", *str(value).split()]
        else:
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)
