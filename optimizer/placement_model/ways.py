"""How one service can be served, in whole servers: the smallest sets of replicas that do it.

Parts of servers serve a service with fewer GPUs than whole ones do, and a bound made of parts is weak. Said as a choice
among whole ways, nothing is lost in whole servers, and parts are no cheaper than a mixture of whole ways.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from vllm_opt.constraints.placing.site import SERVED_SCALE, PlacementProblem
from vllm_opt.optimizer.placement_model.classes import node_classes
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.patterns import PatternSet

MOST_WAYS = 3000
"""ways of one service that are listed; with more of them its capacity alone is asked for"""

Way = tuple[int, ...]
"""columns of the replicas of one service"""


def smallest_ways(problem: PlacementProblem, s: int, columns: Sequence[int], headroom: int) -> tuple[Way, ...] | None:
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
            return len(found) <= MOST_WAYS
        for at in range(chosen[-1] if chosen else 0, len(order)):
            if have + capacity[at] * (service.most - len(chosen)) < needed:
                break  # those that follow serve no more
            if not grow((*chosen, at), have + capacity[at]):
                return False
        return True

    return tuple(found) if grow((), 0) else None


def served_model(
    problem: PlacementProblem, patterns: PatternSet, headroom: int, *, in_ways: bool = True
) -> PlacementModel:
    """A model whose services are all served, in whole ways with so much headroom; alike nodes are counted together."""
    every = tuple(range(len(problem.columns)))
    model = PlacementModel(problem, node_classes(problem, split=False), patterns, every)
    for full in model.full:
        model.cp.add(full == 1)
    model.keep("headroom", headroom)
    for s in range(len(problem.services)) if in_ways else ():
        columns = [k for k in problem.columns_of[s] if k in model.at.total]
        _choose(model, smallest_ways(problem, s, columns, headroom) or ())
    return model


def _choose(model: PlacementModel, ways: Sequence[Way]) -> None:
    """Serve a service in one of its ways, or by more than that."""
    if not ways:
        return
    chosen = [model.cp.new_bool_var("") for _ in ways]
    model.cp.add(sum(chosen) == 1)
    needed: dict[int, list[Any]] = defaultdict(list)
    for literal, way in zip(chosen, ways, strict=True):
        for k, count in Counter(way).items():
            needed[k].append(count * literal)
    for k, terms in needed.items():
        model.cp.add(model.at.total[k] >= sum(terms))
