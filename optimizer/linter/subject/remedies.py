"""Changes of flags that lift a refusal at start-up, each tried by estimating, the one to take first in front."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.linter.subject.context import Fields, LintContext
from vllm_opt.optimizer.serve_lines.command_line import load_flag_value

STRUCTURAL = ("divisibility", "compatibility")
LARGEST_WORLD = 64
HIGHEST_UTILIZATION = 0.97


def remedies_of(context: LintContext, violation: Violation, estimate: Estimate) -> Iterator[Fields]:
    """Changes that lift this refusal, the one to take first in front."""
    if violation.rule in STRUCTURAL:
        yield from _structural(context, violation)
        return
    seekers: Mapping[str, Callable[[LintContext, Estimate], Iterator[Fields]]] = {
        "context_length": _shorter,
        "batching": _wider_steps,
        "startup_headroom": _lower_utilization,
        "memory_budget": _more_room,
        "state_blocks": _fewer_sequences,
    }
    yield from seekers[violation.rule](context, estimate)


def _structural(context: LintContext, violation: Violation) -> Iterator[Fields]:
    """Find the flag that is to blame: the change of one flag that lifts the rule."""
    unlike: dict[str, list[Any]] = {
        "block_size": [None],
        "kv_cache_dtype": ["fp8", None] if _is_quantized(context) else [None],
        "enable_expert_parallel": [None],
        "decode_context_parallel_size": [None],
        "disable_hybrid_kv_cache_manager": [None],
        "quantization": [None] if "quantization" in context.given else [],
        "pipeline_parallel_size": [None],
        "tensor_parallel_size": _other_ranks(context),
    }
    for name, values in unlike.items():
        if name not in context.fields:
            continue
        lifting = [
            {name: value}
            for value in values
            if value != context.fields[name] and violation.rule not in context.broken({name: value})
        ]
        if lifting:
            yield next((changes for changes in lifting if context.starts(changes)), lifting[0])


def _is_quantized(context: LintContext) -> bool:
    return str(context.fields.get("kv_cache_dtype", "auto")) not in ("auto", "bfloat16", "float16")


def _other_ranks(context: LintContext) -> list[int]:
    """Tensor-parallel sizes: what uses the GPUs given, then from the nearest on, fewer GPUs first."""
    now = context.fields.get("tensor_parallel_size", 1)
    others = context.fields.get("pipeline_parallel_size", 1) * context.fields.get("data_parallel_size", 1)
    given = (context.command.gpu_count or 0) // others
    largest = min(LARGEST_WORLD, max(context.gpu.gpus_per_node, now))
    return sorted(
        (size for size in range(1, largest + 1) if size != now),
        key=lambda size: (size != given, size > now, abs(size - now)),
    )


def _shorter(context: LintContext, estimate: Estimate) -> Iterator[Fields]:  # noqa: ARG001
    limit = context.setting()[0].model.max_model_len
    yield {"max_model_len": limit}


def _wider_steps(context: LintContext, estimate: Estimate) -> Iterator[Fields]:
    asked = estimate.request
    sequences, length = int(asked["max_num_seqs"]), int(asked["max_model_len"])
    tokens = int(asked["max_num_batched_tokens"])
    candidates: list[Fields] = [
        {"enable_chunked_prefill": None},
        {"enable_chunked_prefill": True},
        {"max_num_batched_tokens": sequences},
        {"max_num_batched_tokens": max(sequences, length)},
        {"max_num_seqs": tokens},
        *(
            {"max_num_batched_tokens": int(fault.needed)}
            for fault in estimate.violations
            if fault.rule == "batching" and fault.needed is not None and fault.needed > tokens
        ),
    ]
    for changes in candidates:
        is_change = any(context.fields.get(name) != value for name, value in changes.items())
        if is_change and "batching" not in context.broken(changes):
            yield changes


def _lower_utilization(context: LintContext, estimate: Estimate) -> Iterator[Fields]:
    now = round(float(estimate.request["gpu_memory_utilization"]) * 100)
    for percent in range(min(now, 99), 0, -1):
        changes = {"gpu_memory_utilization": percent / 100}
        if percent / 100 != estimate.request["gpu_memory_utilization"] and (
            "startup_headroom" not in context.broken(changes)
        ):
            yield changes
            return


def _fewer_sequences(context: LintContext, estimate: Estimate) -> Iterator[Fields]:
    """As many sequences as there are blocks for sure, in whole eights where there are that many."""
    memory = estimate.memory
    sure = memory.num_gpu_blocks - -(-memory.confidence_bytes // max(1, memory.kv_block_bytes))
    count = max(1, sure // 8 * 8 if sure >= 8 else sure)
    changes: Fields = {"max_num_seqs": count}
    if "state_blocks" not in context.broken(changes):
        yield changes
    yield from _higher_utilization(context, estimate)


def _more_room(context: LintContext, estimate: Estimate) -> Iterator[Fields]:
    for name in ("num_gpu_blocks_override", "kv_cache_memory_bytes"):
        if name in context.fields:
            yield from _try(context, {name: None})
    needed = context.request.target_context or 1
    utilization = list(_higher_utilization(context, estimate))
    longest = estimate.memory.max_supported_model_len
    shorter: list[Fields] = []
    if needed <= longest < int(estimate.request["max_model_len"]):
        shorter = list(_try(context, {"max_model_len": longest}))
    yield from utilization
    yield from shorter
    yield from _smaller_formats(context)
    yield from _smaller_steps(context, estimate)
    yield from _with_target(context, estimate)
    yield from _more_ranks(context)


def _try(context: LintContext, changes: Fields) -> Iterator[Fields]:
    if context.starts(changes):
        yield changes


def _higher_utilization(context: LintContext, estimate: Estimate) -> Iterator[Fields]:
    if "kv_cache_memory_bytes" in context.fields:
        return
    first = int(float(estimate.request["gpu_memory_utilization"]) * 100) + 1
    for percent in range(first, round(HIGHEST_UTILIZATION * 100) + 1):
        changes = {"gpu_memory_utilization": percent / 100}
        if context.starts(changes):
            yield changes
            return


def _smaller_formats(context: LintContext) -> Iterator[Fields]:
    if context.fields.get("kv_cache_dtype", "auto") == "auto":
        yield from _try(context, {"kv_cache_dtype": "fp8"})
    if "quantization" not in context.fields:
        setting = context.setting()[0]
        native = setting.quantization.id == "bf16"
        if native and load_flag_value(context.catalog.quantization("fp8"), context.engine) is not None:
            yield from _try(context, {"quantization": "fp8"})


def _smaller_steps(context: LintContext, estimate: Estimate) -> Iterator[Fields]:
    """Fewer tokens per step shrink the activation peak, fewer sequences the sampler and the CUDA graphs."""
    tokens, sequences = int(estimate.request["max_num_batched_tokens"]), int(estimate.request["max_num_seqs"])
    while tokens > 512:
        tokens //= 2
        changes: dict[str, Any] = {"max_num_batched_tokens": tokens}
        if sequences > tokens or "max_num_seqs" in context.fields:
            changes["max_num_seqs"] = min(sequences, tokens)
        if context.starts(changes):
            yield changes
            break
    if not context.fields.get("enforce_eager"):
        yield from _try(context, {"enforce_eager": True})


def _with_target(context: LintContext, estimate: Estimate) -> Iterator[Fields]:
    """A target shorter than the context served, together with room from elsewhere."""
    target = context.request.target_context
    if target is None or target >= int(estimate.request["max_model_len"]):
        return
    for extra in ({}, {"kv_cache_dtype": "fp8"}, {"max_num_batched_tokens": 2048, "max_num_seqs": 256}):
        if context.starts({"max_model_len": target, **extra}):
            yield {"max_model_len": target, **extra}
            return


def _more_ranks(context: LintContext) -> Iterator[Fields]:
    now = int(context.fields.get("tensor_parallel_size", 1))
    size = now * 2
    while size <= context.gpu.gpus_per_node:
        if context.starts({"tensor_parallel_size": size}):
            yield {"tensor_parallel_size": size}
            return
        size *= 2
    stages_now = int(context.fields.get("pipeline_parallel_size", 1))
    for stages in (2 * stages_now, 4 * stages_now, 8 * stages_now):
        if now * stages > context.gpu.gpus_per_node:
            return
        if context.starts({"pipeline_parallel_size": stages}):
            yield {"pipeline_parallel_size": stages}
            return
