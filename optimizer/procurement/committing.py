"""From a demand file with a profile or scenarios to what to sign and the autoscaler's bounds."""

import time
from fractions import Fraction

import numpy as np

from vllm_opt.optimizer.planning.plan import make_plan
from vllm_opt.optimizer.procurement.columns import MICRO
from vllm_opt.optimizer.procurement.commitment import (
    Choice,
    CommitmentOutcome,
    CommitmentProblem,
    Tier,
    commit,
    tier_counts,
)
from vllm_opt.optimizer.procurement.commitment_answer import Commitment, HourBounds, ScenarioCost, Signed
from vllm_opt.optimizer.procurement.offers import HOURS_PER_MONTH, Offer
from vllm_opt.optimizer.procurement.problem import Procurement, resolve_fleet
from vllm_opt.optimizer.procurement.request import FleetRequest, WorkloadDemand
from vllm_opt.optimizer.procurement.scenarios import HOURS_PER_WEEK, GpuRates, Scenario, whole_week
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.offers import OfferTerms
from vllm_opt.profiles.errors import InvalidRequest

MOST_SKUS = 6
"""SKUs that are compared, those with the cheapest capacity on average"""


def asks_for_commitment(request: FleetRequest) -> bool:
    """Whether a request says how demand changes."""
    return bool(request.scenarios) or any(workload.profile for workload in request.workloads)


def commitment_of(request: FleetRequest, catalog: Catalog, end: float) -> tuple[Commitment | None, tuple[str, ...]]:
    """The best commitment, and what to say about it.

    Raises:
        InvalidRequest: a workload whose lengths are a histogram, whose hours cannot be counted in replicas.
        UnknownProfile: a model that a scenario swaps in and the catalogue does not hold.
    """
    histogram = next((w.name for w in request.workloads if w.lengths), None)
    if histogram is not None:
        raise InvalidRequest(f"workload '{histogram}' has lengths; with a profile or scenarios give typical lengths")
    scenarios = request.scenarios or (Scenario(name="as stated"),)
    wide = request.replaced(
        workloads=[w.model_dump(exclude_unset=True) for w in _all_workloads(request)], scenarios=(), pooling=False,
    )  # fmt: skip
    asked = resolve_fleet(wide, catalog, time.monotonic() + 0.6 * max(0.0, end - time.monotonic()))
    problem = _problem(request, scenarios, asked, catalog)
    outcome = commit(problem, end)
    if outcome is None:
        return None, ("no commitment: some workload has no plan on any SKU in some scenario",)
    notes = (
        "commitments are counted in GPUs, not in whole machines; each workload runs on one SKU in all scenarios",
        f"rates: {_rates_in_words(problem)}",
    )
    return _answer(request, scenarios, asked, problem, outcome), notes


def _all_workloads(request: FleetRequest) -> list[WorkloadDemand]:
    """The workloads, and one more for each model that a scenario swaps in."""
    found = {workload.name: workload.model_copy(update={"profile": ()}) for workload in request.workloads}
    for scenario in request.scenarios:
        for name, model in scenario.swap.items():
            workload = next(w for w in request.workloads if w.name == name)
            new = _swapped(name, model)
            found[new] = workload.model_copy(update={"name": new, "model": model, "profile": (), "quantization": ()})
    return list(found.values())


def _swapped(workload: str, model: str) -> str:
    return f"{workload} as {model}"


def _problem(
    request: FleetRequest, scenarios: tuple[Scenario, ...], asked: Procurement, catalog: Catalog
) -> CommitmentProblem:
    columns = [column for column in asked.pool.over_closed(asked.base).columns if column.nodes == 1]
    best: dict[tuple[str, str], Choice] = {}
    for column in columns:
        choice = Choice(column.gpu, column.gpus, float(column.capacity[0]), column.name)
        known = best.get((column.workload, column.gpu))
        if choice.capacity and (known is None or choice.gpus / choice.capacity < known.gpus / known.capacity):
            best[column.workload, column.gpu] = choice
    rates = _rates(request, asked.offers, sorted({gpu for _, gpu in best}), catalog)
    gpus = _cheapest(best, rates)
    weights = np.array([scenario.probability for scenario in scenarios], dtype=float)
    demand = np.zeros((len(request.workloads), len(scenarios), HOURS_PER_WEEK))
    choices = []
    for w, workload in enumerate(request.workloads):
        scale = MICRO if workload.requests_per_s is not None else 1
        amount = Fraction(str(workload.requests_per_s or workload.concurrency)) * Fraction(str(1 + request.headroom))
        week = np.array(whole_week(workload.profile))
        mine = []
        for o, scenario in enumerate(scenarios):
            demand[w, o] = float(amount * scale) * scenario.growth_of(workload.name) * week
            model = scenario.swap.get(workload.name)
            name = workload.name if model is None else _swapped(workload.name, model)
            mine.append(tuple(best[name, gpu] for gpu in gpus if (name, gpu) in best))
        choices.append(tuple(mine))
    share = request.commitment.spot_share
    recourse = np.zeros((len(gpus), len(scenarios)))
    for g, gpu in enumerate(gpus):
        rate = rates[gpu]
        spot = rate.spot if rate.spot is not None else rate.on_demand
        beyond = (1 - share) * (rate.on_demand or 0.0) + share * (spot or 0.0)
        recourse[g] = [beyond * scenario.price_of(gpu) for scenario in scenarios]
    return CommitmentProblem(
        tuple(workload.name for workload in request.workloads), demand, weights / weights.sum(), tuple(choices), gpus,
        {gpu: _tiers(request, rates[gpu], asked.offers, gpu) for gpu in gpus}, recourse, request.service_level,
    )  # fmt: skip


def _rates(request: FleetRequest, offers: tuple[Offer, ...], gpus: list[str], catalog: Catalog) -> dict[str, GpuRates]:
    """What a GPU-hour costs on demand, reserved and on spot: as stated, else the cheapest of the price list."""
    stated = {catalog.gpu(name).id: rates for name, rates in request.commitment.rates.items()}
    found = {}
    for gpu in gpus:
        given = stated.get(gpu, GpuRates())
        rented = [offer.usd_per_gpu_hour for offer in offers if offer.node.gpu == gpu and offer.node.kind == "rent"]
        demand = given.on_demand or min(rented, default=None) or _listed(request, catalog, gpu, "on-demand")
        if demand is None:
            continue
        found[gpu] = GpuRates(
            on_demand=demand,
            reserved=given.reserved or _listed(request, catalog, gpu, request.commitment.billing),
            spot=given.spot or _listed(request, catalog, gpu, "spot"),
        )
    return found


def _listed(request: FleetRequest, catalog: Catalog, gpu: str, billing: str) -> float | None:
    money = request.money
    rows = catalog.offers_of(catalog.gpu(gpu), OfferTerms(money.provider, (billing,), money.region))
    return min((row.usd_per_hour / (1 if row.up_to_gpus else row.gpus) for row in rows), default=None)


def _tiers(request: FleetRequest, rates: GpuRates, offers: tuple[Offer, ...], gpu: str) -> tuple[Tier, ...]:
    """Ways to commit, cheapest first; only what is cheaper than paying on demand in every hour can matter."""
    tiers = [
        Tier("owned" if o.node.kind == "stock" else "bought", o.usd_per_gpu_hour,
             o.node.max_units * o.node.unit_gpus if o.node.max_units is not None else None)
        for o in offers if o.node.gpu == gpu and o.node.kind in ("stock", "buy")
    ]  # fmt: skip
    if rates.reserved is not None:
        tiers.append(Tier(request.commitment.billing, rates.reserved, None))
    return tuple(sorted(tiers, key=lambda tier: (tier.usd_per_gpu_hour, tier.kind)))


def _cheapest(best: dict[tuple[str, str], Choice], rates: dict[str, GpuRates]) -> tuple[str, ...]:
    """SKUs with a rate, those first whose capacity costs the least relative to the best SKU of each workload."""
    costs: dict[str, dict[str, float]] = {}
    for (workload, gpu), choice in best.items():
        if gpu in rates and rates[gpu].on_demand:
            costs.setdefault(workload, {})[gpu] = (rates[gpu].on_demand or 0.0) * choice.gpus / choice.capacity
    ranks: dict[str, list[float]] = {}
    for mine in costs.values():
        for gpu, cost in mine.items():
            ranks.setdefault(gpu, []).append(cost / min(mine.values()))
    order = sorted(ranks, key=lambda gpu: (-len(ranks[gpu]), sum(ranks[gpu]) / len(ranks[gpu]), gpu))
    return tuple(order[:MOST_SKUS])


def _answer(
    request: FleetRequest, scenarios: tuple[Scenario, ...], asked: Procurement, problem: CommitmentProblem,
    outcome: CommitmentOutcome,
) -> Commitment:  # fmt: skip
    signed = [
        Signed(gpu=gpu, kind=tier.kind, gpus=count, usd_per_gpu_hour=round(tier.usd_per_gpu_hour, 4))
        for gpu, total in sorted(outcome.committed.items())
        for tier, count in tier_counts(problem.tiers.get(gpu, ()), total)
    ]
    fixed = sum(item.gpus * item.usd_per_gpu_hour for item in signed)
    weight = np.repeat(problem.probability[:, None] / HOURS_PER_WEEK, HOURS_PER_WEEK, axis=1)
    beyond, hours, everything = np.zeros(weight.shape), 0.0, 0.0
    for gpu, needed in outcome.used.items():
        price = problem.recourse[problem.gpus.index(gpu)][:, None]
        extra = np.where(outcome.missed, 0, np.maximum(0, needed - outcome.committed[gpu]))
        beyond += price * extra
        hours += float((extra * weight).sum()) * HOURS_PER_WEEK
        everything += float((price * needed * weight).sum())
    return Commitment(
        signed=tuple(signed),
        workloads=tuple(
            _bounds(request, scenarios, asked, problem, outcome, w) for w in range(len(problem.workloads))
        ),
        scenarios=tuple(
            ScenarioCost(
                name=scenario.name, probability=round(float(problem.probability[o]), 6),
                usd_per_month=round((fixed + float(beyond[o].mean())) * HOURS_PER_MONTH, 2),
                peak_gpus=int(sum(outcome.used.values())[o].max()),  # type: ignore[index]
                missed_hours=int(outcome.missed[o].sum()),
            )
            for o, scenario in enumerate(scenarios)
        ),
        usd_per_month=round(outcome.usd_per_hour * HOURS_PER_MONTH, 2),
        committed_usd_per_month=round(fixed * HOURS_PER_MONTH, 2),
        all_on_demand_usd_per_month=round(everything * HOURS_PER_MONTH, 2),
        on_demand_gpu_hours_per_week=round(hours, 2),
        missed_hours=round(float((outcome.missed * weight).sum()), 6),
        bound_usd_per_month=round(outcome.bound * HOURS_PER_MONTH, 2),
        gap=round(outcome.gap, 6),
        assignments=outcome.assignments,
    )  # fmt: skip


def _bounds(
    request: FleetRequest, scenarios: tuple[Scenario, ...], asked: Procurement, problem: CommitmentProblem,
    outcome: CommitmentOutcome, w: int,
) -> HourBounds:  # fmt: skip
    gpu, workload = outcome.assignment[w], request.workloads[w]
    plain = next((o for o, s in enumerate(scenarios) if workload.name not in s.swap), 0)
    choice = next(each for each in problem.choices[w][plain] if each.gpu == gpu)
    source = asked.pool.plans[choice.column]
    counts = outcome.replicas[w]
    served = np.where(outcome.missed, 0, counts)
    return HourBounds(
        workload=workload.name, gpu=gpu, gpus_per_replica=choice.gpus, plan=make_plan(source.setting, source.choice(1)),
        least=tuple(int(n) for n in counts.min(axis=0)), most=tuple(int(n) for n in served.max(axis=0)),
        swapped={s.name: s.swap[workload.name] for s in scenarios if workload.name in s.swap},
    )  # fmt: skip


def _rates_in_words(problem: CommitmentProblem) -> str:
    """USD per GPU-hour by SKU."""
    said = []
    for g, gpu in enumerate(problem.gpus):
        committed = ", ".join(f"{tier.kind} ${tier.usd_per_gpu_hour:.2f}" for tier in problem.tiers.get(gpu, ()))
        said.append(f"{gpu} ${float(problem.recourse[g].min()):.2f} beyond" + (f", {committed}" if committed else ""))
    return "; ".join(said)
