"""How one service can be served, in whole servers: the smallest sets of replicas that do it.

Parts of servers serve a service with fewer GPUs than whole ones do, and a bound made of parts is weak. Said as a choice
among whole ways, nothing is lost in whole servers, and parts are no cheaper than a mixture of whole ways.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.placing.site import SERVED_SCALE, PlacementProblem
from vllm_opt.optimizer.placement_model.classes import node_classes
from vllm_opt.optimizer.placement_model.covering import Counts, Cover
from vllm_opt.optimizer.placement_model.listing import Whole
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.patterns import PatternSet

MOST_WAYS = 3000
"""ways of one service that are listed; with more of them the cheapest are looked for at the prices of the hour"""

Way = tuple[int, ...]
"""columns of the replicas of one service"""


def smallest_ways(
    problem: PlacementProblem, s: int, columns: Sequence[int], headroom: int, most: int = MOST_WAYS
) -> tuple[Way, ...] | None:
    """Every way to serve a service in full with so much headroom from which the last replica cannot be left out.

    Whatever serves it holds one of them: its largest replicas, as many as it takes. One that survives the loss of a
    node survives that of its largest replica.
    """
    service = problem.services[s]
    needed = -(-headroom * service.demand // SERVED_SCALE)
    order = sorted(columns, key=lambda k: (-problem.columns[k].capacity, k))
    capacity = [problem.columns[k].capacity for k in order]
    found: list[Way] = []

    def grow(chosen: tuple[int, ...], have: int) -> bool:
        """Add replicas, none of more capacity than the last; False when there are too many ways."""
        left = have - capacity[chosen[0]] if chosen and service.survives else have
        if chosen and have >= needed and left >= service.demand and len(chosen) >= service.least:
            found.append(tuple(order[at] for at in chosen))
            return len(found) <= most
        for at in range(chosen[-1] if chosen else 0, len(order)):
            if have + capacity[at] * (service.most - len(chosen)) < needed:
                break  # those that follow serve no more
            if not grow((*chosen, at), have + capacity[at]):
                return False
        return True

    return tuple(found) if grow((), 0) else None


@dataclass(frozen=True, eq=False)
class Ways:
    """The smallest ways of one service: listed, or what they must do where there are too many to list."""

    columns: tuple[int, ...]
    counts: Whole | None
    """one way a row: replicas of each column"""
    cover: Cover

    def cheapest(self, prices: Sequence[int], most: int) -> tuple[int, tuple[Counts, ...]]:
        """What every way costs at least at these prices of columns, and the cheapest ways, `most` of them at most."""
        if self.counts is None:
            bound, way = self.cover.cheapest(prices)
            return bound, () if way is None else (way,)
        costs = self.counts @ np.array(prices, dtype=np.int64)
        order = np.argsort(costs, kind="stable")[:most]
        return int(costs[order[0]]), tuple(tuple(map(int, self.counts[row])) for row in order)


def service_ways(
    problem: PlacementProblem, columns: Collection[int], headroom: int, most: int = MOST_WAYS
) -> dict[int, Ways]:
    """Service -> its ways over the columns that may be used; services that cannot be served are left out."""
    found = {}
    for s, service in enumerate(problem.services):
        mine = tuple(k for k in problem.columns_of[s] if k in columns)
        capacity = tuple(problem.columns[k].capacity for k in mine)
        needed = -(-headroom * service.demand // SERVED_SCALE)
        cover = Cover(capacity, needed, service.demand, service.least, service.most, service.survives)
        ways = smallest_ways(problem, s, mine, headroom, most)
        if ways:
            counts = np.array([[way.count(k) for k in mine] for way in ways], dtype=np.int64)
            found[s] = Ways(mine, counts, cover)
        elif ways is None and cover.cheapest([1] * len(mine))[1] is not None:
            found[s] = Ways(mine, None, cover)
    return found


def served_model(problem: PlacementProblem, patterns: PatternSet, headroom: int) -> PlacementModel:
    """A model whose services are all served with so much headroom; nodes that are alike are counted together."""
    every = tuple(range(len(problem.columns)))
    model = PlacementModel(problem, node_classes(problem, split=False), patterns, every)
    for full in model.full:
        model.cp.add(full == 1)
    model.keep("headroom", headroom)
    return model
