"""Nodes that cannot be told apart are one class: the model counts servers of a class, not of a node.

A class of several nodes is a relaxation (its servers might not pack); a class of one is exact. `split` makes single
nodes of every class, or of those that a service with rules about nodes may use.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vllm_opt.constraints.placing.site import PlacementProblem


@dataclass(frozen=True)
class NodeClass:
    """Interchangeable nodes."""

    nodes: tuple[int, ...]

    @property
    def first(self) -> int:
        """A node that stands for all."""
        return self.nodes[0]


@dataclass(frozen=True)
class Bin:
    """Islands of one class and SKU that are counted together; one island in a class of one node."""

    of_class: int
    gpu: str
    gpu_bytes: int
    sizes: tuple[int, ...]
    """GPUs of every island in it"""
    island: int | None
    """position of the island within its node; None where several are counted together"""

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return sum(self.sizes)

    def room(self, size: int) -> int:
        """Groups of `size` GPUs that its islands hold."""
        return sum(gpus // size for gpus in self.sizes)


def node_classes(problem: PlacementProblem, *, split: bool) -> tuple[NodeClass, ...]:
    """The classes of a site; nodes that hold something today, or that rules speak of, stand for themselves."""
    alone = set(range(len(problem.nodes))) if split else _told_apart(problem)
    groups: dict[object, list[int]] = {}
    for n, node in enumerate(problem.nodes):
        islands = tuple((i.gpu, i.gpu_bytes, len(i.gpus), i.watts_per_gpu) for i in node.islands)
        links = tuple(n in linked for linked in problem.links)
        allowed = tuple(service.may_use(n) for service in problem.services)
        key = (islands, node.zone, node.host_bytes, node.disk_bytes, links, allowed)
        groups.setdefault((key, n) if n in alone else key, []).append(n)
    return tuple(NodeClass(tuple(nodes)) for nodes in groups.values())


def _told_apart(problem: PlacementProblem) -> set[int]:
    found = {node for server in problem.today for node, _ in server.parts}
    pairs = {s for pair in (*problem.together, *problem.apart) for s in pair}
    for s, service in enumerate(problem.services):
        if s in pairs or service.pack == "node":
            found |= {n for n in range(len(problem.nodes)) if service.may_use(n)}
    return found


def bins_of(problem: PlacementProblem, classes: Iterable[NodeClass]) -> tuple[Bin, ...]:
    """The bins of all classes."""
    bins = []
    for c, of in enumerate(classes):
        islands = problem.nodes[of.first].islands
        if len(of.nodes) == 1:
            bins += [Bin(c, x.gpu, x.gpu_bytes, (len(x.gpus),), i) for i, x in enumerate(islands)]
            continue
        for kind in dict.fromkeys((x.gpu, x.gpu_bytes) for x in islands):
            sizes = tuple(len(x.gpus) for x in islands if (x.gpu, x.gpu_bytes) == kind)
            bins.append(Bin(c, *kind, sizes * len(of.nodes), None))
    return tuple(bins)
