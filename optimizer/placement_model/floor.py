"""The GPUs of a site while servers are put on them one by one: what is free, what is held, where one more fits best."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem, ServerColumn
from vllm_opt.optimizer.placement_model.holding import Held, Room


class Floor:
    """Nodes with their free GPUs, host memory, disk, and what stands on each GPU."""

    def __init__(self, problem: PlacementProblem) -> None:
        self.problem = problem
        self.servers: list[PlacedServer] = []
        self.counts: Counter[int] = Counter()
        self.free = {
            (n, i): set(island.gpus) for n, node in enumerate(problem.nodes) for i, island in enumerate(node.islands)
        }
        self.island = {
            (n, gpu): i
            for n, node in enumerate(problem.nodes)
            for i, island in enumerate(node.islands)
            for gpu in island.gpus
        }
        self.held: dict[tuple[int, int], tuple[int, ...]] = {}
        self.host: Counter[int] = Counter()
        self.stored: dict[int, Counter[tuple[str, int]]] = defaultdict(Counter)
        self.on_node: dict[int, Counter[int]] = defaultdict(Counter)
        self.rooms: dict[int, Room] = {}
        self.known: dict[tuple[int, tuple[int, ...]], Held | None] = {}
        self.apart: dict[int, set[int]] = defaultdict(set)
        for one, other in problem.apart:
            self.apart[one].add(other)
            self.apart[other].add(one)

    def put(self, server: PlacedServer) -> None:
        """Add a server, which fits."""
        column = self.problem.columns[server.column]
        self.servers.append(server)
        self.counts[column.service] += 1
        for node, gpus in server.parts:
            self.host[node] += column.host_bytes
            self.stored[node][column.checkpoint, column.disk_bytes] += 1
            self.on_node[node][column.service] += 1
            for gpu in gpus:
                self.free[node, self.island[node, gpu]].discard(gpu)
                self.held[node, gpu] = tuple(sorted((*self.held.get((node, gpu), ()), server.column)))

    def remove(self, server: PlacedServer) -> None:
        """Take away a server that was added last of those that are equal."""
        column = self.problem.columns[server.column]
        self.servers.remove(server)
        self.counts[column.service] -= 1
        for node, gpus in server.parts:
            self.host[node] -= column.host_bytes
            self.stored[node][column.checkpoint, column.disk_bytes] -= 1
            self.on_node[node][column.service] -= 1
            for gpu in gpus:
                left = list(self.held[node, gpu])
                left.remove(server.column)
                self.held[node, gpu] = tuple(left)
                if not left:
                    del self.held[node, gpu]
                    self.free[node, self.island[node, gpu]].add(gpu)

    def opened(self, servers: Sequence[PlacedServer]) -> int:
        """GPUs that servers would take and that hold nothing yet."""
        places = {(node, gpu) for server in servers for node, gpus in server.parts for gpu in gpus}
        return len(places - self.held.keys())

    def spot(self, k: int, nodes: Iterable[int]) -> PlacedServer | None:
        """The place where one more server of a column leaves the least unused; None where none is left."""
        column = self.problem.columns[k]
        able = [n for n in nodes if self._stores(n, column)]
        if column.shared:
            beside = self._beside(k, column, able)
            if beside is not None:
                return PlacedServer(k, ((beside[0], (beside[1],)),))
        best: tuple[int, int] | None = None
        for n in able:
            room = self._groups(n, column)
            if room >= column.groups:
                spare = sum(len(self.free[n, i]) for i in range(len(self.problem.nodes[n].islands)))
                best = min(best or (spare, n), (spare, n))
        if best is None:
            return None
        return PlacedServer(k, ((best[1], self._taken(best[1], column)),))

    def _stores(self, node: int, column: ServerColumn) -> bool:
        """Host memory, disk and services that keep away."""
        of = self.problem.nodes[node]
        if of.host_bytes is not None and self.host[node] + column.host_bytes > of.host_bytes:
            return False
        if any(self.on_node[node][other] for other in self.apart.get(column.service, ())):
            return False
        if of.disk_bytes is None:
            return True
        sizes: dict[str, int] = {column.checkpoint: column.disk_bytes}
        for (checkpoint, size), count in self.stored[node].items():
            if count:
                sizes[checkpoint] = max(size, sizes.get(checkpoint, 0))
        return sum(sizes.values()) <= of.disk_bytes

    def _islands(self, node: int, column: ServerColumn) -> list[int]:
        needed = max(column.bytes_per_gpu, column.load_peak_bytes)
        islands = self.problem.nodes[node].islands
        return [i for i, x in enumerate(islands) if x.gpu == column.gpu and x.gpu_bytes >= needed]

    def _groups(self, node: int, column: ServerColumn) -> int:
        return sum(len(self.free[node, i]) // column.group_gpus for i in self._islands(node, column))

    def _taken(self, node: int, column: ServerColumn) -> tuple[int, ...]:
        taken: list[int] = []
        groups = column.groups
        for i in sorted(self._islands(node, column), key=lambda i: (len(self.free[node, i]), i)):
            mine = min(groups, len(self.free[node, i]) // column.group_gpus)
            taken += sorted(self.free[node, i])[: mine * column.group_gpus]
            groups -= mine
        return tuple(sorted(taken))

    def _beside(self, k: int, column: ServerColumn, nodes: Iterable[int]) -> tuple[int, int] | None:
        """The GPU in use that one more server fills best."""
        able = set(nodes)
        best: tuple[int, int, int] | None = None
        for (node, gpu), columns in self.held.items():
            if node not in able or not self.problem.columns[columns[0]].shared:
                continue
            island = self.problem.nodes[node].islands[self.island[node, gpu]]
            if island.gpu == column.gpu:
                more = self._joined(island.gpu_bytes, columns, k)
                if more is not None:
                    left = (island.gpu_bytes - more.settled, node, gpu)
                    best = min(best or left, left)
        return None if best is None else best[1:]

    def _joined(self, total: int, columns: tuple[int, ...], k: int) -> Held | None:
        """What a GPU holds with one more server; looked up where it was asked before."""
        key = (total, tuple(sorted((*columns, k))))
        if key not in self.known:
            room = self.rooms.setdefault(total, Room(self.problem, total))
            self.known[key] = room.all_of(key[1])
        return self.known[key]
