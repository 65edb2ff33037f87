"""Where disk or host memory is what a service lacks: which of them, on which nodes, and the least that would do."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vllm_opt.constraints.placing.measures import served_in_full
from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem, SiteNode
from vllm_opt.optimizer.placement_model.outcome import PlacementOptions
from vllm_opt.optimizer.placement_model.solver import solve_placement
from vllm_opt.profiles.reading.quantities import GIB

STORES = {"disk": ("disk_bytes", "disk_gib", "disk"), "host_memory": ("host_bytes", "host_memory_gib", "host memory")}
"""rule -> field of a node in whole bytes, key of the site file, words"""
SECONDS_EACH, LEAST_SECONDS = 5.0, 0.1
MIB = 1 << 20
MOST_NODES_TRIED = 8
MOST_ROUNDS = 12
"""in which less and less is tried on a node"""


@dataclass(frozen=True)
class MoreRoom:
    """The least of a store, on one node or on all that have a limit, with which a service is served too."""

    store: str
    nodes: tuple[str, ...]
    before_bytes: int
    """the least that one of them has"""
    bytes: int

    @property
    def key(self) -> str:
        """Key of the site file."""
        return STORES[self.store][1]

    @property
    def gib(self) -> int:
        """Whole GiB, rounded up."""
        return -(-self.bytes // GIB)

    @property
    def message(self) -> str:
        """What to change."""
        _, _, words = STORES[self.store]
        where = self.nodes[0] if len(self.nodes) == 1 else f"each of {', '.join(self.nodes[:6])}"
        more = " and more" if len(self.nodes) > 6 else ""
        return f"{self.gib:,} GiB of {words} on {where}{more} instead of {self.before_bytes / GIB:,.0f}"


def lacking_store(problem: PlacementProblem, s: int, needed: int, end: float) -> str | None:
    """The store whose limits, lifted everywhere, let a service be served in full and `needed` in all; None: neither."""
    for store, (field, _, _) in STORES.items():
        if any(getattr(node, field) is not None for node in problem.nodes):
            lifted = _with(problem, field, range(len(problem.nodes)), None)
            if _served(lifted, s, needed, end) is not None:
                return store
    return None


def more_room(problem: PlacementProblem, store: str, s: int, needed: int, end: float) -> MoreRoom | None:
    """The smallest change of one node that lets a service be served beside all that is served; else of all nodes."""
    field, _, _ = STORES[store]
    service = problem.services[s]
    limited = [n for n, node in enumerate(problem.nodes) if getattr(node, field) is not None and service.may_use(n)]
    found: list[MoreRoom] = []
    for nodes in (*([n] for n in _unlike(problem, limited)), limited):
        if time.monotonic() > end or (found and len(nodes) > 1):
            break
        least = _least(problem, field, nodes, s, needed, end)
        if least is not None:
            before = min(getattr(problem.nodes[n], field) for n in nodes)
            found.append(MoreRoom(store, tuple(problem.nodes[n].name for n in nodes), before, least))
    return min(found, key=lambda room: (room.bytes - room.before_bytes, room.nodes), default=None)


def least_and_most(problem: PlacementProblem, store: str, s: int) -> tuple[int, int]:
    """The least of a store that one server of a service takes, and the most that a node has that it may use.

    Of the SKU on which the least is missing; a store without a limit is not among them.
    """
    field, _, _ = STORES[store]
    columns = [problem.columns[k] for k in problem.columns_of[s]]
    found = []
    for gpu in dict.fromkeys(column.gpu for column in columns):
        sizes = (column.disk_bytes if store == "disk" else column.host_bytes for column in columns if column.gpu == gpu)
        takes = [size for size in sizes if size]
        has = [
            getattr(node, field) for n, node in enumerate(problem.nodes)
            if problem.services[s].may_use(n) and any(island.gpu == gpu for island in node.islands)
        ]  # fmt: skip
        limits = [room for room in has if room is not None]
        if limits and takes:
            found.append((min(takes), max(limits)))
    return min(found, key=lambda pair: pair[0] - pair[1], default=(0, 0))


def _unlike(problem: PlacementProblem, nodes: list[int]) -> list[int]:
    """One of every kind of node."""
    kinds: dict[object, int] = {}
    for n in nodes:
        rules = tuple(service.may_use(n) for service in problem.services)
        kinds.setdefault((replace(problem.nodes[n], name=""), rules), n)
    return list(kinds.values())[:MOST_NODES_TRIED]


def _least(problem: PlacementProblem, field: str, nodes: list[int], s: int, needed: int, end: float) -> int | None:
    """The least room of some nodes with which the service is served: a little less than was used, until it is not."""
    room: int | None = None
    for _ in range(MOST_ROUNDS):
        tried = _with(problem, field, nodes, None if room is None else room - MIB)
        servers = _served(tried, s, needed, end)
        if servers is None:
            break
        used = _used(tried, servers, field)
        room = max((used[n] for n in nodes), default=0)
        if room == 0 or time.monotonic() > end:
            break
    return room


def _served(problem: PlacementProblem, s: int, needed: int, end: float) -> tuple[PlacedServer, ...] | None:
    """A placement that serves a service in full, and `needed` in all; None where none was found."""
    seconds = max(LEAST_SECONDS, min(SECONDS_EACH, end - time.monotonic()))
    servers = solve_placement(problem, PlacementOptions(seconds)).servers
    full = served_in_full(problem, servers)
    return servers if full[s] and sum(full) >= needed else None


def _used(problem: PlacementProblem, servers: Sequence[PlacedServer], field: str) -> Counter[int]:
    """Node -> bytes of a store that servers take; each checkpoint counts once, in whole MiB as the model counts it."""
    checkpoints: dict[tuple[int, object], int] = {}
    for number, server in enumerate(servers):
        column = problem.columns[server.column]
        for node, _ in server.parts:
            key, size = (column.checkpoint, column.disk_bytes) if field == "disk_bytes" else (number, column.host_bytes)
            checkpoints[node, key] = max(-(-size // MIB) * MIB, checkpoints.get((node, key), 0))
    used: Counter[int] = Counter()
    for (node, _), size in checkpoints.items():
        used[node] += size
    return used


def _with(problem: PlacementProblem, field: str, nodes: Iterable[int], room: int | None) -> PlacementProblem:
    """The same site with other room on some nodes, on which only what is served counts."""
    chosen = frozenset(nodes)

    def changed(n: int, node: SiteNode) -> SiteNode:
        if n not in chosen:
            return node
        return replace(node, disk_bytes=room) if field == "disk_bytes" else replace(node, host_bytes=room)

    every = tuple(changed(n, node) for n, node in enumerate(problem.nodes))
    return replace(problem, nodes=every, objectives=("served",))
