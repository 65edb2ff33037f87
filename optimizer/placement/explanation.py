"""Why a service is not served in full, and the smallest change that would help: less of it, or one more node."""

import time
from collections import Counter
from dataclasses import replace

from vllm_opt.constraints.placing.measures import capacities, replica_counts, served_in_full
from vllm_opt.constraints.placing.site import Island, PlacementProblem, SiteNode
from vllm_opt.optimizer.contract.answer import Conflict, Explanation, Relaxation
from vllm_opt.optimizer.placement.answer import OUT_OF_TIME, Unplaced
from vllm_opt.optimizer.placement.report import PlacementReport
from vllm_opt.optimizer.placement.settings import MICRO
from vllm_opt.optimizer.placement.stores import STORES, lacking_store, least_and_most, more_room
from vllm_opt.optimizer.placement_model.outcome import PlacementOptions
from vllm_opt.optimizer.placement_model.solver import solve_placement
from vllm_opt.profiles.reading.quantities import GIB, counted

SECONDS_EACH, LEAST_SECONDS = 5.0, 0.1
SIZES = (1, 2, 4, 8)
"""GPUs of the node that is added on trial"""
MOST_EXPLAINED = 10
"""services whose smallest changes are looked for; of the others the conflict alone is said"""


def explain_unplaced(report: PlacementReport, end: float) -> tuple[Unplaced, ...]:
    """Explain every service that is not served in full, those of the first priority first, until `end`."""
    problem = report.asked.problem
    counts = replica_counts(problem, report.placed)
    found: dict[int, Unplaced] = {}
    order = sorted(report.lacking, key=lambda s: problem.services[s].priority)
    for number, s in enumerate(order):
        service = problem.services[s]
        tried = number < MOST_EXPLAINED and time.monotonic() < end
        found[s] = Unplaced(
            service=service.name,
            replicas=max(0, service.least - counts[s]),
            explanation=Explanation(
                conflict=_conflict(report, s, end), relaxations=_changes(report, s, end) if tried else ()
            ),
        )
    return tuple(found[s] for s in sorted(found))


def _conflict(report: PlacementReport, s: int, end: float) -> tuple[Conflict, ...]:
    """What cannot hold together: no plan at all, not even an empty site, or the services served before it."""
    problem = report.asked.problem
    service = problem.services[s]
    if report.asked.hurried[s]:
        late = f"the time limit passed before {service.name} had a plan"
        if problem.columns_of[s]:
            late = (
                f"the time for finding plans of {service.name} ran out, and those that were found do not serve it in "
                "full; better ones may (time_limit)"
            )
        return (Conflict(rule=OUT_OF_TIME, message=late),)
    if problem.columns_of[s] and time.monotonic() > end:
        return (
            Conflict(
                rule="gpus",
                message=f"{service.name} is not served in full; the time limit passed before a reason was found",
            ),
        )
    if not problem.columns_of[s]:
        rules: Counter[str] = report.asked.dropped[s]
        ruled = ", ".join(f"{rule} ({counted(n, 'server')})" for rule, n in rules.most_common(3))
        kinds = ", ".join(sorted(report.asked.nodes.gpus))
        message = f"no plan serves {service.name} on {kinds}" + (f": ruled out by {ruled}" if ruled else "")
        return (Conflict(rule=rules.most_common(1)[0][0] if rules else "memory_budget", message=message),)
    return (_lacking(report, s, end),)


def _lacking(report: PlacementReport, s: int, end: float) -> Conflict:
    """What a service that has plans lacks: room of its own, or beside the services served before it."""
    problem = report.asked.problem
    service = problem.services[s]
    alone = _alone(problem, s)
    if not _full(alone, 0, end):
        store = lacking_store(alone, 0, 1, end)
        if store is not None:
            said = f"even on the empty site {service.name} cannot be served in full"
            return _store_conflict(alone, store, 0, said)
        best = _most(alone, end)
        unit, scale = ("requests/s", MICRO) if report.asked.settings[s].by_rate else ("sequences", 1)
        why = " with any one node lost" if service.survives and _full(_careless(alone), 0, end) else ""
        message = (
            f"even on the empty site {service.name} cannot be served in full{why}: {best / scale:g} of "
            f"{service.demand / scale:g} {unit}{_limits(report, s)}, with {counted(service.least, 'replica')} at least"
        )
        rule = "survive" if why else "replicas" if best >= service.demand else "capacity"
        return Conflict(rule=rule, message=message, needed=service.demand / scale, available=best / scale, unit=unit)
    before = [
        other.name for o, other in enumerate(problem.services)
        if report.full[o] and other.priority <= service.priority
    ]  # fmt: skip
    store = lacking_store(problem, s, sum(report.full) + 1, end)
    if store is not None:
        beside = f"beside {', '.join(before[:6])}{' and more' if len(before) > 6 else ''}" if before else "there"
        said = f"{service.name} fits the empty site, but not {beside}"
        return _store_conflict(problem, store, s, said)
    free = sum(len(island.gpus) for node in problem.nodes for island in node.islands) - len(report.on_gpu)
    message = (
        f"{service.name} fits the empty site, but not beside {', '.join(before[:6]) or 'the others'}"
        f"{' and more' if len(before) > 6 else ''}; {counted(free, 'GPU')} left over"
    )
    return Conflict(rule="gpus", message=message, available=free, unit="GPUs")


def _limits(report: PlacementReport, s: int) -> str:
    """The default limits within which a service is served, which nobody stated."""
    of = report.asked.settings[s]
    if not report.asked.request.default_limits or of.spec.max_ttft_ms is not None or of.spec.max_tpot_ms is not None:
        return ""
    limits = [setting.targets for setting in of.settings][:1]
    said = [
        f"{name} {value:,.0f} ms"
        for each in limits
        for name, value in (("TTFT", each.max_ttft_ms), ("TPOT", each.max_tpot_ms))
        if value is not None
    ]
    return f" within the default limits ({', '.join(said)}; default_limits: false lifts them)" if said else ""


def _store_conflict(problem: PlacementProblem, store: str, s: int, said: str) -> Conflict:
    """What a service lacks on disk or in host memory."""
    field, _, words = STORES[store]
    least, most = least_and_most(problem, store, s)
    what = "lightest checkpoint" if store == "disk" else "lightest sleeping server"
    skus = {problem.columns[k].gpu for k in problem.columns_of[s]}
    tight = [
        node.name for n, node in enumerate(problem.nodes)
        if problem.services[s].may_use(n) and skus & {island.gpu for island in node.islands}
        and (getattr(node, field) or least) < least
    ]  # fmt: skip
    more = " and more" if len(tight) > 6 else ""
    why = f"which {', '.join(tight[:6])}{more} lack" if tight else "more than others leave there"
    message = f"{said}: its {what} takes {least / GIB:.1f} GiB of {words}, {why}"
    return Conflict(rule=store, message=message, needed=least / GIB, available=most / GIB, unit="GiB")


def _alone(problem: PlacementProblem, s: int) -> PlacementProblem:
    """The same site with this service only."""
    columns = tuple(replace(column, service=0) for column in problem.columns if column.service == s)
    return PlacementProblem(
        problem.nodes, (problem.services[s],), columns, links=problem.links, objectives=("served",),
        most_headroom=problem.most_headroom,
    )  # fmt: skip


def _careless(problem: PlacementProblem) -> PlacementProblem:
    return replace(problem, services=tuple(replace(service, survives=False) for service in problem.services))


def _options(end: float) -> PlacementOptions:
    return PlacementOptions(max(LEAST_SECONDS, min(SECONDS_EACH, end - time.monotonic())))


def _full(problem: PlacementProblem, s: int, end: float) -> bool:
    outcome = solve_placement(problem, _options(end))
    return served_in_full(problem, outcome.servers)[s]


def _most(problem: PlacementProblem, end: float) -> int:
    """The largest capacity of the only service."""
    outcome = solve_placement(problem, _options(end))
    return capacities(problem, outcome.servers)[0]


def _changes(report: PlacementReport, s: int, end: float) -> tuple[Relaxation, ...]:
    """Less of the service as it stands, fewer replicas, and one more node of each SKU, as small as helps."""
    problem, of = report.asked.problem, report.asked.settings[s]
    service = problem.services[s]
    found: list[Relaxation] = []
    held, count = capacities(problem, report.placed)[s], replica_counts(problem, report.placed)[s]
    if 0 < held < service.demand and count >= service.least and not service.survives:
        change = "requests_per_s" if of.by_rate else "concurrency"
        asked: float = of.spec.requests_per_s or (of.spec.concurrency or service.demand)
        reached = asked * held / service.demand
        to = float(f"{reached * 0.9999:.3g}") if of.by_rate else held
        to = to if to <= reached else round(reached * 0.99, 6)
        message = f"{service.name} at {to:g} {'req/s' if of.by_rate else 'sequences'} instead of {asked:g}"
        found.append(Relaxation(change=change, from_value=asked, to=to, message=message))
    if count and count < service.least and held >= service.demand and not service.survives:
        message = f"{service.name} with {counted(count, 'replica')} instead of {service.least}"
        found.append(Relaxation(change="replicas", from_value=service.least, to=count, message=message))
    needed = sum(report.full) + 1
    store = None if time.monotonic() > end else lacking_store(problem, s, needed, end)
    room = None if store is None else more_room(problem, store, s, needed, end)
    if room is not None:
        found.append(Relaxation(change=room.key, from_value=room.before_bytes / GIB, to=room.gib, message=room.message))
    for gpu in sorted({problem.columns[k].gpu for k in problem.columns_of[s]}):
        size = _node_that_helps(report, s, gpu, end)
        if size is not None:
            message = f"one more {gpu}" if size == 1 else f"one more node with {size} x {gpu}"
            found.append(Relaxation(change="nodes", from_value=0, to=size, message=message))
    return tuple(found)


def _node_that_helps(report: PlacementReport, s: int, gpu: str, end: float) -> int | None:
    """GPUs of the smallest node of one SKU with which the service is served too, and everything that was."""
    problem = report.asked.problem
    island = next(i for node in problem.nodes for i in node.islands if i.gpu == gpu)
    needed = sum(report.full) + 1
    least = min(problem.columns[k].gpus_per_node for k in problem.columns_of[s] if problem.columns[k].gpu == gpu)
    for size in SIZES:
        if size < least or time.monotonic() > end:
            continue
        more = SiteNode(
            "one more", (Island(gpu, island.gpu_bytes, tuple(range(size)), island.watts_per_gpu),), "one more"
        )
        services = tuple(
            replace(each, nodes=each.nodes | {len(problem.nodes)} if each.nodes is not None and i == s else each.nodes)
            for i, each in enumerate(problem.services)
        )
        larger = replace(problem, nodes=(*problem.nodes, more), services=services, objectives=("served",))
        outcome = solve_placement(larger, _options(end))
        full = served_in_full(larger, outcome.servers)
        if full[s] and sum(full) >= needed:
            return size
    return None
