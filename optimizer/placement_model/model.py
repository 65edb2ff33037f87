"""The model of one placement: variables and rules; its objectives are beside it."""

from collections import defaultdict
from itertools import pairwise
from typing import Any

from vllm_opt.constraints.placing.check import domains_of
from vllm_opt.constraints.placing.site import SERVED_SCALE, PlacementProblem, maximised
from vllm_opt.optimizer.placement_model.classes import Bin, NodeClass
from vllm_opt.optimizer.placement_model.objectives import expression
from vllm_opt.optimizer.placement_model.patterns import PatternSet
from vllm_opt.optimizer.placement_model.variables import Variables


class PlacementModel:
    """One CP-SAT model over classes of nodes; exact where every class is one node, else a relaxation."""

    def __init__(
        self, problem: PlacementProblem, classes: tuple[NodeClass, ...], patterns: PatternSet, columns: tuple[int, ...]
    ) -> None:
        from ortools.sat.python import cp_model

        self.problem = problem
        self.classes = classes
        self.cp = cp_model.CpModel()
        self.at = Variables(problem, classes, patterns, columns, self.cp)
        self.full: list[Any] = []
        self.shares: list[Any] = []
        self.kept: dict[str, int] = {}
        """objectives that are held, and at what"""
        self._objectives: dict[str, Any] = {}
        for b, each in enumerate(self.at.bins):
            self._fits_bin(b, each)
        for c, of in enumerate(classes):
            self._fits_nodes(c, of)
            self._stores(c, of)
        self._counts()
        for s in range(len(problem.services)):
            self._served(s)
            self._spread(s)
            self._packed(s)
        self._pairs()
        self._ordered()

    def _sizes(self, b: int) -> set[int]:
        columns = self.problem.columns
        mine = {columns[k].group_gpus for (k, bin_) in self.at.groups if bin_ == b}
        return mine | {columns[k].group_gpus for (k, _, bin_) in self.at.span_groups if bin_ == b} | {1}

    def _fits_bin(self, b: int, each: Bin) -> None:
        """GPUs of the islands: n groups of at least t GPUs take n blocks of t, of which an island has size // t."""
        self.cp.add(self.at.used[b] <= each.gpus)
        if each.island is not None:
            return
        columns = self.problem.columns
        for size in self._sizes(b) - {1}:
            terms = [columns[k].group_gpus // size * z for (k, bin_), z in self.at.groups.items() if bin_ == b]
            terms += [columns[k].group_gpus // size * z for (k, _, bin_), z in self.at.span_groups.items() if bin_ == b]
            self.cp.add(sum(terms) <= each.room(size))

    def _fits_nodes(self, c: int, of: NodeClass) -> None:
        """Replicas of several groups within one node, where nodes are counted together."""
        if len(of.nodes) == 1:
            return
        columns = self.problem.columns
        node = self.problem.nodes[of.first]
        by_gpu: dict[str, int] = defaultdict(int)
        for island in node.islands:
            by_gpu[island.gpu] += len(island.gpus)
        for gpu, gpus in by_gpu.items():
            mine = {k: on for (k, class_), on in self.at.on.items() if class_ == c and columns[k].gpu == gpu}
            for size in {columns[k].gpus_per_node for k in mine} - {1}:
                terms = [columns[k].gpus_per_node // size * on for k, on in mine.items()]
                self.cp.add(sum(terms) <= len(of.nodes) * (gpus // size))

    def _stores(self, c: int, of: NodeClass) -> None:
        """Host memory of a class; disk where the class is one node."""
        node, columns = self.problem.nodes[of.first], self.problem.columns
        mine = {k: on for (k, class_), on in self.at.on.items() if class_ == c}
        if node.host_bytes is not None and any(columns[k].host_bytes for k in mine):
            mib = 1 << 20
            needed = sum(-(-columns[k].host_bytes // mib) * on for k, on in mine.items())
            self.cp.add(needed <= len(of.nodes) * (node.host_bytes // mib))
        if node.disk_bytes is None or len(of.nodes) > 1:
            return
        self._disk(c, node.disk_bytes >> 20, mine)

    def _disk(self, c: int, room_mib: int, mine: dict[int, Any]) -> None:
        """Checkpoints of one node; servers of one checkpoint share it."""
        columns = self.problem.columns
        present: dict[tuple[str, int], Any] = {}
        taken: dict[str, Any] = {}
        for k, on in mine.items():
            size = -(-columns[k].disk_bytes // (1 << 20))
            name = columns[k].checkpoint
            if not size:
                continue
            if name not in taken:
                taken[name] = self.cp.new_int_var(0, max(room_mib, 0), f"m{c}_{len(taken)}")
            if (name, size) not in present:
                present[name, size] = self.cp.new_bool_var(f"d{c}_{len(present)}")
                self.cp.add(taken[name] >= size * present[name, size])
            self.cp.add(on == 0).only_enforce_if(~present[name, size])
        self.cp.add(sum(taken.values()) <= room_mib)

    def _counts(self) -> None:
        """Replicas and capacity of every service."""
        columns = self.problem.columns
        self.count: list[Any] = []
        self.capacity: list[Any] = []
        for s, service in enumerate(self.problem.services):
            mine = {k: total for k, total in self.at.total.items() if columns[k].service == s}
            self.count.append(sum(mine.values()) if mine else 0)
            self.capacity.append(sum(columns[k].capacity * total for k, total in mine.items()) if mine else 0)
            if mine:
                self.cp.add(self.count[s] <= service.most)

    def _on_class(self, s: int, c: int) -> Any:
        columns = self.problem.columns
        terms = [on for (k, class_), on in self.at.on.items() if class_ == c and columns[k].service == s]
        return sum(terms) if terms else None

    def _capacity_on(self, s: int, c: int) -> Any:
        columns = self.problem.columns
        terms = [
            columns[k].capacity * on
            for (k, class_), on in self.at.on.items()
            if class_ == c and columns[k].service == s
        ]
        return sum(terms) if terms else None

    def _served(self, s: int) -> None:
        """Served in full: least replicas, the whole demand, and that again without any one node where it survives."""
        service = self.problem.services[s]
        full = self.cp.new_bool_var(f"full{s}")
        self.full.append(full)
        if isinstance(self.count[s], int):
            self.cp.add(full == 0)
            self.shares.append(0)
            return
        self.cp.add(self.count[s] >= service.least).only_enforce_if(full)
        self._covers(s, service.demand)
        share = self.cp.new_int_var(0, SERVED_SCALE, f"share{s}")
        self.cp.add(share * service.demand <= SERVED_SCALE * self.capacity[s])
        self.shares.append(share)
        if not service.survives:
            return
        for c, of in enumerate(self.classes):
            lost = self._capacity_on(s, c)
            if lost is not None:
                nodes = len(of.nodes)
                self.cp.add(nodes * self.capacity[s] - lost >= nodes * service.demand).only_enforce_if(full)

    def _covers(self, s: int, needed: int) -> None:
        """A service served in full has so much capacity; more of it in one server than is needed counts as that.

        The cut-off capacities say the same in whole servers and far more in parts of them, which bounds are made of.
        """
        columns = self.problem.columns
        mine = [
            min(columns[k].capacity, needed) * total for k, total in self.at.total.items() if columns[k].service == s
        ]
        if mine:
            self.cp.add(sum(mine) >= needed).only_enforce_if(self.full[s])

    def _by_domain(self, s: int, reach: str) -> dict[str, list[int]]:
        """Domain -> the classes in it, of the nodes that may hold a service."""
        found: dict[str, list[int]] = defaultdict(list)
        domains = domains_of(self.problem, s, reach)
        for c, of in enumerate(self.classes):
            for domain in {domains[n] for n in of.nodes if n in domains}:
                if c not in found[domain]:
                    found[domain].append(c)
        return found

    def _spread(self, s: int) -> None:
        """Every domain holds at most its even part of a service, rounded up; a replica over n nodes has n parts."""
        service = self.problem.services[s]
        if not service.spread:
            return
        domains = len(set(domains_of(self.problem, s, service.spread).values()))
        all_parts = [on for c in range(len(self.classes)) if (on := self._on_class(s, c)) is not None]
        if not all_parts:
            return
        whole = sum(all_parts)
        if service.spread == "node":
            for c, of in enumerate(self.classes):
                here = self._on_class(s, c)
                if here is not None:
                    self.cp.add(domains * here <= len(of.nodes) * (whole + domains - 1))
            return
        for classes in self._by_domain(s, "zone").values():
            in_zone = [on for c in classes if (on := self._on_class(s, c)) is not None]
            if in_zone:
                self.cp.add(domains * sum(in_zone) <= whole + domains - 1)

    def _there(self, s: int, c: int) -> Any:
        """Whether a class holds a service; made once."""
        known = self.__dict__.setdefault("_known_there", {})
        if (s, c) not in known:
            here = self._on_class(s, c)
            known[s, c] = None if here is None else self.cp.new_bool_var(f"there{s}_{c}")
            if here is not None:
                self.cp.add(here >= 1).only_enforce_if(known[s, c])
                self.cp.add(here == 0).only_enforce_if(~known[s, c])
        return known[s, c]

    def _packed(self, s: int) -> None:
        service = self.problem.services[s]
        if not service.pack:
            return
        present = []
        for d, classes in enumerate(self._by_domain(s, service.pack).values()):
            here = [on for c in classes if (on := self._on_class(s, c)) is not None]
            if here:
                there = self.cp.new_bool_var(f"pack{s}_{d}")
                for on in here:
                    self.cp.add(on == 0).only_enforce_if(~there)
                present.append(there)
        if present:
            self.cp.add(sum(present) <= 1)

    def _pairs(self) -> None:
        """Together and apart; the nodes in question are classes of one."""
        for c, of in enumerate(self.classes):
            if len(of.nodes) > 1:
                continue
            for one, other in self.problem.together:
                a, b = self._there(one, c), self._there(other, c)
                if a is not None and b is not None:
                    self.cp.add(a == b)
                for only in (x for x, rest in ((a, b), (b, a)) if x is not None and rest is None):
                    self.cp.add(only == 0)
            for one, other in self.problem.apart:
                a, b = self._there(one, c), self._there(other, c)
                if a is not None and b is not None:
                    self.cp.add(a + b <= 1)

    def _ordered(self) -> None:
        """Of nodes that stand for themselves and cannot be told apart, an earlier one is used no less."""
        used: dict[int, list[Any]] = defaultdict(list)
        for b, each in enumerate(self.at.bins):
            used[each.of_class].append(self.at.used[b])
        today = {node for server in self.problem.today for node, _ in server.parts}
        alike: dict[object, list[int]] = defaultdict(list)
        for c, of in enumerate(self.classes):
            if len(of.nodes) == 1 and of.first not in today:
                node = self.problem.nodes[of.first]
                islands = tuple((i.gpu, i.gpu_bytes, len(i.gpus)) for i in node.islands)
                links = tuple(of.first in linked for linked in self.problem.links)
                allowed = tuple(service.may_use(of.first) for service in self.problem.services)
                alike[islands, node.zone, node.host_bytes, node.disk_bytes, links, allowed].append(c)
        for mine in alike.values():
            for one, other in pairwise(mine):
                self.cp.add(sum(used[one]) >= sum(used[other]))

    def objective(self, name: str) -> Any:
        """The expression of an objective; made once."""
        if name not in self._objectives:
            self._objectives[name] = expression(self, name)
        return self._objectives[name]

    def aim(self, name: str) -> None:
        """Make one objective the model's."""
        aimed = self.objective(name)
        if maximised(name):
            self.cp.maximize(aimed)
        else:
            self.cp.minimize(aimed)

    def keep(self, name: str, value: int) -> None:
        """Hold an objective at a value, or better."""
        self.kept[name] = value
        aimed = self.objective(name)
        self.cp.add(aimed >= value if maximised(name) else aimed <= value)
        if name == "headroom":
            for s, service in enumerate(self.problem.services):
                self._covers(s, -(-value * service.demand // SERVED_SCALE))
