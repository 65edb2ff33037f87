"""Visit servers in the order of what they could reach at best, and leave out those that cannot win.

Best-first search per SKU: servers ascend by lower bounds on what decides (`order.py`). Once as many servers as are
wanted are known, any server is left out whose bounds lie outside the window of the first objective, or behind a known
point in what decides next. Bounds never exceed a point's own values, so nothing that could win or tie is.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vllm_opt.optimizer.search.order import Key, Order
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.space.points import Candidate, Unit
from vllm_opt.optimizer.space.weights import WeightFormat

FIRST_ROUND = 4
"""Servers of each SKU that are sized in the first round; each further round takes twice as many."""
SIZED_TOGETHER = 512
"""Servers of a round that are sized before the clock is looked at again."""


@dataclass
class Standing:
    """What is known of one SKU: the points that no other beats, and the best first objective of each server.

    A server may still win when its bounds could enter the window of the first objective, and no known point that costs
    no more of it is surely better in what comes next (`order.surely_better`). `wanted` servers are looked for.
    """

    wanted: int
    order: Order
    best: dict[tuple[object, ...], Key] = field(default_factory=dict)
    kept: list[Key] = field(default_factory=list)
    window: float | None = None
    """The worst first objective that can still win; None while nothing is known of it."""

    def may_enter(self, bound: Key) -> bool:
        """Whether a server with this bound could still win or tie."""
        window = self.window
        if window is None:
            return True
        if bound[0] > window:
            return False
        beaten = 0
        for key in self.kept:
            if key[0] <= bound[0] and self.order.surely_better(key, bound):
                beaten += 1
                if beaten >= self.wanted:
                    return False
        return True

    def enter(self, name: tuple[object, ...], key: Key) -> None:
        """Record a point."""
        if name not in self.best or key < self.best[name]:
            self.best[name] = key
            if len(self.best) >= self.wanted:
                firsts = (one[0] for one in self.best.values())
                last = min(firsts) if self.wanted == 1 else sorted(firsts)[self.wanted - 1]
                worst = self.order.window(last)
                self.window = worst if self.window is None else min(self.window, worst)
        if self.wanted > 1 or not any(known[0] <= key[0] and known[1:] <= key[1:] for known in self.kept):
            self.kept.append(key)


@dataclass(frozen=True)
class Visit:
    """What came of one class of servers."""

    found: list[Candidate]
    failed: list[Server]
    unvisited: list[Server]


def unit_name(unit: Unit) -> tuple[object, ...]:
    """Servers that differ only in replicas, block size, or caching count as one alternative."""
    shape = unit.shape
    return (
        unit.facts.sku.gpu.id, unit.facts.weights.quantization.id, shape.tensor, shape.pipeline, shape.data,
        shape.context, shape.experts, shape.kv_cache_dtype,
    )  # fmt: skip


def served(unit: Unit) -> tuple[object, ...]:
    """The identity of the server that a unit belongs to (`Server.identity`)."""
    return unit.facts.sku.gpu.id, unit.facts.weights.quantization.id, unit.shape, unit.replicas


def point_keys(candidate: Candidate, order: Order, scores: Scores) -> list[Key]:
    """What decides of each point of a candidate (`Order.key`)."""
    tables = [scores.of(candidate, name) for name in order.names]
    weights = candidate.unit.facts.weights
    return [
        order.key(values, candidate.unit.gpu_count, weights)
        for values in dict.fromkeys(zip(*(table.tolist() for table in tables), strict=True))
    ]


class _Waiting:
    """The servers of one SKU that wait, ascending by their bounds. Few of their keys are ever made."""

    def __init__(self, key_of: Callable[[Sequence[float], int, WeightFormat], Key]) -> None:
        self._key_of, self._entries, self._at = key_of, list[tuple[tuple[int, ...], Server]](), 0

    def append(self, bound: tuple[int, ...], server: Server) -> None:
        """Put a server at the end."""
        self._entries.append((bound, server))

    def take(self, standing: Standing, most: float) -> list[Server]:
        """The next servers, so many at most, that may still win or tie; those before them that may not are gone."""
        able: list[Server] = []
        at, entries, window = self._at, self._entries, standing.window
        while at < len(entries) and len(able) < most:
            bound, server = entries[at]
            if window is not None and bound[0] > window:
                at = len(entries)
                break
            if window is None or standing.may_enter(self._key_of(bound, server.gpu_count, server.weights)):
                able.append(server)
            at += 1
        self._at = at
        return able


def _waiting(servers: list[Server], bounds: list[tuple[int, ...]], order: Order) -> dict[str, _Waiting]:
    """The servers of each SKU, ascending by what `order.keys` says of their bounds."""
    key_of = order.keys()
    names = [server.sku.gpu.id for server in servers]
    waiting = {name: _Waiting(key_of) for name in dict.fromkeys(names)}
    if servers:
        counts = [server.gpu_count for server in servers]
        for at in order.ranked(bounds, counts, [server.weights for server in servers]):
            waiting[names[at]].append(bounds[at], servers[at])
    return waiting


def visit(
    servers: list[Server],
    bounds: list[tuple[int, ...]],
    standings: dict[str, Standing],
    solve: Callable[[list[Server]], list[Candidate]],
    keys_of: Callable[[Candidate], list[Key]],
    order: Order,
    deadline: float,
    *,
    first_found: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Visit:
    """Size servers round by round until no unvisited one could enter its SKU's standing."""
    waiting = _waiting(servers, bounds, order)
    found: list[Candidate] = []
    failed: list[Server] = []
    late: list[Server] = []
    size = FIRST_ROUND
    while waiting and clock() <= deadline:
        chosen: list[Server] = []
        for sku, entries in list(waiting.items()):
            able = entries.take(standings[sku], size)
            chosen += able
            if len(able) < size:
                del waiting[sku]
        for start in range(0, len(chosen), SIZED_TOGETHER):
            if start and clock() > deadline:
                late = chosen[start:]
                break
            part = chosen[start : start + SIZED_TOGETHER]
            solved = solve(part)
            for candidate in solved:
                for key in keys_of(candidate):
                    standings[candidate.unit.facts.sku.gpu.id].enter(unit_name(candidate.unit), key)
            reached = {served(candidate.unit) for candidate in solved}
            failed += [server for server in part if server.identity not in reached]
            found += solved
        if found and first_found:
            break
        size *= 2
    left = [server for sku, entries in waiting.items() for server in entries.take(standings[sku], math.inf)]
    return Visit(found, failed, late + left)
