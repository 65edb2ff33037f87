"""A placement at once: service after service, each the way that takes the least; then a few of them again.

It proves nothing. It is there so that a search that runs out of time has something to show, and so that the model
starts from it. Servers over several nodes, and services tied together, are left to the model where this is too simple.
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from vllm_opt.constraints.placing.check import domains_of, placement_violations
from vllm_opt.constraints.placing.site import SERVED_SCALE, PlacedServer, PlacementProblem, SiteService
from vllm_opt.optimizer.placement_model.floor import Floor

MOST_WAYS = 10
"""ways to serve one service that are tried on the floor, those that take the least on their own first"""
MOST_DOMAINS = 8
"""nodes or zones tried for a service that packs"""
NEW_GPUS_WEIGH = 0.5
"""of a way: GPUs that were free; the rest is the part of GPUs that it takes, which others can no longer have"""

Way = tuple[int, ...]
"""columns of the replicas of one service"""
Worth = Callable[[tuple[PlacedServer, ...]], tuple[int, ...]]


def first_placement(problem: PlacementProblem, end: float) -> tuple[PlacedServer, ...]:
    """A placement that breaks no rule; where time is up after a service, of those before it."""
    floor = Floor(problem)
    if not placement_violations(problem, problem.today):
        for server in problem.today:
            floor.put(server)
    ways = _Ways(problem, None)
    for s in _order(problem, ways):
        if time.monotonic() > end and floor.servers:
            break
        _place_service(problem, floor, ways, s)
    return _kept(problem, tuple(sorted(floor.servers)))


def improved_placement(
    problem: PlacementProblem, servers: tuple[PlacedServer, ...], seed: int, end: float, most: int, worth: Worth
) -> tuple[PlacedServer, ...]:
    """The best of `most` changes in a row: services of a few GPUs are taken off and put back another way.

    A change is kept where `worth` is no less (large neighbourhood search; Shaw 1998, Pisinger and Ropke 2010).
    """
    chance = random.Random(seed)
    floor = Floor(problem)
    for server in servers:
        floor.put(server)
    best, value = servers, worth(servers)
    plain = not problem.today and problem.objectives[:1] == ("served",) and "watts" not in problem.objectives
    for _ in range(most):
        if time.monotonic() > end or not floor.held:
            break
        before, gpus = tuple(floor.servers), len(floor.held)
        ways = _Ways(problem, chance)
        off = _taken_off(floor, chance)
        for s in sorted(off, key=lambda s: (problem.services[s].priority, chance.random())):
            _place_service(problem, floor, ways, s)
        after = tuple(sorted(floor.servers))
        if plain and len(floor.held) > gpus:
            _restored(floor, before)
            continue
        its = worth(after)
        if its >= value and not placement_violations(problem, after):
            best, value = after, its
        else:
            _restored(floor, before)
    return best


def _taken_off(floor: Floor, chance: random.Random) -> set[int]:
    """Take the services of a few GPUs off the floor, all of their servers."""
    places = sorted(floor.held)
    chosen = chance.sample(places, min(len(places), chance.choice((2, 3, 3, 4))))
    off = {floor.problem.columns[k].service for place in chosen for k in floor.held[place]}
    for server in tuple(floor.servers):
        if floor.problem.columns[server.column].service in off:
            floor.remove(server)
    return off


def _restored(floor: Floor, before: tuple[PlacedServer, ...]) -> None:
    """Put the floor back as it was."""
    left = Counter(before)
    for server in tuple(floor.servers):
        if left[server]:
            left[server] -= 1
        else:
            floor.remove(server)
    for server in left.elements():
        floor.put(server)


class _Ways:
    """How each service can be served: so many replicas of one column, or the last of them of a smaller one."""

    def __init__(self, problem: PlacementProblem, chance: random.Random | None) -> None:
        self.problem = problem
        self.weigh = NEW_GPUS_WEIGH if chance is None else chance.choice((0.2, 0.4, 0.5, 0.6, 0.8))
        self.chance = chance
        self.bytes = {island.gpu: island.gpu_bytes for node in problem.nodes for island in node.islands}

    def noise(self) -> float:
        """A factor near 1, by chance."""
        return 1.0 if self.chance is None else 1.0 + 0.3 * self.chance.random()

    def share(self, k: int) -> float:
        """GPUs that one server takes, in parts where it shares one."""
        column = self.problem.columns[k]
        if not column.shared:
            return float(column.gpus)
        held = column.bytes_per_gpu if column.asleep_bytes is None else column.asleep_bytes
        turns = 0.0 if column.asleep_bytes is not None else 1 / column.most_on_gpu
        return max(held / self.bytes.get(column.gpu, held or 1), turns)

    def of(self, s: int, needed: int) -> list[Way]:
        """Those that take the least first."""
        service, columns = self.problem.services[s], self.problem.columns
        mine = [k for k in self.problem.columns_of[s] if columns[k].nodes == 1]
        found: set[Way] = set()
        for k in mine:
            count = max(service.least, -(-needed // columns[k].capacity))
            if service.survives:
                count = max(count + (count == 1), -(-needed // columns[k].capacity) + 1)
            if count <= service.most:
                found.add((k,) * count)
                rest = needed - (count - 1) * columns[k].capacity
                if not service.survives:
                    found |= {(*(k,) * (count - 1), j) for j in mine if columns[j].capacity >= max(1, rest)}
        shares = {k: self.share(k) for k in mine}
        return sorted(found, key=lambda way: (sum(shares[k] for k in way) * self.noise(), way))[:MOST_WAYS]


def _order(problem: PlacementProblem, ways: _Ways) -> list[int]:
    """The first priority first, and of one priority those that take the most."""

    def takes(s: int) -> float:
        least = ways.of(s, problem.services[s].demand)[:1]
        return sum(ways.share(k) for k in least[0]) if least else 0.0

    return sorted(range(len(problem.services)), key=lambda s: (problem.services[s].priority, -takes(s), s))


def _place_service(problem: PlacementProblem, floor: Floor, ways: _Ways, s: int) -> None:
    """The cheapest way with the most headroom that counts; else with less; of what is there already, the rest."""
    service = problem.services[s]
    held = sum(problem.columns[x.column].capacity for x in floor.servers if problem.columns[x.column].service == s)
    for needed in (-(-service.demand * problem.most_headroom // SERVED_SCALE), service.demand):
        if held >= needed and floor.counts[s] >= service.least and not service.survives:
            return
        if floor.counts[s]:
            continue
        best: tuple[float, list[PlacedServer]] | None = None
        for way in ways.of(s, needed):
            for placed in _tries(problem, floor, service, s, way):
                price = ways.noise() * (
                    ways.weigh * floor.opened(placed) + (1 - ways.weigh) * sum(ways.share(k) for k in way)
                )
                if best is None or price < best[0]:
                    best = (price, placed)
                break
        if best is not None:
            for server in best[1]:
                floor.put(server)
            return


def _tries(
    problem: PlacementProblem, floor: Floor, service: SiteService, s: int, way: Way
) -> Iterator[list[PlacedServer]]:
    """The servers of a way on the floor, by node or zone where they must share one; the floor is left as it was."""
    domains = domains_of(problem, s, service.pack or service.spread or "node")
    limit: int | None = None
    if service.spread:
        limit = -(-len(way) // max(1, len(set(domains.values()))))
    elif service.survives:
        limit = 1
        domains = domains_of(problem, s, "node")
    wanted: Sequence[str | None] = list(dict.fromkeys(domains.values()))[:MOST_DOMAINS] if service.pack else (None,)
    for only in wanted:
        counts: Counter[str] = Counter()
        placed: list[PlacedServer] = []
        for k in way:
            able = [
                n for n, domain in domains.items()
                if (only is None or domain == only) and (limit is None or counts[domain] < limit)
            ]  # fmt: skip
            server = floor.spot(k, able)
            if server is None:
                break
            floor.put(server)
            placed.append(server)
            counts[domains[server.parts[0][0]]] += 1
        for server in reversed(placed):
            floor.remove(server)
        if len(placed) == len(way):
            yield placed


def _kept(problem: PlacementProblem, servers: tuple[PlacedServer, ...]) -> tuple[PlacedServer, ...]:
    """The servers without those of services whose rules are broken; none where that does not help."""
    if not placement_violations(problem, servers):
        return servers
    by_service: dict[int, list[PlacedServer]] = defaultdict(list)
    for server in servers:
        by_service[problem.columns[server.column].service].append(server)
    kept: tuple[PlacedServer, ...] = ()
    for mine in by_service.values():
        if not placement_violations(problem, more := (*kept, *mine)):
            kept = more
    return tuple(sorted(kept))
