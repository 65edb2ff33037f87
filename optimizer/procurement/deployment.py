"""A fleet as a deployment: every node of every order with the servers that the placement puts there."""

from collections import defaultdict

from vllm_opt.optimizer.deployment.assembling import assembled
from vllm_opt.optimizer.deployment.deployment import Deployment, HostSpec, Part, PlacedServer, ServerKind
from vllm_opt.optimizer.deployment.kinds import kind_of_plan
from vllm_opt.optimizer.procurement.answer import Assignment, FleetAnswer, OrderedHost
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.gpu import GpuProfile


def deployment_of_fleet(answer: FleetAnswer, catalog: Catalog | None = None) -> Deployment:
    """The deployment of a fleet.

    Raises:
        InvalidRequest: the answer has no fleet.
    """
    if not answer.assignments:
        raise InvalidRequest("the answer has no fleet to deploy; it says what would help")
    catalog = catalog or Catalog(gpu_file=answer.request.get("gpu_file"))
    kinds = [
        kind_of_plan(item.plan, catalog.gpu(item.plan.gpu), catalog, gpu_part=item.gpu_part)
        for item in answer.assignments
    ]
    hosts: list[HostSpec] = []
    parts: dict[int, list[Part]] = defaultdict(list)
    for order in answer.nodes:
        gpu = catalog.gpu(order.gpu)
        for like in order.hosts:
            for _ in range(like.hosts):
                host = _host(len(hosts) + 1, gpu, like, f"{order.what} of {order.provider}")
                hosts.append(host)
                for position, devices in devices_of(like, kinds):
                    parts[position].append(Part(host=host.name, devices=devices))
    servers = [
        server
        for position, item in enumerate(answer.assignments)
        for server in _servers(item, kinds[position], parts[position])
    ]
    name = str(answer.request.get("name", "fleet"))
    return assembled(name, hosts, servers, request=answer.request, source="fleet")


def _host(number: int, gpu: GpuProfile, like: OrderedHost, what: str) -> HostSpec:
    zone = f", zone {like.zone + 1}" if like.zone else ""
    return HostSpec(name=f"node-{number}", gpu=gpu, gpus=like.gpus, what=f"{what}{zone}")


def devices_of(like: OrderedHost, kinds: list[ServerKind]) -> list[tuple[int, tuple[int, ...]]]:
    """(assignment, devices) of every server on a host: the largest first, then shares, each GPU filled up in turn."""
    pieces = [each.assignment for each in like.servers for _ in range(each.servers)]
    pieces.sort(key=lambda a: (kinds[a].gpu_part < 1, -min(kinds[a].gpus, like.gpus), -kinds[a].gpu_part, a))
    found: list[tuple[int, tuple[int, ...]]] = []
    first, shared = 0, 0.0
    for position in pieces:
        kind = kinds[position]
        if kind.gpu_part < 1:
            found.append((position, (first,)))
            shared += kind.gpu_part
            if shared > 1 - 1e-9:
                first, shared = first + 1, 0.0
            continue
        gpus = min(kind.gpus, like.gpus)
        found.append((position, tuple(range(first, first + gpus))))
        first += gpus
    return found


def _servers(item: Assignment, kind: ServerKind, parts: list[Part]) -> list[PlacedServer]:
    """The servers of one assignment: as many hosts each as its GPUs need."""
    each = max(1, len(parts) // item.replicas)
    return [
        PlacedServer(
            service=item.workload, replica=replica, kind=kind, lengths=item.lengths,
            parts=tuple(parts[replica * each : (replica + 1) * each]),
        )
        for replica in range(item.replicas)
    ]  # fmt: skip
