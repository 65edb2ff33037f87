"""The flags that a request's features add to a command, in the words of the release."""

import json

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.kv.pages import is_quantized
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.optimizer.serve_lines.command_line import FlagValue, has_flag
from vllm_opt.profiles.nouns.engine import EngineProfile

JSON_FLAGS = (
    "speculative_config", "limit_mm_per_prompt", "hf_overrides", "kv_transfer_config", "kv_events_config",
    "compilation_config", "eplb_config",
)  # fmt: skip
SWITCHES = ("language_model_only", "skip_mm_profiling", "enable_eplb")


def feature_flags(request: Features, layout: Layout, engine: EngineProfile) -> dict[str, FlagValue]:
    """Return flag -> value for every feature that the release knows a flag for."""
    found: dict[str, FlagValue] = {}
    for name in JSON_FLAGS:
        value = getattr(request, name)
        if value is not None:
            found[name.replace("_", "-")] = value
    for name in SWITCHES:
        if getattr(request, name):
            found[name.replace("_", "-")] = True
    if layout.kv_cache_dtype_skip_layers and is_quantized(layout.kv_cache_dtype):
        found["kv-cache-dtype-skip-layers"] = " ".join(layout.kv_cache_dtype_skip_layers)
    if request.mamba_ssm_cache_dtype != "auto":
        found["mamba-ssm-cache-dtype"] = request.mamba_ssm_cache_dtype
    if request.attention_backend is not None:
        found["attention-backend"] = request.attention_backend
    if request.indexer_kv_dtype != "auto":
        found["attention-config"] = json.dumps({"indexer_kv_dtype": request.indexer_kv_dtype}, separators=(",", ":"))
    if request.runner != "auto":
        found["runner"] = request.runner
    if layout.adapters is not None:
        found.update({"enable-lora": True, "max-loras": layout.adapters.max_loras})
        found["max-lora-rank"] = layout.adapters.max_lora_rank
        if layout.adapters.max_cpu_loras != layout.adapters.max_loras:
            found["max-cpu-loras"] = layout.adapters.max_cpu_loras
        if layout.adapters.fully_sharded_loras:
            found["fully-sharded-loras"] = True
    return {name: value for name, value in found.items() if has_flag(engine, name)}
