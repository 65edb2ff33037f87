"""Workloads of one model that share replicas: together they are one histogram of lengths, under the strictest limits.

A fraction of a replica that one workload leaves idle then serves another. Workloads are pooled where a server may serve
them all: the same model, weights, KV cache, shared prefix, priority and spares, and traffic stated as rates. Longer
servers and stricter limits may cost more than sharing saves, so a pooled fleet has to be cheaper to be the answer.
"""

from fractions import Fraction

from vllm_opt.optimizer.procurement.request import FleetRequest, LengthBucket, WorkloadDemand

Group = tuple[WorkloadDemand, ...]


def pools_of(request: FleetRequest) -> tuple[Group, ...]:
    """The groups of workloads that one kind of server may serve."""
    groups: dict[tuple[object, ...], list[WorkloadDemand]] = {}
    for workload in request.workloads if request.pooling and "served" not in request.objective else ():
        if workload.requests_per_s is not None:
            key = (
                workload.model, workload.quantization, workload.min_quality, workload.kv_cache_dtype,
                workload.prefix_hit_share, workload.spare_replicas, workload.priority,
            )  # fmt: skip
            groups.setdefault(key, []).append(workload)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def pooled(request: FleetRequest) -> FleetRequest | None:
    """The request with every such group as one workload; None where there is none."""
    groups = pools_of(request)
    if not groups:
        return None
    inside = {workload.name for group in groups for workload in group}
    rest = tuple(workload for workload in request.workloads if workload.name not in inside)
    return request.model_copy(update={"workloads": (*(_together(group) for group in groups), *rest)})


def name_of(group: Group) -> str:
    """What a pool is called in the answer."""
    return " + ".join(workload.name for workload in group)


def _together(group: Group) -> WorkloadDemand:
    """One workload with the traffic of all of them: rates and peaks add up, the strictest limits hold."""
    rates = [Fraction(str(workload.requests_per_s)) for workload in group]
    peaks = [rate * Fraction(str(workload.peak_factor)) for rate, workload in zip(rates, group, strict=True)]
    bars: dict[tuple[int, int], Fraction] = {}
    for peak, workload in zip(peaks, group, strict=True):
        for bucket, share in zip(workload.buckets, workload.shares, strict=True):
            bars[bucket] = bars.get(bucket, Fraction(0)) + peak * share
    lengths = tuple(
        LengthBucket(input_tokens=bucket[0], output_tokens=bucket[1], share=float(amount))
        for bucket, amount in bars.items()
    )
    first, total = group[0], sum(rates, Fraction(0))
    single = next(iter(bars)) if len(bars) == 1 else (None, None)
    return first.model_copy(
        update={
            "name": name_of(group),
            "requests_per_s": float(total),
            "peak_factor": float(sum(peaks, Fraction(0)) / total),
            "lengths": () if single[0] else lengths,
            "input_tokens": single[0],
            "output_tokens": single[1],
            "target_context": max(workload.target_context for workload in group),
            "max_ttft_ms": _strictest([workload.max_ttft_ms for workload in group]),
            "max_tpot_ms": _strictest([workload.max_tpot_ms for workload in group]),
        }
    )


def _strictest(limits: list[float | None]) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)
