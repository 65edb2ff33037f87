"""Random tiny sites and the best placement on them by trying everything: no solver, no model, only the plain rules."""

import random
from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement, product

from vllm_opt.constraints.placing.check import placement_violations
from vllm_opt.constraints.placing.measures import measure
from vllm_opt.constraints.placing.site import (
    Island,
    PlacedServer,
    PlacementProblem,
    ServerColumn,
    SiteNode,
    SiteService,
    maximised,
)

MOST_TRIED = 60_000


def random_problem(seed: int) -> PlacementProblem:
    """A site of one to three nodes, one to three services, a few columns each, with whatever rules chance picks."""
    chance = random.Random(seed)
    nodes = tuple(_node(chance, n) for n in range(chance.choice((1, 1, 2, 2, 2, 3))))
    count = chance.choice((1, 2, 2, 3))
    services = tuple(_service(chance, s, len(nodes)) for s in range(count))
    columns = tuple(_column(chance, s, c) for s in range(count) for c in range(chance.choice((1, 2, 2, 3))))
    links = (frozenset(range(len(nodes))),) if len(nodes) > 1 and chance.random() < 0.6 else ()
    pairs = [pair for pair in combinations(range(count), 2) if chance.random() < 0.15]
    split = chance.random() < 0.5
    problem = PlacementProblem(
        nodes, services, columns, (), links,
        together=tuple(pairs) if split else (), apart=() if split else tuple(pairs),
        objectives=chance.choice(
            (
                ("served", "headroom", "moves", "gpus", "blocks"),
                ("served", "moves", "watts", "headroom"),
                ("served", "gpus", "blocks"),
                ("served", "blocks", "gpus"),
            )
        ),
        most_headroom=chance.choice((1000, 1250, 3000)),
    )  # fmt: skip
    return _with_today(chance, problem)


def _node(chance: random.Random, n: int) -> SiteNode:
    same = chance.random() < 0.7
    sizes = (2,) if same else chance.choice(((1, 2), (2, 1), (3,), (1, 1), (2, 2)))
    islands, at = [], 0
    for size in sizes:
        gpu = "a" if same or chance.random() < 0.7 else "b"
        islands.append(Island(gpu, 100 if gpu == "a" else 60, tuple(range(at, at + size)), 7 if gpu == "a" else 4))
        at += size
    return SiteNode(
        f"n{n}", tuple(islands), zone=chance.choice("xy"),
        host_bytes=chance.choice((None, None, 5 << 20)), disk_bytes=chance.choice((None, None, 5 << 20)),
    )  # fmt: skip


def _service(chance: random.Random, s: int, nodes: int) -> SiteService:
    least = chance.choice((1, 1, 2))
    some = frozenset(n for n in range(nodes) if chance.random() < 0.7)
    return SiteService(
        f"s{s}", chance.randint(1, 12), priority=chance.choice((1, 1, 2)), least=least,
        most=least + chance.choice((0, 1)), nodes=some if some and chance.random() < 0.3 else None,
        spread=chance.choice(("", "", "", "node", "zone")), pack=chance.choice(("", "", "", "", "node", "zone")),
        survives=chance.random() < 0.2,
    )  # fmt: skip


def _column(chance: random.Random, s: int, c: int) -> ServerColumn:
    gpu, most = chance.choice("aab"), chance.choice((1, 1, 2, 3))
    total = 100 if gpu == "a" else 60
    groups, size, nodes = (
        (1, 1, 1) if most > 1 else chance.choice(((1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 1, 2), (1, 3, 1)))
    )
    held = chance.randint(total // 5, 3 * total // 4) if most > 1 else chance.randint(total // 2, total)
    sleeps = most > 1 and chance.random() < 0.3
    return ServerColumn(
        f"s{s}c{c}", s, gpu, size, groups, chance.randint(1, 9), nodes, held, held + chance.choice((0, 0, 10)), most,
        chance.randint(2, 10) if sleeps else None, chance.choice((0, 2, 3)) << 20, chance.choice((0, 2, 3)) << 20,
        checkpoint=f"w{s}{chance.choice('pq')}",
    )  # fmt: skip


def _with_today(chance: random.Random, problem: PlacementProblem) -> PlacementProblem:
    """Some servers of a placement that is allowed but for pins, spread and the like."""
    options = [place for k in range(len(problem.columns)) for place in positions(problem, k)]
    if not options or chance.random() < 0.5:
        return problem
    today = tuple(sorted(chance.sample(options, min(len(options), chance.choice((1, 2))))))
    return PlacementProblem(**{**problem.__dict__, "today": today})


def positions(problem: PlacementProblem, k: int) -> list[PlacedServer]:
    """Every way in which one server of a column can stand, alone."""
    column = problem.columns[k]
    found = []
    for nodes in combinations(range(len(problem.nodes)), column.nodes):
        choices = [
            list(combinations([g for island in problem.nodes[n].islands for g in island.gpus], column.gpus_per_node))
            for n in nodes
        ]
        for gpus in product(*choices):
            server = PlacedServer(k, tuple(zip(nodes, gpus, strict=True)))
            alone = PlacementProblem(problem.nodes, problem.services, problem.columns, links=problem.links)
            rules = {violation.rule for violation in placement_violations(alone, [server])}
            if not rules - {"replicas", "spread", "pack"}:
                found.append(server)
    return found


def placements(problem: PlacementProblem) -> Iterator[tuple[PlacedServer, ...]]:
    """Every placement that breaks no rule."""
    of_service: list[list[tuple[PlacedServer, ...]]] = []
    for s, service in enumerate(problem.services):
        options = [place for k in problem.columns_of[s] for place in positions(problem, k)]
        of_service.append(
            [group for n in range(service.most + 1) for group in combinations_with_replacement(options, n)]
        )
    size = 1
    for groups in of_service:
        size *= len(groups)
    if size > MOST_TRIED:
        raise OverflowError(size)
    for chosen in product(*of_service):
        servers = tuple(sorted(server for group in chosen for server in group))
        if not placement_violations(problem, servers):
            yield servers


def best_values(problem: PlacementProblem) -> dict[str, int]:
    """The optimum of every objective in turn."""
    left = list(placements(problem))
    values = {}
    for name in problem.objective_names():
        pick = max if maximised(name) else min
        found = [measure(problem, servers, name) for servers in left]
        values[name] = pick(found)
        left = [servers for servers, value in zip(left, found, strict=True) if value == values[name]]
    return values
