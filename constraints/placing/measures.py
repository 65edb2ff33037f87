"""What a placement is worth, objective by objective, in whole numbers."""

from collections import Counter
from collections.abc import Sequence

from vllm_opt.constraints.placing.site import SERVED_SCALE, PlacedServer, PlacementProblem


def capacities(problem: PlacementProblem, servers: Sequence[PlacedServer], without: int | None = None) -> list[int]:
    """Capacity of every service; `without` a node that failed."""
    found = [0] * len(problem.services)
    for server in servers:
        if all(node != without for node, _ in server.parts):
            column = problem.columns[server.column]
            found[column.service] += column.capacity
    return found


def replica_counts(problem: PlacementProblem, servers: Sequence[PlacedServer]) -> list[int]:
    """Replicas of every service."""
    found = [0] * len(problem.services)
    for server in servers:
        found[problem.columns[server.column].service] += 1
    return found


def served_in_full(problem: PlacementProblem, servers: Sequence[PlacedServer]) -> list[bool]:
    """Which services have their least replicas and their whole demand, with any one node lost where they survive."""
    counts, whole = replica_counts(problem, servers), capacities(problem, servers)
    touched = sorted({node for server in servers for node, _ in server.parts})
    lost = [capacities(problem, servers, without=node) for node in touched]
    return [
        counts[s] >= service.least
        and whole[s] >= service.demand
        and (not service.survives or all(left[s] >= service.demand for left in lost))
        for s, service in enumerate(problem.services)
    ]


def used_gpus(servers: Sequence[PlacedServer]) -> set[tuple[int, int]]:
    """(node, GPU) pairs that hold a server."""
    return {(node, gpu) for server in servers for node, gpus in server.parts for gpu in gpus}


def not_kept(problem: PlacementProblem, servers: Sequence[PlacedServer]) -> int:
    """Servers of today that are stopped: those that do not stand as they stand today."""
    return sum((Counter(problem.today) - Counter(servers)).values())


def share_of(demand: int, capacity: int) -> int:
    """Thousandths of the demand that a capacity serves, rounded down, at most all of it."""
    return min(SERVED_SCALE, capacity * SERVED_SCALE // demand)


def measure(problem: PlacementProblem, servers: Sequence[PlacedServer], objective: str) -> int:
    """The value of one objective, as `PlacementProblem.objective_names` spells it.

    Raises:
        KeyError: there is no such objective.
    """
    name, _, of = objective.partition(":")
    if name in ("served", "share", "headroom"):
        return _served(problem, servers, name, of)
    used = used_gpus(servers)
    counted = {
        "moves": lambda: not_kept(problem, servers),
        "gpus": lambda: len(used),
        "servers": lambda: len(servers),
        "watts": lambda: sum(problem.nodes[n].island_of(g).watts_per_gpu for n, g in used),
        "blocks": lambda: _blocks(problem, used),
    }
    return counted[name]()


def _served(problem: PlacementProblem, servers: Sequence[PlacedServer], name: str, priority: str) -> int:
    """Services served in full, thousandths of demand served, or the worst capacity over demand of those in full."""
    full, capacity = served_in_full(problem, servers), capacities(problem, servers)
    mine = [s for s, service in enumerate(problem.services) if priority and service.priority == int(priority)]
    if name == "served":
        return sum(full[s] for s in mine)
    if name == "share":
        return sum(share_of(problem.services[s].demand, capacity[s]) for s in mine)
    of_full = [capacity[s] * SERVED_SCALE // problem.services[s].demand for s, is_full in enumerate(full) if is_full]
    return min([problem.most_headroom, *of_full]) if of_full else 0


def _blocks(problem: PlacementProblem, used: set[tuple[int, int]]) -> int:
    """Squares of the spare GPUs of every island, summed: large holes count for more than as many small ones."""
    free = [
        sum((n, g) not in used for g in island.gpus) for n, node in enumerate(problem.nodes) for island in node.islands
    ]
    return sum(count * count for count in free)
