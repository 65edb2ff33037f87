"""`place`: which model runs on which GPUs of which node, with a proof.

Three stages: the plans of one replica of every service become columns; one integer model decides how many of each stand
on which GPUs; the placement is re-checked with plain whole numbers, and what could not be placed is explained.
"""

import time
from collections import Counter
from collections.abc import Collection
from typing import Literal

from vllm_opt.optimizer.placement.answer import FOUND_IN_TIME, PlacementAnswer, PlacementSolverReport, Unplaced
from vllm_opt.optimizer.placement.problem import Placing, resolve_placing
from vllm_opt.optimizer.placement.report import PlacementReport
from vllm_opt.optimizer.placement.request import PlaceRequest
from vllm_opt.optimizer.placement.words import failing_together, taking_turns, uneven
from vllm_opt.optimizer.placement_model.outcome import PlacementOptions, PlacementOutcome
from vllm_opt.optimizer.placement_model.solver import solve_placement
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.reading.quantities import counted

PLACING_SHARE, LEAST_SHARE = 0.9, 0.2
"""of the time limit, by when servers are placed, and what placing them gets however long their plans took"""


def place(request: PlaceRequest, catalog: Catalog | None = None) -> PlacementAnswer:
    """Return the best placement with its proof, what is not placed and why, and the moves from today.

    Raises:
        InvalidRequest: a value that cannot be understood, or wishes that contradict each other.
        UnknownProfile: a model, GPU, format or release that the catalogue does not hold.
    """
    catalog = catalog or Catalog(gpu_file=request.gpu_file)
    answer = _placed(request, catalog)
    if not request.second_opinion:
        return answer
    from vllm_opt.optimizer.placement.second_opinion import with_opinion

    return with_opinion(answer, catalog)


def _placed(request: PlaceRequest, catalog: Catalog) -> PlacementAnswer:
    """`place` without its second opinion."""
    started = time.monotonic()
    asked = resolve_placing(request, catalog, started + request.time_limit)
    end = started + request.time_limit
    left = max(LEAST_SHARE * request.time_limit, started + PLACING_SHARE * request.time_limit - time.monotonic())
    outcome = solve_placement(
        asked.problem, PlacementOptions(left, request.workers, request.seed, request.relative_gap or 0.0)
    )
    report = PlacementReport(asked, outcome)
    unplaced: tuple[Unplaced, ...] = ()
    if report.lacking:
        from vllm_opt.optimizer.placement.explanation import explain_unplaced

        unplaced = explain_unplaced(report, end)
    answer = PlacementAnswer(
        status=_status(asked, outcome, report.lacking),
        covers=FOUND_IN_TIME if any(asked.hurried) else "the plans in the model",
        request=request.model_dump(mode="json", exclude_unset=True),
        objectives=report.objectives(),
        nodes=report.node_pictures(),
        servers=report.replicas(),
        services=report.services(),
        moves=report.moves(),
        unplaced=unplaced,
        notes=(*asked.notes, *_assumptions(asked, outcome)),
        solver=PlacementSolverReport(
            wall_ms=(time.monotonic() - started) * 1000,
            plans=len(asked.problem.columns),
            gpu_patterns=outcome.patterns,
            node_classes=outcome.classes,
            workers=request.workers,
            seed=request.seed,
        ),
    )
    said = (*taking_turns(answer), *failing_together(answer), *uneven(answer))
    return answer.model_copy(update={"notes": (*answer.notes, *said)})


def _status(
    asked: Placing, outcome: PlacementOutcome, lacking: Collection[int]
) -> Literal["optimal", "feasible", "unknown"]:
    """Where the time for plans of what is not served ran out, nothing is proven, and nothing placed is not known."""
    if not any(asked.hurried[s] for s in lacking):
        return outcome.status
    return "feasible" if outcome.servers else "unknown"


def _assumptions(asked: Placing, outcome: PlacementOutcome) -> tuple[str, ...]:
    request = asked.request
    without = zip(asked.hurried, asked.problem.columns_of, strict=True)
    said = [
        f"a rate takes at most {100 * request.utilization_cap:g} % of the capacity (utilization_cap); capacity beyond "
        f"{100 * request.headroom:g} % more than the demand counts for nothing (headroom)"
    ]
    if asked.percentiles:
        said.append(
            f"limits at percentiles hold at random arrivals (burstiness), as each replica of {asked.percentiles} sees "
            f"them behind a router that gives the busiest {request.router_imbalance:.0%} more than the average "
            "(router_imbalance)"
        )
    on_gpus = Counter(place for server in outcome.servers for place in server.parts)
    if any(count > 1 for count in on_gpus.values()):
        said.append(
            "servers on one GPU take turns: each is planned at 1/n of the speed for n that may compute at once, which "
            "is the worst case; start them one after another, in the order given (sharing: false forbids it)"
        )
    if any(service.survives for service in asked.problem.services):
        names = counted(sum(service.survives for service in asked.problem.services), "service")
        said.append(f"any one node may fail and what is left of {names} still serves the whole demand (survive)")
    if outcome.status != "optimal" or any(late and not mine for late, mine in without):
        said.append("not proven: time or the number of ways to share a GPU ran out; the bounds say what may be missing")
    lost = [server.spec for server in asked.running if server.plan is None]
    if lost:
        said.append(
            f"{counted(len(lost), 'server')} of today cannot stay, since no plan like it meets its service's limits: "
            + ", ".join(dict.fromkeys(spec.service for spec in lost))
        )
    return tuple(said)
