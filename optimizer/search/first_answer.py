"""When time is nearly up and nothing is known: the first point that is found among the servers listed so far.

A plan that is not proven is worth more than none. The cheapest servers are sized a few at a time, no more than two of a
SKU, with the fewest replicas that memory may allow and then with multiples of that: more replicas never hurt.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.space.points import Candidate

ROUNDS = ((1, 4), (1, 8), (2, 8), (8, 8), (64, 16), (4096, 16))
"""By how much the fewest replicas are multiplied, and how many servers are sized together."""
OF_EACH_SKU = 2
SCREENED, SCREENED_OF_EACH = 320, 16
"""Servers that are held against the latency limits before the first is sized."""
PATIENCE = 0.4
"""The share of the time that a search spends before it looks for any point at all."""


def first_answer(
    servers: Iterable[Server],
    fast_enough: Callable[[list[Server]], Iterable[Server]],
    solve: Callable[[list[Server]], list[Candidate]],
    in_time: Callable[[], bool],
) -> list[Candidate]:
    """Feasible points of the first servers that have any; none when time is up or nothing is found.

    `fast_enough` leaves out servers that a latency limit excludes; `solve` sizes some.
    """
    ranked = sorted(servers, key=lambda server: (server.microusd_per_hour, server.gpu_count))
    waiting = list(fast_enough(_mixed(ranked, SCREENED, SCREENED_OF_EACH)))
    for factor, size in ROUNDS:
        chosen = [server.with_replicas(min(server.most, server.replicas * factor)) for server in _mixed(waiting, size)]
        if not in_time() or not chosen:
            break
        found = solve(list(fast_enough(chosen)))
        if found:
            return found
        if factor == 1:
            sized = {id(server.remembered) for server in chosen}
            waiting = [server for server in waiting if id(server.remembered) not in sized] or waiting
    return []


def _mixed(servers: list[Server], most: int, of_each: int = OF_EACH_SKU) -> list[Server]:
    """The first of some servers, no more than a few of one SKU."""
    of_sku: Counter[str] = Counter()
    found = []
    for server in servers:
        if of_sku[server.sku.gpu.id] < of_each:
            of_sku[server.sku.gpu.id] += 1
            found.append(server)
            if len(found) == most:
                break
    return found
