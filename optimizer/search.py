"""Search: which operating points can be optimal, by exact bounds of their own, before CP-SAT proves the optimum.

With `cost` or `gpus` first, servers are visited in classes of ascending value, each server with the fewest replicas
that memory allows, and with one more when that fails. For the other objectives more replicas are never worse, so there
is one class, each server with the most that are allowed, and those that tie are looked for with fewer. Within a class
servers are visited best first (`best_first.py`); a SKU is finished as soon as everything left is bounded above what
was found. Nothing that could win is ever skipped.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from vllm_opt.constraints.rules import RULE_NAMES
from vllm_opt.constraints.violation import Violation
from vllm_opt.optimizer.best_first import Key, Standing, Visit, point_key, served, visit
from vllm_opt.optimizer.feasibility import feasible_part, latency_rules, refined_pieces
from vllm_opt.optimizer.host_tier import host_tier_sizes
from vllm_opt.optimizer.layout_physics import LayoutPhysics
from vllm_opt.optimizer.layouts import Shape, shapes
from vllm_opt.optimizer.operating_points import Candidate, Unit, evaluate
from vllm_opt.optimizer.scores import Scores
from vllm_opt.optimizer.server_bounds import objective_bounds
from vllm_opt.optimizer.server_queue import Server, ServerQueue
from vllm_opt.optimizer.server_units import Pieces, fewest_replicas, pieces_of_server
from vllm_opt.optimizer.shared_layouts import SharedLayouts
from vllm_opt.optimizer.solve_setting import PricedGpu, SolveSetting

ALL_RULES = frozenset(RULE_NAMES)
UNLIMITED_GPUS = 1024
"""GPUs that a search may use when the rule gpu_count is dropped for an explanation."""


@dataclass
class SearchResult:
    """What the search found. `dropped` counts, per SKU and rule, the servers that this rule ruled out first."""

    candidates: list[Candidate] = field(default_factory=list)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    layouts_considered: int = 0
    layouts_evaluated: int = 0
    complete: bool = True
    open_bounds: tuple[int, ...] = ()
    """When time ran out: a lower bound on each objective over everything that was not visited."""


class Search:
    """One pass over all servers of a request; `active` names the rules that hold (explanations drop some).

    `skus` leaves out SKUs on which no point is known to exist.
    """

    def __init__(
        self,
        setting: SolveSetting,
        active: frozenset[str] = ALL_RULES,
        *,
        skus: frozenset[str] | None = None,
        shared: SharedLayouts | None = None,
    ) -> None:
        self.setting = setting
        self.active = active
        self.skus = skus
        self.physics = LayoutPhysics(setting, shared)
        self.result = SearchResult()
        self.scores = Scores(setting)
        self.standings = {sku.gpu.id: Standing((setting.request.top or 0) + 1) for sku in setting.gpus}
        self.first = setting.request.objective[0]
        targets = setting.targets
        self.most_gpus = (targets.gpus or targets.max_gpus) if "gpu_count" in active else UNLIMITED_GPUS
        self.deadline = time.monotonic() + setting.request.time_limit
        self._shapes: dict[int, tuple[Shape, ...]] = {}

    def run(self, *, first_found: bool = False) -> SearchResult:
        """Visit the servers of every SKU until each has its best first-objective value, or time is up.

        With `first_found` the first feasible point of any SKU ends the search: only whether there is one matters.
        """
        targets = self.setting.targets
        if "context_length" in self.active and targets.target_context > self.setting.model.max_model_len:
            for sku in self.setting.gpus:
                self.drop(sku.gpu.id, "context_length")
            return self.result
        skus = [sku for sku in self.setting.gpus if self.skus is None or sku.gpu.id in self.skus]
        queues = {sku.gpu.id: self._queue(sku) for sku in skus}
        queues = {name: queue for name, queue in queues.items() if queue}
        while queues:
            if time.monotonic() > self.deadline:
                self._stop([server for queue in queues.values() for server in queue.waiting])
                break
            batch = [server for queue in queues.values() for server in queue.pop_class()]
            came = self._visit(batch, first_found=first_found)
            self.result.candidates += came.found
            if came.found and first_found:
                break
            if came.unvisited:
                waiting = [server for queue in queues.values() for server in queue.waiting]
                self._stop([*came.unvisited, *waiting])
                break
            if self.first in ("cost", "gpus"):
                self._queue_next(queues, came.failed)
            queues = {name: queue for name, queue in queues.items() if queue and self._is_open(name, queue)}
        if self.first in ("efficiency", "latency") and not first_found:
            self._with_fewer_replicas()
        return self.result

    def servers(self) -> Iterator[tuple[Server, int]]:
        """Every server that vLLM would start and that limits allow, with its fewest replicas; `most` says the most."""
        if self.setting.targets.target_context > self.setting.model.max_model_len:
            return
        for sku in self.setting.gpus:
            if self.skus is not None and sku.gpu.id not in self.skus:
                continue
            for server in self._queue(sku).waiting:
                least, most, _ = self._replicas(server)
                yield replace(server, replicas=least, most=most), least

    def _is_open(self, sku: str, queue: ServerQueue) -> bool:
        """Whether the next class of a SKU may hold something that is still wanted."""
        threshold = self.standings[sku].threshold
        return threshold is None or queue.lowest <= threshold[0]

    def _visit(self, servers: list[Server], *, first_found: bool = False) -> Visit:
        """Size the servers of a class that can win."""
        bounds = objective_bounds(self.setting, self.physics, servers, self.active)
        names = self.setting.request.objective
        return visit(
            servers, bounds, self.standings, self._solve, lambda candidate: point_key(candidate, names, self.scores),
            self.deadline, first_found=first_found,
        )  # fmt: skip

    def _stop(self, servers: list[Server]) -> None:
        """Time is up: what was left open bounds every objective from below, with any replicas it might take."""
        self.result.complete = False
        bounds = objective_bounds(
            self.setting, self.physics, [*servers, *(server.with_most() for server in servers)], self.active
        )
        self.result.open_bounds = tuple(min(column) for column in zip(*bounds, strict=True))

    def drop(self, sku: str, rule: str) -> None:
        """Count one server that `rule` ruled out."""
        self.result.dropped.setdefault(sku, Counter())[rule] += 1

    def _queue(self, sku: PricedGpu) -> ServerQueue:
        """Every server of one SKU that vLLM would not refuse and that can have enough replicas."""
        queue = ServerQueue(self.first, priced=self.setting.priced)
        node = sku.gpu.gpus_per_node
        if node not in self._shapes:
            self._shapes[node] = shapes(self.setting, node, self.most_gpus)
        for weights in self.setting.formats:
            if not weights.accepted and "quality" in self.active:
                self.drop(sku.gpu.id, "quality")
                continue
            for shape in self._shapes[node]:
                self.result.layouts_considered += 1
                server = Server(sku, weights, shape)
                rule = self._refusal(server)
                if rule is not None:
                    self.drop(sku.gpu.id, rule)
                    continue
                for size in self.physics.block_sizes(sku.gpu, weights, shape):
                    sized = shape if size is None else replace(shape, block_size=size)
                    for tier in host_tier_sizes(self.setting, sku.gpu, shape.gpus):
                        self._push(queue, Server(sku, weights, sized, host_tier_gib=tier))
        return queue

    def _push(self, queue: ServerQueue, server: Server) -> None:
        """Queue a server between the fewest and the most replicas, or count the rule that leaves none."""
        least, most, rule = self._replicas(server)
        if rule is not None:
            self.drop(server.sku.gpu.id, rule)
        else:
            queue.push(server, least, most)

    def _refusal(self, server: Server) -> str | None:
        """The rule by which vLLM refuses a server, or None."""
        gpu, weights, shape = server.sku.gpu, server.weights, server.shape
        if "compatibility" in self.active and self.physics.incompatible(gpu, weights, shape):
            return "compatibility"
        if "divisibility" in self.active and self.physics.indivisible(gpu, weights, shape):
            return "divisibility"
        plan = self.physics.plan(gpu, weights, shape)
        return plan.rule if isinstance(plan, Violation) else None

    def _replicas(self, server: Server) -> tuple[int, int, str | None]:
        """The fewest replicas that memory allows, the most that limits allow, and the rule when there is no such."""
        gpus, targets = server.shape.gpus, self.setting.targets
        most = self.most_gpus // gpus
        if most < 1:
            return 0, 0, "gpu_count"
        least = fewest_replicas(self.setting, self.physics, server, self.active)
        if least is None:
            return 0, 0, "memory_budget"
        if least > most:
            return 0, 0, "concurrency"
        if targets.gpus is not None and "gpu_count" in self.active:
            if targets.gpus % gpus or targets.gpus // gpus < least:
                return 0, 0, "gpu_count"
            least = most = targets.gpus // gpus
        if targets.max_hourly_cost is not None and "budget" in self.active:
            most = min(most, server.affordable(targets.max_hourly_cost))
            if most < least:
                return 0, 0, "budget"
        return least, most, None

    def _solve(self, servers: list[Server]) -> list[Candidate]:
        """Operating points of a batch of servers that satisfy every active rule."""
        pieces: Pieces = []
        for server in servers:
            of_server = pieces_of_server(self.setting, self.physics, server, server.replicas, self.active)
            if not of_server:
                least = -(-self.setting.targets.concurrency // (server.replicas * server.shape.data))
                self.drop(server.sku.gpu.id, "concurrency" if least > 1 else "memory_budget")
            pieces += of_server
        self.result.layouts_evaluated += len(servers)
        evaluated = evaluate(self.setting, pieces)
        evaluated += evaluate(self.setting, refined_pieces(self.setting, evaluated, self.active))
        found = []
        for candidate in evaluated:
            kept, broken = feasible_part(self.setting, candidate, self.active)
            if kept is not None:
                found.append(kept)
            elif broken:
                self.drop(candidate.unit.facts.sku.gpu.id, broken)
        return found

    def _queue_next(self, queues: dict[str, ServerQueue], servers: Iterable[Server]) -> None:
        """Queue what failed with one more replica, unless even the most replicas allowed would fail.

        More replicas never hurt: each engine then holds fewer sequences, so memory, TTFT and TPOT are no worse.
        """
        waiting = [server for server in servers if server.replicas < server.most]
        hopeless: set[int] = set()
        if latency_rules(self.setting, self.active):
            screened = [server for server in waiting if not server.screened]
            reachable = {id(server): False for server in screened}
            pieces: Pieces = []
            owners: list[int] = []
            for server in screened:
                of_server = pieces_of_server(self.setting, self.physics, server, server.most, self.active)
                pieces += of_server
                owners += [id(server)] * len(of_server)
            for owner, candidate in zip(owners, evaluate(self.setting, pieces), strict=True):
                if feasible_part(self.setting, candidate, self.active)[0] is not None:
                    reachable[owner] = True
            hopeless = {owner for owner, reached in reachable.items() if not reached}
        for server in waiting:
            if id(server) not in hopeless:
                queues[server.sku.gpu.id].push(server.screened_copy(), server.replicas + 1, server.most)

    def _with_fewer_replicas(self) -> None:
        """Per SKU, look for what reaches the best value with fewer replicas: ties go to fewer GPUs.

        Efficiency and latency of a point do not depend on the replicas, and fewer replicas only take points away (those
        with the smallest batches), so the fewest that still reach the value are found by bisection, for all at once.
        """
        names = self.setting.request.objective
        apart = next((at for at, name in enumerate(names) if name in ("cost", "gpus")), len(names))
        if set(names[:apart]) - {"efficiency", "latency"} or self.setting.targets.gpus is not None:
            return
        reached: dict[tuple[object, ...], tuple[Key, Unit]] = {}
        for candidate in self.result.candidates:
            key, identity = point_key(candidate, names, self.scores)[:apart], served(candidate.unit)
            if identity not in reached or key < reached[identity][0]:
                reached[identity] = key, candidate.unit
        best: dict[str, Key] = {}
        for key, unit in reached.values():
            sku = unit.facts.sku.gpu.id
            best[sku] = min(best.get(sku, key), key)
        tied = [unit for key, unit in reached.values() if key == best[unit.facts.sku.gpu.id]]
        ranges = [(unit, 0, unit.replicas) for unit in tied if unit.replicas > 1]
        while ranges:
            probes = [_fewer(unit, (low + high) // 2) for unit, low, high in ranges]
            found = self._solve(probes)
            keys: dict[tuple[object, ...], Key] = {}
            for candidate in found:
                key, identity = point_key(candidate, names, self.scores)[:apart], served(candidate.unit)
                keys[identity] = min(keys.get(identity, key), key)
            self.result.candidates += found
            following = []
            for (unit, low, high), probe in zip(ranges, probes, strict=True):
                reaches = keys.get(probe.identity) == best[unit.facts.sku.gpu.id]
                low, high = (low, probe.replicas) if reaches else (probe.replicas, high)  # noqa: PLW2901 - bisection
                if high - low > 1:
                    following.append((unit, low, high))
            ranges = following


def _fewer(unit: Unit, replicas: int) -> Server:
    """The server of a unit with so many replicas."""
    return Server(
        unit.facts.sku, unit.facts.weights, unit.shape, replicas=replicas, most=unit.replicas,
        host_tier_gib=unit.host_tier_gib,
    )  # fmt: skip


__all__ = ["ALL_RULES", "Search", "SearchResult", "Unit"]
