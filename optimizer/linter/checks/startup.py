"""Findings that keep vLLM from starting: its own error text, and the smallest change that makes it start.

Each refusal is corrected before the next is looked for, so that every finding's change is tried by estimating.
"""

import math
from collections.abc import Iterator
from typing import Any

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.estimation.estimate import STARTUP_RULES, estimate_setting
from vllm_opt.optimizer.linter.subject.context import FLAGS, Fields, LintContext
from vllm_opt.optimizer.linter.subject.remedies import remedies_of
from vllm_opt.optimizer.linter.subject.report import Change, Finding

MOST_REFUSALS = 8
ORDER = (
    "divisibility", "compatibility", "context_length", "batching", "startup_headroom", "memory_budget", "state_blocks",
)  # fmt: skip
"""The order in which vLLM checks."""
GIB = 1 << 30


def startup_findings(context: LintContext) -> tuple[list[Finding], LintContext]:
    """Return what vLLM would refuse, and the context with the fixes in (still refused when a fix is not known)."""
    findings: list[Finding] = []
    for _ in range(MOST_REFUSALS):
        estimate = context.estimate()
        broken = [violation for violation in estimate.violations if violation.rule in STARTUP_RULES]
        if not broken:
            break
        first = min(broken, key=lambda violation: ORDER.index(violation.rule))
        if _other_backends(context, first):
            findings.append(_not_judged(context))
            context = context.with_changes({"block_size": None})
            if first.rule in context.broken():
                break
            continue
        remedies = list(remedies_of(context, first, estimate))
        findings.append(_finding(context, first, remedies))
        if not remedies:
            break
        context = context.with_changes(remedies[0])
    else:
        return findings, context
    findings += _margin(context, context.estimate())
    findings += _headroom_margin(context, context.estimate())
    return findings, context


def _other_backends(context: LintContext, violation: Violation) -> bool:
    """AMD's own kernels take block sizes that the general ones refuse; the rules here do not know them.

    Source: vLLM 0.33 `platforms/rocm.py:get_attn_backend_cls`, which picks ROCM_AITER_* when VLLM_ROCM_USE_AITER=1.
    """
    aiter = context.command.environment.get("VLLM_ROCM_USE_AITER", "0").strip().lower() in ("1", "true")
    return (
        aiter and context.gpu.vendor == "amd" and violation.rule == "compatibility" and "backend" in violation.message
    )


def _not_judged(context: LintContext) -> Finding:
    return context.finding(
        "not_judged", "note",
        "VLLM_ROCM_USE_AITER=1 lets vLLM choose AMD's own attention kernels, whose block sizes and formats are not "
        "known here: whether this combination is supported is not judged", flag="VLLM_ROCM_USE_AITER",
    )  # fmt: skip


def _margin(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    """vLLM starts by the central estimate, and might not at the upper end of the fitted terms."""
    memory = estimate.memory
    sized_by_hand = {"kv_cache_memory_bytes", "num_gpu_blocks_override"} & set(context.fields)
    if not estimate.fits or sized_by_hand or memory.max_concurrency <= 0 or memory.kv_block_bytes <= 0:
        return
    needed = round(memory.num_gpu_blocks / memory.max_concurrency) * memory.kv_block_bytes
    spare = memory.kv_cache_bytes - needed
    if spare >= memory.confidence_bytes:
        return
    lower = float(estimate.request["gpu_memory_utilization"]) - memory.confidence_bytes / memory.gpu_total_bytes
    longest = context.estimate({"gpu_memory_utilization": lower}).memory.max_supported_model_len if lower > 0 else 0
    shorter = max(context.request.target_context or 1, 1) <= longest < int(estimate.request["max_model_len"])
    sure = f"{context.request.confidence:g}"
    yield context.finding(
        "startup_margin", "warning",
        f"vLLM starts with {spare / GIB:.2f} GiB to spare for one longest request, and activations and graphs may "
        f"take {memory.confidence_bytes / GIB:.2f} GiB more than predicted (confidence {sure}); "
        "read 'Available KV cache memory' in the start-up log",
        {"max_model_len": longest} if shorter else {}, flag="--max-model-len",
        default=estimate.request["max_model_len"],
    )  # fmt: skip


def _headroom_margin(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    """What comes after the profile fits by the central estimate, and might not at the upper end."""
    if not estimate.fits or estimate.memory.cuda_graph_in_budget:
        return
    sure = estimate_setting(*context.setting())
    short = next((violation for violation in sure.violations if violation.rule == "startup_headroom"), None)
    if short is None:
        return
    total, needed = estimate.memory.gpu_total_bytes, short.needed or 0
    lower = {"gpu_memory_utilization": math.floor(100 * (total - needed) / total) / 100}
    yield context.finding(
        "startup_margin", "warning",
        f"vLLM starts with {estimate.memory.headroom_bytes / GIB:.2f} GiB left outside the budget, and CUDA graphs "
        f"and the warm-up after them may take {needed / GIB:.2f} GiB (confidence {context.request.confidence:g})",
        lower if context.starts(lower) else {}, flag="--gpu-memory-utilization",
        default=estimate.request["gpu_memory_utilization"],
    )  # fmt: skip


def _finding(context: LintContext, violation: Violation, remedies: list[Fields]) -> Finding:
    chosen = remedies[0] if remedies else {}
    others = [" and ".join(words_of(context, each)) for each in remedies[1:]]
    advice = ""
    if not remedies:
        advice = "; no single flag of this command makes it start: take more or larger GPUs, or a smaller model"
    return context.finding(
        violation.rule,
        "error",
        _on_this_platform(context, violation.message).rstrip(".") + advice,
        chosen,
        default=_default_of(context, chosen),
        alternatives=others,
        gain={} if violation.needed is None or violation.available is None else
        {f"needed_and_available_{violation.unit.replace(' ', '_')}": (violation.needed, violation.available)},
    )  # fmt: skip


def _on_this_platform(context: LintContext, message: str) -> str:
    return message.replace("found for cuda", "found for rocm") if context.gpu.vendor == "amd" else message


def _default_of(context: LintContext, changes: Fields) -> Any:
    """What an absent flag amounts to, for the figure it is changed from."""
    name = next(iter(changes), None)
    flags = context.setting()[0].flags
    return getattr(flags, name, None) if name is not None and name not in context.fields else None


def words_of(context: LintContext, changes: Fields) -> list[str]:
    """What to type, change by change."""
    return [
        Change(flag=FLAGS[name], from_value=context.fields.get(name), to=value).words for name, value in changes.items()
    ]
