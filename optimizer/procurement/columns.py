"""Columns of a fleet: for every workload, SKU and size, the plan of one replica that serves the most.

One replica is one `vllm serve`. The candidates are those of `solve` (`Search`): every weight format, tensor, pipeline,
data, expert and decode-context parallel shape, block size, width of a step and batch, refined at the limits on TTFT and
TPOT. A fleet pays for GPUs and needs capacity, so of all plans of one SKU and size only the one with the largest
capacity can matter, and of a size only what replicas of smaller sizes do not replace (`_replaced`). Finding it is the
pricing problem of the fleet: servers ascend by a closed-form ceiling on their capacity, best first, and a class is
closed when no ceiling left is above what was found. Classes are closed only when the fleet could use them (`pool.py`);
an open one is known by its ceiling, so that the fleet's bound covers it all the same.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from vllm_opt.constraints.queueing.engine import Demand
from vllm_opt.optimizer.estimation.performance import Engines
from vllm_opt.optimizer.estimation.rate_within_limits import rate_within_limits
from vllm_opt.optimizer.planning.predicted import Choice
from vllm_opt.optimizer.procurement.sharing import (
    SHARES,
    leaves_context_room,
    may_hold,
    points_in_parts,
)
from vllm_opt.optimizer.search.bounds import capacity_ceilings
from vllm_opt.optimizer.search.fastest_points import FastestPoints
from vllm_opt.optimizer.search.modes import preference
from vllm_opt.optimizer.search.pool import sequences_of_server
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.search import ALL_RULES, Search
from vllm_opt.optimizer.space.layouts import Shape
from vllm_opt.optimizer.space.points import Candidate, Unit
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.optimizer.space.shared import SharedLayouts

MICRO = 1_000_000
ROUNDING = 1e-9
FIRST_ROUND = 2
"""servers of each class that are sized together at first; each further round takes twice as many"""


@dataclass(frozen=True)
class PercentileTarget:
    """Limits on TTFT and TPOT in ms at a percentile over requests, and how evenly a router spreads them.

    `imbalance`: by how much the busiest replica gets more than the average. Requests go to replicas at random, so each
    sees random arrivals of its own.
    """

    max_ttft_ms: float | None
    max_tpot_ms: float | None
    ttft_percentile: float | None
    tpot_percentile: float | None
    burstiness: float
    imbalance: float
    utilization_cap: float
    """Share of its capacity that a fleet asks of a replica: here the percentile says that, so it is divided out."""

    def capacity(self, candidate: Candidate, sequences: int) -> float:
        """Requests/s of one replica at which the limits hold at the confidence asked, the router's excess taken off."""
        return self.rate(candidate.unit, sequences, candidate.max_num_batched_tokens)

    def rate(self, unit: Unit, sequences: int, max_num_batched_tokens: int) -> float:
        """The same of one replica of a unit; infinite where its speed is not known."""
        facts, setting = unit.facts, unit.facts.setting
        served = Engines(
            facts.coefficients, unit.engines, sequences, max_num_batched_tokens, setting.lengths,
            facts.layout.enable_chunked_prefill,
            setting.request.hit_share if facts.layout.enable_prefix_caching else 0.0,
        )  # fmt: skip
        rate = rate_within_limits(
            served, Demand("poisson", burstiness=self.burstiness), (self.max_ttft_ms, self.ttft_percentile),
            (self.max_tpot_ms, self.tpot_percentile), setting.request.confidence,
        )  # fmt: skip
        return float("inf") if rate is None else rate / (1.0 + self.imbalance) / self.utilization_cap

    def in_turns(self, turns: int) -> "PercentileTarget":
        """The limits as a server must meet them that gets one of so many turns of a GPU.

        A server at 1/n of the speed is one at full speed on a clock that runs n times slower: it serves 1/n of the rate
        at which the limits divided by n hold there.
        """
        ttft, tpot = (None if limit is None else limit / turns for limit in (self.max_ttft_ms, self.max_tpot_ms))
        return replace(self, max_ttft_ms=ttft, max_tpot_ms=tpot)


@dataclass(frozen=True, eq=False)
class ReplicaPlan:
    """One way to run one replica, and what it serves."""

    gpu: str
    setting: SolveSetting
    candidate: Candidate
    sequences: int
    capacity: tuple[int, ...]
    """per length bucket: millionths of a request per second, or sequences"""
    cut: int = 1
    """parts that its GPU is cut into"""
    context: int = 0

    @property
    def shape(self) -> Shape:
        """How the replica divides the model."""
        return self.candidate.unit.shape

    @property
    def nodes(self) -> int:
        """Nodes that the replica spans."""
        return self.candidate.unit.facts.layout.nodes

    @property
    def kind(self) -> "Kind":
        """The class that it is the best plan of."""
        return Kind(self.gpu, self.shape.gpus, self.nodes, self.cut)

    def choice(self, replicas: int) -> Choice:
        """The full point, for a number of replicas."""
        from vllm_opt.optimizer.planning.utilization import fitting_utilization

        unit = replace(self.candidate.unit, replicas=replicas)
        utilization = fitting_utilization(self.setting, self.candidate, self.sequences, highest=self.cut > 1)
        return Choice(unit, self.candidate.max_num_batched_tokens, self.sequences, utilization)


@dataclass(frozen=True, order=True)
class Kind:
    """Plans that take the same: the SKU, GPUs and nodes of one replica, parts that its GPU is cut into."""

    gpu: str
    gpus: int
    nodes: int
    cut: int = 1


Entries = dict[Kind, list[tuple[int, Server]]]
Solver = Callable[[list[Server], dict[Kind, int]], Iterable[Candidate]]
"""the points of some servers that may be the best of their classes, given what each class has to exceed"""


class ColumnSearch:
    """The plans of one workload at one maximum context, priced class by class when they are asked for.

    `plans` are the best of the classes closed so far; `open` says what no plan of the other classes exceeds.
    """

    def __init__(
        self, setting: SolveSetting, *, by_rate: bool, sharing: bool, shared: SharedLayouts | None = None,
        target: PercentileTarget | None = None,
    ) -> None:  # fmt: skip
        self.setting, self.target = setting, target
        self.by_rate = by_rate
        self.search = Search(setting, shared=shared)
        self.plans: dict[Kind, ReplicaPlan] = {}
        self.open: dict[Kind, int] = {}
        self._classes = self._classed(sharing)
        self.servers = sum(len(entries) for entries in self._classes.values())

    @property
    def dropped(self) -> dict[str, Counter[str]]:
        """SKU -> rule -> servers that it ruled out."""
        return self.search.result.dropped

    def columns(self) -> Iterator[tuple[Kind, str, ReplicaPlan]]:
        """The best plan found of every class; nothing tells it from others."""
        for kind, plan in sorted(self.plans.items(), key=lambda entry: entry[0]):
            yield kind, "", plan

    def _classed(self, sharing: bool) -> Entries:
        if self.setting.targets.target_context > self.setting.model.max_model_len:
            for sku in self.setting.gpus:
                self.search.result.drop(sku.gpu.id, "context_length")
            return {}
        servers = [server.with_replicas(1, 1) for sku in self.setting.gpus for server in self.search.servers.of(sku)]
        classes: Entries = {}
        for server, ceiling in zip(servers, self._ceilings(servers), strict=True):
            if isinstance(ceiling, str):
                self.search.result.drop(server.sku.gpu.id, ceiling)
                continue
            kind = Kind(server.sku.gpu.id, server.shape.gpus, server.fare.nodes)
            for cut in (1, *SHARES) if sharing and kind.gpus == 1 else (1,):
                if cut > 1 and not may_hold(self.search.physics, server, cut):
                    continue
                classes.setdefault(replace(kind, cut=cut), []).append((-(-ceiling // cut), server))
        for kind, entries in classes.items():
            entries.sort(key=lambda entry: -entry[0])
            self.open[kind] = entries[0][0]
        return classes

    def close(self, kinds: Iterable[Kind], deadline: float = math.inf) -> None:
        """Find the best plan of each class; time may leave some open, with their ceilings."""
        wanted = sorted({kind for kind in kinds if kind in self.open}, key=lambda kind: (kind.cut, kind.gpus, kind))
        for cut in dict.fromkeys(kind.cut for kind in wanted):
            self._price([kind for kind in wanted if kind.cut == cut], self._solver(cut), deadline)

    def _solver(self, cut: int) -> Solver:
        """How servers are sized: whole, unless only the fastest point of each is asked for."""
        if cut > 1:
            return lambda servers, _: points_in_parts(self.setting, self.search.physics, servers, cut)
        queueing = self.setting.request.needs_queueing or self.target is not None
        if self.by_rate and self.setting.lengths[1] > 1 and not queueing:
            return lambda servers, least: FastestPoints(self.search, self._units, least, _kind_of).of_servers(servers)
        return lambda servers, _: self.search.solve_servers(servers)

    def _units(self, tokens_per_s: float, cut: int = 1) -> int:
        """Output tokens per second in whole millionths of a request per second."""
        exact = float(tokens_per_s).as_integer_ratio()
        return exact[0] * MICRO // (exact[1] * self.setting.lengths[1] * cut)

    def _ceilings(self, servers: list[Server]) -> list[int | str]:
        """What no plan of each server exceeds, in units of capacity, or the rule that all of them break."""
        physics = self.search.physics
        found = capacity_ceilings(self.setting, physics, servers, ALL_RULES)
        if self.by_rate:
            return [most if isinstance(most, str) else self._units(most * (1 + ROUNDING)) + 1 for most in found]
        return [
            most
            if isinstance(most, str)
            else sequences_of_server(self.setting, physics, one, ALL_RULES) * one.shape.data
            for one, most in zip(servers, found, strict=True)
        ]

    def _price(self, kinds: list[Kind], solve: Solver, deadline: float) -> None:
        """Visit the servers of some classes, best first, until no ceiling is above what was found."""
        least: dict[Kind, int] = {}
        size = FIRST_ROUND
        while kinds:
            least = {kind: max(least.get(kind, 0), self._replaced(kind)) for kind in kinds}
            chosen: list[Server] = []
            for kind in kinds:
                able = [entry for entry in self._classes[kind] if entry[0] > least[kind]]
                chosen += [server for _, server in able[:size]]
                self._classes[kind] = able[size:]
            for candidate in solve(chosen, least) if chosen else ():
                plan = self._best_point(candidate, kinds[0].cut, min(least.values()))
                if plan is not None and _better(plan, self.plans.get(plan.kind), least[plan.kind]):
                    self.plans[plan.kind] = plan
                    least[plan.kind] = plan.capacity[0]
            done = [kind for kind in kinds if not any(entry[0] > least[kind] for entry in self._classes[kind])]
            for kind in done:
                del self.open[kind]
            kinds = [kind for kind in kinds if kind in self.open]
            for kind in kinds:
                self.open[kind] = self._classes[kind][0][0]
            if time.monotonic() > deadline:
                return
            size *= 2

    def _best_point(self, candidate: Candidate, cut: int, floor: int) -> ReplicaPlan | None:
        engines = candidate.unit.engines
        value = candidate.bound_tokens_per_s if self.by_rate else candidate.sequences.astype(np.float64) * engines
        if cut > 1:
            value = np.where(leaves_context_room(candidate), value, -1.0)
        at = int(value.argmax())
        if value[at] <= 0:
            return None
        amount = float(value[at])
        capacity = self._units(amount, cut) if self.by_rate else math.floor(amount)
        if self.target is not None and capacity > floor:
            held = self.target.capacity(candidate, int(candidate.sequences[at]))
            capacity = capacity if math.isinf(held) else min(capacity, math.floor(held * MICRO))
        if capacity < 1:
            return None
        return ReplicaPlan(
            candidate.unit.facts.sku.gpu.id, self.setting, candidate, int(candidate.sequences[at]), (capacity,), cut,
            self.setting.targets.target_context,
        )  # fmt: skip

    def _replaced(self, kind: Kind) -> int:
        """What replicas of smaller sizes serve on the same GPUs; a larger one must serve more than that."""
        per_node = kind.gpus // kind.nodes
        copies = [
            kind.nodes * (per_node // small.gpus) * plan.capacity[0]
            for small, plan in self.plans.items()
            if small.gpu == kind.gpu and small.nodes == small.cut == kind.cut == 1 and small.gpus < kind.gpus
            and per_node % small.gpus == 0
        ]  # fmt: skip
        return max(copies, default=0)


def _kind_of(unit: Unit) -> Kind:
    return Kind(unit.facts.sku.gpu.id, unit.shape.gpus, unit.facts.layout.nodes)


def _better(plan: ReplicaPlan, rival: ReplicaPlan | None, floor: int) -> bool:
    """Whether a plan serves more; of equal ones the preferred, so that the order of visits does not matter."""
    if rival is None:
        return plan.capacity[0] > floor
    if plan.capacity != rival.capacity:
        return plan.capacity > rival.capacity
    return preference(plan.setting, plan.candidate) < preference(rival.setting, rival.candidate)
