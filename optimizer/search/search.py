"""Search: which operating points can be optimal, by exact bounds of their own, before CP-SAT proves the optimum.

With `cost` or `gpus` first, servers are visited in classes of ascending value, each server with the fewest replicas
that memory allows, and then with one more as long as that may still win: always when the fewer fail, and within the
tolerance when they do not (of machines that are paid whole, several numbers of replicas cost the same). For the other
objectives there is one class, each server with every number of replicas. Within a class servers are visited best first
(`best_first.py`); a SKU is finished as soon as everything left is bounded outside the window of the first objective.
Nothing that could win is ever skipped.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from vllm_opt.constraints.rules import RULE_NAMES
from vllm_opt.optimizer.search.best_first import Standing, Visit, point_keys, visit
from vllm_opt.optimizer.search.bounds import least_replicas, objective_bounds
from vllm_opt.optimizer.search.first_answer import PATIENCE, first_answer
from vllm_opt.optimizer.search.largest_load import largest_loads
from vllm_opt.optimizer.search.left_open import BOUNDED_PER_S, open_bounds
from vllm_opt.optimizer.search.order import Order
from vllm_opt.optimizer.search.queue import Server, ServerQueue
from vllm_opt.optimizer.search.reach import AT_ONCE
from vllm_opt.optimizer.search.result import SearchResult
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.search.servers import Servers
from vllm_opt.optimizer.search.sizing import LoadSizing, Worth, without_eager_twins
from vllm_opt.optimizer.search.units import Pieces, pieces_of_server
from vllm_opt.optimizer.space.latency_limits import feasible_part, latency_rules, refined_pieces
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.points import Candidate, Unit, evaluate
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting
from vllm_opt.optimizer.space.shared import SharedLayouts

ALL_RULES = frozenset(RULE_NAMES)
MOST_QUEUED = 40_000
"""Servers, each with every number of replicas, that are queued at most where the numbers are many."""
LEAST_NUMBERS = 16
"""Numbers of replicas of each server that are queued at least."""
CLOSING_S = 2e-6
"""What it takes to bound one server that is left open: so long before the deadline a search ends."""


class Search:
    """One pass over all servers of a request; `active` names the rules that hold (explanations drop some).

    `skus` leaves out SKUs on which no point is known to exist; without a deadline (on the `clock`) the time limit of
    the request starts now. When most of the time is gone and nothing is found, any point will do (`first_answer.py`).
    """

    def __init__(
        self,
        setting: SolveSetting,
        active: frozenset[str] = ALL_RULES,
        *,
        skus: frozenset[str] | None = None,
        shared: SharedLayouts | None = None,
        deadline: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.setting = setting
        self.active = active
        self.skus = skus
        self.physics = LayoutPhysics(setting, shared)
        self.result = SearchResult()
        self.scores = Scores(setting)
        self.order = Order.of(setting.request.objective, setting.request.tolerance)
        most = 2 * (setting.request.top or 0) + 1
        self.standings = {sku.gpu.id: Standing(most, self.order) for sku in setting.gpus}
        self.first = setting.request.objective[0]
        self.clock, started = clock, clock()
        self.deadline = started + setting.request.time_limit if deadline is None else deadline
        self._patience = started + PATIENCE * (self.deadline - started)
        self._bounded = BOUNDED_PER_S * (self.deadline - started)
        self._left_open: list[Server] = []
        self._unlisted: list[PricedGpu] = []
        self._first_answer: list[Candidate] | None = None
        self.servers = Servers(setting, self.physics, active, self.result)
        self.sizing = LoadSizing(setting, self.physics, active, self.result)

    def run(self, *, first_found: bool = False) -> SearchResult:
        """Visit the servers of every SKU until each has its best first-objective value, or time is up.

        With `first_found` the first feasible point of any SKU ends the search: only whether there is one matters.
        """
        targets = self.setting.targets
        if "context_length" in self.active and targets.target_context > self.setting.model.max_model_len:
            for sku in self.setting.gpus:
                self.result.drop(sku.gpu.id, "context_length")
            return self.result
        queues = self._queues()
        while queues and self.result.complete:
            if self._is_late():
                self._stop([server for queue in queues.values() for server in queue.waiting])
                break
            batch = [server for queue in queues.values() for server in queue.pop_class()]
            batch = list(self._fast_enough(batch, queues))
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
                self._queue_roomier(queues, batch, came.failed)
            queues = {name: queue for name, queue in queues.items() if queue and self._is_open(name, queue)}
        if self._left_open or not self.result.complete:
            self._end()
        return self.result

    def _end(self) -> None:
        """Time or room was up: the first answer where there is no other, and bounds for what was left open."""
        self.result.complete = False
        self.result.candidates = self.result.candidates or self._first_answer or []
        self.result.open_bounds = open_bounds(
            self.setting, self.physics, self._left_open, self.active, self.order.names, self._unlisted, self._bounded
        )

    def _is_late(self) -> bool:
        """Whether time is up. Once a good part of it is gone and nothing is found, any point is looked for first."""
        if self._first_answer is None and not self.result.candidates and self.clock() > self._patience:
            self._first_answer = []
            self._first_answer = first_answer(
                self.servers.listed(), self._fast_enough, self.solve_servers, lambda: not self.is_over()
            )
        return self.is_over()

    def is_over(self) -> bool:
        """Whether no more than the time to bound what is left open remains."""
        return self.clock() > self.deadline - CLOSING_S * self.servers.count

    def _skus(self) -> list[PricedGpu]:
        return [sku for sku in self.setting.gpus if self.skus is None or sku.gpu.id in self.skus]

    def every_server(self) -> Iterator[tuple[Server, int]]:
        """Every server that vLLM would start and that limits allow, with its fewest replicas; `most` says the most."""
        if self.setting.targets.target_context > self.setting.model.max_model_len:
            return
        for sku in self.setting.gpus:
            if self.skus is not None and sku.gpu.id not in self.skus:
                continue
            for server in self._fast_enough(self.servers.of(sku)):
                yield server, server.replicas

    def _is_open(self, sku: str, queue: ServerQueue) -> bool:
        """Whether the next class of a SKU may hold something that is still wanted."""
        window = self.standings[sku].window
        return window is None or queue.lowest <= window

    def _visit(self, servers: list[Server], *, first_found: bool = False) -> Visit:
        """Size the servers of a class that can win."""
        bounds: list[tuple[int, ...]] = []
        for start in range(0, len(servers), AT_ONCE):
            if start and self._is_late():
                return Visit([], [], servers)
            part = servers[start : start + AT_ONCE]
            bounds += objective_bounds(self.setting, self.physics, part, self.active, self.order.names)
        return visit(
            servers, bounds, self.standings, self.solve_servers,
            lambda candidate: point_keys(candidate, self.order, self.scores), self.order, self.deadline,
            first_found=first_found, clock=self.clock,
        )  # fmt: skip

    def _stop(self, servers: list[Server]) -> None:
        """Time is up: what was left open bounds every objective from below, with any replicas it might take."""
        self.result.complete = False
        self._left_open += servers

    def best_of(self, servers: list[Server], order: Order, worst: float | None = None) -> list[Candidate]:
        """What is found until nothing left could be best in this order, whatever its SKU, or as good as `worst`."""
        if not (servers := list(self._fast_enough(servers))):
            return []
        standing = Standing(1, order, window=None if worst is None else order.window(worst))
        standings = dict.fromkeys((sku.gpu.id for sku in self.setting.gpus), standing)
        bounds = objective_bounds(self.setting, self.physics, servers, self.active, order.names)
        came = visit(
            servers, bounds, standings, self.solve_servers,
            lambda candidate: point_keys(candidate, order, self.scores), order, self.deadline, clock=self.clock,
        )  # fmt: skip
        return came.found

    def _queues(self) -> dict[str, ServerQueue]:
        """The servers of each SKU in a queue; empty, and the search incomplete, when listing them took its time."""
        skus = self._skus()
        for position, sku in enumerate(skus, 1):
            self.servers.of(sku)
            if self._is_late():
                self._unlisted = skus[position:]
                self._stop([server for listed in skus[:position] for server in self.servers.of(listed)])
                return {}
        numbers = max(LEAST_NUMBERS, MOST_QUEUED // max(1, self.servers.count))
        queues: dict[str, ServerQueue] = {}
        for position, sku in enumerate(skus):
            if self._is_late():
                waiting = [server for queue in queues.values() for server in queue.waiting]
                self._stop(waiting + [server for later in skus[position:] for server in self.servers.of(later)])
                return {}
            queues[sku.gpu.id] = self._queue(sku, numbers)
        return {name: queue for name, queue in queues.items() if queue}

    def _queue(self, sku: PricedGpu, numbers: int) -> ServerQueue:
        """The servers of one SKU in a queue, each with so many numbers of replicas at most; the rest stays open."""
        queue = ServerQueue(self.first)
        for server in self.servers.of(sku):
            last = server.replicas if self.first in ("cost", "gpus") else server.most
            if last - server.replicas >= numbers:
                last = server.replicas + numbers - 1
                self._left_open.append(server.with_replicas(last + 1))
            for replicas in range(server.replicas, last + 1):
                queue.push(server, replicas, server.most)
        return queue

    def _fast_enough(self, servers: list[Server], queues: dict[str, ServerQueue] | None = None) -> Iterator[Server]:
        """The servers that bounds do not exclude by a latency limit, with the replicas that the floor needs.

        A server that needs more replicas for the floor than it has waits in its queue, where there is one.
        """
        if not servers or not latency_rules(self.setting, self.active):
            yield from servers
            return
        for start in range(AT_ONCE, len(servers), AT_ONCE):
            yield from self._fast_enough(servers[start : start + AT_ONCE], queues)
        servers = servers[:AT_ONCE]
        if self.result.candidates == [] and queues is not None and self._is_late():
            yield from servers  # too late for bounds: what is not looked at stays open
            return
        bounds = least_replicas(self.setting, self.physics, servers, self.active)
        for server, least in zip(servers, bounds, strict=True):
            if isinstance(least, str):
                self.result.drop(server.sku.gpu.id, least)
            elif least > server.most:
                self.result.drop(server.sku.gpu.id, "throughput")
            elif queues is None or least <= server.replicas:
                yield server if least <= server.replicas else server.with_replicas(least)
            elif self.first in ("cost", "gpus"):
                queues[server.sku.gpu.id].push(server, least, server.most)

    def solve_servers(self, servers: list[Server], worth: Worth | None = None) -> list[Candidate]:
        """Operating points of a batch of servers that satisfy every active rule.

        `worth`: which of them, where speed is that of the load asked; elsewhere it is not asked.
        """
        self.result.layouts_evaluated += len(servers)
        if self.setting.load_is_asked(self.active) and "concurrency" not in self.setting.request.objective:
            return self.sizing.points_of(servers, worth)
        pieces: Pieces = []
        for server in servers:
            of_server = pieces_of_server(self.setting, self.physics, server, server.replicas, self.active)
            if not of_server:
                least = self.setting.targets.share_of(server.replicas * server.shape.data)
                self.result.drop(server.sku.gpu.id, "concurrency" if least > 1 else "memory_budget")
            pieces += of_server
        asked = self.setting.load_is_asked(self.active)
        evaluated = evaluate(self.setting, pieces, asked=asked)
        evaluated += evaluate(self.setting, refined_pieces(self.setting, evaluated, self.active), asked=asked)
        found = []
        for candidate in evaluated:
            kept, broken = feasible_part(self.setting, candidate, self.active)
            if kept is not None:
                found.append(kept)
            elif broken:
                self.result.drop(candidate.unit.facts.sku.gpu.id, broken)
        return without_eager_twins(found)

    def _queue_next(self, queues: dict[str, ServerQueue], servers: Iterable[Server]) -> None:
        """Queue what failed with more replicas: one more, or as many as the latency limits need at least.

        More replicas never hurt: each engine then holds fewer sequences, so memory, TTFT and TPOT are no worse. What no
        replicas can bring under the limits is not queued. Percentiles need not be monotone, so with them all are.
        """
        waiting = [server for server in servers if server.replicas < server.most]
        following = {id(server): server.replicas + 1 for server in waiting}
        by_means = not self.setting.request.needs_queueing
        if by_means and latency_rules(self.setting, self.active - {"throughput"}):
            asked = self.setting.targets.concurrency if "concurrency" in self.active else 1
            screened = [server for server in waiting if not server.screened]
            reachable = largest_loads(self.sizing, screened)
            for server, largest in zip(screened, reachable, strict=True):
                engines = -(-asked // largest) if largest else 0
                least = -(-engines // server.shape.data)
                following[id(server)] = max(following[id(server)], least) if largest else server.most + 1
        for server in waiting:
            if following[id(server)] <= server.most:
                queues[server.sku.gpu.id].push(server.screened_copy(), following[id(server)], server.most)

    def _queue_roomier(self, queues: dict[str, ServerQueue], servers: Iterable[Server], failed: list[Server]) -> None:
        """Queue what did not fail with one replica more, where that stays within the window: it may be faster."""
        lost = {id(server) for server in failed}
        for server in servers:
            if id(server) in lost or server.replicas >= server.most:
                continue
            queue, following = queues[server.sku.gpu.id], server.with_replicas(server.replicas + 1)
            window = self.standings[server.sku.gpu.id].window
            if window is not None and queue.bound(following) <= window:
                queue.push(server, following.replicas, server.most)


__all__ = ["ALL_RULES", "Search", "SearchResult", "Unit"]
