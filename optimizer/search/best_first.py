"""Visit servers in the order of what they could reach at best, and leave out those that cannot win.

Best-first search per SKU: servers ascend by lower bounds on the objectives, compared lexicographically, and then by
what preference asks first. Once as many servers as are wanted are known, any server whose bounds are above the worst
of them is left out. Bounds never exceed a point's own values, so nothing that could win or tie is.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from vllm_opt.optimizer.search.modes import capped_quality
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.space.points import Candidate, Unit

FIRST_ROUND = 4
"""Servers of each SKU that are sized together at first; each further round takes twice as many."""
Key = tuple[float, ...]


@dataclass
class Standing:
    """The best points of one SKU so far, by server; `wanted` of them are looked for."""

    wanted: int
    best: dict[tuple[object, ...], Key] = field(default_factory=dict)

    @property
    def threshold(self) -> Key | None:
        """The worst of the wanted ones; None while there are fewer."""
        if len(self.best) < self.wanted:
            return None
        return sorted(self.best.values())[self.wanted - 1]

    def may_enter(self, bound: Key) -> bool:
        """Whether a server with this bound could still win or tie."""
        threshold = self.threshold
        return threshold is None or bound <= threshold

    def enter(self, name: tuple[object, ...], key: Key) -> None:
        """Record a point."""
        if name not in self.best or key < self.best[name]:
            self.best[name] = key


@dataclass(frozen=True)
class Visit:
    """What came of one class of servers."""

    found: list[Candidate]
    failed: list[Server]
    unvisited: list[Server]


def unit_name(unit: Unit) -> tuple[object, ...]:
    """Servers that differ only in replicas, block size, caching or CPU tier count as one alternative."""
    shape = unit.shape
    return (
        unit.facts.sku.gpu.id, unit.facts.weights.quantization.id, shape.tensor, shape.pipeline, shape.data,
        shape.context, shape.experts, shape.kv_cache_dtype,
    )  # fmt: skip


def served(unit: Unit) -> tuple[object, ...]:
    """The identity of the server that a unit belongs to (`Server.identity`)."""
    return unit.facts.sku.gpu.id, unit.facts.weights.quantization.id, unit.shape, unit.replicas, unit.host_tier_gib


def likings(server: Server) -> Key:
    """The part of preference that a server fixes, smaller first (`modes.preference`)."""
    quality = capped_quality(server.weights, server.sku, server.shape.kv_cache_dtype)
    return server.gpu_count, server.weights.origin, -quality


def point_key(candidate: Candidate, names: tuple[str, ...], scores: Scores) -> Key:
    """The lexicographically smallest objectives of a candidate, and its likings."""
    tables = [scores.of(candidate, name) for name in names]
    at = int(np.lexsort(tuple(reversed(tables)))[0])
    facts = candidate.unit.facts
    quality = capped_quality(facts.weights, facts.sku, facts.layout.kv_cache_dtype)
    return (
        *(int(table[at]) for table in tables),
        candidate.unit.gpu_count, facts.weights.origin, -quality,
    )  # fmt: skip


def visit(
    servers: list[Server],
    bounds: list[tuple[int, ...]],
    standings: dict[str, Standing],
    solve: Callable[[list[Server]], list[Candidate]],
    key_of: Callable[[Candidate], Key],
    deadline: float,
    *,
    first_found: bool = False,
) -> Visit:
    """Size servers round by round until no unvisited one could enter its SKU's standing."""
    waiting: dict[str, list[tuple[Key, Server]]] = {}
    for server, bound in zip(servers, bounds, strict=True):
        waiting.setdefault(server.sku.gpu.id, []).append(((*bound, *likings(server)), server))
    for entries in waiting.values():
        entries.sort(key=lambda entry: entry[0])
    found: list[Candidate] = []
    failed: list[Server] = []
    size = FIRST_ROUND
    while waiting and time.monotonic() <= deadline:
        chosen: list[Server] = []
        for sku, entries in list(waiting.items()):
            able = [entry for entry in entries if standings[sku].may_enter(entry[0])]
            chosen += [server for _, server in able[:size]]
            waiting[sku] = able[size:]
            if not waiting[sku]:
                del waiting[sku]
        solved = solve(chosen)
        for candidate in solved:
            standings[candidate.unit.facts.sku.gpu.id].enter(unit_name(candidate.unit), key_of(candidate))
        reached = {served(candidate.unit) for candidate in solved}
        failed += [server for server in chosen if server.identity not in reached]
        found += solved
        if found and first_found:
            break
        size *= 2
    return Visit(found, failed, [server for entries in waiting.values() for _, server in entries])
