"""Findings about the KV pool: sequences admitted against sequences held, context, utilisation, KV format."""

from collections.abc import Iterator

from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.linter.subject.context import Fields, LintContext
from vllm_opt.optimizer.linter.subject.gains import (
    WORTH_A_WARNING,
    WORTH_SAYING,
    figures,
    growth,
    percent_words,
    pool_words,
)
from vllm_opt.optimizer.linter.subject.report import Finding, Level
from vllm_opt.profiles.reading.quantities import counted

FAR_ABOVE, FAR_ABOVE_FULL_LENGTH = 4.0, 32.0
"""max_num_seqs beyond so many times what the pool holds is worth saying; most sequences are shorter than full."""
HIGHEST_UTILIZATION = 0.95


def pool_findings(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    """Every improvement of the pool, each by estimating before and after."""
    yield from _sequences(context, estimate)
    yield from _context(context, estimate)
    yield from _utilization(context, estimate)
    yield from _pool_given_twice(context)
    yield from _kv_format(context, estimate)


def held_sequences(context: LintContext, estimate: Estimate, changes: Fields | None = None) -> float:
    """Sequences of mean length (else of the target's, else of full length) that the pool of one engine holds."""
    mean = context.request.mean_context or context.request.target_context
    if mean is None or mean >= int(estimate.request["max_model_len"]):
        return estimate.memory.running_concurrency
    at_mean = {**(changes or {}), "max_model_len": mean}
    return context.estimate(at_mean, input_tokens=max(1, mean // 2), output_tokens=1).memory.running_concurrency


def _sequences(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    admitted = int(estimate.request["max_num_seqs"])
    held = held_sequences(context, estimate)
    tokens = context.request.mean_context or context.request.target_context
    kind = f"of {tokens:,} tokens" if tokens else "of full length"
    far = FAR_ABOVE if tokens else FAR_ABOVE_FULL_LENGTH
    if admitted < int(held) and growth(admitted, held) > WORTH_A_WARNING:
        target = int(held)
        if context.request.concurrency is not None:
            engines = int(estimate.request.get("data_parallel_size", 1))
            target = min(target, max(admitted, -(-context.request.concurrency // engines)))
        if target > admitted:
            yield from _raise_sequences(context, estimate, admitted, target, held, kind)
    elif admitted > far * max(1.0, held) and ("max_num_seqs" in context.fields or tokens):
        yield from _lower_sequences(context, estimate, admitted, held, kind)


def _raise_sequences(
    context: LintContext, estimate: Estimate, admitted: int, target: int, held: float, kind: str
) -> Iterator[Finding]:
    changes: dict[str, int] = {"max_num_seqs": target}
    if target > int(estimate.request["max_num_batched_tokens"]):
        changes["max_num_batched_tokens"] = target
    after = context.estimate(changes)
    if not after.fits:
        return
    gain = figures(estimate, after)
    speed = gain.get("output_tokens_per_s", (0.0, 0.0))
    words = f"{percent_words(growth(*speed))} output tokens/s at full load" if speed[0] else f"{target} run at once"
    yield context.finding(
        "max_num_seqs_below_pool",
        "warning",
        f"the pool holds {counted(int(held), 'sequence')} {kind} and max_num_seqs admits {admitted}: the rest wait "
        "while memory is free",
        changes,
        default=admitted,
        gain=gain,
        gain_text=words,
    )


def _lower_sequences(
    context: LintContext, estimate: Estimate, admitted: int, held: float, kind: str
) -> Iterator[Finding]:
    target = max(1, int(held * 2))
    after = context.estimate({"max_num_seqs": target})
    if not after.fits:
        return
    message = (
        f"max_num_seqs admits {counted(admitted, 'sequence')} and the pool holds {held:.1f} {kind}: what exceeds the "
        "pool is preempted and computed again"
    )
    known = context.request.mean_context or context.request.target_context
    if context.request.mean_context is None:
        message += "; --mean-context TOKENS says how long sequences are on average, and then what to set"
    grown = growth(estimate.memory.kv_cache_tokens, after.memory.kv_cache_tokens)
    yield context.finding(
        "max_num_seqs_above_pool",
        "note",
        message,
        {"max_num_seqs": target} if known else {},
        flag="--max-num-seqs",
        default=admitted,
        gain=figures(estimate, after),
        gain_text=pool_words(estimate, after) if grown > WORTH_SAYING else "",
    )


def _context(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    target, length = context.request.target_context, int(estimate.request["max_model_len"])
    if target is None:
        return
    if target > length:
        limit = context.setting()[0].model.max_model_len
        fits = target <= limit and context.starts({"max_model_len": target})
        longest = min(limit, estimate.memory.max_supported_model_len)
        advice = "" if fits else f"; the longest that starts is {longest:,}"
        yield context.finding(
            "max_model_len_below_need",
            "error",
            f"requests of {target:,} tokens are refused: max_model_len is {length:,}{advice}",
            {"max_model_len": target} if fits else {},
            flag="--max-model-len",
            default=length,
        )
    elif length > target:
        after = context.estimate({"max_model_len": target})
        share = growth(estimate.memory.running_concurrency, after.memory.running_concurrency)
        yield context.finding(
            "max_model_len_above_need",
            "warning" if share > WORTH_A_WARNING else "note",
            f"max_model_len {length:,} exceeds the {target:,} tokens needed: one long request may take "
            f"{1 / max(estimate.memory.running_concurrency, 1e-9):.0%} of the pool",
            {"max_model_len": target},
            default=length,
            gain=figures(estimate, after),
            gain_text=f"{after.memory.running_concurrency:.1f} full-length sequences are sure instead of "
            f"{estimate.memory.running_concurrency:.1f}",
        )


def _utilization(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    if "kv_cache_memory_bytes" in context.fields or "num_gpu_blocks_override" in context.fields:
        return
    if context.gpu.unified_memory:
        return  # What vLLM leaves is the operating system's.
    now = float(estimate.request["gpu_memory_utilization"])
    for percent in range(round(HIGHEST_UTILIZATION * 100), round(now * 100) + 1, -1):
        changes = {"gpu_memory_utilization": percent / 100}
        if not _sure_to_start(context, changes):
            continue
        after = context.estimate(changes)
        share = growth(estimate.memory.running_concurrency, after.memory.running_concurrency)
        level: Level = "warning" if _meets_the_load(context, estimate, changes) else "advice"
        if share > WORTH_SAYING:
            spare = estimate.memory.headroom_bytes - estimate.memory.headroom_needed_bytes
            yield context.finding(
                "utilization_unused", level,
                f"{spare / 2**30:.1f} GiB per GPU stay unused at gpu_memory_utilization {now:g}, if nothing else runs "
                "on the GPU", changes, default=now, gain=figures(estimate, after),
                gain_text=pool_words(estimate, after),
            )  # fmt: skip
        return


def _meets_the_load(context: LintContext, estimate: Estimate, changes: Fields) -> bool:
    """Whether the sequences asked run at once with the changes, and do not without them."""
    asked = context.request.concurrency
    if asked is None:
        return False
    engines = int(estimate.request.get("data_parallel_size", 1))
    now = held_sequences(context, estimate) * engines
    return now < asked <= held_sequences(context, context.estimate(changes), changes) * engines


def _sure_to_start(context: LintContext, changes: Fields) -> bool:
    """Whether what lives outside the budget fits even at the upper end of its estimate."""
    estimate = context.estimate(changes)
    spread = max(estimate.memory.headroom_needed_bytes // 2, 256 << 20)
    return estimate.fits and estimate.memory.headroom_bytes >= estimate.memory.headroom_needed_bytes + spread


def _pool_given_twice(context: LintContext) -> Iterator[Finding]:
    if "kv_cache_memory_bytes" not in context.fields or "gpu_memory_utilization" not in context.fields:
        return
    yield context.finding(
        "utilization_without_effect",
        "warning",
        "kv_cache_memory_bytes sizes the pool alone: gpu_memory_utilization is still checked against free memory at "
        "start-up and has no other effect",
        {"gpu_memory_utilization": None},
    )


def _kv_format(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    if context.fields.get("kv_cache_dtype", "auto") not in ("auto", "bfloat16", "float16"):
        return
    after = context.estimate({"kv_cache_dtype": "fp8"})
    share = growth(estimate.memory.running_concurrency, after.memory.running_concurrency)
    if not after.fits or share < WORTH_A_WARNING:
        return
    yield context.finding(
        "fp8_kv_cache", "note" if _meets_the_load(context, estimate, {"kv_cache_dtype": "fp8"}) else "advice",
        "an fp8 KV cache is supported here and halves the bytes per token, at a small loss of accuracy",
        {"kv_cache_dtype": "fp8"}, default="auto", gain=figures(estimate, after),
        gain_text=f"{percent_words(share)} sequences; {pool_words(estimate, after)}",
    )  # fmt: skip
