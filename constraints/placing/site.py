"""A site in whole numbers: nodes with islands of GPUs, servers that could be placed, services, and what runs today.

Demand and capacity of a service share one unit (millionths of a request per second, or sequences); demand was rounded
up and capacity down before they come here. Bytes are exact.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

SERVED_SCALE = 1000
"""Shares and headroom are counted in thousandths of the demand."""

Reach = Literal["", "node", "zone"]


@dataclass(frozen=True, slots=True)
class Island:
    """GPUs of one node that a tensor-parallel group may span: an NVLink domain, a PCIe group, one MIG instance."""

    gpu: str
    """SKU; columns go to islands of their own SKU only"""
    gpu_bytes: int
    """bytes of one GPU that servers may take: as the runtime reports it, less what is taken before any starts"""
    gpus: tuple[int, ...]
    """indices, unique within the node"""
    watts_per_gpu: int = 0


@dataclass(frozen=True, slots=True)
class SiteNode:
    """One machine."""

    name: str
    islands: tuple[Island, ...]
    zone: str = ""
    host_bytes: int | None = None
    """memory for weights of sleeping servers; None: not limited"""
    disk_bytes: int | None = None
    """room for checkpoints; None: not limited"""

    def island_of(self, gpu: int) -> Island:
        """The island of one GPU.

        Raises:
            KeyError: the node has no such GPU.
        """
        for island in self.islands:
            if gpu in island.gpus:
                return island
        raise KeyError(gpu)


@dataclass(frozen=True, slots=True)
class ServerColumn:
    """One way to run one replica of one service."""

    name: str
    service: int
    gpu: str
    group_gpus: int
    """GPUs of one tensor-parallel group, which stands inside one island"""
    groups: int
    """groups of one replica: pipeline stages x data-parallel engines"""
    capacity: int
    nodes: int = 1
    """nodes that one replica spans, the same number of groups on each"""
    bytes_per_gpu: int = 0
    """memory budget and what stands outside it: CUDA context, NCCL, and graphs before 0.20"""
    load_peak_bytes: int = 0
    """the most that a start takes on a GPU, where that is more than `bytes_per_gpu`"""
    most_on_gpu: int = 1
    """servers awake on its GPU, itself included, under which its capacity holds; 1: it shares with nobody"""
    asleep_bytes: int | None = None
    """bytes on the GPU while it sleeps; None: it never sleeps"""
    host_bytes: int = 0
    """host memory on every node it touches"""
    disk_bytes: int = 0
    """bytes of its checkpoint; servers of one checkpoint on one node share it"""
    checkpoint: str = ""

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.groups * self.group_gpus

    @property
    def gpus_per_node(self) -> int:
        """GPUs of one replica on each node."""
        return self.gpus // self.nodes

    @property
    def shared(self) -> bool:
        """Whether its GPU may hold other servers."""
        return self.most_on_gpu > 1


@dataclass(frozen=True, slots=True)
class SiteService:
    """What must run."""

    name: str
    demand: int
    priority: int = 1
    """1 is served first"""
    least: int = 1
    most: int = 1
    nodes: frozenset[int] | None = None
    """nodes that may hold it; None: all"""
    spread: Reach = ""
    """replicas are dealt evenly over the nodes or zones that may hold the service"""
    pack: Reach = ""
    """all replicas stand in one node or zone"""
    survives: bool = False
    """any one node may fail and the rest still serves the whole demand"""

    def may_use(self, node: int) -> bool:
        """Say whether a node may hold it."""
        return self.nodes is None or node in self.nodes


Parts = tuple[tuple[int, tuple[int, ...]], ...]
"""(node, its GPUs) of one server, nodes ascending, GPUs ascending"""


@dataclass(frozen=True, slots=True, order=True)
class PlacedServer:
    """One replica on its GPUs."""

    column: int
    parts: Parts


@dataclass(frozen=True)
class PlacementProblem:
    """Everything that a placement is judged by."""

    nodes: tuple[SiteNode, ...]
    services: tuple[SiteService, ...]
    columns: tuple[ServerColumn, ...]
    today: tuple[PlacedServer, ...] = ()
    """servers that run now and match a column; those that match none cannot be kept and are not listed"""
    links: tuple[frozenset[int], ...] = ()
    """sets of nodes that are linked fast enough for pipelines between them"""
    together: tuple[tuple[int, int], ...] = ()
    """pairs of services: a node that holds one holds the other"""
    apart: tuple[tuple[int, int], ...] = ()
    """pairs of services that share no node"""
    objectives: tuple[str, ...] = ("served", "headroom", "moves", "gpus", "blocks")
    most_headroom: int = 1250
    """thousandths of the demand above which more capacity counts for nothing"""

    @cached_property
    def columns_of(self) -> tuple[tuple[int, ...], ...]:
        """Service -> its columns."""
        return tuple(
            tuple(k for k, column in enumerate(self.columns) if column.service == s) for s in range(len(self.services))
        )

    @cached_property
    def priorities(self) -> tuple[int, ...]:
        """Priorities in use, the first served first."""
        return tuple(sorted({service.priority for service in self.services}))

    def objective_names(self) -> tuple[str, ...]:
        """The objectives one by one: what is served is decided priority by priority, in full before in part.

        Last come the fewest servers: what no objective asks for is not started.
        """
        names: list[str] = []
        for name in self.objectives:
            if name == "served":
                names += [f"{what}:{p}" for p in self.priorities for what in ("served", "share")]
            elif name != "moves" or self.today:
                names.append(name)
        return (*names, "servers")


def maximised(objective: str) -> bool:
    """Say whether more of an objective is better."""
    return objective.partition(":")[0] in ("served", "share", "headroom", "blocks")
