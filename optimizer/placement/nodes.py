"""Nodes of a site in whole numbers: names filled in, islands listed, MIG instances made, links and labels resolved."""

from collections.abc import Iterable
from dataclasses import dataclass

from vllm_opt.constraints.placing.site import Island, SiteNode
from vllm_opt.optimizer.placement.mig import mig_instances
from vllm_opt.optimizer.placement.request import NodeSpec, PlaceRequest, Wanted
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile, did_you_mean
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.reading.quantities import GIB


@dataclass(frozen=True)
class SiteNodes:
    """Every node, and how users speak of it."""

    nodes: tuple[SiteNode, ...]
    specs: tuple[NodeSpec, ...]
    """node -> the entry of the file that it comes from"""
    gpus: dict[str, GpuProfile]
    """SKU or MIG instance -> profile, with the GPUs of its largest island as those of a node"""
    slots: tuple[dict[int, str], ...]
    """node -> GPU index -> how it is shown where that is no plain number: '0:1' is the second instance of GPU 0"""
    names: dict[str, tuple[int, ...]]
    """name in the file, or of one node -> nodes"""

    def named(self, name: str, what: str) -> tuple[int, ...]:
        """The nodes that a name means.

        Raises:
            InvalidRequest: there are none.
        """
        if name not in self.names:
            raise InvalidRequest(f"{what}: no node is called '{name[:80]}'{did_you_mean(name, self.names)}")
        return self.names[name]

    def wanted(self, wanted: Wanted, what: str) -> frozenset[int]:
        """The nodes that a wish names: those named, and those with all of its labels.

        Raises:
            InvalidRequest: a name is not known, or no node has the labels.
        """
        found = {n for name in wanted.nodes for n in self.named(name, what)}
        if wanted.labels:
            labelled = {n for n, spec in enumerate(self.specs) if wanted.labels.items() <= spec.labels.items()}
            if not labelled:
                shown = ", ".join(f"{key}={value}" for key, value in wanted.labels.items())[:120]
                raise InvalidRequest(f"{what}: no node has the labels {shown}")
            found = found & labelled if wanted.nodes else labelled
        return frozenset(found)


def site_nodes(request: PlaceRequest, catalog: Catalog) -> SiteNodes:
    """Resolve the nodes of a request.

    Raises:
        InvalidRequest: islands that are not of this node, a name given twice, a MIG profile that does not exist.
        UnknownProfile: a SKU that the catalogue does not hold.
    """
    nodes: list[SiteNode] = []
    specs: list[NodeSpec] = []
    gpus: dict[str, GpuProfile] = {}
    slots: list[dict[int, str]] = []
    names: dict[str, tuple[int, ...]] = {}
    for spec in request.nodes:
        for islands, profiles, shown, name in _machines(spec, catalog):
            for island in islands:
                profile = profiles[island.gpu]
                known = gpus.get(island.gpu, profile.model_copy(update={"gpus_per_node": 1}))
                most = max(known.gpus_per_node, len(island.gpus))
                gpus[island.gpu] = known.model_copy(update={"gpus_per_node": most})
            if name in names and name != spec.name:
                raise InvalidRequest(f"nodes: '{name[:80]}' is the name of two nodes; give each its own name")
            names[name] = (len(nodes),)
            names[spec.name] = (*names.get(spec.name, ()), len(nodes)) if name != spec.name else (len(nodes),)
            nodes.append(_node(spec, name, islands))
            specs.append(spec)
            slots.append(shown)
    return SiteNodes(tuple(nodes), tuple(specs), gpus, tuple(slots), names)


Machine = tuple[tuple[Island, ...], dict[str, GpuProfile], dict[int, str], str]


def _machines(spec: NodeSpec, catalog: Catalog) -> Iterable[Machine]:
    where = f"node '{spec.name[:60]}'"
    if spec.gpu.strip().lower() == "local":
        found = catalog.local_gpus
        profiles = {gpu.id: gpu for gpu in found}
        islands = tuple(
            _island(profiles[kind], tuple(i for i, gpu in enumerate(found) if gpu.id == kind)) for kind in profiles
        )
        yield islands, profiles, {}, spec.name
        return
    try:
        gpu = catalog.gpu(spec.gpu)
        instances = mig_instances(gpu, spec.mig) if spec.mig else ()
    except (UnknownProfile, InvalidRequest) as error:
        raise type(error)(f"{where}: {error}") from None
    count = spec.gpus or gpu.gpus_per_node
    shown: dict[int, str] = {}
    if instances:
        profiles = {instance.id: instance for instance in instances}
        slots = [(g, i) for g in range(count) for i in range(len(instances))]
        shown = {slot: f"{g}:{i}" for slot, (g, i) in enumerate(slots)}
        islands = tuple(_island(instances[i], (slot,)) for slot, (_, i) in enumerate(slots))
    else:
        profiles = {gpu.id: gpu}
        islands = tuple(_island(gpu, members) for members in _islands(spec, count, where))
    for number in range(spec.count):
        yield islands, profiles, shown, spec.name if spec.count == 1 else f"{spec.name}-{number + 1}"


def _island(gpu: GpuProfile, members: tuple[int, ...]) -> Island:
    return Island(gpu.id, gpu.memory_bytes, members, round(gpu.tdp_watts or 0))


def _islands(spec: NodeSpec, count: int, where: str) -> tuple[tuple[int, ...], ...]:
    """The GPUs of each island."""
    if isinstance(spec.islands, int):
        if spec.islands > count:
            raise InvalidRequest(f"{where}: islands of {spec.islands} GPUs, but it has {count}")
        return tuple(tuple(range(at, min(at + spec.islands, count))) for at in range(0, count, spec.islands))
    listed = spec.islands if isinstance(spec.islands, tuple) else spec.pcie_groups
    if not listed:
        return (tuple(range(count)),)
    members = [gpu for island in listed for gpu in island]
    if sorted(members) != list(range(count)):
        raise InvalidRequest(f"{where}: islands must hold each of its GPUs 0 to {count - 1} once")
    return tuple(tuple(sorted(island)) for island in listed)


def _node(spec: NodeSpec, name: str, islands: tuple[Island, ...]) -> SiteNode:
    host = 0 if spec.host_memory_gib is None else int(spec.host_memory_gib * GIB)
    disk = None if spec.disk_gib is None else int(spec.disk_gib * GIB)
    return SiteNode(name, islands, spec.zone, host, disk)


def linked_sets(request: PlaceRequest, nodes: SiteNodes) -> tuple[frozenset[int], ...]:
    """The sets of nodes that pipelines may span.

    Raises:
        InvalidRequest: a name that no node has, or a link of one node.
    """
    found = []
    for link in request.links:
        linked = frozenset(n for name in link.nodes for n in nodes.named(name, "links"))
        if len(linked) < 2:
            raise InvalidRequest(f"links: {', '.join(link.nodes)[:80]} is one node; a link needs two")
        found.append(linked)
    return tuple(found)
