"""The memory of a plan and its limits, counted again and laid beside what the plan says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, floor, sqrt
from statistics import NormalDist
from typing import Any

from vllm_opt.optimizer.contract.second_opinion import Check
from vllm_opt.optimizer.second_opinion.cache import Pool, pool_of
from vllm_opt.optimizer.second_opinion.startup import InUse, graphs_counted, in_use
from vllm_opt.optimizer.second_opinion.subject import OutOfReach, Subject
from vllm_opt.optimizer.second_opinion.weights import Weights, beside_weights, weights_of

NO_STAGE = 1 << 31
LENGTH_VARIATION = 1.0


def same(name: str, shown: float, again: float, slack: float = 0.0, detail: str = "") -> Check:
    """Two figures that must be equal, up to `slack`."""
    return Check(name=name, shown=shown, recomputed=again, agrees=abs(shown - again) <= slack, detail=detail)


def at_most(name: str, value: float, limit: float, detail: str = "") -> Check:
    """A figure counted again that must not exceed a limit."""
    return Check(name=name, shown=limit, recomputed=value, agrees=value <= limit * (1 + 1e-9), detail=detail)


@dataclass(frozen=True)
class Parts:
    """What could be counted again; None where it could not."""

    weights: Weights | None
    beside: tuple[int, ...] | None
    central: InUse | None
    upper: InUse | None
    pool: Pool | None
    not_judged: tuple[str, ...]


def parts_of(subject: Subject) -> Parts:
    """Count every part that can be."""
    missing: list[str] = []

    def tried(count: Callable[[], Any]) -> Any:
        try:
            return count()
        except OutOfReach as reason:
            missing.append(str(reason))
            return None

    confidence = float(subject.request.get("confidence", 0.9))
    return Parts(
        weights=tried(lambda: weights_of(subject)),
        beside=tried(lambda: beside_weights(subject)),
        central=tried(lambda: in_use(subject, None)),
        upper=tried(lambda: in_use(subject, confidence)),
        pool=tried(lambda: pool_of(subject)),
        not_judged=tuple(dict.fromkeys(missing)),
    )


def memory_checks(subject: Subject, parts: Parts) -> Iterator[Check]:
    """Every figure of `plan.memory` that could be counted again, and the limits on it."""
    plan, memory = subject.plan, subject.plan.memory
    product = memory.gpu_total_bytes * subject.utilization
    budget = ceil(product) if subject.engine.budget_rounding == "ceil" else floor(product)
    yield same("gpu_total_bytes", memory.gpu_total_bytes, subject.gpu.memory_bytes)
    yield same("budget_bytes", memory.budget_bytes, budget)
    yield same("gpu_count", plan.gpu_count, plan.replicas * subject.server_gpus)
    yield from _stated(subject)
    worst = _shown_stage(subject)
    if parts.weights is not None:
        slack = parts.weights.slack[worst]
        again = parts.weights.bytes[worst]
        yield Check(
            name="weights_bytes", shown=memory.weights_bytes, recomputed=again,
            agrees=0 <= memory.weights_bytes - again <= slack, detail=f"up to {slack} bytes of scalars are not counted",
        )  # fmt: skip
    if parts.beside is not None:
        yield same("weights_extra_bytes", memory.weights_extra_bytes, parts.beside[worst])
    if parts.central is not None:
        yield same("activation_peak_bytes", memory.activation_peak_bytes, parts.central.activation[worst])
        yield same("non_torch_bytes", memory.non_torch_bytes, parts.central.non_torch)
        yield same("cuda_graph_bytes", memory.cuda_graph_bytes, parts.central.graphs)
        yield same("headroom_needed_bytes", memory.headroom_needed_bytes, parts.central.outside)
    if parts.upper is not None:
        yield at_most("outside the budget", parts.upper.outside, memory.gpu_total_bytes - budget)
    if parts.pool is not None:
        yield same("kv_block_bytes", memory.kv_block_bytes, parts.pool.block_bytes[worst])
    if None not in (parts.weights, parts.beside, parts.central, parts.upper, parts.pool):
        yield from _pool_checks(subject, parts, budget)


def _stated(subject: Subject) -> Iterator[Check]:
    """What is not in `flags` is 1, and what is there is what the plan says."""
    plan = subject.plan
    for flag, size in (
        ("tensor-parallel-size", plan.tensor_parallel_size), ("pipeline-parallel-size", plan.pipeline_parallel_size),
        ("data-parallel-size", plan.data_parallel_size),
        ("decode-context-parallel-size", plan.decode_context_parallel_size),
    ):  # fmt: skip
        yield same(f"--{flag}", int(plan.flags.get(flag, 1)), size)
    yield same("--max-model-len", subject.number("max-model-len"), int(subject.request["target_context"]))


def _shown_stage(subject: Subject) -> int:
    """The stage whose figures the plan shows: the one with the fewest blocks."""
    ranks = subject.plan.memory.ranks
    if not ranks:
        return 0
    available = [rank.kv_cache_bytes for rank in ranks]
    return min(range(len(ranks)), key=lambda at: (ranks[at].num_gpu_blocks, available[at]))


def _left(subject: Subject, parts: Parts, used: InUse, budget: int) -> tuple[int, ...]:
    """Bytes left for the cache per stage."""
    if parts.weights is None or parts.beside is None:
        raise RuntimeError("weights were not counted")
    graphs = used.graphs if graphs_counted(subject) else 0
    shared = used.non_torch + graphs
    return tuple(
        budget - weights - beside - activation - shared
        for weights, beside, activation in zip(parts.weights.bytes, parts.beside, used.activation, strict=True)
    )


def _blocks(left: tuple[int, ...], pool: Pool) -> int:
    counts = [max(0, free // block) for free, block in zip(left, pool.block_bytes, strict=True) if block]
    return min(counts, default=NO_STAGE)


def _pool_checks(subject: Subject, parts: Parts, budget: int) -> Iterator[Check]:
    memory, request = subject.plan.memory, subject.request
    if parts.pool is None or parts.central is None or parts.upper is None or parts.weights is None:
        return
    pool, worst = parts.pool, _shown_stage(subject)
    slack = parts.weights.slack[worst]
    left = _left(subject, parts, parts.central, budget)
    yield same("kv_cache_bytes", memory.kv_cache_bytes, max(0, left[worst]), slack)
    block = max(1, pool.block_bytes[worst])
    yield same("num_gpu_blocks", memory.num_gpu_blocks, _blocks(left, pool), slack // block + 1)
    length, width = subject.number("max-model-len"), subject.number("max-num-batched-tokens")
    running = max(0, memory.num_gpu_blocks - pool.null_blocks) / max(1, pool.decoding(length))
    yield same("running_concurrency", memory.running_concurrency, running, 1e-9 * running)
    starting = max(0, memory.num_gpu_blocks - pool.null_blocks) / max(1, pool.starting(length, width))
    yield same("admission_concurrency", memory.admission_concurrency, starting, 1e-9 * starting)
    sure = _blocks(_left(subject, parts, parts.upper, budget), pool)
    printed = memory.num_gpu_blocks / max(1, pool.longest(length, width))
    if subject.engine.printed_tokens == "blocks_times_size":
        printed = memory.num_gpu_blocks * pool.block_size / length
    yield same("max_concurrency", memory.max_concurrency, printed, 1e-9 * printed)
    start = pool.to_start(length, width, subject.engine.kv_fit_check)
    if start is not None:
        yield at_most("blocks of one request", start, sure)
    sequences = subject.number("max-num-seqs")
    if sized_by_lengths(request) and None in (request.get("input_tokens"), request.get("output_tokens")):
        return
    yield at_most("blocks of the sequences admitted", _needed(subject, pool, request, sequences), sure)


def _needed(subject: Subject, pool: Pool, request: dict[str, Any], sequences: int) -> int:
    """Blocks of the sequences admitted: full or mean contexts, or typical lengths and one full context beside them."""
    width, context = subject.number("max-num-batched-tokens"), int(request["target_context"])
    full = pool.for_sequences(sequences, context, width)
    if not sized_by_lengths(request):
        return pool.for_sequences(sequences, int(request.get("mean_context") or context), width)
    each = min(context, typical_tokens(request, sequences) + pool.block_size // 2)
    return min(full, pool.for_sequences(sequences, each, width) + pool.decoding(context))


def sized_by_lengths(request: dict[str, Any]) -> bool:
    """Whether the pool is sized by typical lengths: they are stated, or it is asked for."""
    assumed = {row["field"] for row in request.get("assumed", ()) if not row["why"].startswith("workload ")}
    stated = any(name not in assumed for name in ("input_tokens", "output_tokens"))
    sizing = request.get("kv_sizing") or ("typical" if stated else "full")
    return sizing == "typical" and int(request.get("mean_context") or 0) in (0, int(request["target_context"]))


def typical_tokens(request: dict[str, Any], sequences: int) -> int:
    """Tokens that each of so many sequences holds with the confidence asked, met in mid-life (renewal theory).

    With exponential lengths: mean I + O, variance I^2 + O^2.
    """
    prompt, answer = float(request["input_tokens"]), float(request["output_tokens"])
    deviation = sqrt((LENGTH_VARIATION * prompt) ** 2 + answer**2 * (2 * 3 / 3 - 1))
    z = max(0.0, NormalDist().inv_cdf(float(request.get("confidence", 0.9))))
    return ceil(prompt + answer * (1 + LENGTH_VARIATION**2) / 2 + z * deviation / sqrt(max(1, sequences)))
