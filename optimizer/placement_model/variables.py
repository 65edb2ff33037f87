"""The variables of a placement: replicas by class of nodes, groups by island, GPU patterns, servers that stay."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from vllm_opt.constraints.placing.gpu_memory import MOST_ON_GPU
from vllm_opt.constraints.placing.site import PlacementProblem, ServerColumn
from vllm_opt.optimizer.placement_model.classes import Bin, NodeClass, bins_of
from vllm_opt.optimizer.placement_model.patterns import Pattern, PatternSet, fits

Stay = tuple[int, int, tuple[int, ...], Pattern]
"""node, GPU, today's servers that stay on it, columns that join them"""


@dataclass
class Variables:
    """Every decision; keys are positions in the problem."""

    problem: PlacementProblem
    classes: tuple[NodeClass, ...]
    patterns: PatternSet
    columns: tuple[int, ...]
    """columns that may be used"""
    cp: Any
    bins: tuple[Bin, ...] = ()
    replicas: dict[tuple[int, int], Any] = field(default_factory=dict)
    """(column, class) -> replicas with GPUs of their own on one node"""
    groups: dict[tuple[int, int], Any] = field(default_factory=dict)
    """(column, bin) -> groups of such replicas"""
    pattern: dict[tuple[Pattern, int], Any] = field(default_factory=dict)
    """(pattern, bin) -> GPUs that hold it"""
    spans: dict[tuple[int, int], Any] = field(default_factory=dict)
    """(column, set of linked nodes) -> replicas that span nodes"""
    parts: dict[tuple[int, int, int], Any] = field(default_factory=dict)
    """(column, links, class) -> parts of such replicas"""
    span_groups: dict[tuple[int, int, int], Any] = field(default_factory=dict)
    """(column, links, bin) -> groups of such parts"""
    crowd: dict[tuple[int, int], Any] = field(default_factory=dict)
    """(column, bin) -> servers that share its GPUs, where patterns are of kinds"""
    kept: dict[int, Any] = field(default_factory=dict)
    """server of today -> whether it stays"""
    stays: dict[Stay, Any] = field(default_factory=dict)
    """what a GPU with shared servers of today holds, where any of them stays"""

    def __post_init__(self) -> None:
        self.bins = bins_of(self.problem, self.classes)
        self.chosen = frozenset(self.columns)
        self.class_of = {n: c for c, each in enumerate(self.classes) for n in each.nodes}
        for k in self.columns:
            column = self.problem.columns[k]
            if column.nodes > 1:
                self._spanning(k, column)
            elif not column.shared:
                self._whole(k, column)
        self._today()
        for b, each in enumerate(self.bins):
            if self.patterns.kind_of:
                self._outlined(b, each)
            else:
                self._patterns(b, each)
        self._tallies()

    def allowed(self, column: ServerColumn, c: int) -> bool:
        """Whether a class may hold servers of a column."""
        return self.problem.services[column.service].may_use(self.classes[c].first)

    def takes(self, column: ServerColumn, each: Bin) -> bool:
        """Whether an island of a bin holds a group of a column."""
        return (
            column.gpu == each.gpu
            and column.group_gpus <= max(each.sizes)
            and max(column.bytes_per_gpu, column.load_peak_bytes) <= each.gpu_bytes
            and self.allowed(column, each.of_class)
        )

    def _bins_for(self, column: ServerColumn) -> dict[int, list[int]]:
        """Class -> the bins that hold groups of a column."""
        found: dict[int, list[int]] = defaultdict(list)
        for b, each in enumerate(self.bins):
            if self.takes(column, each):
                found[each.of_class].append(b)
        return found

    def _room(self, column: ServerColumn, bins: Iterable[int]) -> int:
        return sum(self.bins[b].room(column.group_gpus) for b in bins)

    def _whole(self, k: int, column: ServerColumn) -> None:
        most = self.problem.services[column.service].most
        for c, mine in self._bins_for(column).items():
            room = min(most, self._room(column, mine) // column.groups)
            if not room:
                continue
            x = self.cp.new_int_var(0, room, f"x{k}_{c}")
            self.replicas[k, c] = x
            if len(mine) == 1:
                self.groups[k, mine[0]] = column.groups * x
                continue
            for b in mine:
                self.groups[k, b] = self.cp.new_int_var(0, self._room(column, [b]), f"z{k}_{b}")
            self.cp.add(sum(self.groups[k, b] for b in mine) == column.groups * x)

    def _spanning(self, k: int, column: ServerColumn) -> None:
        service = self.problem.services[column.service]
        per_node = column.groups // column.nodes
        by_class = self._bins_for(column)
        for f, linked in enumerate(self.problem.links):
            able = {c: bins for c, bins in by_class.items() if self.classes[c].first in linked}
            if sum(len(self.classes[c].nodes) for c in able) < column.nodes:
                continue
            x = self.cp.new_int_var(0, service.most, f"w{k}_{f}")
            self.spans[k, f] = x
            for c, mine in able.items():
                room = self._room(column, mine) // per_node
                h = self.cp.new_int_var(0, room, f"h{k}_{f}_{c}")
                self.parts[k, f, c] = h
                self.cp.add(h <= len(self.classes[c].nodes) * x)
                if len(mine) == 1:
                    self.span_groups[k, f, mine[0]] = per_node * h
                    continue
                for b in mine:
                    name = f"g{k}_{f}_{b}"
                    self.span_groups[k, f, b] = self.cp.new_int_var(0, self._room(column, [b]), name)
                self.cp.add(sum(self.span_groups[k, f, b] for b in mine) == per_node * h)
            self.cp.add(sum(self.parts[k, f, c] for c in able) == column.nodes * x)

    def _outlined(self, b: int, each: Bin) -> None:
        """Servers that share GPUs of a bin, by column, within the outlines that its GPUs have."""
        by_kind: dict[int, list[int]] = defaultdict(list)
        for k in self.columns:
            column = self.problem.columns[k]
            if column.shared and self.takes(column, each):
                most = min(self.problem.services[column.service].most, MOST_ON_GPU * each.gpus)
                self.crowd[k, b] = self.cp.new_int_var(0, most, f"y{k}_{b}")
                by_kind[self.patterns.kind_of[k]].append(k)
        stay: dict[int, list[int]] = defaultdict(list)
        for e, server in enumerate(self.problem.today):
            node, gpus = server.parts[0]
            shares = server.column in self.patterns.kind_of and e in self.kept
            islands = self.problem.nodes[node].islands
            if shares and self.class_of[node] == each.of_class and gpus[0] in islands[each.island or 0].gpus:
                stay[self.patterns.kind_of[server.column]].append(e)
        room: dict[int, list[Any]] = defaultdict(list)
        here = {*by_kind, *stay}  # an outline without the kinds that may not stand here is one, too
        outlines = (
            tuple(kind for kind in pattern if kind in here) for pattern in self.patterns.by_gpu.get(each.gpu, ())
        )
        for pattern in dict.fromkeys(outlines):
            if pattern:
                u = self.cp.new_int_var(0, each.gpus, f"u{len(self.pattern)}")
                self.pattern[pattern, b] = u
                for kind in pattern:
                    room[kind].append(u)
        for kind in {*by_kind, *stay}:
            held = [self.crowd[k, b] for k in by_kind[kind]] + [self.kept[e] for e in stay[kind]]
            self.cp.add(sum(held) <= sum(room[kind]))

    def _pattern_fits(self, pattern: Pattern, each: Bin) -> bool:
        columns = [self.problem.columns[k] for k in pattern]
        return all(self.allowed(column, each.of_class) for column in columns) and (
            each.gpu_bytes == self.patterns.largest[each.gpu] or fits(self.problem, pattern, each.gpu_bytes)
        )

    def _patterns(self, b: int, each: Bin) -> None:
        for pattern in self.patterns.by_gpu.get(each.gpu, ()):
            if self.chosen.issuperset(pattern) and self._pattern_fits(pattern, each):
                self.pattern[pattern, b] = self.cp.new_int_var(0, each.gpus, f"u{len(self.pattern)}")

    def _today(self) -> None:
        problem = self.problem
        shared: dict[tuple[int, int], list[int]] = defaultdict(list)
        whole: dict[tuple[int, int], list[int]] = defaultdict(list)
        for e, server in enumerate(problem.today):
            column = problem.columns[server.column]
            if not all(problem.services[column.service].may_use(node) for node, _ in server.parts):
                continue
            self.kept[e] = self.cp.new_bool_var(f"k{e}")
            for node, gpus in server.parts:
                for gpu in gpus:
                    (shared if column.shared else whole)[node, gpu].append(e)
        for place, mine in whole.items():
            self.cp.add(sum(self.kept[e] for e in mine) <= 1)
            for e in mine:
                for other in shared.get(place, ()):
                    self.cp.add(self.kept[e] + self.kept[other] <= 1)
        if not self.patterns.kind_of:
            for (node, gpu), mine in shared.items():
                self._stays_on(node, gpu, mine)

    def _stays_on(self, node: int, gpu: int, mine: list[int]) -> None:
        island = self.problem.nodes[node].island_of(gpu)
        joining = [(), *self.patterns.by_gpu.get(island.gpu, ())]
        c = self.class_of[node]
        found: list[tuple[tuple[int, ...], Any]] = []
        for size in range(1, len(mine) + 1):
            for stay in combinations(mine, size):
                held = tuple(self.problem.today[e].column for e in stay)
                for new in joining:
                    if not all(self.allowed(self.problem.columns[k], c) for k in new):
                        continue
                    if fits(self.problem, (*held, *new), island.gpu_bytes):
                        variable = self.cp.new_bool_var(f"v{len(self.stays)}")
                        self.stays[node, gpu, stay, new] = variable
                        found.append((stay, variable))
        self.cp.add(sum(variable for _, variable in found) <= 1)
        for e in mine:
            self.cp.add(sum(variable for stay, variable in found if e in stay) == self.kept[e])

    def _tallies(self) -> None:
        """Sums that several rules speak of: parts of a column on a class, replicas of a column, GPUs used of a bin."""
        problem = self.problem
        on: dict[tuple[int, int], list[Any]] = defaultdict(list)
        total: dict[int, list[Any]] = defaultdict(list)
        used: dict[int, list[Any]] = defaultdict(list)
        for (k, c), x in self.replicas.items():
            on[k, c].append(x)
            total[k].append(x)
        for (k, b), z in self.groups.items():
            used[b].append(problem.columns[k].group_gpus * z)
        for (k, _), x in self.spans.items():
            total[k].append(x)
        for (k, _, c), h in self.parts.items():
            on[k, c].append(h)
        for (k, _, b), z in self.span_groups.items():
            used[b].append(problem.columns[k].group_gpus * z)
        for (k, b), y in self.crowd.items():
            on[k, self.bins[b].of_class].append(y)
            total[k].append(y)
        for (pattern, b), u in self.pattern.items():
            used[b].append(u)
            for k in () if self.patterns.kind_of else pattern:
                on[k, self.bins[b].of_class].append(u)
                total[k].append(u)
        island_bin = {(each.of_class, each.island): b for b, each in enumerate(self.bins) if each.island is not None}
        for (node, gpu, _, new), v in self.stays.items():
            islands = problem.nodes[node].islands
            at = next(i for i, island in enumerate(islands) if gpu in island.gpus)
            used[island_bin[self.class_of[node], at]].append(v)
            for k in new:
                on[k, self.class_of[node]].append(v)
                total[k].append(v)
        self._tally_kept(on, total, used, island_bin)
        self.on = {key: sum(terms) for key, terms in on.items()}
        self.total = {k: sum(terms) for k, terms in total.items()}
        self.used = {b: sum(used[b]) if used[b] else 0 for b in range(len(self.bins))}

    def _tally_kept(
        self, on: dict[tuple[int, int], list[Any]], total: dict[int, list[Any]], used: dict[int, list[Any]],
        island_bin: dict[tuple[int, int], int],
    ) -> None:  # fmt: skip
        problem = self.problem
        for e, keep in self.kept.items():
            server = problem.today[e]
            total[server.column].append(keep)
            for node, gpus in server.parts:
                on[server.column, self.class_of[node]].append(keep)
                for i, island in enumerate(problem.nodes[node].islands):
                    mine = len(set(gpus) & set(island.gpus))
                    if mine and not problem.columns[server.column].shared:
                        used[island_bin[self.class_of[node], i]].append(mine * keep)
