"""From a request to the placement problem: plans become columns, wishes become sets of nodes and pairs of services."""

import time
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem, ServerColumn, SiteService
from vllm_opt.optimizer.placement.nodes import SiteNodes, linked_sets, site_nodes
from vllm_opt.optimizer.placement.plans import KnownPlans, PlacePlan, whole_plans
from vllm_opt.optimizer.placement.request import PlaceRequest
from vllm_opt.optimizer.placement.settings import (
    ServiceSetting,
    service_setting,
    survives,
    without_default_limits,
)
from vllm_opt.optimizer.placement.shared_plans import shared_plans
from vllm_opt.optimizer.placement.today import RunningServer, running_servers
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, did_you_mean

PLANS_SHARE = 0.5
"""part of the time in which plans are looked for"""


@dataclass(frozen=True, eq=False)
class Placing:
    """A resolved request."""

    request: PlaceRequest
    nodes: SiteNodes
    settings: tuple[ServiceSetting, ...]
    plans: tuple[PlacePlan, ...]
    """column -> its plan"""
    problem: PlacementProblem
    running: tuple[RunningServer, ...]
    kept: tuple[int, ...]
    """server of today in the problem -> its position in `running`"""
    dropped: tuple[Counter[str], ...]
    """service -> rule -> servers that it ruled out"""
    notes: tuple[str, ...]
    hurried: tuple[bool, ...] = ()
    """service -> whether the time for finding plans ran out, so that better ones may exist"""

    @property
    def percentiles(self) -> str:
        """Names of the services whose limits hold at a percentile."""
        return ", ".join(setting.spec.name for setting in self.settings if setting.target is not None)


def resolve_placing(request: PlaceRequest, catalog: Catalog, end: float) -> Placing:
    """Find every plan that can matter.

    Raises:
        InvalidRequest: a value that cannot be understood, wishes that contradict each other.
        UnknownProfile: a name that the catalogue does not hold.
    """
    nodes = site_nodes(request, catalog)
    links = linked_sets(request, nodes)
    services, together, apart = _services(request, nodes)
    begun, seconds = time.monotonic(), PLANS_SHARE * max(0.0, end - time.monotonic())
    shared: dict[str, SharedLayouts] = {}
    settings = [service_setting(request, s, nodes.gpus, catalog, shared) for s in range(len(services))]
    known: dict[str, tuple[list[PlacePlan], Counter[str], list[str]]] = {}
    common = KnownPlans(_disks(nodes))
    plans: list[PlacePlan] = []
    dropped: list[Counter[str]] = []
    notes: list[str] = []
    hurried: list[bool] = []
    for s, (of, part) in enumerate(zip(settings, _paces(settings), strict=True)):
        deadline = begun + part * seconds
        key = of.spec.model_copy(update={"name": "", "priority": 1}).model_dump_json()
        fresh = key not in known
        if fresh:
            known[key] = _plans_of(request, of, nodes, catalog, shared, common, deadline)
        mine, rules, said = known[key]
        plans += [replace(plan, service=s) for plan in mine]
        dropped.append(rules)
        late = time.monotonic() > deadline
        hurried.append(late)
        if late and (fresh or not mine):
            left = "better ones may exist" if mine else "none was found"
            notes.append(f"{of.spec.name}: the time for finding plans ran out and {left}; raise time_limit")
        notes += [f"{of.spec.name}: {sentence}" for sentence in said] + list(of.notes)
    running = running_servers(request, nodes, settings, catalog)
    plans, today, kept = _with_today(plans, running)
    columns = tuple(_column(plan, k) for k, plan in enumerate(plans))
    problem = PlacementProblem(
        nodes.nodes, tuple(_bounded(services[s], of, columns, nodes) for s, of in enumerate(settings)), columns, today,
        links, together, apart, _goals(request), 1000 + round(1000 * request.headroom),
    )  # fmt: skip
    return Placing(
        request, nodes, tuple(settings), tuple(plans), problem, running, kept, tuple(dropped),
        tuple(dict.fromkeys(notes)), tuple(hurried),
    )  # fmt: skip


def _paces(settings: Sequence[ServiceSetting]) -> list[float]:
    """Service -> the part of the time by when its plans are found: services that ask what others asked need none."""
    asked: set[Hashable] = set()
    seen = []
    for of in settings:
        asked |= {KnownPlans.question(of, setting) for setting in of.settings}
        seen.append(len(asked))
    return [count / max(1, len(asked)) for count in seen]


def _disks(nodes: SiteNodes) -> dict[str, int]:
    """SKU -> the largest disk of a node that has it, where all of them have a limit."""
    found: dict[str, list[int | None]] = {}
    for node in nodes.nodes:
        for gpu in {island.gpu for island in node.islands}:
            found.setdefault(gpu, []).append(node.disk_bytes)
    limits = {gpu: [room for room in rooms if room is not None] for gpu, rooms in found.items()}
    return {gpu: max(rooms) for gpu, rooms in limits.items() if rooms and len(rooms) == len(found[gpu])}


def _goals(request: PlaceRequest) -> tuple[str, ...]:
    """What is served comes first, whatever else is asked."""
    return ("served", *(name for name in request.objective if name != "served"))


def _plans_of(
    request: PlaceRequest, of: ServiceSetting, nodes: SiteNodes, catalog: Catalog, shared: dict[str, SharedLayouts],
    known: KnownPlans, deadline: float,
) -> tuple[list[PlacePlan], Counter[str], list[str]]:  # fmt: skip
    """The plans of one service over all of its models, what ruled others out, and what to say about it."""
    islands = {
        gpu: max(len(island.gpus) for node in nodes.nodes for island in node.islands if island.gpu == gpu)
        for gpu in nodes.gpus
    }
    plans: list[PlacePlan] = []
    rules: Counter[str] = Counter()
    said: list[str] = []
    for setting in of.settings:
        found, search = whole_plans(of, setting, islands, deadline, known)
        if not found and request.default_limits and of.spec.max_ttft_ms is None and of.spec.max_tpot_ms is None:
            bent = without_default_limits(setting, catalog)
            found, search = whole_plans(of, bent, islands, deadline, known)
            if found:
                setting = bent  # noqa: PLW2901 - the question is asked again without the default limits
                said.append("no plan meets the default limits on TTFT and TPOT, so none are set")
        if request.sharing and of.spec.share and (not found or time.monotonic() < deadline):
            found += [replace(plan, sleeps=of.spec.cold) for plan in shared_plans(of, setting, search, known)]
        plans += found
        for of_gpu in search.result.dropped.values():
            rules += of_gpu
    if request.links and not any(plan.capacity >= of.enough for plan in plans):
        plans += _spanning(request, of, nodes, catalog, shared, islands, known, deadline)
    return plans, rules, said


def _spanning(
    request: PlaceRequest, of: ServiceSetting, nodes: SiteNodes, catalog: Catalog, shared: dict[str, SharedLayouts],
    islands: dict[str, int], known: KnownPlans, deadline: float,
) -> list[PlacePlan]:  # fmt: skip
    """Plans over several nodes, at the speed of the slowest link that is stated."""
    slowest = min(link.gbps for link in request.links)
    wide = service_setting(request, of.service, nodes.gpus, catalog, shared, multi_node_gbps=slowest)
    found = []
    for setting in wide.settings:
        plans, _ = whole_plans(wide, setting, islands, deadline, known)
        found += [plan for plan in plans if plan.choice.unit.facts.layout.nodes > 1]
    return found


def _column(plan: PlacePlan, number: int) -> ServerColumn:
    layout = plan.choice.unit.facts.layout
    terms = plan.choice.unit.facts.terms
    return ServerColumn(
        name=f"c{number}", service=plan.service, gpu=plan.gpu, group_gpus=layout.tensor_parallel_size,
        groups=layout.pipeline_parallel_size * layout.data_parallel_size, capacity=plan.capacity, nodes=layout.nodes,
        bytes_per_gpu=plan.bytes_per_gpu, load_peak_bytes=terms.load_bytes(plan.setting.request.confidence),
        most_on_gpu=plan.turns, asleep_bytes=plan.asleep_bytes if plan.sleeps else None,
        host_bytes=plan.weight_bytes if plan.sleeps else 0, disk_bytes=plan.weight_bytes,
        checkpoint=layout.checkpoint or f"{plan.setting.model.id} {layout.quantization}",
    )  # fmt: skip


def _with_today(
    plans: list[PlacePlan], running: tuple[RunningServer, ...]
) -> tuple[list[PlacePlan], tuple[PlacedServer, ...], tuple[int, ...]]:
    """Columns for the servers of today, those that are plans already reused, and the servers themselves."""
    known = {_identity(plan): k for k, plan in reversed(list(enumerate(plans)))}
    found = []
    for position, server in enumerate(running):
        if server.plan is None:
            continue
        identity = _identity(server.plan)
        if identity not in known:
            known[identity] = len(plans)
            plans = [*plans, server.plan]
        found.append((PlacedServer(known[identity], server.parts), position))
    found.sort()
    return plans, tuple(server for server, _ in found), tuple(position for _, position in found)


def _identity(plan: PlacePlan) -> tuple[object, ...]:
    layout = plan.choice.unit.facts.layout
    return (
        plan.service, plan.gpu, plan.setting.model.id, layout.tensor_parallel_size, layout.pipeline_parallel_size,
        layout.data_parallel_size, layout.quantization, layout.kv_cache_dtype, layout.nodes, plan.turns, plan.sleeps,
        plan.bytes_per_gpu, plan.capacity,
    )  # fmt: skip


def _services(
    request: PlaceRequest, nodes: SiteNodes
) -> tuple[tuple[SiteService, ...], tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """Where every service may stand, and with whom."""
    names = {service.name: s for s, service in enumerate(request.services)}
    together: set[tuple[int, int]] = set()
    apart: set[tuple[int, int]] = set()
    services = []
    for s, spec in enumerate(request.services):
        where = f"service '{spec.name[:60]}'"
        allowed = frozenset(range(len(nodes.nodes)))
        if spec.pin.says_nodes:
            allowed &= nodes.wanted(spec.pin, f"{where}, pin")
        if spec.avoid.says_nodes:
            allowed -= nodes.wanted(spec.avoid, f"{where}, avoid")
        if not allowed:
            raise InvalidRequest(f"{where}: pin and avoid leave no node; loosen one of them")
        for pairs, wanted, what in (
            (together, (*spec.together.services, *spec.pin.services), "together"),
            (apart, spec.avoid.services, "avoid"),
        ):
            for name in wanted:
                if name not in names:
                    raise InvalidRequest(
                        f"{where}, {what}: no service is called '{name[:80]}'{did_you_mean(name, names)}"
                    )
                if names[name] == s:
                    raise InvalidRequest(f"{where}, {what}: a service cannot name itself")
                pairs.add((min(s, names[name]), max(s, names[name])))
        services.append(
            SiteService(
                spec.name, 1, spec.priority, spec.replicas.least, spec.replicas.most or 0,
                None if len(allowed) == len(nodes.nodes) else allowed, spec.spread or "", spec.pack or "",
                survives(request, spec),
            )
        )  # fmt: skip
    _consistent(services, together, apart, len(nodes.nodes))
    return tuple(services), tuple(sorted(together)), tuple(sorted(apart))


def _consistent(
    services: list[SiteService], together: set[tuple[int, int]], apart: set[tuple[int, int]], nodes: int
) -> None:
    """Refuse wishes that no site can meet: a circle that ties together what must stand apart.

    Raises:
        InvalidRequest: such a circle, or services tied together that may share no node.
    """
    leader = list(range(len(services)))

    def find(s: int) -> int:
        while leader[s] != s:
            s = leader[s]
        return s

    for one, other in sorted(together):
        leader[find(one)] = find(other)
    for one, other in sorted(apart):
        if find(one) == find(other):
            raise InvalidRequest(
                f"services '{services[one].name}' and '{services[other].name}' are tied together, directly or through "
                "others, and must avoid each other; drop one of the two"
            )
    allowed: dict[int, frozenset[int]] = {}
    for s, service in enumerate(services):
        mine = service.nodes if service.nodes is not None else frozenset(range(nodes))
        allowed[find(s)] = allowed.get(find(s), mine) & mine
    for s, service in enumerate(services):
        if not allowed[find(s)]:
            raise InvalidRequest(f"service '{service.name}' is tied to services that are pinned to other nodes")


def _bounded(
    service: SiteService, of: ServiceSetting, columns: tuple[ServerColumn, ...], nodes: SiteNodes
) -> SiteService:
    """The service with its demand, and with the most replicas that can be worth having."""
    mine = [column.capacity for column in columns if column.service == of.service]
    gpus = sum(len(island.gpus) for node in nodes.nodes for island in node.islands)
    worth = -(-of.enough * max(1, service.least) // min(mine)) + service.survives if mine else service.least
    most = service.most or max(service.least + service.survives, min(worth, gpus))
    return replace(service, demand=of.demand, most=most)
