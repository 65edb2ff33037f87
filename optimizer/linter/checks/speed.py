"""Findings about limits that were asked: TTFT, TPOT, throughput and concurrency, and the flag that meets them."""

from collections.abc import Iterator

from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.linter.checks.pool import held_sequences
from vllm_opt.optimizer.linter.checks.startup import words_of
from vllm_opt.optimizer.linter.subject.context import Fields, LintContext
from vllm_opt.optimizer.linter.subject.gains import figures
from vllm_opt.optimizer.linter.subject.report import Finding
from vllm_opt.profiles.reading.quantities import counted

STEP_TOKENS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
SPEED_RULES = ("ttft", "tpot", "throughput")
FEWEST_SEQUENCES = 1


def speed_findings(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    """Compare the limits asked with the prediction at full admitted load."""
    yield from _concurrency(context, estimate)
    broken = [violation for violation in estimate.violations if violation.rule in SPEED_RULES]
    if not broken:
        return
    found = _fastest(context, estimate)
    for violation in broken:
        advice = "" if found else (
            "; no max_num_batched_tokens or max_num_seqs meets every limit: `vllm-opt explain` with the same limits "
            "says what would"
        )  # fmt: skip
        after = context.estimate(found) if found else None
        yield context.finding(
            violation.rule,
            "warning",
            violation.message.rstrip(".") + advice,
            found or {},
            default=None if not found else estimate.request.get(next(iter(found))),
            gain=figures(estimate, after) if after else {},
            gain_text=_speed_words(estimate, after) if after else "",
        )


def _fastest(context: LintContext, estimate: Estimate) -> Fields | None:
    """The narrowest change of step width, then of admitted sequences, that meets every limit, at most output."""
    sequences = int(estimate.request["max_num_seqs"])
    current = int(estimate.request["max_num_batched_tokens"])
    best: tuple[float, Fields] | None = None
    for admitted in _admitted(context, estimate, sequences):
        for tokens in STEP_TOKENS:
            if tokens < admitted:
                continue
            changes: dict[str, int] = {}
            if tokens != current:
                changes["max_num_batched_tokens"] = tokens
            if admitted != sequences:
                changes["max_num_seqs"] = admitted
            after = context.estimate(changes)
            if not after.fits or after.performance is None or _misses(after):
                continue
            speed = after.performance.output_tokens_per_s
            if best is None or speed > best[0] * 1.001:
                best = (speed, changes)
        if best is not None:
            return best[1]
    return None


def _admitted(context: LintContext, estimate: Estimate, sequences: int) -> Iterator[int]:
    """As many as are admitted now, then as many as are asked, then ever fewer."""
    yield sequences
    asked = -(-(context.request.concurrency or 0) // int(estimate.request.get("data_parallel_size", 1)))
    if asked > sequences:
        yield asked
    while sequences > FEWEST_SEQUENCES:
        sequences //= 2
        yield sequences


def _misses(estimate: Estimate) -> bool:
    return any(violation.rule in SPEED_RULES for violation in estimate.violations)


def _speed_words(before: Estimate, after: Estimate) -> str:
    words = []
    for name, title in (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT")):
        one, two = getattr(before.performance, name, None), getattr(after.performance, name, None)
        if one is not None and two is not None:
            words.append(f"{title} {one:,.0f} -> {two:,.0f} ms")
    return ", ".join(words)


def _concurrency(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    """Sequences asked against those that are admitted and held at once."""
    asked = context.request.concurrency
    if asked is None:
        return
    engines = int(estimate.request.get("data_parallel_size", 1))
    held = _running(context, estimate, {}, engines)
    if held >= asked:
        return
    share = -(-asked // engines)
    remedies: list[Fields] = []
    for kind in _room_for(context, estimate, share):
        for changes in kind:
            after = context.estimate(changes)
            if after.fits and _running(context, after, changes, engines) >= asked:
                remedies.append(changes)
                break
        if remedies and set(remedies[0]) <= {"max_num_seqs", "max_num_batched_tokens"}:
            break
    admitted = int(estimate.request["max_num_seqs"])
    mean = context.request.mean_context or context.request.target_context or int(estimate.request["max_model_len"])
    advice = "" if remedies else "; no single flag makes room for them: add GPUs or replicas (`vllm-opt solve`)"
    chosen = remedies[0] if remedies else {}
    per_engine = " per engine" if engines > 1 else ""
    yield context.finding(
        "concurrency",
        "warning",
        f"{counted(held, 'sequence')} of {counted(mean, 'token')} run at once and {asked} are asked: max_num_seqs "
        f"admits {admitted}, the pool holds {held_sequences(context, estimate):.1f}{per_engine}{advice}",
        chosen,
        default=estimate.request.get(next(iter(chosen))) if chosen else None,
        alternatives=[" and ".join(words_of(context, each)) for each in remedies[1:4]],
        gain=figures(estimate, context.estimate(chosen)) if chosen else {},
    )


def _running(context: LintContext, estimate: Estimate, changes: Fields, engines: int) -> int:
    return min(int(estimate.request["max_num_seqs"]), int(held_sequences(context, estimate, changes))) * engines


def _room_for(context: LintContext, estimate: Estimate, share: int) -> Iterator[list[Fields]]:
    """Kinds of change, each from the smallest on; max_num_seqs goes along where it is too low."""
    admitted, tokens = int(estimate.request["max_num_seqs"]), int(estimate.request["max_num_batched_tokens"])
    more: dict[str, int] = {"max_num_seqs": share} if admitted < share else {}
    if share > tokens:
        more["max_num_batched_tokens"] = share
    yield [more] if more else []
    now = round(float(estimate.request["gpu_memory_utilization"]) * 100)
    if "kv_cache_memory_bytes" not in context.fields:
        yield [{"gpu_memory_utilization": percent / 100, **more} for percent in range(now + 1, 96)]
    target = context.request.target_context
    if target is not None and target < int(estimate.request["max_model_len"]):
        yield [{"max_model_len": target, **more}]
    yield [{"kv_cache_dtype": "fp8", **more}]
    yield [{"kv_cache_dtype": "fp8", "gpu_memory_utilization": max(now, 95) / 100, **more}]
