"""Findings about environment variables, and about features that the prediction leaves out."""

from collections.abc import Iterator

from vllm_opt.optimizer.linter.subject.context import LintContext
from vllm_opt.optimizer.linter.subject.feature_fields import LeftOut
from vllm_opt.optimizer.linter.subject.report import Finding, Level
from vllm_opt.optimizer.serve_lines.flag_history import version_parts
from vllm_opt.optimizer.serve_lines.left_out import left_out_of

V1_ONLY_SINCE = (0, 11)
NO_BACKEND_VARIABLE_SINCE = (0, 33)
"""The release whose own source was read to lack VLLM_ATTENTION_BACKEND; older ones may, too."""


def environment_findings(context: LintContext) -> Iterator[Finding]:
    """Everything around the command that changes what it does."""
    yield from _variables(context)
    yield from _not_modelled(context)


def _finding(context: LintContext, rule: str, level: Level, message: str, flag: str | None = None) -> Finding:
    return Finding(rule=rule, level=level, message=message, flag=flag, line=context.line_of(flag or ""))


def _variables(context: LintContext) -> Iterator[Finding]:
    environment, release = context.command.environment, version_parts(context.engine.version)
    if "VLLM_USE_V1" in environment and release >= V1_ONLY_SINCE:
        message = f"vLLM {context.engine.version} has the V1 engine only: VLLM_USE_V1 has no effect; drop it"
        yield _finding(context, "environment", "warning", message, "VLLM_USE_V1")
    yield from _longer_than_made_for(context)
    switch = context.engine.reads_cuda_graph_estimate_flag
    name = "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS"
    if name in environment and switch is None:
        message = f"vLLM {context.engine.version} does not read {name}; drop it"
        yield _finding(context, "environment", "note", message, name)
    elif name in environment and environment[name].strip() == "0" and context.engine.graphs_in_budget:
        message = (
            f"{name}=0 takes CUDA graphs out of the budget: they are captured beside it, so lower "
            "gpu_memory_utilization by their size or drop the variable"
        )
        yield _finding(context, "environment", "warning", message, name)
    if environment.get("VLLM_ATTENTION_BACKEND") and release >= NO_BACKEND_VARIABLE_SINCE:
        message = f"vLLM {context.engine.version} does not read VLLM_ATTENTION_BACKEND; use --attention-backend"
        yield _finding(context, "environment", "warning", message, "VLLM_ATTENTION_BACKEND")
    for name in ("VLLM_PP_LAYER_PARTITION", "VLLM_KV_CACHE_LAYOUT", "VLLM_ENABLE_STARTUP_PLAN"):
        if name in environment:
            message = f"{name} changes the memory plan and is not part of the prediction"
            yield _finding(context, "not_modelled", "note", message, name)


def _longer_than_made_for(context: LintContext) -> Iterator[Finding]:
    name = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
    if context.command.environment.get(name, "0") not in ("1", "true", "True"):
        return
    asked = context.given.get("max_model_len")
    if "model" in context.fields and isinstance(asked, int):
        limit = context.catalog.model(context.fields["model"]).max_model_len
        if asked <= limit:
            message = f"{name} has no effect: max_model_len {asked:,} is within the model's {limit:,}; drop it"
            yield _finding(context, "environment", "note", message, name)
            return
    message = (
        f"{name} lets max_model_len exceed what the model was made for: positions beyond it give NaN or nonsense; drop "
        "it unless RoPE scaling is configured"
    )
    yield _finding(context, "environment", "warning", message, name)


def _not_modelled(context: LintContext) -> Iterator[Finding]:
    for name, words in left_out_of(context.parsed).items():
        yield _finding(
            context, "not_modelled", "note", f"--{name}: the prediction leaves out {words}; leave room", f"--{name}"
        )


def left_out_findings(context: LintContext, left_out: dict[str, LeftOut]) -> Iterator[Finding]:
    """Features that the prediction could not take in, and why: some because vLLM refuses them."""
    for field, found in left_out.items():
        flag = f"--{field.replace('_', '-')}"
        if found.refused:
            yield _finding(context, "flag_conflict", "error", f"{found.why}; correct it or drop {flag}", flag)
            continue
        yield _finding(context, "not_modelled", "note", f"{flag}: the prediction leaves it out: {found.why}", flag)
