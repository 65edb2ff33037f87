"""What one GPU holds, grown server by server: the rules of `gpu_memory` without asking them anew for every pattern."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.constraints.placing.gpu_memory import MOST_ON_GPU, settled_bytes, start_peak
from vllm_opt.constraints.placing.site import PlacementProblem


@dataclass(frozen=True, slots=True)
class Held:
    """Servers of one GPU and their sums."""

    columns: tuple[int, ...] = ()
    services: tuple[int, ...] = ()
    awake: int = 0
    """servers that never sleep"""
    sleepers: tuple[int, ...] = ()
    """services of those that do"""
    turns: int = MOST_ON_GPU
    settled: int = 0
    waking: int | None = None
    """the most that one sleeper takes beyond what it keeps asleep; None: nobody sleeps"""
    starts: tuple[tuple[int, int, int], ...] = ()
    """(-passing need, peak, bytes settled) of every server, in the order of starting"""


EMPTY = Held()


class Room:
    """One kind of GPU, to which servers are added."""

    def __init__(self, problem: PlacementProblem, total: int) -> None:
        self.total = total
        self.facts = [
            (x.service, settled_bytes(x), x.bytes_per_gpu, x.asleep_bytes is not None, x.most_on_gpu, start_peak(x))
            for x in problem.columns
        ]
        self.most = [most_on_node(problem, s) for s in range(len(problem.services))]
        self.apart: dict[int, set[int]] = {}
        for one, other in problem.apart:
            self.apart.setdefault(one, set()).add(other)
            self.apart.setdefault(other, set()).add(one)

    def joined(self, held: Held, k: int) -> Held | None:
        """The GPU with one more server; None where they do not fit together."""
        service, settled, budget, sleeps, turns, peak = self.facts[k]
        whole = held.settled + settled
        if whole > self.total or len(held.columns) >= MOST_ON_GPU:
            return None
        turns = min(held.turns, turns)
        awake = held.awake + (not sleeps)
        sleepers = (*held.sleepers, service) if sleeps else held.sleepers
        waking = held.waking
        if sleeps:
            waking = budget - settled if waking is None else max(waking, budget - settled)
        if (
            awake + bool(sleepers) > turns
            or whole + (waking or 0) > self.total
            or (sleeps and service in held.sleepers)
        ):
            return None
        if service in held.services and held.services.count(service) >= self.most[service]:
            return None
        if self.apart and not self.apart.get(service, set()).isdisjoint(held.services):
            return None
        starts = tuple(sorted((*held.starts, (settled - peak, peak, settled))))
        if starts[0][0] < 0:
            standing = 0
            for _, each_peak, each_settled in starts:
                if standing + each_peak > self.total:
                    return None
                standing += each_settled
        return Held((*held.columns, k), (*held.services, service), awake, sleepers, turns, whole, waking, starts)

    def all_of(self, columns: Sequence[int]) -> Held | None:
        """The GPU with these servers; None where they do not fit together."""
        held: Held | None = EMPTY
        for k in columns:
            held = None if held is None else self.joined(held, k)
        return held


def most_on_node(problem: PlacementProblem, s: int) -> int:
    """Replicas of a service that one node may hold: one where it is spread over at least as many nodes."""
    service = problem.services[s]
    nodes = len(problem.nodes) if service.nodes is None else len(service.nodes)
    return 1 if service.spread == "node" and service.most <= nodes else service.most
