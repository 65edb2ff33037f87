"""Bounds of a placement: what counting alone says, and what the turns of a model said, side by side."""

from vllm_opt.constraints.placing.measures import measure
from vllm_opt.constraints.placing.site import SERVED_SCALE, PlacedServer, PlacementProblem, maximised
from vllm_opt.optimizer.placement_model.objectives import most_squares
from vllm_opt.optimizer.placement_model.turns import Run, Turn


def simple_bounds(problem: PlacementProblem) -> dict[str, int]:
    """What no placement exceeds, by counting alone."""
    sizes = _sizes(problem)
    bounds: dict[str, int] = {}
    for p in problem.priorities:
        count = sum(service.priority == p for service in problem.services)
        bounds |= {f"served:{p}": count, f"share:{p}": SERVED_SCALE * count}
    bounds |= {"headroom": problem.most_headroom, "moves": 0, "watts": 0, "gpus": 0, "servers": 0}
    return bounds | {"blocks": sum(size * size for size in sizes)}


def bounds_of_gpus(problem: PlacementProblem, fewest_gpus: int) -> dict[str, int]:
    """What follows where everything is served and takes so many GPUs at least."""
    sizes = _sizes(problem)
    return {
        "gpus": fewest_gpus,
        "blocks": most_squares(sizes)[max(0, sum(sizes) - fewest_gpus)],
        "servers": sum(service.least for service in problem.services),
    }


def bounded(problem: PlacementProblem, servers: tuple[PlacedServer, ...], bounds: dict[str, int]) -> Run:
    """A placement beside bounds that hold for every placement."""
    names = [name for name in problem.objective_names() if not name.startswith("share:")]
    used = frozenset(server.column for server in servers)
    return Run([Turn(name, measure(problem, servers, name), bounds[name]) for name in names], None, used)


def _sizes(problem: PlacementProblem) -> tuple[int, ...]:
    return tuple(len(island.gpus) for node in problem.nodes for island in node.islands)


def reaches(problem: PlacementProblem, servers: tuple[PlacedServer, ...], run: Run) -> bool:
    """Whether a placement is worth at least what each turn of a relaxation found to be the most."""
    return all(as_good(turn.name, measure(problem, servers, turn.name), turn.bound) for turn in run.turns)


def as_good(name: str, value: int, bound: int) -> bool:
    """Whether a value is at a bound."""
    return value >= bound if maximised(name) else value <= bound


def tighter(problem: PlacementProblem, first: Run, whole: Run, best: tuple[PlacedServer, ...]) -> Run:
    """The bounds of the exact model where they are stronger, as long as the placement is at the optimum before them.

    Those of the relaxation hold for what is as good as its turns before them: as long as the placement is.
    """
    exact = {turn.name: turn for turn in whole.turns}
    known = {turn.name: turn for turn in first.turns}
    turns: list[Turn] = []
    before = as_relaxed = True
    for name in problem.objective_names():
        mine, weaker = exact.get(name) if before else None, known.get(name) if as_relaxed else None
        as_relaxed &= name not in known or as_good(name, measure(problem, best, name), known[name].value)
        if mine is None and weaker is None:
            continue
        limits = [turn.bound for turn in (mine, weaker) if turn is not None]
        bound = min(limits) if maximised(name) else max(limits)
        turns.append(Turn(name, (mine or weaker or turns[-1]).value, bound))
        before &= mine is not None and mine.proven and measure(problem, best, name) == mine.value
    return Run(turns, whole.servers) if turns else first
