"""What a check looks at: the command, its configuration as corrected so far, and estimates of changed ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.contract.traffic import TrafficFields
from vllm_opt.optimizer.estimation.estimate import STARTUP_RULES, estimate_setting
from vllm_opt.optimizer.estimation.resolution import Setting, resolve
from vllm_opt.optimizer.linter.subject.report import Change, Finding, Level
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile

FEATURE_FIELDS = (
    "speculative_config", "enable_lora", "max_loras", "max_lora_rank", "max_cpu_loras", "fully_sharded_loras",
    "lora_dtype", "lora_target_modules", "enable_moe_shared_loras", "enable_mixed_moe_lora_format",
    "limit_mm_per_prompt", "language_model_only", "skip_mm_profiling", "hf_overrides", "kv_transfer_config",
    "kv_events_config", "compilation_config", "runner", "convert", "enable_eplb", "eplb_config",
    "enable_sleep_mode", "all2all_backend", "pooler_config",
    "kv_cache_dtype_skip_layers", "indexer_kv_dtype", "mamba_ssm_cache_dtype", "attention_backend",
)  # fmt: skip
FIELDS = {
    name.replace("_", "-"): name
    for name in (
        *FEATURE_FIELDS,
        "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "decode_context_parallel_size",
        "enable_expert_parallel", "quantization", "kv_cache_dtype", "block_size", "gpu_memory_utilization",
        "max_model_len", "max_num_seqs", "max_num_batched_tokens", "enforce_eager", "enable_prefix_caching",
        "enable_chunked_prefill", "async_scheduling", "disable_hybrid_kv_cache_manager", "kv_cache_memory_bytes",
        "num_gpu_blocks_override", "performance_mode", "swap_space", "kv_offloading_size", "cpu_offload_gb",
    )
}  # fmt: skip
"""vLLM flag -> field of an EstimateRequest."""
FLAGS = {field_name: f"--{flag}" for flag, field_name in FIELDS.items()}

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class LintContext:
    """One command and everything that judges it. `fields` is the configuration, corrected by the findings so far."""

    request: LintRequest
    command: ServeCommand
    parsed: ParsedCommand
    engine: EngineProfile
    gpu: GpuProfile
    catalog: Catalog
    given: dict[str, Any]
    """The fields that the command gives, as it gives them."""
    fields: dict[str, Any] = field(default_factory=dict)

    def changed(self, changes: Fields) -> dict[str, Any]:
        """The configuration with some fields changed; None takes a field away."""
        return {name: value for name, value in {**self.fields, **changes}.items() if value is not None}

    def with_changes(self, changes: Fields) -> "LintContext":
        """A context whose configuration has the changes in."""
        return replace(self, fields=self.changed(changes))

    def without(self, names: Iterable[str]) -> "LintContext":
        """A context whose configuration lacks some fields."""
        return replace(self, fields={name: value for name, value in self.fields.items() if name not in set(names)})

    def setting(self, changes: Fields | None = None) -> tuple[Setting, EstimateRequest]:
        """Resolve the configuration with the environment's effect on the release's rules."""
        request = EstimateRequest(**self._with_load(self.changed(changes or {})))
        setting = resolve(request, self.catalog)
        return self._in_environment(setting), request

    def estimate(self, changes: Fields | None = None, **load: Any) -> Estimate:
        """Estimate the configuration with some fields changed.

        Memory is that of max_model_len. Speed is that of as many sequences of the length asked (mean, else target) as
        the pool holds, where one was asked.
        """
        setting, request = self.setting({**(changes or {}), **load})
        estimate = estimate_setting(setting, request, expected=True)
        length = self.request.mean_context or self.request.target_context
        if length is None or length >= setting.flags.max_model_len or not estimate.fits or load:
            return estimate
        loaded = estimate_setting(*self.setting({**(changes or {}), "max_model_len": length}), expected=True)
        targets = tuple(violation for violation in loaded.violations if violation.rule not in STARTUP_RULES)
        return estimate.model_copy(update={"performance": loaded.performance, "violations": targets})

    def starts(self, changes: Fields | None = None) -> bool:
        """Whether vLLM starts with these changes."""
        return self.estimate(changes).fits

    def broken(self, changes: Fields | None = None) -> frozenset[str]:
        """Names of the start-up rules that the changed configuration breaks."""
        return frozenset(violation.rule for violation in self.estimate(changes).violations) & STARTUP_RULES

    def _with_load(self, fields: dict[str, Any]) -> dict[str, Any]:
        request, filled = self.request, dict(fields)
        for name in (
            "max_ttft_ms", "max_tpot_ms", "min_output_tokens_per_s", "gpu_memory_gib", "gpu_file", "concurrency",
            "calibration_file",
        ):  # fmt: skip
            if getattr(request, name) is not None:
                filled.setdefault(name, getattr(request, name))
        filled.setdefault("confidence", request.confidence)
        filled.setdefault("calibration", request.calibration)
        filled.setdefault("prefix_hit_share", request.prefix_hit_share)
        if filled.get("kv_offloading_size"):
            filled.setdefault("offload_hit_share", request.offload_hit_share)
        filled.update(gpu=self.gpu.id, vllm_version=self.engine.version)
        filled["engine"] = self.engine.engine
        traffic = {
            name: getattr(request, name) for name in TrafficFields.model_fields if name in request.model_fields_set
        }
        filled |= {name: value for name, value in traffic.items() if value is not None}
        if "input_tokens" not in filled and request.lengths is None:
            base = resolve(EstimateRequest(**filled), self.catalog)
            filled["input_tokens"], filled["output_tokens"] = request.typical_request(base.flags.max_model_len)
        return filled

    def _in_environment(self, setting: Setting) -> Setting:
        environment = self.command.environment
        switch = setting.engine.reads_cuda_graph_estimate_flag
        if switch is not None and switch in environment:
            counted = environment[switch].strip() not in ("0", "", "false", "False")
            setting = replace(setting, engine=setting.engine.model_copy(update={"graphs_in_budget": counted}))
        if environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0").strip().lower() in ("1", "true"):
            longest = max(setting.flags.max_model_len, setting.model.max_model_len)
            setting = replace(setting, model=setting.model.model_copy(update={"max_model_len": longest}))
        return setting

    def change(self, field_name: str, to: Any) -> Change:
        """A change of one flag, from the value that the configuration has now; None where it is a default."""
        return Change(flag=FLAGS[field_name], from_value=self.fields.get(field_name), to=to)

    def line_of(self, flag: str) -> int:
        """The line on which a flag stands, else that of the command."""
        for use in reversed(self.parsed.uses):
            if f"--{use.name}" == flag and use.words[0].line > 0:
                return use.words[0].line
        return self.command.line

    def finding(
        self, rule: str, level: Level, message: str, changes: Fields | None = None, *,
        flag: str | None = None, default: Any = None, alternatives: Iterable[str] = (),
        gain: dict[str, tuple[float, float]] | None = None, gain_text: str = "",
    ) -> Finding:  # fmt: skip
        """A finding about fields of the configuration; `default` is what an absent flag amounts to."""
        made = tuple(self.change(name, value) for name, value in (changes or {}).items())
        first = made[0] if made else None
        named = flag or (first.flag if first else None)
        return Finding(
            rule=rule,
            level=level,
            message=message,
            flag=named,
            from_value=default if first is None or first.from_value is None else first.from_value,
            to=first.to if first else None,
            changes=made,
            gain=gain or {},
            gain_text=gain_text,
            alternatives=tuple(dict.fromkeys(alternatives)),
            line=self.line_of(named or ""),
        )
