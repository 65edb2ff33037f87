"""The fleet problem in whole numbers: columns, offers, demands and limits, free of models, prices lists and dates.

A column is one Plan for one workload on one SKU; an offer is one way to get nodes of a SKU. Capacity and demand share
one integer unit per workload (millionths of a request per second, or sequences): capacity is rounded down and demand
up before they come here, so that whatever is decided below never serves less than was asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from vllm_opt.optimizer.fleet.packing import is_exact

SLOTS_PER_GPU = 4
"""A GPU is divided into quarters; a server that shares its GPU takes one or two of them."""

SERVED_SCALE = 1000
"""Served demand is counted in thousandths."""

OfferKind = Literal["stock", "rent", "buy"]
FleetObjective = Literal["cost", "capex", "gpus", "served"]


@dataclass(frozen=True, slots=True)
class FleetColumn:
    """One way to serve one workload: a replica of one Plan on one SKU."""

    name: str
    workload: str
    gpu: str
    slots: int
    """quarter GPUs that the replica takes on each node it touches"""
    capacity: tuple[int, ...]
    """what one replica serves when it serves only that length bucket; 0: it cannot"""
    nodes: int = 1
    """nodes that one replica spans"""
    format: str = ""
    """weight format"""
    reserve: str = ""
    """columns of a routed workload that share their spare replicas, all of them for one and the same bar; without it
    every column keeps its own"""

    @property
    def gpus(self) -> float:
        """GPUs of one replica; 0.25 or 0.5 when it shares one."""
        return self.nodes * self.slots / SLOTS_PER_GPU


@dataclass(frozen=True, slots=True)
class NodeOffer:
    """One way to get GPUs of one SKU. A unit is a node, or a single GPU where GPUs are sold singly."""

    name: str
    gpu: str
    gpus_per_node: int
    kind: OfferKind = "rent"
    billing: Literal["node", "gpu"] = "node"
    micro_usd_per_hour: int = 0
    """running cost of one unit: rent, or for owned nodes power and hosting"""
    amortised_micro_usd_per_hour: int = 0
    """purchase price of one unit spread over its years of use"""
    capex_cents: int = 0
    """purchase price of one unit"""
    watts: int = 0
    rack_milliunits: int = 0
    """thousandths of a rack unit"""
    max_units: int | None = None
    provider: str = ""

    @property
    def cost_micro_usd_per_hour(self) -> int:
        """Running cost and amortised purchase of one unit."""
        return self.micro_usd_per_hour + self.amortised_micro_usd_per_hour

    @property
    def unit_gpus(self) -> int:
        """GPUs of one billed unit."""
        return 1 if self.billing == "gpu" else self.gpus_per_node

    @property
    def hosted(self) -> bool:
        """Whether it stands in the user's own racks, so that watts and rack units count against the limits."""
        return self.kind != "rent"

    def takes(self, column: FleetColumn) -> bool:
        """Say whether a replica of the column fits on nodes of this offer, each of its parts on one of them."""
        return column.gpu == self.gpu and column.slots <= self.gpus_per_node * SLOTS_PER_GPU


@dataclass(frozen=True, slots=True)
class FleetDemand:
    """What one workload needs, by length bucket, peak and headroom included."""

    workload: str
    units: tuple[int, ...]
    priority: int = 1
    """1 is served first when not everything can be"""
    spare_replicas: int = 0
    """replicas that may be lost while the rest still serves everything"""


@dataclass(frozen=True, slots=True)
class FleetLimits:
    """Upper limits on the whole fleet; None is no limit."""

    micro_usd_per_hour: int | None = None
    capex_cents: int | None = None
    watts: int | None = None
    rack_milliunits: int | None = None
    gpu_kinds: int | None = None
    gpus: int | None = None
    quota_gpus: Mapping[str, int] = field(default_factory=dict)
    """GPUs of a SKU that may be rented or bought, on top of the stock"""


@dataclass(frozen=True)
class FleetProblem:
    """Everything the fleet model needs."""

    demands: tuple[FleetDemand, ...]
    columns: tuple[FleetColumn, ...]
    offers: tuple[NodeOffer, ...]
    limits: FleetLimits = FleetLimits()
    objectives: tuple[FleetObjective, ...] = ("cost",)
    stock_first: bool = True
    zones: int = 1
    """failure domains (racks, availability zones); each workload stands in at least two when there are several"""
    spare_nodes: int = 0
    """idle nodes of every offer in use, so that so many may be lost; where GPUs are sold singly, idle places of its
    largest replica"""
    tolerance_ppm: int = 0
    """millionths of the first objective that a simpler fleet may cost more"""
    exact_routes: bool = False
    """whether requests are routed by cuts alone, in any parts: as variables of the model routes are thousandths"""

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Every (column, offer) that go together, as indices."""
        of_gpu: dict[str, list[tuple[int, NodeOffer]]] = {}
        for o, offer in enumerate(self.offers):
            of_gpu.setdefault(offer.gpu, []).append((o, offer))
        return tuple(
            (c, o)
            for c, column in enumerate(self.columns)
            for o, offer in of_gpu.get(column.gpu, ())
            if offer.takes(column)
        )

    @property
    def packs_exactly(self) -> bool:
        """Whether every way to fill a node is known; where they are too many, odd sizes are rounded up."""
        sizes: dict[int, set[int]] = {}
        for c, o in self.pairs:
            if self.offers[o].billing == "node":
                sizes.setdefault(o, set()).add(self.columns[c].slots)
        return all(is_exact(tuple(s), self.offers[o].gpus_per_node * SLOTS_PER_GPU) for o, s in sizes.items())

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing but demand, zones and spares binds the fleet."""
        return self.limits == FleetLimits() and all(offer.max_units is None for offer in self.offers)

    @property
    def partial(self) -> bool:
        """Whether demand may be served in part."""
        return "served" in self.objectives

    def changed(self, **changes: object) -> "FleetProblem":
        """Return a copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class FleetSolution:
    """Replicas of every column on every offer and zone, and the units taken of every offer."""

    replicas: Mapping[tuple[int, int, int], int]
    """(column, offer, zone) -> replicas, zeros left out"""
    units: Mapping[tuple[int, int], int]
    """(offer, zone) -> nodes, or GPUs where they are sold singly"""
    served: Mapping[str, int]
    """workload -> thousandths of its demand"""
    patterns: Mapping[tuple[int, int], tuple[tuple[Mapping[int, int], int], ...]] = field(default_factory=dict)
    """(offer, zone) -> how its nodes are filled, where sizes do not divide each other"""

    def replicas_of(self, column: int) -> int:
        """Replicas of a column on all offers and zones."""
        return sum(count for (c, _, _), count in self.replicas.items() if c == column)

    def units_of(self, offer: int) -> int:
        """Units of an offer in all zones."""
        return sum(count for (o, _), count in self.units.items() if o == offer)


def without_dominated(columns: tuple[FleetColumn, ...]) -> tuple[FleetColumn, ...]:
    """Drop every column that replicas of another column on the same SKU replace with no more GPUs.

    k replicas of a smaller column replace one larger when they take at most its GPUs and serve at least as much of
    every bucket: smaller replicas pack at least as well when their size divides the larger one, and losing one of them
    loses less. Only columns within one node are compared with each other, and only those that share their spares.
    """
    kept: list[FleetColumn] = []
    for column in sorted(columns, key=lambda c: (c.workload, c.gpu, c.nodes, c.slots, tuple(-x for x in c.capacity))):
        key = column.workload, column.gpu, column.reserve
        rivals = (other for other in kept if (other.workload, other.gpu, other.reserve) == key)
        if any(column.capacity) and not any(_replaces(rival, column) for rival in rivals):
            kept.append(column)
    order = {column.name: position for position, column in enumerate(columns)}
    return tuple(sorted(kept, key=lambda column: order[column.name]))


def _replaces(small: FleetColumn, large: FleetColumn) -> bool:
    if small.nodes != 1 or large.slots % small.slots:
        return False
    copies = large.nodes * (large.slots // small.slots)
    return all(copies * s >= b for s, b in zip(small.capacity, large.capacity, strict=True))


def spares_of(columns: Mapping[int, FleetColumn], counts: Mapping[int, int], spares: int) -> dict[int, int]:
    """How many replicas of each column of a routed workload stay idle, so that any `spares` of them may be lost.

    So many of every column in use; of columns that share them, the largest replicas in use: whichever are lost instead,
    those take over.
    """
    idle = {c: spares for c, count in counts.items() if count and not columns[c].reserve}
    left: dict[str, int] = {}
    for c in by_size(columns):
        if columns[c].reserve and counts.get(c):
            rest = left.setdefault(columns[c].reserve, spares)
            idle[c] = min(rest, counts[c])
            left[columns[c].reserve] = rest - idle[c]
    return idle


def by_size(columns: Mapping[int, FleetColumn]) -> list[int]:
    """The columns in descending order of what they serve."""
    return sorted(columns, key=lambda c: (-sum(columns[c].capacity), c))
