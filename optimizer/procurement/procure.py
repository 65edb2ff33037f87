"""`procure`: which GPUs to buy or rent for everything that is served, with a proof.

Two stages: the plans of one replica for every workload and SKU become columns; one integer model decides how many of
each, on which nodes, within every limit. The fleet is re-checked with plain whole numbers before it is shown.
"""

import time

from vllm_opt.optimizer.contract.answer import Explanation
from vllm_opt.optimizer.fleet.outcome import FleetOptions, FleetOutcome
from vllm_opt.optimizer.fleet.solver import LARGE, solve_fleet
from vllm_opt.optimizer.procurement.answer import FleetAnswer, FleetSolverReport
from vllm_opt.optimizer.procurement.problem import Procurement, resolve_fleet
from vllm_opt.optimizer.procurement.report import FleetReport
from vllm_opt.optimizer.procurement.request import FleetRequest
from vllm_opt.profiles.catalogues.catalog import Catalog

LARGE_GAP = 0.005
"""gap at which a large fleet is good enough unless relative_gap says otherwise"""
ROUTED_GAP = 0.002


def procure(request: FleetRequest, catalog: Catalog | None = None) -> FleetAnswer:
    """Return the best fleet with its proof, or why there is none.

    Raises:
        InvalidRequest: a value that cannot be understood.
        UnknownProfile: a model, GPU, format, release or provider that the catalogue does not hold.
    """
    started = time.monotonic()
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.money.prices)
    asked = resolve_fleet(request, catalog)
    outcome = solve_fleet(asked.problem, options_of(asked))
    if outcome.fleet is None:
        explanation = None
        if outcome.status == "infeasible":
            from vllm_opt.optimizer.procurement.explanation import explain_fleet

            explanation = explain_fleet(asked)
        return _answer(asked, outcome, started, explanation=explanation)
    return _answer(asked, outcome, started, report=FleetReport(asked, outcome, outcome.fleet))


def options_of(asked: Procurement) -> FleetOptions:
    """Search options; a small fleet is proven exactly."""
    request, problem = asked.request, asked.problem
    gap = request.relative_gap
    if gap is None:
        routed = any(len(demand.units) > 1 for demand in problem.demands)
        gap = LARGE_GAP if len(problem.pairs) > LARGE else ROUTED_GAP if routed else 0.0
    return FleetOptions(request.time_limit, request.workers, request.seed, gap)


ASSUMPTIONS = (
    "capacities are predictions at the asked confidence, rounded down; demand is rounded up",
    "a month has 730 hours; watts are rated maxima, so power cost is an upper bound",
)


def _answer(
    asked: Procurement,
    outcome: FleetOutcome,
    started: float,
    *,
    report: FleetReport | None = None,
    explanation: Explanation | None = None,
) -> FleetAnswer:
    request = asked.request
    notes = list(asked.notes) + (list(ASSUMPTIONS) if report else [])
    compared = {}
    if report and request.comparisons:
        from vllm_opt.optimizer.procurement.sensitivity import comparisons

        compared = comparisons(report)
    if report and any(order.synthetic for order in report.orders()):
        notes.append("some prices are synthetic: they were invented because the price list has none")
    return FleetAnswer(
        status=outcome.status,
        request=request.model_dump(mode="json", exclude_none=True),
        objectives=report.objectives() if report else (),
        assignments=report.assignments() if report else (),
        nodes=report.orders() if report else (),
        totals=report.totals() if report else None,
        workloads=report.workloads() if report else (),
        explanation=explanation,
        notes=tuple(notes),
        solver=FleetSolverReport(
            wall_ms=(time.monotonic() - started) * 1000,
            columns=asked.considered,
            columns_solved=len(asked.problem.columns),
            offers=len(asked.offers),
            routing_cuts=len(outcome.cuts),
            workers=request.workers,
            seed=request.seed,
        ),
        **compared,
    )
