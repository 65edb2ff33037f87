"""From what runs today to a placement, one stop or start at a time, so that no GPU ever holds more than it has.

A start needs its peak beside everything that runs at that moment, and afterwards its bytes; so a server is started as
soon as it fits, services served first before others, and stopped only when a start needs its place, or at the end.
Stopping always helps, so the order always ends: at worst everything that does not stay is stopped before the rest is
started. A server that stays but leaves no room for the start of another beside it is restarted after that one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from vllm_opt.constraints.placing.gpu_memory import bytes_together, settled_bytes, start_peak
from vllm_opt.constraints.placing.site import Parts, PlacementProblem, ServerColumn


@dataclass(frozen=True)
class Standing:
    """A server on its GPUs, today or in the placement."""

    key: int
    """position among the servers of today, or in the placement"""
    column: ServerColumn
    parts: Parts


@dataclass(frozen=True)
class Step:
    """One stop or start."""

    action: Literal["stop", "start"]
    of: Literal["today", "placement"]
    key: int
    left: int
    """servers of the same service that run after it"""
    why: str = ""


@dataclass
class Floor:
    """What runs at one moment."""

    problem: PlacementProblem
    running: list[tuple[str, Standing]] = field(default_factory=list)

    def on(self, node: int, gpu: int) -> list[ServerColumn]:
        """Servers on one GPU."""
        return [s.column for _, s in self.running for n, gpus in s.parts if n == node and gpu in gpus]

    def room_for(self, server: Standing) -> bool:
        """Whether a server can start now: memory of every GPU, during the start and after it, and host memory."""
        for node, gpus in server.parts:
            for gpu in gpus:
                here = self.on(node, gpu)
                total = self.problem.nodes[node].island_of(gpu).gpu_bytes
                held = sum(settled_bytes(column) for column in here)
                if held + start_peak(server.column) > total or bytes_together([*here, server.column]) > total:
                    return False
            host = self.problem.nodes[node].host_bytes
            used = sum(s.column.host_bytes for _, s in self.running if any(n == node for n, _ in s.parts))
            if host is not None and used + server.column.host_bytes > host:
                return False
        return True

    def left(self, service: int) -> int:
        """Servers of a service that run."""
        return sum(s.column.service == service for _, s in self.running)


def ordered_moves(
    problem: PlacementProblem, stays: Sequence[Standing], stops: Sequence[Standing], starts: Sequence[Standing]
) -> tuple[Step, ...]:
    """The order of stops and starts. `stays` run today and in the placement and carry their key in the placement."""
    floor = Floor(problem, [("stays", s) for s in stays] + [("stops", s) for s in stops])
    waiting = sorted(starts, key=lambda s: _first(problem, s))
    steps: list[Step] = []
    while waiting:
        able = next((server for server in waiting if floor.room_for(server)), None)
        if able is not None:
            waiting.remove(able)
            floor.running.append(("started", able))
            steps.append(Step("start", "placement", able.key, floor.left(able.column.service)))
            continue
        victim = _victim(problem, floor, waiting)
        if victim is None:
            raise AssertionError("no order of moves leads to the placement")
        kind, server = victim
        floor.running.remove(victim)
        wanted = problem.services[waiting[0].column.service].name
        why = f"makes room for {wanted}"
        of: Literal["today", "placement"] = "today" if kind == "stops" else "placement"
        steps.append(Step("stop", of, server.key, floor.left(server.column.service), why))
        if kind != "stops":
            waiting.append(server)
    for kind, server in list(floor.running):
        if kind == "stops":
            floor.running.remove((kind, server))
            steps.append(Step("stop", "today", server.key, floor.left(server.column.service), "no longer needed"))
    return tuple(steps)


def _first(problem: PlacementProblem, server: Standing) -> tuple[int, int, int]:
    """Services served first, and on one GPU the start with the largest passing need."""
    column = server.column
    return problem.services[column.service].priority, settled_bytes(column) - start_peak(column), server.key


def _victim(problem: PlacementProblem, floor: Floor, waiting: Sequence[Standing]) -> tuple[str, Standing] | None:
    """What is stopped for the first start that waits: of a service with most servers left, of the least priority."""
    for server in waiting:
        mine = {(node, gpu) for node, gpus in server.parts for gpu in gpus}
        nodes = {node for node, _ in server.parts}
        counts = Counter(s.column.service for _, s in floor.running)
        for kinds in (("stops",), ("stays", "started")):
            on_gpu = [
                each for each in floor.running
                if each[0] in kinds and any((n, g) in mine for n, gpus in each[1].parts for g in gpus)
            ]  # fmt: skip
            on_node = [each for each in floor.running if each[0] in kinds and any(n in nodes for n, _ in each[1].parts)]
            able = on_gpu or (on_node if kinds == ("stops",) else [])
            if able:
                return max(
                    able,
                    key=lambda each: (
                        counts[each[1].column.service],
                        problem.services[each[1].column.service].priority,
                        -each[1].key,
                    ),
                )
    return None


def memory_along(
    problem: PlacementProblem, today: Sequence[Standing], placement: Sequence[Standing], stays: Sequence[Standing],
    steps: Sequence[Step],
) -> int | None:  # fmt: skip
    """Replay the steps; the first step (from 0) during which some GPU holds more than it has, None when none does."""
    floor = Floor(problem, [("today", s) for s in today] + [("placement", s) for s in stays])
    for number, step in enumerate(steps):
        server = next(s for s in (today if step.of == "today" else placement) if s.key == step.key)
        if step.action == "stop":
            floor.running.remove((step.of, server))
        elif not floor.room_for(server):
            return number
        else:
            floor.running.append((step.of, server))
    return None
