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

import numpy as np

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.rules import RULE_NAMES
from vllm_opt.optimizer.search.best_first import Standing, Visit, point_key, visit
from vllm_opt.optimizer.search.bounds import least_replicas, objective_bounds
from vllm_opt.optimizer.search.fewer_replicas import with_fewer_replicas
from vllm_opt.optimizer.search.queue import Server, ServerQueue
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.search.units import Pieces, fewest_replicas, pieces_of_server
from vllm_opt.optimizer.space.host_tier import host_tier_sizes
from vllm_opt.optimizer.space.latency_limits import feasible_part, latency_rules, refined_pieces, within_latency
from vllm_opt.optimizer.space.layouts import Shape, shapes
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.points import Candidate, Unit, evaluate
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting
from vllm_opt.optimizer.space.shared import SharedLayouts

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
        self.standings = {sku.gpu.id: Standing(2 * (setting.request.top or 0) + 1) for sku in setting.gpus}
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
            self.result.candidates += with_fewer_replicas(
                self.setting, self.result.candidates, self.scores, self._solve
            )
        return self.result

    def servers(self) -> Iterator[tuple[Server, int]]:
        """Every server that vLLM would start and that limits allow, with its fewest replicas; `most` says the most."""
        if self.setting.targets.target_context > self.setting.model.max_model_len:
            return
        for sku in self.setting.gpus:
            if self.skus is not None and sku.gpu.id not in self.skus:
                continue
            for server in self._candidates(sku):
                yield server, server.replicas

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
        """The servers of one SKU in a queue."""
        queue = ServerQueue(self.first, priced=self.setting.priced)
        for server in self._candidates(sku):
            queue.push(server, server.replicas, server.most)
        return queue

    def _candidates(self, sku: PricedGpu) -> Iterator[Server]:
        """Every server of one SKU that vLLM would not refuse, with the fewest replicas that bounds allow."""
        admitted: list[Server] = []
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
                        admitted += self._admitted(Server(sku, weights, sized, host_tier_gib=tier))
        yield from self._fast_enough(admitted)

    def _admitted(self, server: Server) -> Iterator[Server]:
        """The server between the fewest and the most replicas, or nothing and the rule that leaves none counted."""
        least, most, rule = self._replicas(server)
        if rule is not None:
            self.drop(server.sku.gpu.id, rule)
        else:
            yield replace(server, replicas=least, most=most)

    def _fast_enough(self, servers: list[Server]) -> Iterator[Server]:
        """The servers that bounds do not exclude by a latency limit, with the replicas that the floor needs."""
        if not servers or not latency_rules(self.setting, self.active):
            yield from servers
            return
        bounds = least_replicas(self.setting, self.physics, servers, self.active)
        for server, least in zip(servers, bounds, strict=True):
            if isinstance(least, str):
                self.drop(server.sku.gpu.id, least)
            elif least > server.most:
                self.drop(server.sku.gpu.id, "throughput")
            else:
                yield replace(server, replicas=max(server.replicas, least))

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
        """Queue what failed with more replicas: one more, or as many as the latency limits need at least.

        More replicas never hurt: each engine then holds fewer sequences, so memory, TTFT and TPOT are no worse. What no
        replicas can bring under the limits is not queued.
        """
        waiting = [server for server in servers if server.replicas < server.most]
        following = {id(server): server.replicas + 1 for server in waiting}
        if latency_rules(self.setting, self.active - {"throughput"}):
            asked = self.setting.targets.concurrency if "concurrency" in self.active else 1
            screened = [server for server in waiting if not server.screened]
            reachable = self._batches_at_most(screened)
            for server, largest in zip(screened, reachable, strict=True):
                engines = -(-asked // largest) if largest else 0
                least = -(-engines // server.shape.data) if not server.host_tier_gib else 0
                following[id(server)] = max(following[id(server)], least) if largest else server.most + 1
        for server in waiting:
            if following[id(server)] <= server.most:
                queues[server.sku.gpu.id].push(server.screened_copy(), following[id(server)], server.most)

    def _batches_at_most(self, servers: list[Server]) -> list[int]:
        """Per server, no batch above this one can meet the latency limits; 0 when none does with the most replicas.

        TTFT and TPOT never fall when a batch grows, so the limit lies below the first size of the grid that fails.
        """
        pieces: Pieces = []
        owners: list[int] = []
        for position, server in enumerate(servers):
            of_server = pieces_of_server(self.setting, self.physics, server, server.most, self.active)
            pieces += of_server
            owners += [position] * len(of_server)
        largest = [0] * len(servers)
        for owner, candidate in zip(owners, evaluate(self.setting, pieces), strict=True):
            holds = within_latency(self.setting, candidate, self.active)
            if holds.any():
                last = int(np.flatnonzero(holds)[-1])
                above = (
                    int(candidate.sequences[last + 1]) - 1 if last + 1 < len(holds) else int(candidate.sequences[last])
                )
                largest[owner] = max(largest[owner], above)
        return largest


__all__ = ["ALL_RULES", "Search", "SearchResult", "Unit"]
