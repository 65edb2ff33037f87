"""A placement re-checked in plain whole numbers: memory of every GPU, islands, links, pins, replicas, spread, pairs."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.placing.gpu_memory import bytes_together, fits_gpu
from vllm_opt.constraints.placing.measures import replica_counts
from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem


def placement_violations(problem: PlacementProblem, servers: Sequence[PlacedServer]) -> tuple[Violation, ...]:
    """Every rule that a placement breaks; none when it may be started as it is."""
    found: list[Violation] = []
    for server in servers:
        found += _shape(problem, server)
    if found:
        return tuple(found)
    for rule in (_gpus, _replicas, _node_stores, _spread, _pack, _pairs):
        found += rule(problem, servers)
    return tuple(found)


def _shape(problem: PlacementProblem, server: PlacedServer) -> Iterator[Violation]:
    """Islands, links and nodes allowed, of one server."""
    column = problem.columns[server.column]
    name = problem.services[column.service].name
    nodes = [node for node, _ in server.parts]
    if len(set(nodes)) != column.nodes:
        message = f"a server of {name} stands on {len(set(nodes))} nodes, its plan spans {column.nodes}"
        yield Violation(rule="nodes", message=message, needed=column.nodes, available=len(set(nodes)))
        return
    if column.nodes > 1 and not any(set(nodes) <= linked for linked in problem.links):
        names = ", ".join(problem.nodes[node].name for node in nodes)
        yield Violation(rule="links", message=f"{name} spans {names}, which are not linked")
    for node, gpus in server.parts:
        where = problem.nodes[node].name
        if not problem.services[column.service].may_use(node):
            yield Violation(rule="pins", message=f"{name} may not stand on {where}")
        if len(set(gpus)) != column.gpus_per_node:
            message = f"{name} takes {len(set(gpus))} GPUs of {where}, its plan takes {column.gpus_per_node}"
            yield Violation(rule="gpu_count", message=message, needed=column.gpus_per_node, available=len(set(gpus)))
            continue
        for island in problem.nodes[node].islands:
            mine = len(set(gpus) & set(island.gpus))
            if mine and island.gpu != column.gpu:
                yield Violation(rule="gpu", message=f"{name} is planned for {column.gpu}, {where} has {island.gpu}")
            if mine % column.group_gpus:
                message = f"a group of {column.group_gpus} GPUs of {name} leaves its island on {where}"
                yield Violation(rule="islands", message=message, needed=column.group_gpus, available=mine)


def _gpus(problem: PlacementProblem, servers: Sequence[PlacedServer]) -> Iterator[Violation]:
    """Memory and number of the servers of every GPU."""
    held: dict[tuple[int, int], list[int]] = defaultdict(list)
    for server in servers:
        for node, gpus in server.parts:
            for gpu in gpus:
                held[node, gpu].append(server.column)
    for (node, gpu), columns in sorted(held.items()):
        here = [problem.columns[k] for k in columns]
        total = problem.nodes[node].island_of(gpu).gpu_bytes
        if not fits_gpu(here, total):
            names = ", ".join(problem.services[column.service].name for column in here)
            message = f"GPU {gpu} of {problem.nodes[node].name} cannot hold {names} together"
            needed = bytes_together(here)
            yield Violation(rule="gpu_memory", message=message, needed=needed, available=total, unit="bytes")


def _replicas(problem: PlacementProblem, servers: Sequence[PlacedServer]) -> Iterator[Violation]:
    for service, count in zip(problem.services, replica_counts(problem, servers), strict=True):
        if count > service.most:
            message = f"{service.name} has {count} replicas, at most {service.most} are asked"
            yield Violation(rule="replicas", message=message, needed=count, available=service.most)


def _node_stores(problem: PlacementProblem, servers: Sequence[PlacedServer]) -> Iterator[Violation]:
    """Host memory and disk of every node."""
    host: Counter[int] = Counter()
    disk: dict[int, dict[str, int]] = defaultdict(dict)
    for server in servers:
        column = problem.columns[server.column]
        for node, _ in server.parts:
            host[node] += column.host_bytes
            disk[node][column.checkpoint] = max(column.disk_bytes, disk[node].get(column.checkpoint, 0))
    for node, needed in sorted(host.items()):
        room = problem.nodes[node].host_bytes
        if room is not None and needed > room:
            message = f"{problem.nodes[node].name} has too little host memory"
            yield Violation(rule="host_memory", message=message, needed=needed, available=room, unit="bytes")
    for node, checkpoints in sorted(disk.items()):
        room, needed = problem.nodes[node].disk_bytes, sum(checkpoints.values())
        if room is not None and needed > room:
            message = f"{problem.nodes[node].name} has too little disk for its checkpoints"
            yield Violation(rule="disk", message=message, needed=needed, available=room, unit="bytes")


def domains_of(problem: PlacementProblem, service: int, reach: str) -> dict[int, str]:
    """Node -> the node or zone that counts, for the nodes that may hold a service."""
    return {
        n: node.name if reach == "node" else node.zone
        for n, node in enumerate(problem.nodes)
        if problem.services[service].may_use(n)
    }


def _touches(problem: PlacementProblem, servers: Sequence[PlacedServer], service: int, reach: str) -> Counter[str]:
    """Domain -> servers of a service that touch it."""
    domains = domains_of(problem, service, reach)
    return Counter(
        domain
        for server in servers
        if problem.columns[server.column].service == service
        for domain in {domains[node] for node, _ in server.parts}
    )


def _spread(problem: PlacementProblem, servers: Sequence[PlacedServer]) -> Iterator[Violation]:
    """No node or zone holds more than its even part of a service, rounded up; a replica over n nodes has n parts."""
    for s, service in enumerate(problem.services):
        if not service.spread:
            continue
        domains = domains_of(problem, s, service.spread)
        parts = Counter(
            domains[node]
            for server in servers
            if problem.columns[server.column].service == s
            for node, _ in server.parts
        )
        even = -(-parts.total() // len(set(domains.values()))) if parts else 0
        for domain, count in sorted(parts.items()):
            if count > even:
                message = f"{service.name} has {count} of its {parts.total()} parts in {service.spread} '{domain}'"
                yield Violation(rule="spread", message=message, needed=count, available=even)


def _pack(problem: PlacementProblem, servers: Sequence[PlacedServer]) -> Iterator[Violation]:
    for s, service in enumerate(problem.services):
        touched = _touches(problem, servers, s, service.pack) if service.pack else {}
        if len(touched) > 1:
            message = f"{service.name} stands in {len(touched)} {service.pack}s, it should stand in one"
            yield Violation(rule="pack", message=message, needed=1, available=len(touched))


def _pairs(problem: PlacementProblem, servers: Sequence[PlacedServer]) -> Iterator[Violation]:
    on: dict[int, set[int]] = defaultdict(set)
    for server in servers:
        for node, _ in server.parts:
            on[problem.columns[server.column].service].add(node)
    for one, other in problem.together:
        if on[one] != on[other]:
            message = f"{problem.services[one].name} and {problem.services[other].name} should share every node"
            yield Violation(rule="together", message=message)
    for one, other in problem.apart:
        if on[one] & on[other]:
            message = f"{problem.services[one].name} and {problem.services[other].name} should share no node"
            yield Violation(rule="apart", message=message)
