"""The flags that a request's features add to a command, in the words of the release."""

import json

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.kv.pages import is_quantized
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.optimizer.estimation.adapters import adapter_flags
from vllm_opt.optimizer.serve_lines.command_line import FlagValue, has_flag
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import ModelProfile

JSON_FLAGS = (
    "speculative_config", "limit_mm_per_prompt", "hf_overrides", "kv_transfer_config", "kv_events_config",
    "compilation_config", "eplb_config", "pooler_config",
)  # fmt: skip
SWITCHES = ("language_model_only", "skip_mm_profiling", "enable_eplb", "enable_sleep_mode")
OF_DEALT_EXPERTS = frozenset(("enable_eplb", "eplb_config"))
"""What vLLM refuses where no ranks share whole experts, as in a plan that serves them whole on each."""


def feature_flags(
    request: Features, model: ModelProfile, layout: Layout, engine: EngineProfile
) -> dict[str, FlagValue]:
    """Return flag -> value for every feature that the release knows a flag for."""
    found: dict[str, FlagValue] = {}
    dealt = layout.expert_parallel and layout.tensor_parallel_size * layout.data_parallel_size > 1
    for name in JSON_FLAGS:
        value = getattr(request, name)
        if value is not None and (dealt or name not in OF_DEALT_EXPERTS):
            found[name.replace("_", "-")] = value
    for name in SWITCHES:
        if getattr(request, name) and (dealt or name not in OF_DEALT_EXPERTS):
            found[name.replace("_", "-")] = True
    if request.all2all_backend is not None and layout.expert_parallel:
        found["all2all-backend"] = request.all2all_backend
    if layout.kv_cache_dtype_skip_layers and is_quantized(layout.kv_cache_dtype):
        found["kv-cache-dtype-skip-layers"] = " ".join(layout.kv_cache_dtype_skip_layers)
    if request.mamba_ssm_cache_dtype != "auto":
        found["mamba-ssm-cache-dtype"] = request.mamba_ssm_cache_dtype
    if request.attention_backend is not None:
        found["attention-backend"] = request.attention_backend
    if request.indexer_kv_dtype != "auto":
        found["attention-config"] = json.dumps({"indexer_kv_dtype": request.indexer_kv_dtype}, separators=(",", ":"))
    found.update(_runner_flags(request, model, engine))
    found.update(adapter_flags(request, layout.adapters))
    return {name: value for name, value in found.items() if has_flag(engine, name)}


def _runner_flags(request: Features, model: ModelProfile, engine: EngineProfile) -> dict[str, FlagValue]:
    """`--runner` and `--convert` as asked, and the runner of a pooling model; `--task` in releases before them."""
    runner = "pooling" if model.runner == "pooling" else request.runner
    if not has_flag(engine, "runner"):
        scores = request.convert == "classify" or model.architecture.endswith("ForSequenceClassification")
        return {"task": "score" if scores else "embed"} if runner == "pooling" else {}
    found: dict[str, FlagValue] = {} if runner == "auto" else {"runner": runner}
    return found if request.convert == "auto" else {**found, "convert": request.convert}
