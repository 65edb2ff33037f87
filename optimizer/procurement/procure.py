"""`procure`: which GPUs to buy or rent for everything that is served, with a proof.

Two stages: the plans of one replica for every workload and SKU become columns; one integer model decides how many of
each, on which nodes, within every limit. The fleet is re-checked with plain whole numbers before it is shown.
"""

import time
from dataclasses import replace

from vllm_opt.optimizer.contract.answer import Explanation
from vllm_opt.optimizer.fleet.outcome import FleetOutcome
from vllm_opt.optimizer.fleet.problem import SERVED_SCALE
from vllm_opt.optimizer.fleet.solver import solve_fleet
from vllm_opt.optimizer.procurement.answer import FleetAnswer, FleetSolverReport
from vllm_opt.optimizer.procurement.bar_columns import Members
from vllm_opt.optimizer.procurement.commitment_answer import Commitment
from vllm_opt.optimizer.procurement.pooling import members_of, name_of, pooled, pools_of
from vllm_opt.optimizer.procurement.problem import Procurement, options_of, resolve_fleet
from vllm_opt.optimizer.procurement.report import FleetReport
from vllm_opt.optimizer.procurement.request import FleetRequest
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.reading.quantities import counted

LEAST_SHARE = 0.1
"""share of the time limit that must be left for the pooled fleet to be tried"""


def procure(request: FleetRequest, catalog: Catalog | None = None) -> FleetAnswer:
    """Return the best fleet with its proof, or why there is none.

    Raises:
        InvalidRequest: a value that cannot be understood.
        UnknownProfile: a model, GPU, format, release or provider that the catalogue does not hold.
    """
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.money.prices)
    answer = _procured(request, catalog)
    if not request.second_opinion:
        return answer
    from vllm_opt.optimizer.procurement.second_opinion import with_opinion

    return with_opinion(answer, catalog)


def _procured(request: FleetRequest, catalog: Catalog) -> FleetAnswer:
    """`procure` without its second opinion."""
    started = time.monotonic()
    end, shared = started + request.time_limit, dict[str, SharedLayouts]()
    asked, outcome = _decided(request, catalog, end, shared)
    took = time.monotonic() - started
    asked, outcome, note = _pooled(request, catalog, (asked, outcome), end, took, shared)
    signed, said = _committed(request, catalog)
    note = (*note, *said)
    if outcome.fleet is not None:
        report = FleetReport(asked, outcome, outcome.fleet)
        return _answer(request, asked, outcome, started, report=report, notes=note).model_copy(
            update={"commitment": signed}
        )
    explanation = None
    if outcome.status == "infeasible":
        from vllm_opt.optimizer.procurement.explanation import explain_fleet

        asked.pool.close_all(time.monotonic() + request.time_limit)
        everything = replace(asked.closed, problem=asked.pool.over_closed(asked.base))
        explanation = explain_fleet(replace(asked, closed=everything))
    return _answer(request, asked, outcome, started, explanation=explanation, notes=note)


def _committed(request: FleetRequest, catalog: Catalog) -> tuple[Commitment | None, tuple[str, ...]]:
    """What to sign now, where a profile or scenarios say how demand changes; it has the time limit once more."""
    from vllm_opt.optimizer.procurement.committing import asks_for_commitment, commitment_of

    if not asks_for_commitment(request):
        return None, ()
    return commitment_of(request, catalog, time.monotonic() + request.time_limit)


def _decided(
    request: FleetRequest,
    catalog: Catalog,
    end: float,
    shared: dict[str, SharedLayouts],
    members: Members | None = None,
) -> tuple[Procurement, FleetOutcome]:
    """The fleet of a request, in the time left; finding plans takes at most a part of it."""
    asked = resolve_fleet(request, catalog, end, shared, members)
    left = max(request.time_limit / 4, end - time.monotonic())
    return asked, bounded(asked, solve_fleet(asked.problem, replace(options_of(request), time_limit=left)))


def _pooled(
    request: FleetRequest,
    catalog: Catalog,
    apart: tuple[Procurement, FleetOutcome],
    end: float,
    took: float,
    shared: dict[str, SharedLayouts],
) -> tuple[Procurement, FleetOutcome, tuple[str, ...]]:
    """The fleet with pooled workloads where it is better, else the one without; and what to say about it.

    It is not tried when less time is left than the fleet without pools took.
    """
    together = pooled(request)
    if together is None:
        return *apart, ()
    names = "; ".join(name_of(group) for group in pools_of(request))
    if end - time.monotonic() < max(took, LEAST_SHARE * request.time_limit):
        return _over_fewer(apart[0]), apart[1], (f"pooling was not tried, the time was up: {names}",)
    columns = {item.workload.name: item for item in apart[0].pool.workloads}
    members = {
        pool: tuple((columns[workload.name], bars) for workload, bars in group)
        for pool, group in members_of(request).items()
    }
    other = _decided(together, catalog, end, shared, members)
    bounds, whole = apart[1].bounds, other[1].status in ("optimal", "infeasible") and other[0].closed.covered
    kept = apart[0] if whole else _over_fewer(apart[0])
    if not other[1].bounds:
        return kept, apart[1], (f"no fleet serves these together under their strictest limits: {names}",)
    if bounds and bounds[0].value <= other[1].bounds[0].value:
        return kept, apart[1], (f"sharing replicas was tried and is not cheaper: {names}",)
    saved = f", which takes {1 - other[1].bounds[0].value / bounds[0].value:.0%} off" if bounds else ""
    return *other, (
        f"share replicas{saved}: {names}; the strictest limits hold where they share (pooling: false keeps them apart)",
    )


def _over_fewer(asked: Procurement) -> Procurement:
    """The same, when fleets that share replicas were not all looked at."""
    return replace(asked, closed=replace(asked.closed, covered=False))


def bounded(asked: Procurement, outcome: FleetOutcome) -> FleetOutcome:
    """The outcome with bounds that hold for every plan, where plans were left open."""
    if not asked.closed.unfinished:
        return outcome
    if not outcome.bounds:
        return FleetOutcome("unknown") if outcome.status == "infeasible" else outcome
    first, *rest = outcome.bounds
    if asked.problem.partial:
        mine = [d for d in asked.problem.demands if first.name == f"served:{d.priority}"]
        weakest: float = SERVED_SCALE * len(mine)
    else:
        weakest = first.bound if asked.closed.bound is None else min(first.bound, asked.closed.bound)
    return replace(outcome, status="feasible", bounds=(replace(first, bound=weakest, proven=False), *rest))


def _assumptions(request: FleetRequest) -> tuple[str, ...]:
    cap, spare, nodes = request.utilization_cap, request.resilience.spare_replicas, request.resilience.spare_nodes
    return (
        f"at the peak a fleet is asked for {100 * cap:g} % of its capacity (utilization_cap), for the peak and "
        f"{100 * request.headroom:g} % of headroom (headroom), with {counted(spare, 'spare replica')} of each workload "
        f"(resilience.spare_replicas) and {counted(nodes, 'spare node')} (resilience.spare_nodes)",
        f"a simpler fleet may cost up to {100 * request.tolerance:g} % more than the cheapest (tolerance)",
        "capacities are predictions at the asked confidence, rounded down; demand is rounded up",
        "a month has 730 hours; watts are rated maxima, so power cost is an upper bound",
    )


def _answer(
    request: FleetRequest,
    asked: Procurement,
    outcome: FleetOutcome,
    started: float,
    *,
    report: FleetReport | None = None,
    explanation: Explanation | None = None,
    notes: tuple[str, ...] = (),
) -> FleetAnswer:
    exact = asked.problem.packs_exactly
    rounded = () if exact else ("servers on the largest nodes are packed as if of the next power of two of GPUs",)
    said = [*notes, *asked.notes, *rounded] + (list(_assumptions(request)) if report else [])
    compared = {}
    if report and request.comparisons:
        from vllm_opt.optimizer.procurement.sensitivity import comparisons

        compared = comparisons(report)
    if report and any(order.synthetic for order in report.orders()):
        said.append("some prices are synthetic: they were invented because the price list has none")
    return FleetAnswer(
        status=outcome.status,
        covers="every plan" if asked.closed.covered and exact else "the plans in the model",
        request=request.model_dump(mode="json", exclude_none=True),
        objectives=report.objectives() if report else (),
        assignments=report.assignments() if report else (),
        nodes=report.orders() if report else (),
        totals=report.totals() if report else None,
        workloads=report.workloads() if report else (),
        explanation=explanation,
        notes=tuple(said),
        solver=FleetSolverReport(
            wall_ms=(time.monotonic() - started) * 1000,
            columns=asked.pool.servers,
            columns_solved=len(asked.problem.columns),
            offers=len(asked.offers),
            routing_cuts=len(outcome.cuts),
            workers=request.workers,
            seed=request.seed,
        ),
        **compared,
    )
