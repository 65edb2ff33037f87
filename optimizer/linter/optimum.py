"""The solver's own best deployment on the same GPUs, beside the command."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

from vllm_opt.optimizer.contract.answer import Answer, Estimate, Plan
from vllm_opt.optimizer.contract.features import json_value
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.contract.traffic import TrafficFields
from vllm_opt.optimizer.linter.subject.context import FEATURE_FIELDS, LintContext
from vllm_opt.optimizer.linter.subject.gains import WORTH_SAYING, growth
from vllm_opt.optimizer.linter.subject.report import Optimum
from vllm_opt.optimizer.rendering.plan_words import unit_of
from vllm_opt.profiles.errors import VllmOptError

SECONDS = 5.0
KEPT = frozenset((
    "kv-offloading-size", "kv-offloading-backend", "lora-modules", "default-mm-loras",
    "enable-tower-connector-lora", "mm-encoder-tp-mode", "mm-processor-kwargs",
    "mm-processor-cache-gb", "enable-dbo",
))  # fmt: skip
"""Features that no plan decides and that a proposal must not lose."""


def optima(context: LintContext, estimate: Estimate, gpus: int) -> Iterator[Optimum]:
    """Solve for throughput with the weights as they are, then with any format of sufficient quality.

    The context and the load are those asked; without a load both sides are judged at the most that they admit, and
    without a limit none is assumed, so that only the flags differ.
    """
    seen: set[str] = set()
    target = context.request.target_context
    if target is not None and target < int(estimate.request["max_model_len"]):
        estimate = context.estimate({"max_model_len": target})
    quantization = context.setting()[0].quantization.id
    kv_cache_dtype = str(context.fields.get("kv_cache_dtype", "auto"))
    for title, formats, kv_format in (
        ("same weights and KV format", (quantization,), kv_cache_dtype),
        ("same weights, any KV format", (quantization,), "any"),
        ("any format that keeps 98 % of the quality", (), "any"),
    ):
        answer = _solved(context, estimate, gpus, formats, kv_format)
        if answer is None or answer.plan is None or answer.plan.command in seen:
            continue
        seen.add(answer.plan.command)
        found = _with_kept_flags(_optimum(title, answer, estimate), answer.plan, context)
        if estimate.fits and max(found.throughput_gain or 0.0, found.concurrency_gain or 0.0) < WORTH_SAYING:
            continue
        yield found


def _solved(
    context: LintContext, estimate: Estimate, gpus: int, formats: tuple[str, ...], kv_format: str
) -> Answer | None:
    from vllm_opt.optimizer.solver.solve import solve

    request, asked = context.request, estimate.request
    target = request.target_context or int(asked["max_model_len"])
    lengths = request.typical_request(target)
    random = request.pattern == "poisson"
    fields: dict[str, Any] = {
        "model": context.fields["model"],
        "gpu": (context.gpu.id,),
        "gpus": gpus,
        "target_context": max(2, target),
        "mean_context": request.mean_context,
        "concurrency": request.concurrency or (None if random else "max"),
        "input_tokens": lengths[0] if request.lengths is None else request.input_tokens,
        "output_tokens": lengths[1] if request.lengths is None else request.output_tokens,
        **{name: getattr(request, name) for name in TrafficFields.model_fields if name in request.model_fields_set},
        "prefix_hit_share": request.prefix_hit_share,
        "kv_offloading_size": context.fields.get("kv_offloading_size"),
        "offload_hit_share": request.offload_hit_share,
        "max_ttft_ms": request.max_ttft_ms,
        "max_tpot_ms": request.max_tpot_ms,
        "min_output_tokens_per_s": request.min_output_tokens_per_s,
        "quantization": formats,
        "kv_cache_dtype": kv_format,
        "vllm_version": context.engine.version,
        "engine": context.engine.engine,
        "gpu_file": request.gpu_file,
        "confidence": request.confidence,
        "calibration": request.calibration,
        "calibration_file": request.calibration_file,
        "objective": ("throughput", "concurrency"),
        "default_limits": False,
        "time_limit": SECONDS,
        **{name: context.fields[name] for name in FEATURE_FIELDS if name in context.fields},
    }
    drafts = json_value(fields.get("speculative_config"))
    if drafts.pop("draft_tensor_parallel_size", None) is not None:
        # The drafter follows the layout that is found.
        fields["speculative_config"] = json.dumps(drafts, separators=(",", ":"))
    try:
        wanted = SolveRequest(**{name: value for name, value in fields.items() if value is not None})
        return solve(wanted, context.catalog)
    except VllmOptError:
        return None


def _with_kept_flags(found: Optimum, plan: Plan, context: LintContext) -> Optimum:
    """The optimum with every feature of the command that no plan decides: they cost what the note says."""
    last = {use.name: use for use in context.parsed.uses if use.name in KEPT and use.name not in plan.flags}
    if "enable-dbo" in last and not (plan.expert_parallel and plan.data_parallel_size > 1):
        last.pop("enable-dbo")
    if not last:
        return found
    words = " ".join(shlex.quote(word.text) for use in last.values() for word in use.words)
    names = ", ".join(use.spelling for use in last.values())
    note = f"{names} kept as they are: they move no GPU memory that is counted here"
    return found.model_copy(update={"command": f"{found.command} {words}", "notes": (*found.notes, note)})


def _optimum(title: str, answer: Answer, estimate: Estimate) -> Optimum:
    plan = answer.plan
    if plan is None:
        raise ValueError("an optimum needs a plan")
    engines = plan.replicas * plan.data_parallel_size
    held = plan.memory.running_concurrency * engines
    speed = plan.performance.output_tokens_per_s
    now = estimate.performance.output_tokens_per_s if estimate.performance is not None and estimate.fits else 0.0
    current = estimate.memory.running_concurrency * int(estimate.request.get("data_parallel_size", 1))
    return Optimum(
        title=title,
        command=plan.command,
        checkpoint=plan.checkpoint,
        output_tokens_per_s=speed,
        counted_in=unit_of(plan.performance),
        max_concurrency=held,
        throughput_gain=growth(now, speed) if now else None,
        concurrency_gain=growth(current, held) if current and estimate.fits else None,
        status=answer.status,
        replicas=plan.replicas,
        notes=tuple(dict.fromkeys((*plan.notes, *answer.notes))),
    )
