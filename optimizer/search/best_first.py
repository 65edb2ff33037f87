"""Visit servers in the order of what they could reach at best, and leave out those that cannot win.

Best-first search per SKU: servers ascend by lower bounds on what decides (`order.py`). Once as many servers as are
wanted are known, any server is left out whose bounds lie outside the window of the first objective, or behind a known
point in what decides next. Bounds never exceed a point's own values, so nothing that could win or tie is.
"""

import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from vllm_opt.optimizer.search.order import Key, Order
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.space.points import Candidate, Unit

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
    """The worst first objective that can still win; None while there are fewer servers than wanted."""

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
                self.window = self.order.window(last)
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


def _key(entry: tuple[Key, Server]) -> Key:
    return entry[0]


def _first(entry: tuple[Key, Server]) -> float:
    return entry[0][0]


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
    waiting: dict[str, list[tuple[Key, Server]]] = {}
    key_of = order.keys()
    for server, bound in zip(servers, bounds, strict=True):
        waiting.setdefault(server.sku.gpu.id, []).append((key_of(bound, server.gpu_count, server.weights), server))
    for entries in waiting.values():
        entries.sort(key=_key)
    found: list[Candidate] = []
    failed: list[Server] = []
    late: list[Server] = []
    size = FIRST_ROUND
    while waiting and clock() <= deadline:
        chosen: list[Server] = []
        for sku, entries in list(waiting.items()):
            standing = standings[sku]
            if standing.window is not None:
                del entries[bisect_right(entries, standing.window, key=_first) :]
            able = [entry for entry in entries if standing.may_enter(entry[0])]
            chosen += [server for _, server in able[:size]]
            waiting[sku] = able[size:]
            if not waiting[sku]:
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
    return Visit(found, failed, late + [server for entries in waiting.values() for _, server in entries])
