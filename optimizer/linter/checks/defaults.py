"""Findings about flags that repeat what the release would do anyway."""

from collections.abc import Iterator

from vllm_opt.constraints.decisions.engine_defaults import (
    async_scheduling_default,
    chunked_prefill_default,
    default_max_num_batched_tokens,
    default_max_num_seqs,
    prefix_caching_default,
)
from vllm_opt.optimizer.estimation.resolution import default_length
from vllm_opt.optimizer.linter.subject.context import LintContext
from vllm_opt.optimizer.linter.subject.report import Change, Finding
from vllm_opt.optimizer.serve_lines.parsed_command import FlagUse

PINNED = frozenset(("max-model-len", "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization"))
"""Their defaults differ between GPUs and releases, so stating them is sound."""


def default_findings(context: LintContext) -> Iterator[Finding]:
    """One note per flag whose value is the release's default on this GPU."""
    computed = _computed_defaults(context)
    specs = {flag.name: flag for flag in context.engine.flags}
    last = {use.name: use for use in context.parsed.uses}
    for name, use in last.items():
        spec = specs.get(name)
        default = computed.get(name, spec.default if spec is not None else None)
        if default is None or not _same(use, default):
            continue
        pinned = name in PINNED
        advice = "keep it only to pin the value" if pinned else "it can go"
        yield Finding(
            rule="equals_default",
            level="note",
            message=f"{use.spelling} {_shown(use)}is what vLLM {context.engine.version} does by default here; {advice}",
            flag=f"--{name}",
            from_value=use.value,
            to=None,
            changes=() if pinned else (Change(flag=f"--{name}", from_value=use.value),),
            line=max(1, use.words[0].line),
            source=use.words[0].source,
        )


def _shown(use: FlagUse) -> str:
    return "" if isinstance(use.value, bool) else f"{use.value} "


def _same(use: FlagUse, default: object) -> bool:
    if isinstance(use.value, bool) or isinstance(default, bool):
        return use.value is default
    if isinstance(use.value, tuple):
        return False
    return use.value == default or str(use.value) == str(default)


def _computed_defaults(context: LintContext) -> dict[str, object]:
    """Defaults that depend on the model, the GPU and the other flags; without a model only those of the release."""
    if "model" not in context.fields:
        return {"async-scheduling": context.engine.async_scheduling_default}
    given = context.given
    setting = context.setting()[0]
    length = given.get("max_model_len")
    length = length if isinstance(length, int) else setting.flags.max_model_len
    cuts = chunked_prefill_default(context.engine, length, setting.model)
    tokens = default_max_num_batched_tokens(
        context.engine,
        context.gpu,
        chunked_prefill=given.get("enable_chunked_prefill", cuts),
        max_model_len=length,
        max_num_seqs=given.get("max_num_seqs"),
    )
    return {
        "async-scheduling": async_scheduling_default(context.engine, setting.model),
        "enable-prefix-caching": prefix_caching_default(context.engine, setting.model),
        "enable-chunked-prefill": cuts,
        "max-num-batched-tokens": tokens,
        "max-num-seqs": default_max_num_seqs(context.engine, context.gpu, given.get("max_num_batched_tokens", tokens)),
        "max-model-len": default_length(context.catalog.model(context.fields["model"]), auto=False),
    }
