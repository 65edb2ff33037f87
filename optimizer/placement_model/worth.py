"""Which of two placements is better, and whether one serves everything."""

from vllm_opt.constraints.placing.check import placement_violations
from vllm_opt.constraints.placing.measures import measure, served_in_full
from vllm_opt.constraints.placing.site import SERVED_SCALE, PlacedServer, PlacementProblem, maximised

Servers = tuple[PlacedServer, ...]
COUNTED = ("gpus", "watts", "servers")
"""objectives that count what is used: sums over servers and GPUs, which a linear program says exactly"""


def worth(problem: PlacementProblem, servers: Servers) -> tuple[int, ...]:
    """The objectives in order, each so that more is better."""
    return tuple(measure(problem, servers, name) * (1 if maximised(name) else -1) for name in problem.objective_names())


def better(problem: PlacementProblem, one: Servers, other: Servers | None) -> Servers:
    """The better of two placements; the other may be none, or break a rule."""
    if other is None or placement_violations(problem, other):
        return one
    return other if worth(problem, other) > worth(problem, one) else one


def headroom_first(problem: PlacementProblem) -> int:
    """Capacity over demand, in thousandths, that comes before every count: the most that counts, else the demand."""
    for name in problem.objectives:
        if name == "headroom":
            return problem.most_headroom
        if name in (*COUNTED, "blocks", "moves"):
            break
    return SERVED_SCALE


def all_in_full(problem: PlacementProblem, servers: Servers) -> bool:
    """Whether every service is served in full, with the headroom that comes before every count."""
    least = headroom_first(problem)
    enough = least == SERVED_SCALE or measure(problem, servers, "headroom") >= least
    return enough and all(served_in_full(problem, servers))
