"""What one GPU may hold together: every multiset of servers that share a GPU and fit it, by bytes and by turns.

Memory never enters the solver: a pattern either fits, to the byte, or is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vllm_opt.constraints.placing.gpu_memory import MOST_ON_GPU, fits_gpu
from vllm_opt.constraints.placing.site import PlacementProblem

MOST_PATTERNS = 2000
"""patterns of one SKU; beyond them larger ones are left out, and the answer says that it is not proven"""

Pattern = tuple[int, ...]
"""columns, ascending, one entry per server"""


@dataclass(frozen=True)
class PatternSet:
    """Patterns by SKU, and whether they are all there are."""

    by_gpu: dict[str, tuple[Pattern, ...]]
    complete: bool
    largest: dict[str, int] = field(default_factory=dict)
    """SKU -> bytes of its largest GPU, which patterns were checked against"""
    kind_of: dict[int, int] = field(default_factory=dict)
    """column -> its kind, where patterns are of kinds; empty where they are of columns"""

    def joined(self, more: dict[str, tuple[Pattern, ...]]) -> "PatternSet":
        """The same with more patterns."""
        by_gpu = {gpu: tuple(dict.fromkeys((*mine, *more.get(gpu, ())))) for gpu, mine in self.by_gpu.items()}
        return replace(self, by_gpu=by_gpu)


def gpu_patterns(
    problem: PlacementProblem, allowed: frozenset[int] | None = None, most: int | None = None
) -> PatternSet:
    """Every way in which servers that share GPUs stand on one, singles included; `allowed` columns only."""
    by_gpu: dict[str, tuple[Pattern, ...]] = {}
    complete = True
    sizes = {island.gpu: island.gpu_bytes for node in problem.nodes for island in node.islands}
    for island in (island for node in problem.nodes for island in node.islands):
        sizes[island.gpu] = max(sizes[island.gpu], island.gpu_bytes)
    for gpu, total in sorted(sizes.items()):
        shared = [
            k for k, column in enumerate(problem.columns)
            if column.gpu == gpu and column.shared and (allowed is None or k in allowed)
        ]  # fmt: skip
        found, whole = _grown(problem, shared, total, MOST_PATTERNS if most is None else most)
        complete &= whole
        by_gpu[gpu] = tuple(found)
    return PatternSet(by_gpu, complete, sizes)


def gpu_outlines(problem: PlacementProblem) -> PatternSet:
    """Patterns of kinds instead of columns: a relaxation with few patterns, however many columns there are.

    Columns of one SKU with the same number of turns and the same bytes, rounded down to twelfths of the GPU, are one
    kind; what of a sleeper stays on the GPU counts, and only that. Every real pattern has its outline among these, and
    an outline stands for all that is in it, so only those that are in no other are listed.
    """
    kinds: dict[tuple[str, int, int, bool], int] = {}
    kind_of: dict[int, int] = {}
    largest: dict[str, int] = {}
    for island in (island for node in problem.nodes for island in node.islands):
        largest[island.gpu] = max(island.gpu_bytes, largest.get(island.gpu, 0))
    for k, column in enumerate(problem.columns):
        if column.shared and column.gpu in largest:
            sleeps = column.asleep_bytes is not None
            held = column.asleep_bytes if column.asleep_bytes is not None else column.bytes_per_gpu
            key = (column.gpu, column.most_on_gpu, PARTS * held // largest[column.gpu], sleeps)
            kind_of[k] = kinds.setdefault(key, len(kinds))
    by_gpu = {gpu: _outlines([(key, kind) for key, kind in kinds.items() if key[0] == gpu]) for gpu in largest}
    return PatternSet(by_gpu, complete=False, largest=largest, kind_of=kind_of)


PARTS = 12
"""of a GPU's memory, to which bytes are rounded down"""
Kind = tuple[tuple[str, int, int, bool], int]


def _outlines(kinds: Sequence[Kind]) -> tuple[Pattern, ...]:
    """Every multiset of kinds that fits the parts and the turns and is in no other."""
    found: list[Pattern] = []
    items = sorted((kind, key[1], key[2], key[3]) for key, kind in kinds)

    def grow(pattern: Pattern, start: int, awake: int, sleepers: int, turns: int, free: int) -> None:
        fits_more = False
        for at, (kind, most, part, sleeps) in enumerate(items):
            computing = awake + (not sleeps) + (sleepers > 0 or sleeps)
            if part > free or computing > min(turns, most) or len(pattern) >= MOST_ON_GPU:
                continue
            fits_more = True
            if at >= start:
                grow((*pattern, kind), at, awake + (not sleeps), sleepers + sleeps, min(turns, most), free - part)
        if pattern and not fits_more:
            found.append(pattern)

    grow((), 0, 0, 0, MOST_ON_GPU, PARTS)
    return tuple(found)


def _grown(problem: PlacementProblem, shared: Sequence[int], total: int, most: int) -> tuple[list[Pattern], bool]:
    """Grow fitting patterns one server at a time: what does not fit fits no better with one more."""
    found: list[Pattern] = []
    layer: list[Pattern] = [()]
    for _ in range(MOST_ON_GPU):
        following: list[Pattern] = []
        for pattern in layer:
            for k in shared:
                if (pattern and k < pattern[-1]) or not is_useful(problem, (*pattern, k)):
                    continue
                if fits(problem, (*pattern, k), total):
                    following.append((*pattern, k))
                    if len(found) + len(following) > most:
                        return [*found, *following[: most - len(found)]], False
        found += following
        layer = following
        if not layer:
            break
    return found, not layer or not any(
        fits(problem, (*pattern, k), total)
        for pattern in layer
        for k in shared
        if k >= pattern[-1] and is_useful(problem, (*pattern, k))
    )


def is_useful(problem: PlacementProblem, pattern: Pattern) -> bool:
    """Whether no service has more replicas in it than it may have, and none that must stand apart meet."""
    services = [problem.columns[k].service for k in pattern]
    here = set(services)
    if any(services.count(s) > _most_on_node(problem, s) for s in here):
        return False
    return not any(one in here and other in here for one, other in problem.apart)


def _most_on_node(problem: PlacementProblem, s: int) -> int:
    """Replicas of a service that one node may hold: one where it is spread over at least as many nodes."""
    service = problem.services[s]
    nodes = len(problem.nodes) if service.nodes is None else len(service.nodes)
    return 1 if service.spread == "node" and service.most <= nodes else service.most


def fits(problem: PlacementProblem, pattern: Pattern, total: int) -> bool:
    """Say whether a GPU of `total` bytes holds a pattern."""
    return fits_gpu([problem.columns[k] for k in pattern], total)
