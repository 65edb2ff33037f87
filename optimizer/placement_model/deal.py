"""From counts to GPUs: which server stands on which GPUs of which node."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from vllm_opt.constraints.placing.gpu_memory import start_order
from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem, ServerColumn
from vllm_opt.optimizer.placement_model.patterns import Pattern
from vllm_opt.optimizer.placement_model.variables import Variables

Value = Callable[[object], int]


class CannotDeal(Exception):  # noqa: N818 - says what happened to the counts
    """The counts of a class of several nodes do not pack into its nodes this way."""


@dataclass
class Table:
    """Free GPUs of every island of every node, and the servers placed so far."""

    problem: PlacementProblem
    servers: list[PlacedServer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free = {
            (n, i): list(island.gpus)
            for n, node in enumerate(self.problem.nodes)
            for i, island in enumerate(node.islands)
        }
        self.held: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.host: dict[int, int] = defaultdict(int)
        self.most: dict[int, int] = {}
        """service that is spread over nodes -> its replicas that one node may hold"""

    def take(self, node: int, island: int, count: int) -> tuple[int, ...]:
        """Take the first free GPUs of an island.

        Raises:
            CannotDeal: too few are free.
        """
        free = self.free[node, island]
        if len(free) < count:
            raise CannotDeal
        taken, self.free[node, island] = free[:count], free[count:]
        return tuple(taken)

    def take_these(self, node: int, gpus: tuple[int, ...]) -> None:
        """Take given GPUs where they are still free."""
        for i in range(len(self.problem.nodes[node].islands)):
            self.free[node, i] = [gpu for gpu in self.free[node, i] if gpu not in gpus]

    def place(self, column: int, parts: dict[int, tuple[int, ...]]) -> None:
        """Add a server."""
        self.servers.append(PlacedServer(column, tuple((n, tuple(sorted(gpus))) for n, gpus in sorted(parts.items()))))
        for node in parts:
            self.held[self.problem.columns[column].service][node] += 1
            self.host[node] += self.problem.columns[column].host_bytes

    def spare(self, node: int, column: ServerColumn) -> int:
        """Free GPUs of a node in islands that hold groups of a column."""
        islands = self.problem.nodes[node].islands
        return sum(len(self.free[node, i]) for i, x in enumerate(islands) if x.gpu == column.gpu)

    def groups_free(self, node: int, column: ServerColumn) -> int:
        """Groups of a column that a node still holds."""
        islands = self.problem.nodes[node].islands
        return sum(len(self.free[node, i]) // column.group_gpus for i, x in enumerate(islands) if x.gpu == column.gpu)

    def take_groups(self, node: int, column: ServerColumn, groups: int) -> tuple[int, ...]:
        """Take groups from the islands with the fewest free GPUs that hold one.

        Raises:
            CannotDeal: too few are free.
        """
        taken: list[int] = []
        for _ in range(groups):
            islands = self.problem.nodes[node].islands
            able = [
                (len(self.free[node, i]), i) for i, x in enumerate(islands)
                if x.gpu == column.gpu and len(self.free[node, i]) >= column.group_gpus
            ]  # fmt: skip
            if not able:
                raise CannotDeal
            taken += self.take(node, min(able)[1], column.group_gpus)
        return tuple(taken)


def deal(at: Variables, value: Value) -> tuple[PlacedServer, ...]:
    """The servers of a solution, on GPUs.

    Raises:
        CannotDeal: nodes that were counted together do not hold their servers this way.
    """
    table = Table(at.problem)
    table.most = _most_on_node(at, value)
    _stay(at, value, table)
    for c, of in enumerate(at.classes):
        if len(of.nodes) == 1:
            _exact(at, value, table, c)
    _spanning(at, value, table)
    for c, of in enumerate(at.classes):
        if len(of.nodes) > 1:
            _together(at, value, table, c)
    return tuple(sorted(table.servers))


def _most_on_node(at: Variables, value: Value) -> dict[int, int]:
    found = {}
    for s, service in enumerate(at.problem.services):
        if service.spread == "node":
            count = sum(value(at.total[k]) for k in at.problem.columns_of[s] if k in at.total)
            nodes = len(at.problem.nodes) if service.nodes is None else len(service.nodes)
            found[s] = -(-count // nodes)
    return found


def _stay(at: Variables, value: Value, table: Table) -> None:
    for e, keep in at.kept.items():
        if value(keep):
            server = at.problem.today[e]
            for node, gpus in server.parts:
                table.take_these(node, gpus)
            table.place(server.column, dict(server.parts))
    for (node, gpu, _, new), variable in at.stays.items():
        if value(variable):
            table.take_these(node, (gpu,))
            for k in new:
                table.place(k, {node: (gpu,)})


def _exact(at: Variables, value: Value, table: Table, c: int) -> None:
    """One node: the model says how many groups each island holds."""
    node, columns = at.classes[c].first, at.problem.columns
    here = {b: each for b, each in enumerate(at.bins) if each.of_class == c}
    for (k, class_), x in at.replicas.items():
        if class_ == c and value(x):
            taken: list[tuple[int, ...]] = []
            for b, each in here.items():
                if (k, b) in at.groups and each.island is not None:
                    count = value(at.groups[k, b])
                    taken += [table.take(node, each.island, columns[k].group_gpus) for _ in range(count)]
            groups = columns[k].groups
            for start in range(0, len(taken), groups):
                gpus = tuple(gpu for group in taken[start : start + groups] for gpu in group)
                table.place(k, {node: gpus})
    for (pattern, b), u in at.pattern.items():
        island = here[b].island if b in here else None
        if island is not None:
            for _ in range(value(u)):
                _place_pattern(table, pattern, node, table.take(node, island, 1))


def _place_pattern(table: Table, pattern: Pattern, node: int, gpu: tuple[int, ...]) -> None:
    order = start_order([table.problem.columns[k] for k in pattern])
    for position in order:
        table.place(pattern[position], {node: gpu})


def _spanning(at: Variables, value: Value, table: Table) -> None:
    """Deal the parts of replicas that span nodes: no replica has two parts on one node."""
    columns, problem = at.problem.columns, at.problem
    for (k, f), x in at.spans.items():
        count = value(x)
        if not count:
            continue
        per_node = columns[k].groups // columns[k].nodes
        parts: list[tuple[int, tuple[int, ...]]] = []
        for (k_, f_, c), h in at.parts.items():
            if (k_, f_) == (k, f):
                parts += _parts_on(at, table, columns[k], c, (k, f), value, value(h), per_node, count)
        parts.sort()
        for replica in range(count):
            mine = dict(parts[replica::count])
            if len(mine) != columns[k].nodes or not set(mine) <= problem.links[f]:
                raise CannotDeal
            table.place(k, mine)


def _parts_on(
    at: Variables, table: Table, column: ServerColumn, c: int, key: tuple[int, int], value: Value, parts: int,
    per_node: int, most_on_node: int,
) -> list[tuple[int, tuple[int, ...]]]:  # fmt: skip
    """GPUs of the parts that stand on a class."""
    of = at.classes[c]
    found: list[tuple[int, tuple[int, ...]]] = []
    if len(of.nodes) == 1:
        taken: list[tuple[int, ...]] = []
        for b, each in enumerate(at.bins):
            if each.of_class == c and (*key, b) in at.span_groups and each.island is not None:
                count = value(at.span_groups[(*key, b)])
                taken += [table.take(of.first, each.island, column.group_gpus) for _ in range(count)]
        for start in range(0, len(taken), per_node):
            found.append((of.first, tuple(gpu for group in taken[start : start + per_node] for gpu in group)))
        return found
    on_node: dict[int, int] = defaultdict(int)
    for _ in range(parts):
        able = [n for n in of.nodes if on_node[n] < most_on_node and table.groups_free(n, column) >= per_node]
        if not able:
            raise CannotDeal
        node = min(able, key=lambda n: (on_node[n], table.spare(n, column), n))
        on_node[node] += 1
        found.append((node, table.take_groups(node, column, per_node)))
    return found


def _together(at: Variables, value: Value, table: Table, c: int) -> None:
    """Several nodes: the largest servers first, each where the least is left; spread services where they are fewest."""
    columns, nodes = at.problem.columns, at.classes[c].nodes
    whole = [(k, value(x)) for (k, class_), x in at.replicas.items() if class_ == c and value(x)]
    for k, count in sorted(whole, key=lambda item: (-columns[item[0]].gpus, -columns[item[0]].group_gpus, item[0])):
        column = columns[k]
        for _ in range(count):
            able = [n for n in nodes if table.groups_free(n, column) >= column.groups and _host_room(table, n, column)]
            if not able:
                raise CannotDeal
            node = min(able, key=lambda n: (*_order(table, n, column), n))
            table.place(k, {node: table.take_groups(node, column, column.groups)})
    shared = [
        (pattern, value(u))
        for (pattern, b), u in at.pattern.items()
        if at.bins[b].of_class == c and at.bins[b].island is None and value(u)
    ]
    for pattern, count in sorted(shared, key=lambda item: (-len(item[0]), item[0])):
        for _ in range(count):
            _deal_pattern(table, pattern, nodes)


def _deal_pattern(table: Table, pattern: Pattern, nodes: tuple[int, ...]) -> None:
    columns = [table.problem.columns[k] for k in pattern]
    gpu = columns[0].gpu
    able = [n for n in nodes if table.spare(n, columns[0]) and all(_host_room(table, n, x) for x in columns)]
    if not able:
        raise CannotDeal
    orders = {n: tuple(sum(parts) for parts in zip(*(_order(table, n, x) for x in columns), strict=True)) for n in able}
    node = min(able, key=lambda n: (*orders[n], n))
    islands = table.problem.nodes[node].islands
    at = min((len(table.free[node, i]), i) for i, x in enumerate(islands) if x.gpu == gpu and table.free[node, i])[1]
    _place_pattern(table, pattern, node, table.take(node, at, 1))


def _host_room(table: Table, node: int, column: ServerColumn) -> bool:
    room = table.problem.nodes[node].host_bytes
    return room is None or table.host[node] + column.host_bytes <= room


def _order(table: Table, node: int, column: ServerColumn) -> tuple[int, int]:
    """Fewest servers of a service that must not fail together or crowd a node, then the fullest node."""
    service, held = table.problem.services[column.service], table.held[column.service][node]
    most = 0 if service.survives else table.most.get(column.service, held + 1)
    return max(0, held + 1 - most), table.spare(node, column)
