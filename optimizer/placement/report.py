"""From a solved placement to the answer: who stands where, what it serves, and the way there."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property

from vllm_opt.constraints.placing.gpu_memory import awake_together, bytes_together, start_order
from vllm_opt.constraints.placing.measures import capacities, replica_counts, served_in_full
from vllm_opt.constraints.placing.moves import Standing, ordered_moves
from vllm_opt.constraints.placing.site import Parts, PlacedServer, ServerColumn
from vllm_opt.optimizer.contract.answer import ObjectiveValue, Plan
from vllm_opt.optimizer.placement.answer import (
    GpuOfNode,
    Move,
    NodeOfSite,
    PlacedReplica,
    ServedService,
    ServerOnGpu,
    ServerPart,
)
from vllm_opt.optimizer.placement.problem import Placing
from vllm_opt.optimizer.placement.settings import MICRO
from vllm_opt.optimizer.placement_model.outcome import PlacementBound, PlacementOutcome
from vllm_opt.optimizer.planning.plan import make_plan
from vllm_opt.profiles.reading.quantities import GIB

UNITS = {"served": "services", "share": "of the demand", "headroom": "of the demand", "moves": "servers",
         "gpus": "GPUs", "servers": "servers", "watts": "W", "blocks": "GPUs squared"}  # fmt: skip
THOUSANDTHS = ("share", "headroom")


@dataclass(frozen=True)
class PlacementReport:
    """One solved placement in words and sums."""

    asked: Placing
    outcome: PlacementOutcome

    @cached_property
    def placed(self) -> tuple[PlacedServer, ...]:
        """Servers in the order of the answer: by service, then by place."""
        columns = self.asked.problem.columns
        return tuple(sorted(self.outcome.servers, key=lambda s: (columns[s.column].service, s.parts, s.column)))

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Server -> its number among the replicas of its service."""
        seen: Counter[int] = Counter()
        found = []
        for server in self.placed:
            service = self.asked.problem.columns[server.column].service
            found.append(seen[service])
            seen[service] += 1
        return tuple(found)

    @cached_property
    def kept(self) -> dict[int, int]:
        """Server -> the server of today that it is, position in `running`."""
        left: dict[PlacedServer, list[int]] = defaultdict(list)
        for e, server in enumerate(self.asked.problem.today):
            left[server].append(self.asked.kept[e])
        return {i: left[server].pop(0) for i, server in enumerate(self.placed) if left[server]}

    @cached_property
    def full(self) -> list[bool]:
        """Which services are served in full."""
        return served_in_full(self.asked.problem, self.placed)

    @property
    def lacking(self) -> list[int]:
        """Services that are not."""
        return [s for s, full in enumerate(self.full) if not full]

    def _column(self, i: int) -> ServerColumn:
        return self.asked.problem.columns[self.placed[i].column]

    def label(self, i: int) -> str:
        """A server as service/replica."""
        return f"{self.asked.problem.services[self._column(i).service].name}/{self.numbers[i]}"

    @cached_property
    def on_gpu(self) -> dict[tuple[int, int], list[int]]:
        """(node, GPU) -> servers on it."""
        found: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, server in enumerate(self.placed):
            for node, gpus in server.parts:
                for gpu in gpus:
                    found[node, gpu].append(i)
        return found

    def objectives(self) -> tuple[ObjectiveValue, ...]:
        """Values and bounds in units that people use."""
        return tuple(_objective(bound) for bound in self.outcome.bounds)

    @cached_property
    def _plans(self) -> dict[int, Plan]:
        used = {server.column for server in self.placed}
        return {k: self._plan(k) for k in sorted(used)}

    def _plan(self, k: int) -> Plan:
        """The plan of a column; a server that sleeps is started so that it can."""
        found = make_plan(self.asked.plans[k].setting, self.asked.plans[k].choice)
        if not self.asked.plans[k].sleeps:
            return found
        return found.model_copy(
            update={
                "flags": {**found.flags, "enable-sleep-mode": True},
                "command": f"{found.command} --enable-sleep-mode",
                "env": {**found.env, "VLLM_SERVER_DEV_MODE": "1"},
            }
        )

    def parts(self, parts: Parts) -> tuple[ServerPart, ...]:
        """GPUs by the names of their nodes."""
        return tuple(ServerPart(node=self.asked.problem.nodes[node].name, gpus=gpus) for node, gpus in parts)

    def replicas(self) -> tuple[PlacedReplica, ...]:
        """Every server."""
        found = []
        for i, server in enumerate(self.placed):
            column = self._column(i)
            node, gpus = server.parts[0]
            others = [j for j in self.on_gpu[node, gpus[0]] if j != i]
            crowd = awake_together([self._column(j) for j in self.on_gpu[node, gpus[0]]])
            of = self.asked.settings[column.service]
            found.append(
                PlacedReplica(
                    service=of.spec.name, replica=self.numbers[i], parts=self.parts(server.parts),
                    capacity=_amount(column.capacity, by_rate=of.by_rate), unit=_unit(by_rate=of.by_rate),
                    kept=i in self.kept, sleeps=column.asleep_bytes is not None,
                    shares_with=tuple(self.label(j) for j in others), slowdown=(1.0, float(max(1, crowd))),
                    plan=self._plans[server.column],
                )
            )  # fmt: skip
        return tuple(found)

    def services(self) -> tuple[ServedService, ...]:
        """How much of every service is served."""
        problem = self.asked.problem
        whole, counts = capacities(problem, self.placed), replica_counts(problem, self.placed)
        touched = sorted({node for server in self.placed for node, _ in server.parts})
        lost = [capacities(problem, self.placed, without=node) for node in touched]
        found = []
        for s, service in enumerate(problem.services):
            by_rate = self.asked.settings[s].by_rate
            without = min((left[s] for left in lost), default=0)
            found.append(
                ServedService(
                    service=service.name, priority=service.priority, replicas=counts[s],
                    demand=_amount(service.demand, by_rate=by_rate), capacity=_amount(whole[s], by_rate=by_rate),
                    headroom=round(whole[s] / service.demand - 1, 4),
                    served=round(min(1.0, whole[s] / service.demand), 4), in_full=self.full[s],
                    capacity_without_a_node=_amount(without, by_rate=by_rate), unit=_unit(by_rate=by_rate),
                )
            )  # fmt: skip
        return tuple(found)

    def node_pictures(self) -> tuple[NodeOfSite, ...]:
        """Every GPU of every node, with its servers."""
        return tuple(self._node(n) for n in range(len(self.asked.problem.nodes)))

    def _node(self, n: int) -> NodeOfSite:
        node = self.asked.problem.nodes[n]
        here = [self._column(i) for i, s in enumerate(self.placed) if any(m == n for m, _ in s.parts)]
        gpus = []
        for number, island in enumerate(node.islands):
            for gpu in island.gpus:
                servers = self.on_gpu.get((n, gpu), [])
                columns = [self._column(i) for i in servers]
                gpus.append(
                    GpuOfNode(
                        index=gpu, shown=self.asked.nodes.slots[n].get(gpu, ""), gpu=island.gpu, island=number,
                        memory_bytes=island.gpu_bytes, free_bytes=island.gpu_bytes - bytes_together(columns),
                        start_order=tuple(self.label(servers[at]) for at in start_order(columns)) if columns else (),
                        servers=tuple(self._on(i) for i in servers),
                    )
                )  # fmt: skip
        return NodeOfSite(
            name=node.name, zone=node.zone, host_memory_used_bytes=sum(column.host_bytes for column in here),
            gpus=tuple(sorted(gpus, key=lambda gpu: gpu.index)),
        )  # fmt: skip

    def _on(self, i: int) -> ServerOnGpu:
        column = self._column(i)
        return ServerOnGpu(
            service=self.asked.problem.services[column.service].name, replica=self.numbers[i],
            gpu_memory_utilization=self.asked.plans[self.placed[i].column].choice.gpu_memory_utilization,
            bytes=column.bytes_per_gpu, sleeps=column.asleep_bytes is not None, asleep_bytes=column.asleep_bytes,
        )  # fmt: skip

    def moves(self) -> tuple[Move, ...]:
        """The order of stops and starts; empty where nothing runs today."""
        if not self.asked.running:
            return ()
        stays = [Standing(i, self._column(i), self.placed[i].parts) for i in self.kept]
        starts = [
            Standing(i, self._column(i), server.parts) for i, server in enumerate(self.placed) if i not in self.kept
        ]
        gone = set(range(len(self.asked.running))) - set(self.kept.values())
        stops = [Standing(e, self._running(e), self.asked.running[e].parts) for e in sorted(gone)]
        found = []
        for number, step in enumerate(ordered_moves(self.asked.problem, stays, stops, starts), 1):
            mine = step.of == "placement"
            column = self._column(step.key) if mine else self._running(step.key)
            parts = self.placed[step.key].parts if mine else self.asked.running[step.key].parts
            found.append(
                Move(
                    step=number, action=step.action, service=self.asked.problem.services[column.service].name,
                    replica=self.numbers[step.key] if mine else None, parts=self.parts(parts),
                    restart_s=self._restart(step.key) if step.action == "start" else None, replicas_left=step.left,
                    why=step.why,
                )
            )  # fmt: skip
        return tuple(found)

    def _running(self, e: int) -> ServerColumn:
        """A server of today as a column; where no plan is like it, it is taken to hold all that it may."""
        running = self.asked.running[e]
        for position, place in zip(self.asked.kept, self.asked.problem.today, strict=True):
            if position == e:
                return self.asked.problem.columns[place.column]
        node, gpus = running.parts[0]
        island = self.asked.problem.nodes[node].island_of(gpus[0])
        used = running.spec.gpu_memory_utilization
        held = island.gpu_bytes if used is None else min(island.gpu_bytes, int(used * island.gpu_bytes) + GIB)
        return ServerColumn("", running.service, island.gpu, 1, 1, 0, bytes_per_gpu=held, most_on_gpu=len(gpus) + 99)

    def _restart(self, i: int) -> float | None:
        """Seconds of a start: the checkpoint read on its slowest node, and what the site states besides."""
        rates = [self.asked.nodes.specs[node].load_gb_per_s for node, _ in self.placed[i].parts]
        known = [rate for rate in rates if rate is not None]
        if len(known) < len(rates):
            return None
        read = self._column(i).disk_bytes / len(rates) / (min(known) * 1e9)
        return round(read + (self.asked.request.start_seconds or 0.0), 1)


def _amount(units: int, *, by_rate: bool) -> float:
    return round(units / MICRO, 6) if by_rate else float(units)


def _unit(*, by_rate: bool) -> str:
    return "requests/s" if by_rate else "sequences"


def _objective(bound: PlacementBound) -> ObjectiveValue:
    scale = 1000 if bound.name.split(":")[0] in THOUSANDTHS else 1
    gap = 0.0 if bound.proven else abs(bound.bound - bound.value) / max(1, abs(bound.bound), abs(bound.value))
    return ObjectiveValue(
        name=bound.name, value=bound.value / scale, bound=bound.bound / scale, gap=round(gap, 6),
        unit=UNITS[bound.name.split(":")[0]],
    )  # fmt: skip
