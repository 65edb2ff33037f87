"""The searches behind a workload's columns: which questions about one replica are asked, and on which SKUs."""

import math
import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

from vllm_opt.constraints.speed.host_link import link_bytes_per_s
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.procurement.bar_columns import MOST_BARS, BarSearch
from vllm_opt.optimizer.procurement.columns import ColumnSearch, PercentileTarget
from vllm_opt.optimizer.procurement.columns import Kind as PlanClass
from vllm_opt.optimizer.procurement.request import FleetRequest, WorkloadDemand
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting, resolve_solve
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile

Kind = tuple[int, tuple[int, int]]
"""Maximum context, and the request for which a server is tuned."""
EVERY_PLAN_S, EVERY_PLAN_SHARE = 15.0, 0.25
"""seconds, and share of the time limit, that every plan for a short histogram may take"""
PROMISING = 8
"""classes that are closed together when the cheapest are looked for"""
SHORT_CONTEXTS = (Fraction(1, 2),)
"""besides servers for every length, servers for the shorter part of the traffic are tried: the lengths up to this
quantile of the requests"""


def searches_of(
    request: FleetRequest,
    workload: WorkloadDemand,
    gpus: tuple[PricedGpu, ...],
    catalog: Catalog,
    shared: SharedLayouts,
) -> tuple[ColumnSearch | BarSearch, ...]:
    """The plans of one replica on every SKU, one search per kind of server, none priced yet.

    A histogram of a few bars has every plan, where the time limit is enough for it; else it has tuned ones.
    """
    if 1 < len(workload.buckets) <= MOST_BARS:
        by_bar = _by_bar(request, workload, gpus, catalog, shared)
        if sum(search.seconds for search in by_bar) <= min(EVERY_PLAN_S, EVERY_PLAN_SHARE * request.time_limit):
            return by_bar
    searches = []
    spares = request.resilience.spare_replicas if workload.spare_replicas is None else workload.spare_replicas
    target = percentile_target(request, workload)
    sharing = request.inventory.gpu_sharing and not workload.lengths and not spares and target is None
    for kind in server_kinds(workload):
        setting = _setting(request, workload, kind, gpus, catalog)
        by_rate = workload.concurrency is None
        searches.append(ColumnSearch(setting, by_rate=by_rate, sharing=sharing, shared=shared, target=target))
    return tuple(searches)


def _by_bar(
    request: FleetRequest,
    workload: WorkloadDemand,
    gpus: tuple[PricedGpu, ...],
    catalog: Catalog,
    shared: SharedLayouts,
) -> tuple[BarSearch, ...]:
    """One search per length of the histogram; the longest bar has the target context."""
    longest = max(sum(bar) for bar in workload.buckets)
    limits, searches = (workload.max_ttft_ms, workload.max_tpot_ms), []
    for length in sorted({sum(bar) for bar in workload.buckets}):
        context, settings = workload.target_context if length == longest else length, {}
        for number, bar in enumerate(workload.buckets):
            if sum(bar) <= length:
                settings[number] = _setting(request, workload, (context, bar), gpus, catalog)
        searches.append(BarSearch(settings, workload.buckets, limits, shared))
    return tuple(searches)


def _setting(
    request: FleetRequest, workload: WorkloadDemand, kind: Kind, gpus: tuple[PricedGpu, ...], catalog: Catalog
) -> SolveSetting:
    if workload.offload_hit_share:
        gpus = tuple(item for item in gpus if link_bytes_per_s(item.gpu) is not None) or gpus
    try:
        asked = solve_request(request, workload, *kind, gpus[0].gpu.id)
        setting = resolve_solve(asked, catalog)
        most = setting.targets.model_copy(update={"max_gpus": request.inventory.max_gpus_per_replica})
        return replace(setting, gpus=gpus, targets=most)
    except (InvalidRequest, UnknownProfile) as error:
        raise type(error)(f"workload '{workload.name}': {error}") from None


def solve_request(
    request: FleetRequest, workload: WorkloadDemand, context: int, bucket: tuple[int, int], gpu: str
) -> SolveRequest:
    """The question about one replica of one workload; SKUs and their prices are put in afterwards."""
    asked: dict[str, Any] = {
        "model": workload.model, "target_context": context, "concurrency": "max", "objective": "throughput",
        "input_tokens": bucket[0],
        "output_tokens": bucket[1], "max_ttft_ms": workload.max_ttft_ms, "max_tpot_ms": workload.max_tpot_ms,
        "prefix_hit_share": workload.prefix_hit_share, "kv_offloading_size": workload.kv_offloading_size,
        "offload_hit_share": workload.offload_hit_share, "quantization": workload.quantization,
        "kv_cache_dtype": workload.kv_cache_dtype, "confidence": request.confidence,
        "max_gpus": request.inventory.counted_gpus, "vllm_version": request.vllm_version,
        "internode_gbps": request.inventory.internode_gbps,
        "hypothetical_checkpoints": request.hypothetical_checkpoints, "default_limits": False,
        "kv_sizing": "typical" if workload.output_tokens and not workload.lengths else "full",
        "prices": request.money.prices, "gpu_file": request.gpu_file, "gpu": gpu, "price": {gpu: 1.0},
    }  # fmt: skip
    if workload.min_quality is not None:
        asked["min_quality"] = workload.min_quality
    return SolveRequest(**asked)


def percentile_target(request: FleetRequest, workload: WorkloadDemand) -> PercentileTarget | None:
    """At which percentile over requests the limits of a workload hold; None where they hold for means."""
    if workload.ttft_percentile is None and workload.tpot_percentile is None:
        return None
    return PercentileTarget(
        workload.max_ttft_ms, workload.max_tpot_ms, workload.ttft_percentile, workload.tpot_percentile,
        workload.burstiness, request.router_imbalance, request.utilization_cap,
    )  # fmt: skip


def server_kinds(workload: WorkloadDemand) -> tuple[Kind, ...]:
    """Maximum context and typical request of the servers that are tried.

    A histogram is tried with servers tuned for its average and for its longest request, and with servers for its
    shorter half alone, which hold many more sequences.
    """
    if not workload.lengths:
        return ((workload.target_context, workload.buckets[0]),)
    ordered = sorted(zip(workload.buckets, workload.shares, strict=True), key=lambda item: sum(item[0]))
    kinds = [(workload.target_context, _mean(ordered)), (workload.target_context, ordered[-1][0])]
    for quantile in SHORT_CONTEXTS:
        short: list[tuple[tuple[int, int], Fraction]] = []
        seen = Fraction(0)
        for item in ordered:
            if short and seen >= quantile:
                break
            short.append(item)
            seen += item[1]
        context = sum(short[-1][0])
        if context < workload.target_context:
            kinds += [(context, _mean(short)), (context, short[-1][0])]
    return tuple(dict.fromkeys(kinds))


def _mean(items: list[tuple[tuple[int, int], Fraction]]) -> tuple[int, int]:
    total = sum(share for _, share in items)
    return (
        max(1, round(sum(bucket[0] * share for bucket, share in items) / total)),
        max(1, round(sum(bucket[1] * share for bucket, share in items) / total)),
    )


def close_within(
    search: ColumnSearch, prices: dict[str, Fraction], window: float, most: Fraction | float, deadline: float
) -> None:
    """Close classes by what a unit of capacity costs at their ceilings, until the next is far above the best.

    Nothing serves more than the `most` that is asked for. At least one round is made, whatever the time.
    """

    def ratio(kind: PlanClass, capacity: int) -> float:
        return float(prices[kind.gpu] * kind.gpus / kind.cut) / max(1.0, min(float(capacity), float(most)))

    ceilings = {kind: ceiling for kind, ceiling in search.open.items() if kind.gpu in prices}
    ranked = sorted(ceilings, key=lambda kind: (ratio(kind, ceilings[kind]), kind))
    best = math.inf
    while ranked and ratio(ranked[0], ceilings[ranked[0]]) <= best * window:
        now, ranked = ranked[:PROMISING], ranked[PROMISING:]
        search.close(now, deadline)
        best = min([best, *(ratio(kind, search.plans[kind].capacity[0]) for kind in now if kind in search.plans)])
        if time.monotonic() > deadline and best < math.inf:
            return
