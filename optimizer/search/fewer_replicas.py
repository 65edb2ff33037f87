"""Ties on efficiency and latency go to fewer GPUs: the same servers are looked at again with fewer replicas."""

from collections.abc import Callable

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

    Efficiency and latency of a point do not depend on the replicas, and fewer replicas only take points away (those
    with the smallest batches), so the fewest that still reach the value are found by bisection, for all at once.
    """
    came: list[Candidate] = []
    names = setting.request.objective
    apart = next((at for at, name in enumerate(names) if name in ("cost", "gpus")), len(names))
    if set(names[:apart]) - {"efficiency", "latency"} or setting.targets.gpus is not None or setting.request.replicas:
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
    ranges = [(unit, 0, unit.replicas) for unit in tied if unit.replicas > 1]
    while ranges:
        probes = [_fewer(unit, (low + high) // 2) for unit, low, high in ranges]
        found = solve(probes)
        keys: dict[tuple[object, ...], Key] = {}
        for candidate in found:
            key, identity = point_key(candidate, names, scores)[:apart], served(candidate.unit)
            keys[identity] = min(keys.get(identity, key), key)
        came += found
        following = []
        for (unit, low, high), probe in zip(ranges, probes, strict=True):
            reaches = keys.get(probe.identity) == best[unit.facts.sku.gpu.id]
            low, high = (low, probe.replicas) if reaches else (probe.replicas, high)  # noqa: PLW2901 - bisection
            if high - low > 1:
                following.append((unit, low, high))
        ranges = following
    return came


def _fewer(unit: Unit, replicas: int) -> Server:
    """The server of a unit with so many replicas."""
    return Server(
        unit.facts.sku, unit.facts.weights, unit.shape, replicas=replicas, most=unit.replicas,
        host_tier_gib=unit.host_tier_gib,
    )  # fmt: skip
