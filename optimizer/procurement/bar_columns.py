"""Columns for a histogram of a few bars: every plan that may matter, whatever mix of bars it serves.

A plan serves of each bar what its engines reach with `max_num_seqs` requests of that bar alone, none where the bar is
longer than its context or breaks a limit; so a plan is a vector, and no single plan is the best of its class (SKU,
size). All are tried: the lengths of the bars as contexts (the longest has the target context), every server, width of
a step and batch of `solve` with the load left free, refined at the limits of every bar. Of a class the plans that no
other one equals on every bar are kept. An open class is known by its ceilings, bar by bar.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.procurement.buckets import bucket_capacities, capacities_of
from vllm_opt.optimizer.procurement.columns import MICRO, ColumnSearch, Kind, ReplicaPlan
from vllm_opt.optimizer.procurement.request import WorkloadDemand
from vllm_opt.optimizer.search.bounds import capacity_ceilings
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.search import ALL_RULES, Search
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.optimizer.space.shared import SharedLayouts

MOST_BARS = 8
"""bars of a histogram up to which every plan is bounded"""
SERVER_S = 0.005
"""what it takes to size one server for one bar"""
AT_ONCE = 16
"""servers of a class that are sized together"""
Vector = tuple[int, ...]
Bars = tuple[tuple[int, int], ...]
Limits = tuple[float | None, float | None]


class BarSearch:
    """Every plan with one maximum context; `settings` ask for each bar within it, by its number."""

    def __init__(
        self, settings: dict[int, SolveSetting], bars: Bars, limits: Limits, shared: SharedLayouts | None = None
    ) -> None:
        self.bars, self.limits = bars, limits
        self.searches = {bar: Search(setting, shared=shared) for bar, setting in settings.items()}
        self.setting = next(iter(settings.values()))
        self.found: dict[Kind, list[ReplicaPlan]] = {}
        self.open: dict[Kind, Vector] = {}
        self._classes = self._classed()
        self.servers = sum(len(entries) for entries in self._classes.values())

    @property
    def dropped(self) -> dict[str, Counter[str]]:
        """SKU -> rule -> servers that it ruled out."""
        return next(iter(self.searches.values())).result.dropped

    @property
    def seconds(self) -> float:
        """What it takes to size every server for every bar, about."""
        return SERVER_S * self.servers * len(self.searches)

    @property
    def plans(self) -> dict[Kind, ReplicaPlan]:
        """One plan of every class that has any."""
        return {kind: plans[0] for kind, plans in self.found.items() if plans}

    def columns(self) -> Iterator[tuple[Kind, str, ReplicaPlan]]:
        """Every plan found, with what tells it from the others of its class."""
        for kind, plans in sorted(self.found.items(), key=lambda item: item[0]):
            for number, plan in enumerate(plans):
                yield kind, f".{number}" if number else "", plan

    def _classed(self) -> dict[Kind, list[tuple[Vector, dict[int, Server]]]]:
        """Servers by class, with their ceilings and their place in the search of each bar."""
        rows: dict[tuple[object, ...], tuple[dict[int, int], dict[int, Server]]] = {}
        for bar, search in self.searches.items():
            servers = [server.with_replicas(1, 1) for sku in search.setting.gpus for server in search.servers.of(sku)]
            most = capacity_ceilings(search.setting, search.physics, servers, ALL_RULES)
            for server, ceiling in zip(servers, most, strict=True):
                if isinstance(ceiling, str):
                    search.result.drop(server.sku.gpu.id, ceiling)
                    continue
                key = server.sku.gpu.id, server.weights, server.shape
                ceilings, places = rows.setdefault(key, ({}, {}))
                ceilings[bar] = math.ceil(Fraction(ceiling) / search.setting.lengths[1] * MICRO)
                places[bar] = server
        classes: dict[Kind, list[tuple[Vector, dict[int, Server]]]] = {}
        for ceilings, places in rows.values():
            server = next(iter(places.values()))
            kind = Kind(server.sku.gpu.id, server.shape.gpus, server.fare.nodes)
            vector = tuple(ceilings.get(bar, 0) for bar in range(len(self.bars)))
            classes.setdefault(kind, []).append((vector, places))
        for kind, entries in classes.items():
            entries.sort(key=lambda entry: -sum(entry[0]))
            self.open[kind] = _highest(vector for vector, _ in entries)
        return classes

    def close(self, kinds: Iterable[Kind], deadline: float = math.inf) -> None:
        """Find the plans of each class; time may leave some open, with their ceilings."""
        for kind in sorted({kind for kind in kinds if kind in self.open}):
            self._close(kind)
            if time.monotonic() > deadline:
                return

    def _close(self, kind: Kind) -> None:
        """Size the servers of a class, those with the highest ceilings first, but for what a plan already replaces."""
        kept: list[ReplicaPlan] = []
        waiting = self._classes[kind]
        while waiting:
            able = [entry for entry in waiting if not any(_covers(plan.capacity, entry[0]) for plan in kept)]
            now, waiting = able[:AT_ONCE], able[AT_ONCE:]
            for bar, search in self.searches.items():
                servers = [places[bar] for _, places in now if bar in places]
                kept = _merged(kept, self._points(search, servers))
        self.found[kind] = kept
        del self.open[kind], self._classes[kind]

    def _points(self, search: Search, servers: list[Server]) -> list[ReplicaPlan]:
        """Every width and batch of some servers that no other one equals on every bar."""
        setting = search.setting
        context = setting.targets.target_context
        points = [(found, int(size)) for found in search.solve_servers(servers) for size in found.sequences.tolist()]
        if not points:
            return []
        served = capacities_of(points, self.bars, self.limits, (context, 1))
        return [
            ReplicaPlan(
                points[at][0].unit.facts.sku.gpu.id, setting, *points[at], tuple(served[at].tolist()), 1, context
            )
            for at in _best_rows(served)
        ]


def _best_rows(served: NDArray[np.int64]) -> list[int]:
    """The rows that no other one equals in every column; of equal rows the first."""
    kept: list[int] = []
    left = np.flatnonzero(served.any(axis=1))
    while left.size:
        best = int(left[served[left].sum(axis=1).argmax()])
        kept.append(best)
        left = left[(served[left] > served[best]).any(axis=1)]
    return kept


def _highest(vectors: Iterable[Vector]) -> Vector:
    return tuple(max(column) for column in zip(*vectors, strict=True))


def _covers(one: Sequence[int], other: Sequence[int]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))


def _merged(kept: list[ReplicaPlan], plans: Iterable[ReplicaPlan]) -> list[ReplicaPlan]:
    """The plans of both that no other one equals on every bar; of equal ones the first."""
    for plan in plans:
        if not any(_covers(known.capacity, plan.capacity) for known in kept):
            kept = [known for known in kept if not _covers(plan.capacity, known.capacity)] + [plan]
    return kept


Numbers = tuple[int, ...]
Alone = tuple[tuple["WorkloadColumns", Numbers], ...]
"""The columns of the workloads of a pool, each with the numbers of its bars in the pool's histogram."""
Members = dict[str, Alone]
"""By the name of the pool."""


@dataclass(frozen=True)
class WorkloadColumns:
    """One workload's searches; `own` says of those that serve some of its bars only which these are."""

    workload: WorkloadDemand
    searches: tuple[ColumnSearch | BarSearch, ...]
    own: dict[int, Numbers] = field(default_factory=dict)
    bounded: bool = True
    """whether the searches bound every plan that may serve it, alone or shared"""

    @property
    def routed(self) -> bool:
        """Whether its requests are routed by length over a few plans that are tuned for typical ones."""
        return len(self.workload.buckets) > 1 and not self.by_bar

    @property
    def by_bar(self) -> bool:
        """Whether its requests are routed by length over every plan."""
        return any(isinstance(search, BarSearch) for search in self.searches)

    def served_by(self, search: int, plan: ReplicaPlan) -> tuple[int, ...]:
        """What a plan of one of the searches serves of every bar, alone."""
        if self.routed:
            limits = self.workload.max_ttft_ms, self.workload.max_tpot_ms
            return bucket_capacities(plan, self.workload.buckets, limits)
        return self._spread(search, plan.capacity)

    def ceilings(self, search: int, ceiling: int | tuple[int, ...]) -> tuple[int, ...]:
        """What no plan of an open class exceeds, for every bar."""
        return self._spread(search, ceiling if isinstance(ceiling, tuple) else (ceiling,))

    def reserve(self, search: int) -> str:
        """Of the replicas that a workload of one length has alone, by which name they share their spares."""
        return f"#{search}" if len(self.own.get(search, ())) == 1 else ""

    def _spread(self, search: int, vector: tuple[int, ...]) -> tuple[int, ...]:
        if search not in self.own:
            return vector
        of_bar = dict(zip(self.own[search], vector, strict=True))
        return tuple(of_bar.get(bar, 0) for bar in range(len(self.workload.buckets)))


def with_members(pool: WorkloadColumns, alone: Alone) -> WorkloadColumns:
    """A pool with the replicas that each of its workloads would have alone: they serve nothing else.

    Spares are counted as there: per plan where lengths are routed, and over all replicas of a workload of one length.
    """
    pool = replace(pool, bounded=not pool.routed and all(item.bounded for item, _ in alone))
    if not alone or not pool.by_bar:
        return replace(pool, bounded=pool.bounded and len({bars for _, bars in alone}) <= 1)
    searches, own = list(pool.searches), {}
    for item, bars in alone:
        for search in item.searches if not item.routed else ():
            own[len(searches)] = bars
            searches.append(search)
    return replace(pool, searches=tuple(searches), own=own)
