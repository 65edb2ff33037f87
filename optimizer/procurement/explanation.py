"""Why no fleet exists: a minimal set of rules that cannot hold together, and the smallest changes that help.

The conflict is found by QuickXplain (Junker, 2004): divide the rules, keep what the other half cannot do without.
Every relaxation is solved again with its new number before it is offered.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from vllm_opt.optimizer.contract.answer import Conflict, Explanation, Relaxation
from vllm_opt.optimizer.fleet.outcome import FleetOptions
from vllm_opt.optimizer.fleet.problem import FleetLimits, FleetProblem
from vllm_opt.optimizer.fleet.rules import rule_names
from vllm_opt.optimizer.fleet.solver import FleetSolver
from vllm_opt.optimizer.procurement.columns import MICRO
from vllm_opt.optimizer.procurement.offers import HOURS_PER_MONTH
from vllm_opt.optimizer.procurement.problem import Procurement
from vllm_opt.profiles.reading.quantities import counted

SECONDS_PER_QUESTION = 3.0
ANY_FLEET = FleetOptions(time_limit=SECONDS_PER_QUESTION, relative_gap=1.0)
SHARE_STEPS = 1000


def feasible(problem: FleetProblem, dropped: frozenset[str] = frozenset()) -> bool:
    """Say whether some fleet keeps every rule that is not dropped; no answer in time counts as yes."""
    whole = problem.changed(objectives=("cost",), stock_first=False)
    return FleetSolver(whole, ANY_FLEET, dropped).run().status != "infeasible"


def explain_fleet(asked: Procurement) -> Explanation:
    """Name a minimal conflict and what would resolve it."""
    problem = asked.problem
    helpless = [d.workload for d in problem.demands if not any(c.workload == d.workload for c in problem.columns)]
    if helpless:
        return Explanation(conflict=tuple(_no_plan(asked, name) for name in helpless), relaxations=())
    names = minimal_conflict(rule_names(problem), lambda kept: feasible(problem, _others(problem, kept)))
    relaxations = [found for name in names if (found := _relaxation(asked, name))]
    return Explanation(conflict=tuple(_conflict(asked, name) for name in names), relaxations=tuple(relaxations))


def _others(problem: FleetProblem, kept: Sequence[str]) -> frozenset[str]:
    return frozenset(rule_names(problem)) - set(kept)


def minimal_conflict(names: Sequence[str], possible: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    """Return a subset of the names that is impossible together while each proper subset is possible."""

    def explain(background: list[str], added: bool, rest: list[str]) -> list[str]:
        if added and not possible(background):
            return []
        if len(rest) == 1:
            return rest
        half = len(rest) // 2
        first, second = rest[:half], rest[half:]
        needed_second = explain(background + first, True, second)
        needed_first = explain(background + needed_second, bool(needed_second), first)
        return needed_first + needed_second

    found = set(explain([], False, list(names))) if names else set()
    return tuple(name for name in names if name in found)


def _no_plan(asked: Procurement, name: str) -> Conflict:
    rules: dict[str, int] = {}
    for counts in asked.dropped(name).values():
        for rule, count in counts.items():
            rules[rule] = rules.get(rule, 0) + count
    words = ", ".join(f"{rule} ({count})" for rule, count in sorted(rules.items(), key=lambda item: -item[1]))
    return Conflict(
        rule=f"demand:{name}",
        message=f"workload '{name}' has no plan on any SKU offered; plans ruled out by {words or 'nothing to try'}; "
        f"`vllm-opt explain` on its model says what would help",
    )


def _conflict(asked: Procurement, name: str) -> Conflict:
    kind, _, which = name.partition(":")
    limits, request = asked.problem.limits, asked.request.limits
    spares = {d.workload: d.spare_replicas for d in asked.problem.demands}
    words = {
        "demand": f"workload '{which}' must be served in full",
        "spare_replicas": f"workload '{which}' keeps {counted(spares.get(which, 0), 'spare replica')}",
        "spare_nodes": f"{counted(asked.problem.spare_nodes, 'node')} of every offer in use may be lost",
        "zones": f"no workload stands in one of the {asked.problem.zones} zones alone",
        "stock": f"there are no more nodes of {which} than stated",
        "quota": f"at most {counted(limits.quota_gpus.get(which, 0), 'GPU')} of {which} may be rented or bought",
        "budget": f"at most {request.budget_usd_per_month} USD per month",
        "capex": f"at most {request.capex_usd} USD of purchases",
        "power": f"at most {request.watts} W in your own racks",
        "rack_units": f"at most {request.rack_units} rack units",
        "gpu_kinds": f"at most {counted(request.gpu_kinds or 0, 'kind')} of SKU",
        "gpu_count": f"at most {counted(request.gpus or 0, 'GPU')}",
    }
    return Conflict(rule=name, message=words[kind])


def _relaxation(asked: Procurement, name: str) -> Relaxation | None:
    kind, _, which = name.partition(":")
    if kind == "demand":
        return _less_demand(asked, which)
    if kind in ("spare_replicas", "spare_nodes", "zones", "gpu_kinds"):
        return _step(asked, name)
    return _more(asked, name)


def _more(asked: Procurement, name: str) -> Relaxation | None:
    """Find how much of one limited thing would do, the other limits held."""
    problem, (kind, _, which) = asked.problem, name.partition(":")
    objective = {"budget": "cost", "gpu_count": "gpus"}.get(name, name)
    options = FleetOptions(time_limit=4 * SECONDS_PER_QUESTION, relative_gap=0.001)
    solver = FleetSolver(problem.changed(objectives=(objective,), stock_first=False), options, frozenset({name}))
    outcome = solver.run()
    if not outcome.bounds:
        return None
    least = outcome.bounds[0].value
    limits, request = problem.limits, asked.request.limits
    if kind == "quota":
        changed = problem.changed(limits=replace(limits, quota_gpus={**limits.quota_gpus, which: least}))
        was = limits.quota_gpus[which]
        words = f"order up to {counted(least, 'GPU')} of {which} instead of {was} (short by {least - was})"
        return _verified(changed, f"inventory.quota.{which}", was, least, words)
    if kind == "stock":
        offer = next(offer for offer in problem.offers if offer.name == which)
        offers = tuple(replace(o, max_units=least) if o.name == which else o for o in problem.offers)
        was, unit = offer.max_units or 0, "node" if offer.billing == "node" else "GPU"
        field = "inventory.stock" if offer.kind == "stock" else f"inventory.nodes_available.{offer.gpu}"
        words = f"{counted(least, unit)} of {which} instead of {was} (short by {least - was})"
        return _verified(problem.changed(offers=offers), field, was, least, words)
    if kind == "budget":
        usd = math.ceil(Fraction(least * HOURS_PER_MONTH * 100, MICRO)) / 100
        whole = math.floor(Fraction(str(usd)) * MICRO / HOURS_PER_MONTH)
        budget = request.budget_usd_per_month or 0.0
        words = f"a budget of {usd:,.2f} USD per month instead of {budget:,.2f} (short by {usd - budget:,.2f})"
        changed = problem.changed(limits=replace(limits, micro_usd_per_hour=whole))
        return _verified(changed, "limits.budget_usd_per_month", budget, usd, words)
    fields = {
        "capex": ("capex_cents", "capex_usd", 100, "USD of purchases"),
        "power": ("watts", "watts", 1, "W"),
        "rack_units": ("rack_milliunits", "rack_units", 1000, "rack unit"),
        "gpu_count": ("gpus", "gpus", 1, "GPU"),
    }
    inner, outer, scale, unit = fields[name]
    was, to = getattr(request, outer), least / scale if scale > 1 else least
    changed = problem.changed(limits=_with(limits, inner, least))
    return _verified(
        changed, f"limits.{outer}", was, to, f"{_amount(to, unit)} instead of {was:,} (short by {to - was:,})"
    )


def _amount(value: float, unit: str) -> str:
    """A number with its unit; 'GPU' and 'rack unit' are counted, watts and dollars are not."""
    return counted(value, unit) if unit in ("GPU", "rack unit") else f"{value:,} {unit}"  # type: ignore[arg-type]


def _with(limits: FleetLimits, name: str, value: int) -> FleetLimits:
    return replace(limits, **{name: value})  # type: ignore[arg-type]


def _verified(changed: FleetProblem, field: str, was: object, to: object, words: str) -> Relaxation | None:
    options = FleetOptions(time_limit=4 * SECONDS_PER_QUESTION, relative_gap=1.0)
    status = FleetSolver(changed.changed(objectives=("cost",), stock_first=False), options).run().status
    if status not in ("optimal", "feasible"):
        return None
    return Relaxation(change=field, from_value=was, to=to, message=words)


def _less_demand(asked: Procurement, name: str) -> Relaxation | None:
    """Find the largest share of one workload that can be served while the others are served in full."""
    problem = asked.problem

    def scaled(share: int) -> FleetProblem:
        demands = tuple(
            replace(d, units=tuple(max(1, -(-u * share // SHARE_STEPS)) for u in d.units)) if d.workload == name else d
            for d in problem.demands
        )
        return problem.changed(demands=demands)

    low, high = 0, SHARE_STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if feasible(scaled(middle)) else (low, middle)
    workload = next(w for w in asked.request.workloads if w.name == name)
    if not low:
        return None
    if workload.requests_per_s is None:
        was: float = workload.concurrency or 0
        to: float = math.floor(was * low / SHARE_STEPS)
        field = "concurrency"
    else:
        was = workload.requests_per_s
        to = math.floor(was * low / SHARE_STEPS * MICRO) / MICRO
        field = "requests_per_s"
    words = f"{field} of '{name}' {to:g} instead of {was:g} ({low / 10:g} % of it can be served)"
    return _verified(scaled(low), f"workloads.{name}.{field}", was, to, words) if to > 0 else None


def _step(asked: Procurement, name: str) -> Relaxation | None:
    """Try whole numbers one after another."""
    problem, (kind, _, which) = asked.problem, name.partition(":")
    if kind == "zones":
        return _verified(problem.changed(zones=1), "resilience.zones", problem.zones, 1, "one zone")
    if kind == "spare_nodes":
        without = problem.changed(spare_nodes=0)
        return _verified(without, "resilience.spare_nodes", problem.spare_nodes, 0, "no spare nodes")
    if kind == "gpu_kinds":
        was = problem.limits.gpu_kinds or 1
        for most in range(was + 1, len({offer.gpu for offer in problem.offers}) + 1):
            changed = problem.changed(limits=_with(problem.limits, "gpu_kinds", most))
            if found := _verified(
                changed, "limits.gpu_kinds", was, most, f"{counted(most, 'kind')} of SKU instead of {was}"
            ):
                return found
        return None
    spares = next(d.spare_replicas for d in problem.demands if d.workload == which)
    for fewer in range(spares - 1, -1, -1):
        demands = tuple(replace(d, spare_replicas=fewer) if d.workload == which else d for d in problem.demands)
        words = f"{counted(fewer, 'spare replica')} of '{which}' instead of {spares}"
        if found := _verified(
            problem.changed(demands=demands), f"workloads.{which}.spare_replicas", spares, fewer, words
        ):
            return found
    return None
