"""From a request to the fleet problem: plans of every workload become columns, demand becomes whole numbers."""

import math
import time
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from vllm_opt.optimizer.fleet.outcome import FleetOptions
from vllm_opt.optimizer.fleet.problem import FleetDemand, FleetLimits, FleetProblem
from vllm_opt.optimizer.fleet.whole_units import counts_whole
from vllm_opt.optimizer.procurement.bar_columns import BarSearch, Members, WorkloadColumns, with_members
from vllm_opt.optimizer.procurement.columns import MICRO, ColumnSearch, ReplicaPlan
from vllm_opt.optimizer.procurement.offers import HOURS_PER_MONTH, Market, Offer
from vllm_opt.optimizer.procurement.pool import ClosedProblem, ColumnPool
from vllm_opt.optimizer.procurement.replica_searches import percentile_target, searches_of
from vllm_opt.optimizer.procurement.request import FleetRequest, WorkloadDemand
from vllm_opt.optimizer.space.setting import PricedGpu
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import CannotBeSized

PLANS_SHARE = 0.65
"""share of the time limit in which plans are looked for"""
FALLBACK_GAP = 0.005
"""distance from the bound that is close enough once half of the time is spent"""


@dataclass(frozen=True)
class Procurement:
    """A resolved fleet request."""

    request: FleetRequest
    offers: tuple[Offer, ...]
    base: FleetProblem
    """everything but columns"""
    pool: ColumnPool
    closed: ClosedProblem
    rent_or_buy: dict[str, tuple[Offer, Offer]]
    """SKU -> its cheapest rent and its purchase, where both have a price, whether or not the request allows both"""
    notes: tuple[str, ...]

    @property
    def problem(self) -> FleetProblem:
        """The fleet problem over the columns that can matter."""
        return self.closed.problem

    @property
    def plans(self) -> dict[str, ReplicaPlan]:
        """Column name -> plan."""
        return self.pool.plans

    @property
    def cap(self) -> Fraction:
        """Share of its capacity that a replica is asked for."""
        return self.pool.cap

    def dropped(self, workload: str) -> dict[str, Counter[str]]:
        """SKU -> rule -> servers of a workload that it ruled out."""
        return self.pool.dropped(workload)


def resolve_fleet(
    request: FleetRequest,
    catalog: Catalog,
    end: float | None = None,
    shared: dict[str, SharedLayouts] | None = None,
    members: Members | None = None,
) -> Procurement:
    """Find every plan that can matter, every price and limit; `end` of the time, by default the time limit from now.

    `shared` keeps parts of layouts by model for another request that differs in workloads alone; `members` are the
    columns of the workloads of each pool, when each is served alone.

    Raises:
        InvalidRequest: a value that cannot be understood, or nothing to choose from.
        UnknownProfile: a name that the catalogue does not hold.
    """
    left = request.time_limit if end is None else max(0.0, end - time.monotonic())
    deadline = time.monotonic() + PLANS_SHARE * left
    market = Market(request, catalog)
    offers = market.offers()
    gpus = gpus_on_offer(offers, catalog)
    notes: list[str] = list(market.notes)
    known: dict[str, tuple[ColumnSearch | BarSearch, ...]] = {}
    shared = {} if shared is None else shared
    found = []
    for workload in request.workloads:
        key = _key(workload)
        if key not in known:
            try:
                same = shared.setdefault(workload.model, SharedLayouts())
                known[key] = searches_of(request, workload, gpus, catalog, same)
            except CannotBeSized as error:
                known[key] = ()
                notes.append(str(error))
        alone = (members or {}).get(workload.name, ())
        found.append(with_members(WorkloadColumns(workload, known[key]), alone))
        notes += [note for search in known[key][:1] for note in search.setting.notes]
        told = percentile_note(request, workload)
        notes += [] if told is None else [told]
    base = FleetProblem(
        demands=tuple(demand_of(request, workload) for workload in request.workloads),
        columns=(),
        offers=tuple(offer.node for offer in offers),
        limits=limits_of(request, market),
        objectives=request.objective,
        stock_first=request.inventory.stock_first,
        zones=request.resilience.zones,
        spare_nodes=request.resilience.spare_nodes,
        tolerance_ppm=math.floor(Fraction(str(request.tolerance)) * MICRO),
    )
    pool = ColumnPool(found, Fraction(str(request.utilization_cap)), Fraction(str(request.tolerance)))
    if not (counts_whole(base) and base.objectives[0] == "cost"):
        pool.close_promising(base, deadline)
    closed = pool.closed_for(base, options_of(request), deadline)
    skus = dict.fromkeys(offer.node.gpu for offer in offers)
    either = {gpu: pair for gpu in skus if (pair := market.either(gpu)) is not None}
    return Procurement(request, offers, base, pool, closed, either, tuple(dict.fromkeys(notes)))


def _key(workload: WorkloadDemand) -> str:
    """What decides a workload's plans: workloads that differ in the rest share them."""
    rest = {"name", "requests_per_s", "concurrency", "peak_factor", "priority"}
    return workload.model_dump_json(exclude=rest) + str(workload.concurrency is None)


def options_of(request: FleetRequest) -> FleetOptions:
    """Search options: exact, unless the time is too short for it."""
    gap = request.relative_gap
    return FleetOptions(
        request.time_limit, request.workers, request.seed, relative_gap=gap or 0.0,
        fallback_gap=FALLBACK_GAP if gap is None else gap,
    )  # fmt: skip


def gpus_on_offer(offers: tuple[Offer, ...], catalog: Catalog) -> tuple[PricedGpu, ...]:
    """Every SKU on offer, with nodes as large as its largest offer, no larger than the SKU's own unless so stated.

    What is paid stands in the orders, not in the plans.
    """
    result = []
    for gpu_id in dict.fromkeys(offer.node.gpu for offer in offers):
        mine = [offer for offer in offers if offer.node.gpu == gpu_id]
        profile = catalog.gpu(gpu_id)
        stated = [offer.node.gpus_per_node for offer in mine if offer.provider in ("owned", "purchase", "user")]
        listed = [min(offer.node.gpus_per_node, profile.gpus_per_node) for offer in mine]
        result.append(PricedGpu(profile.model_copy(update={"gpus_per_node": max(stated + listed)})))
    return tuple(result)


def percentile_note(request: FleetRequest, workload: WorkloadDemand) -> str | None:
    """What a fleet sized by percentiles counts on."""
    if percentile_target(request, workload) is None:
        return None
    shares = (("TTFT", workload.ttft_percentile), ("TPOT", workload.tpot_percentile))
    words = " and ".join(f"{name} for {share:g} % of the requests" for name, share in shares if share is not None)
    return (
        f"workload '{workload.name}' is sized so that limits hold on {words} at random arrivals, with a router that "
        f"gives its busiest replica at most {request.router_imbalance:.0%} more than the average (router_imbalance)"
    )


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
