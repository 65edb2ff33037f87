"""A placement as a start for the model: the counts that it would have there, as far as they are plain."""

from collections import Counter, defaultdict

from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.patterns import Pattern


def patterns_of(problem: PlacementProblem, servers: tuple[PlacedServer, ...]) -> dict[str, tuple[Pattern, ...]]:
    """The patterns of GPUs that a placement uses, by SKU."""
    found: dict[str, set[Pattern]] = defaultdict(set)
    for pattern in _by_gpu(problem, servers).values():
        found[problem.columns[pattern[0]].gpu].add(pattern)
    return {gpu: tuple(sorted(mine)) for gpu, mine in found.items()}


def hint_placement(model: PlacementModel, servers: tuple[PlacedServer, ...]) -> None:
    """Start the model from a placement; what does not stand in it starts at nothing."""
    if not servers or model.at.patterns.kind_of:
        return
    at, problem = model.at, model.problem
    left = Counter(servers)
    values: dict[int, int] = {}
    for e, keep in at.kept.items():
        values[keep.index] = int(left[problem.today[e]] > 0)
        left[problem.today[e]] -= values[keep.index]
    others = tuple(left.elements())
    replicas = Counter((server.column, at.class_of[server.parts[0][0]]) for server in others if len(server.parts) == 1)
    for (k, c), x in at.replicas.items():
        values[x.index] = replicas[k, c]
    crowded = Counter(
        (at.class_of[node], _island(model, node, gpu), pattern)
        for (node, gpu), pattern in _by_gpu(problem, others).items()
    )
    for (pattern, b), u in at.pattern.items():
        values[u.index] = crowded[at.bins[b].of_class, at.bins[b].island, pattern]
    hint = model.cp.proto.solution_hint
    hint.vars.extend(list(values))
    hint.values.extend(list(values.values()))


def _island(model: PlacementModel, node: int, gpu: int) -> int | None:
    """Position of a GPU's island, where islands of its class are counted one by one."""
    if len(model.classes[model.at.class_of[node]].nodes) > 1:
        return None
    return next(i for i, island in enumerate(model.problem.nodes[node].islands) if gpu in island.gpus)


def _by_gpu(problem: PlacementProblem, servers: tuple[PlacedServer, ...]) -> dict[tuple[int, int], Pattern]:
    """GPU -> the servers that share it, as a pattern."""
    held: dict[tuple[int, int], list[int]] = defaultdict(list)
    for server in servers:
        if problem.columns[server.column].shared:
            node, gpus = server.parts[0]
            held[node, gpus[0]].append(server.column)
    return {place: tuple(sorted(columns)) for place, columns in held.items()}
