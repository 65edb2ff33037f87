"""Workloads of one model that share replicas: together they are one histogram of lengths, under the strictest limits.

A fraction of a replica that one workload leaves idle then serves another. Workloads are pooled where a server may serve
them all: the same model, weights, KV cache, shared prefix, priority and spares, and traffic stated as rates. Longer
servers and stricter limits may cost more than sharing saves: a pool also has the replicas that each of its workloads
would have alone, which serve nothing else.
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
                workload.prefix_hit_share, workload.kv_offloading_size, workload.offload_hit_share,
                workload.spare_replicas, workload.priority, _of_percentiles(workload),
            )  # fmt: skip
            groups.setdefault(key, []).append(workload)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _of_percentiles(workload: WorkloadDemand) -> tuple[object, ...]:
    """Limits at percentiles hold for one length, so that only workloads of the same length and limits share them."""
    asked = workload.ttft_percentile, workload.tpot_percentile
    return () if asked == (None, None) else (*asked, workload.burstiness, *_keys(workload))


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


def members_of(request: FleetRequest) -> dict[str, tuple[tuple[WorkloadDemand, tuple[int, ...]], ...]]:
    """By the name of each pool: its workloads, each with the numbers of its bars in the pool's histogram."""
    found = {}
    for group in pools_of(request):
        order = list(_bars_of(group))
        found[name_of(group)] = tuple(
            (workload, tuple(order.index(key) for key in _keys(workload))) for workload in group
        )
    return found


def _keys(workload: WorkloadDemand) -> list[tuple[object, ...]]:
    """What tells the bars of a workload from those of others: requests that may always share a replica are one bar."""
    alike = workload.target_context, workload.max_ttft_ms, workload.max_tpot_ms
    return [(bucket, *alike) for bucket in workload.buckets]


def _bars_of(group: Group) -> dict[tuple[object, ...], tuple[tuple[int, int], Fraction]]:
    """Lengths and peak rate of every bar of a pool."""
    bars: dict[tuple[object, ...], tuple[tuple[int, int], Fraction]] = {}
    for workload in group:
        peak = Fraction(str(workload.requests_per_s)) * Fraction(str(workload.peak_factor))
        for key, bucket, share in zip(_keys(workload), workload.buckets, workload.shares, strict=True):
            known = bars.get(key, (bucket, Fraction(0)))[1]
            bars[key] = bucket, known + peak * share
    return bars


def _together(group: Group) -> WorkloadDemand:
    """One workload with the traffic of all of them: rates and peaks add up, the strictest limits hold."""
    rates = [Fraction(str(workload.requests_per_s)) for workload in group]
    bars = _bars_of(group).values()
    lengths = tuple(
        LengthBucket(input_tokens=bucket[0], output_tokens=bucket[1], share=float(amount)) for bucket, amount in bars
    )
    first, total = group[0], sum(rates, Fraction(0))
    peak = sum((amount for _, amount in bars), Fraction(0))
    single = (lengths[0].input_tokens, lengths[0].output_tokens) if len(lengths) == 1 else (None, None)
    return first.model_copy(
        update={
            "name": name_of(group),
            "requests_per_s": float(total),
            "peak_factor": float(peak / total),
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
