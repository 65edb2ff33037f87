"""From a request to the fleet problem: plans of every workload become columns, demand becomes whole numbers."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.fleet.problem import (
    SLOTS_PER_GPU,
    FleetColumn,
    FleetDemand,
    FleetLimits,
    FleetProblem,
    without_dominated,
)
from vllm_opt.optimizer.procurement.buckets import bucket_capacities
from vllm_opt.optimizer.procurement.columns import ColumnSearch, ReplicaPlan
from vllm_opt.optimizer.procurement.offers import HOURS_PER_MONTH, Market, Offer
from vllm_opt.optimizer.procurement.request import FleetRequest, WorkloadDemand
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting, resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import CannotBeSized, InvalidRequest, UnknownProfile

MICRO = 1_000_000
SHORT_CONTEXTS = (Fraction(1, 2),)
"""besides servers for every length, servers for the shorter part of the traffic are tried: the lengths up to this
quantile of the requests"""


@dataclass(frozen=True)
class ColumnPlan:
    """A column and the plan behind it."""

    column: FleetColumn
    plan: ReplicaPlan


@dataclass(frozen=True)
class Procurement:
    """A resolved fleet request."""

    request: FleetRequest
    offers: tuple[Offer, ...]
    problem: FleetProblem
    plans: dict[str, ReplicaPlan]
    """column name -> plan"""
    dropped: dict[str, dict[str, Counter[str]]]
    """workload -> SKU -> rule -> plans that it ruled out"""
    rent_or_buy: dict[str, tuple[Offer, Offer]]
    """SKU -> its cheapest rent and its purchase, where both have a price, whether or not the request allows both"""
    considered: int
    notes: tuple[str, ...]


def resolve_fleet(request: FleetRequest, catalog: Catalog) -> Procurement:
    """Find every plan, price and limit.

    Raises:
        InvalidRequest: a value that cannot be understood, or nothing to choose from.
        UnknownProfile: a name that the catalogue does not hold.
    """
    market = Market(request, catalog)
    offers = market.offers()
    gpus = gpus_on_offer(offers, catalog)
    found: list[ColumnPlan] = []
    dropped: dict[str, dict[str, Counter[str]]] = {}
    notes: list[str] = list(market.notes)
    known: dict[str, tuple[list[ReplicaPlan], dict[str, Counter[str]]]] = {}
    for workload in request.workloads:
        key = workload.model_dump_json(exclude={"name", "requests_per_s", "concurrency", "peak_factor", "priority",
                                                }) + str(workload.concurrency is None)  # fmt: skip
        if key not in known:
            try:
                known[key] = workload_plans(request, workload, gpus, catalog)
            except CannotBeSized as error:
                known[key] = [], {gpus[0].gpu.id: Counter({"a model that cannot be sized": 1})}
                notes.append(str(error))
        plans, dropped[workload.name] = known[key]
        found += columns_of(workload, plans)
        notes += [note for plan in plans[:1] for note in plan.setting.notes]
    columns = without_dominated(tuple(item.column for item in found))
    problem = FleetProblem(
        demands=tuple(demand_of(request, workload) for workload in request.workloads),
        columns=columns,
        offers=tuple(offer.node for offer in offers),
        limits=limits_of(request, market),
        objectives=request.objective,
        stock_first=request.inventory.stock_first,
        zones=request.resilience.zones,
    )
    by_name = {item.column.name: item.plan for item in found}
    plans_kept = {column.name: by_name[column.name] for column in columns}
    skus = dict.fromkeys(offer.node.gpu for offer in offers)
    either = {gpu: pair for gpu in skus if (pair := market.either(gpu)) is not None}
    return Procurement(
        request, offers, problem, plans_kept, dropped, either, len(found), tuple(dict.fromkeys(notes))
    )  # fmt: skip


def gpus_on_offer(offers: tuple[Offer, ...], catalog: Catalog) -> tuple[PricedGpu, ...]:
    """Every SKU on offer, with nodes as large as the largest offer; what is paid stands in the orders, not in plans."""
    result = []
    for gpu_id in dict.fromkeys(offer.node.gpu for offer in offers):
        size = max(offer.node.gpus_per_node for offer in offers if offer.node.gpu == gpu_id)
        result.append(PricedGpu(catalog.gpu(gpu_id).model_copy(update={"gpus_per_node": size})))
    return tuple(result)


def solve_request(
    request: FleetRequest, workload: WorkloadDemand, context: int, bucket: tuple[int, int], gpu: str
) -> SolveRequest:
    """The question about one replica of one workload; SKUs and their prices are put in afterwards."""
    asked: dict[str, Any] = {
        "model": workload.model, "target_context": context, "concurrency": "max", "input_tokens": bucket[0],
        "output_tokens": bucket[1], "max_ttft_ms": workload.max_ttft_ms, "max_tpot_ms": workload.max_tpot_ms,
        "prefix_hit_share": workload.prefix_hit_share, "quantization": workload.quantization,
        "kv_cache_dtype": workload.kv_cache_dtype, "confidence": request.confidence,
        "max_gpus": request.inventory.max_gpus_per_replica, "vllm_version": request.vllm_version,
        "internode_gbps": request.inventory.internode_gbps,
        "hypothetical_checkpoints": request.hypothetical_checkpoints, "default_limits": False, "kv_sizing": "full",
        "prices": request.money.prices, "gpu_file": request.gpu_file, "gpu": gpu, "price": {gpu: 1.0},
    }  # fmt: skip
    if workload.min_quality is not None:
        asked["min_quality"] = workload.min_quality
    return SolveRequest(**asked)


def workload_plans(
    request: FleetRequest, workload: WorkloadDemand, gpus: tuple[PricedGpu, ...], catalog: Catalog
) -> tuple[list[ReplicaPlan], dict[str, Counter[str]]]:
    """Plans of one replica on every SKU, and what ruled the others out."""
    plans: list[ReplicaPlan] = []
    dropped: dict[str, Counter[str]] = {}
    limits = workload.max_ttft_ms, workload.max_tpot_ms
    spares = request.resilience.spare_replicas if workload.spare_replicas is None else workload.spare_replicas
    sharing = request.inventory.gpu_sharing and not workload.lengths and not spares
    for context, bucket in server_kinds(workload):
        try:
            asked = solve_request(request, workload, context, bucket, gpus[0].gpu.id)
            setting = replace(resolve_solve(asked, catalog), gpus=gpus)
        except (InvalidRequest, UnknownProfile) as error:
            raise type(error)(f"workload '{workload.name}': {error}") from None
        if context > setting.model.max_model_len:
            for sku in gpus:
                dropped.setdefault(sku.gpu.id, Counter())["context_length"] += 1
            continue
        search = ColumnSearch(setting, by_rate=workload.concurrency is None, sharing=sharing)
        found = search.run()
        if workload.lengths:
            found = [replace(plan, capacity=bucket_capacities(plan, workload.buckets, limits)) for plan in found]
        plans += found
        for gpu, rules in search.dropped.items():
            dropped.setdefault(gpu, Counter()).update(rules)
    return plans, dropped


def server_kinds(workload: WorkloadDemand) -> tuple[tuple[int, tuple[int, int]], ...]:
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


def columns_of(workload: WorkloadDemand, plans: list[ReplicaPlan]) -> list[ColumnPlan]:
    """Name the plans of one workload as columns."""
    result = []
    for number, plan in enumerate(plans, 1):
        node = plan.candidate.unit.facts.sku.gpu.gpus_per_node
        nodes = max(1, plan.shape.gpus // node)
        slots = SLOTS_PER_GPU // plan.cut if plan.cut > 1 else SLOTS_PER_GPU * plan.shape.gpus // nodes
        part = f"1/{plan.cut}" if plan.cut > 1 else str(plan.shape.gpus)
        name = f"{workload.name}@{plan.gpu}x{part}#{number}"
        result.append(ColumnPlan(FleetColumn(name, workload.name, plan.gpu, slots, plan.capacity, nodes), plan))
    return result


def peak_of(request: FleetRequest, workload: WorkloadDemand) -> Fraction:
    """Peak demand with headroom: requests per second, or sequences."""
    rate = workload.requests_per_s
    amount = Fraction(workload.concurrency or 0) if rate is None else Fraction(str(rate))
    return amount * Fraction(str(workload.peak_factor)) * (1 + Fraction(str(request.headroom)))


def demand_of(request: FleetRequest, workload: WorkloadDemand) -> FleetDemand:
    """Demand in whole units, rounded up: millionths of a request per second by bucket, or sequences."""
    peak, scale = peak_of(request, workload), 1 if workload.requests_per_s is None else MICRO
    spares = workload.spare_replicas
    return FleetDemand(
        workload=workload.name,
        units=tuple(max(1, math.ceil(peak * share * scale)) for share in workload.shares),
        priority=workload.priority,
        spare_replicas=request.resilience.spare_replicas if spares is None else spares,
    )


def limits_of(request: FleetRequest, market: Market) -> FleetLimits:
    """Limits in whole numbers, rounded down."""
    limits = request.limits

    def whole(value: float | None, factor: Fraction | int) -> int | None:
        return None if value is None else math.floor(Fraction(str(value)) * factor)

    return FleetLimits(
        micro_usd_per_hour=whole(limits.budget_usd_per_month, Fraction(MICRO, HOURS_PER_MONTH)),
        capex_cents=whole(limits.capex_usd, 100),
        watts=whole(limits.watts, 1),
        rack_milliunits=whole(limits.rack_units, 1000),
        gpu_kinds=limits.gpu_kinds,
        gpus=limits.gpus,
        quota_gpus=market.quota,
    )


__all__ = ["ColumnPlan", "Procurement", "SolveSetting", "peak_of", "resolve_fleet"]
