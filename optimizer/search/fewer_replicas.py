"""Ties on efficiency and latency go to fewer GPUs: the same servers are looked at again with fewer replicas."""

from collections.abc import Callable
from dataclasses import replace

from vllm_opt.optimizer.search.best_first import Key, point_key, served
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.space.points import Candidate, Unit
from vllm_opt.optimizer.space.setting import SolveSetting


def with_fewer_replicas(
    setting: SolveSetting,
    candidates: list[Candidate],
    scores: Scores,
    solve: Callable[[list[Server]], list[Candidate]],
) -> list[Candidate]:
    """Per SKU, return what reaches the best value with fewer replicas.

    Latency of a point does not depend on the replicas, nor does efficiency among numbers of replicas that cost the same
    by replica; fewer of them only take points away (those with the smallest batches), so the fewest that still reach
    the value are found by bisection, for all at once. Where latency alone is tied and cost decides next, the rest of
    that step of the cost is looked at too: it offers more for the same money.
    """
    came: list[Candidate] = []
    names = setting.request.objective
    apart = next((at for at, name in enumerate(names) if name in ("cost", "gpus")), len(names))
    if set(names[:apart]) - {"efficiency", "latency"} or setting.targets.gpus is not None:
        return came
    reached: dict[tuple[object, ...], tuple[Key, Unit]] = {}
    for candidate in candidates:
        key, identity = point_key(candidate, names, scores)[:apart], served(candidate.unit)
        if identity not in reached or key < reached[identity][0]:
            reached[identity] = key, candidate.unit
    best: dict[str, Key] = {}
    for key, unit in reached.values():
        sku = unit.facts.sku.gpu.id
        best[sku] = min(best.get(sku, key), key)
    tied = [unit for key, unit in reached.values() if key == best[unit.facts.sku.gpu.id]]
    by_cost = "efficiency" in names[:apart]
    counts = {id(unit): _equal_counts(_fewer(unit, unit.replicas), by_cost=by_cost) for unit in tied}
    ranges = [(unit, -1, len(counts[id(unit)]) - 1) for unit in tied if len(counts[id(unit)]) > 1]
    while ranges:
        probes = [_fewer(unit, counts[id(unit)][(low + high) // 2]) for unit, low, high in ranges]
        found = solve(probes)
        keys: dict[tuple[object, ...], Key] = {}
        for candidate in found:
            key, identity = point_key(candidate, names, scores)[:apart], served(candidate.unit)
            keys[identity] = min(keys.get(identity, key), key)
        came += found
        following, settled = [], []
        for (unit, low, high), probe in zip(ranges, probes, strict=True):
            reaches, middle = keys.get(probe.identity) == best[unit.facts.sku.gpu.id], (low + high) // 2
            low, high = (low, middle) if reaches else (middle, high)  # noqa: PLW2901 - bisection
            if high - low > 1:
                following.append((unit, low, high))
            else:
                settled.append(_fewer(unit, counts[id(unit)][high]))
        if not by_cost and "cost" in names[apart : apart + 1]:
            came += solve([one for server in settled for one in _same_cost(server)])
        ranges = following
    return came


def _equal_counts(server: Server, *, by_cost: bool) -> list[int]:
    """The numbers of replicas, ascending up to the server's, that can tie with it."""
    return server.fare.equally_efficient(server.replicas) if by_cost else list(range(1, server.replicas + 1))


def _same_cost(server: Server) -> list[Server]:
    """More replicas than the server's own that cost no more."""
    last = server.fare.last_of_step(server.replicas, server.most)
    return [replace(server, replicas=count) for count in range(server.replicas + 1, last + 1)]


def _fewer(unit: Unit, replicas: int) -> Server:
    """The server of a unit with so many replicas."""
    return Server(
        unit.facts.sku, unit.facts.weights, unit.shape, replicas=replicas, most=unit.replicas,
        host_tier_gib=unit.host_tier_gib,
    )  # fmt: skip
