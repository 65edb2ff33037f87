"""A server that shares its GPU with nobody takes all of it: the plan for a part of it is no longer needed."""

from collections import Counter

from vllm_opt.constraints.placing.check import placement_violations
from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem
from vllm_opt.optimizer.placement_model.worth import Servers, worth


def with_whole_gpus(problem: PlacementProblem, servers: Servers) -> Servers:
    """The placement with servers alone on a GPU in the plan that serves the most there; no objective gets worse.

    Servers of today stay as they are, and so does what sleeps.
    """
    on_gpu = Counter((node, gpu) for server in servers for node, gpus in server.parts for gpu in gpus)
    found, value = list(servers), worth(problem, servers)
    for at, server in enumerate(servers):
        k = _whole(problem, server.column)
        (node, gpus), *_ = server.parts
        if k is None or on_gpu[node, gpus[0]] > 1 or server in problem.today:
            continue
        tried = tuple(sorted((*found[:at], PlacedServer(k, server.parts), *found[at + 1 :])))
        if not placement_violations(problem, tried) and worth(problem, tried) >= value:
            found[at] = PlacedServer(k, server.parts)
    return tuple(sorted(found))


def _whole(problem: PlacementProblem, k: int) -> int | None:
    """The column of the same service on one whole GPU that serves the most, and no less; None where there is none."""
    part = problem.columns[k]
    if not part.shared or part.asleep_bytes is not None:
        return None
    able = [
        other for other in problem.columns_of[part.service]
        if problem.columns[other].gpu == part.gpu and problem.columns[other].gpus == 1
        and not problem.columns[other].shared and problem.columns[other].capacity >= part.capacity
    ]  # fmt: skip
    return max(able, key=lambda other: (problem.columns[other].capacity, -other), default=None)
