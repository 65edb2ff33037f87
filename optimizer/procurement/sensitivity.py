"""What a buyer asks next: other fleets, other prices, other demand, buying instead of renting, and who lost why."""

import time
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

from vllm_opt.optimizer.fleet.check import totals
from vllm_opt.optimizer.fleet.outcome import FleetOptions, FleetOutcome
from vllm_opt.optimizer.fleet.problem import FleetColumn, FleetDemand, FleetProblem, NodeOffer
from vllm_opt.optimizer.fleet.solver import solve_fleet
from vllm_opt.optimizer.procurement.answer import BreakEven, Comparison
from vllm_opt.optimizer.procurement.columns import MICRO
from vllm_opt.optimizer.procurement.offers import HOURS_PER_MONTH, Offer
from vllm_opt.optimizer.procurement.report import FleetReport, usd_per_month
from vllm_opt.profiles.reading.quantities import counted

CHANGES = (("-20 %", Fraction(4, 5)), ("+20 %", Fraction(6, 5)))
SECONDS = 4.0
"""for one other fleet"""
NOT_MADE = "not made: the time for comparisons was up"


def comparisons(report: FleetReport) -> dict[str, Any]:
    """Return every comparison, keyed by the answer's field; together they take at most the fleet's own time limit."""
    report.start_comparisons()
    if "served" in report.asked.request.objective:
        return {"break_even": break_even(report)}
    singles = single_gpu_fleets(report)
    return {
        "single_gpu_fleets": singles,
        "sensitivity": (*demand_changes(report), *price_changes(report)),
        "break_even": break_even(report),
        "rejected": rejected(report, {fleet.name: fleet for fleet in singles}),
    }


def _solve(problem: FleetProblem, report: FleetReport) -> tuple[FleetProblem, FleetOutcome]:
    """The best fleet of a changed problem, over the plans that can matter for it."""
    request = report.asked.request
    seconds = min(SECONDS, request.time_limit / 8)
    options = FleetOptions(seconds, 1, request.seed, relative_gap=0.005, tie_breaks=False)
    closed = report.asked.pool.closed_for(problem, options, time.monotonic() + seconds)
    return closed.problem, solve_fleet(closed.problem, options)


def _cost(problem: FleetProblem, outcome: FleetOutcome) -> int | None:
    return totals(problem, outcome.fleet)["cost"] if outcome.fleet else None


def _comparison(report: FleetReport, name: str, problem: FleetProblem, words: str) -> Comparison:
    if report.comparison_seconds_left <= 0:
        return Comparison(name=name, usd_per_month=None, relative=None, message=f"{words}: {NOT_MADE}")
    problem, outcome = _solve(problem, report)
    base = totals(report.asked.problem, report.fleet)["cost"]
    if outcome.fleet is None:
        why = "no such fleet" if outcome.status == "infeasible" else "not found in time"
        return Comparison(name=name, usd_per_month=None, relative=None, message=f"{words}: {why}")
    sums = totals(problem, outcome.fleet)
    relative = sums["cost"] / base - 1 if base else 0.0
    gap = outcome.bounds[0].gap if outcome.bounds else 0.0
    within = f", within {100 * gap:.0f} % of the optimum" if gap >= 0.01 else ""
    month = usd_per_month(sums["cost"])
    return Comparison(
        name=name, usd_per_month=month, relative=round(relative, 4), gpus=sums["gpus"], gap=round(gap, 4),
        message=f"{words}: {month:,.0f} USD per month ({100 * relative:+.0f} %), {counted(sums['gpus'], 'GPU')}, "
        + _fleet_words(problem, outcome) + within,
    )  # fmt: skip


def _fleet_words(problem: FleetProblem, outcome: FleetOutcome) -> str:
    if outcome.fleet is None:
        return "no fleet"
    counts: dict[str, int] = {}
    for (o, _), units in outcome.fleet.units.items():
        offer = problem.offers[o]
        counts[offer.gpu] = counts.get(offer.gpu, 0) + units * offer.unit_gpus
    return " + ".join(f"{count} {gpu}" for gpu, count in sorted(counts.items()))


def skus(report: FleetReport) -> tuple[str, ...]:
    """Every SKU on offer, in the order of the offers."""
    return tuple(dict.fromkeys(offer.node.gpu for offer in report.asked.offers))


def used_skus(report: FleetReport) -> tuple[str, ...]:
    """The SKUs in the fleet."""
    offers = report.asked.problem.offers
    return tuple(sorted({offers[o].gpu for (o, _), count in report.fleet.units.items() if count}))


def single_gpu_fleets(report: FleetReport) -> tuple[Comparison, ...]:
    """The best fleet on each SKU alone, where one exists; the cheapest first."""
    problem = report.asked.base
    if len(skus(report)) < 2:
        return ()
    found = []
    for gpu in skus(report):
        if {d.workload for d in problem.demands} != report.asked.pool.able_on(gpu):
            continue
        only = _only(problem, gpu)
        found.append(_comparison(report, gpu, only, f"only {gpu}"))
    return tuple(sorted(found, key=lambda one: (one.usd_per_month is None, one.usd_per_month or 0, one.name)))


def _only(problem: FleetProblem, gpu: str) -> FleetProblem:
    return problem.changed(offers=tuple(offer for offer in problem.offers if offer.gpu == gpu))


def demand_changes(report: FleetReport) -> tuple[Comparison, ...]:
    """All demand 20 % lower and higher."""
    problem = report.asked.base
    found = []
    for words, factor in CHANGES:
        demands = tuple(
            replace(d, units=tuple(-(-u * factor.numerator // factor.denominator) for u in d.units))
            for d in problem.demands
        )
        found.append(_comparison(report, f"demand {words}", problem.changed(demands=demands), f"demand {words}"))
    return tuple(found)


def price_changes(report: FleetReport) -> tuple[Comparison, ...]:
    """The price of each SKU in the fleet 20 % lower and higher, the fleet chosen anew."""
    problem = report.asked.base
    found = []
    for gpu in used_skus(report):
        for words, factor in CHANGES:
            offers = tuple(_priced(offer, factor) if offer.gpu == gpu else offer for offer in problem.offers)
            if offers != problem.offers:
                name = f"price of {gpu} {words}"
                found.append(_comparison(report, name, problem.changed(offers=offers), name))
    return tuple(found)


def _priced(offer: NodeOffer, factor: Fraction) -> NodeOffer:
    if offer.kind == "stock":
        return offer
    rent = offer.micro_usd_per_hour * factor if offer.kind == "rent" else offer.micro_usd_per_hour
    return replace(
        offer, micro_usd_per_hour=-(-rent // 1), capex_cents=-(-offer.capex_cents * factor // 1),
        amortised_micro_usd_per_hour=-(-offer.amortised_micro_usd_per_hour * factor // 1),
    )  # fmt: skip


def break_even(report: FleetReport) -> tuple[BreakEven, ...]:
    """Months after which buying a GPU of a SKU has cost less than renting it, whichever the fleet does."""
    cases = report.asked.rent_or_buy
    return tuple(_break_even(report, gpu, *cases[gpu]) for gpu in used_skus(report) if gpu in cases)


def _break_even(report: FleetReport, gpu: str, rent: Offer, buy: Offer) -> BreakEven:
    rented = rent.usd_per_gpu_hour * HOURS_PER_MONTH
    running = buy.node.micro_usd_per_hour / MICRO / buy.node.unit_gpus * HOURS_PER_MONTH
    capex = buy.node.capex_cents / 100 / buy.node.unit_gpus
    months = round(capex / (rented - running), 1) if rented > running else None
    told = f"after {months} months of use day and night" if months else "never: rent is below the cost of running it"
    cost = report.asked.request.money.purchase
    terms = (
        f"{capex:,.0f} USD per GPU with its part of the server ({buy.as_of}), power at {cost.usd_per_kwh:g} USD/kWh "
        f"and PUE {cost.pue:g}, rent {rent.usd_per_gpu_hour:g} USD per hour ({rent.as_of})"
    )
    return BreakEven(
        gpu=gpu, months=months, rent_usd_per_gpu_month=round(rented, 2), running_usd_per_gpu_month=round(running, 2),
        capex_usd_per_gpu=round(capex, 2),
        message=f"buying {gpu} beats renting it from {rent.provider} {told}: {terms}",
    )  # fmt: skip


def rejected(report: FleetReport, singles: dict[str, Comparison]) -> tuple[str, ...]:
    """One sentence per SKU that was allowed and is not used."""
    used = set(used_skus(report))
    return tuple(_reason(report, gpu, singles.get(gpu)) for gpu in skus(report) if gpu not in used)


def _reason(report: FleetReport, gpu: str, single: Comparison | None) -> str:
    problem = report.asked.problem
    able = report.asked.pool.able_on(gpu)
    unable = [d.workload for d in problem.demands if d.workload not in able]
    parts = []
    if unable:
        parts.append("cannot serve " + ", ".join(f"{name} ({_rule(report, name, gpu)})" for name in unable))
    ratios = {name: ratio for name in sorted(able) if (ratio := _ratio(report, name, gpu)) is not None}
    if ratios:
        best = min(ratios, key=lambda name: (ratios[name], name))
        least = "at least " if ratios[best] != _ratio(report, best, gpu, closed=True) else ""
        parts.append(f"serving {best} on it alone costs {least}{ratios[best]:.2f} x its present part of the bill")
    if single is not None and single.relative is not None:
        parts.append(f"alone it costs {100 * single.relative:+.0f} %")
    return f"{gpu}: " + ("; ".join(parts) or "no plan that is not replaced by a better one")


def _rule(report: FleetReport, workload: str, gpu: str) -> str:
    rules = report.asked.dropped(workload).get(gpu)
    return max(sorted(rules), key=lambda rule: rules[rule]) if rules else "no plan"


def _ratio(report: FleetReport, workload: str, gpu: str, *, closed: bool = False) -> float | None:
    """Cost of one workload in whole replicas on one SKU, spares included, against its part of the bill now.

    Plans that nobody needed to size count with their ceilings, unless `closed`.
    """
    problem = report.asked.problem
    demand = next(d for d in problem.demands if d.workload == workload)
    bill = report.bills[workload]
    columns = report.asked.pool.columns_on(workload, gpu, closed=closed)
    costs = [
        offer.cost_micro_usd_per_hour / offer.unit_gpus * column.gpus * replicas
        for column in columns
        for offer in problem.offers
        if offer.takes(column) and all(column.capacity)
        for replicas in (_replicas(demand, column) + demand.spare_replicas,)
    ]
    return min(costs) / bill if costs and bill else None


def _replicas(demand: FleetDemand, column: FleetColumn) -> int:
    loads = (Fraction(units, cap) for units, cap in zip(demand.units, column.capacity, strict=True))
    return ceil(sum(loads))
