"""What one GPU may hold together: every multiset of servers that share a GPU and fit it, by bytes and by turns.

Memory never enters the solver: a pattern either fits, to the byte, or is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm_opt.constraints.placing.gpu_memory import fits_gpu
from vllm_opt.constraints.placing.site import PlacementProblem

MOST_PATTERNS = 4000
"""patterns of one SKU; beyond them larger ones are left out, and the answer says that it is not proven"""
MOST_TOGETHER = 8

Pattern = tuple[int, ...]
"""columns, ascending, one entry per server"""


@dataclass(frozen=True)
class PatternSet:
    """Patterns by SKU, and whether they are all there are."""

    by_gpu: dict[str, tuple[Pattern, ...]]
    complete: bool
    largest: dict[str, int] = field(default_factory=dict)
    """SKU -> bytes of its largest GPU, which patterns were checked against"""


def gpu_patterns(problem: PlacementProblem, allowed: frozenset[int] | None = None) -> PatternSet:
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
        found, whole = _grown(problem, shared, total)
        complete &= whole
        by_gpu[gpu] = tuple(found)
    return PatternSet(by_gpu, complete, sizes)


def _grown(problem: PlacementProblem, shared: Sequence[int], total: int) -> tuple[list[Pattern], bool]:
    """Grow fitting patterns one server at a time: what does not fit fits no better with one more."""
    found: list[Pattern] = []
    layer: list[Pattern] = [()]
    for _ in range(MOST_TOGETHER):
        following: list[Pattern] = []
        for pattern in layer:
            for k in shared:
                if (pattern and k < pattern[-1]) or not _useful(problem, (*pattern, k)):
                    continue
                if fits(problem, (*pattern, k), total):
                    following.append((*pattern, k))
                    if len(found) + len(following) > MOST_PATTERNS:
                        return [*found, *following[: MOST_PATTERNS - len(found)]], False
        found += following
        layer = following
        if not layer:
            break
    return found, not layer or not any(
        fits(problem, (*pattern, k), total)
        for pattern in layer
        for k in shared
        if k >= pattern[-1] and _useful(problem, (*pattern, k))
    )


def _useful(problem: PlacementProblem, pattern: Pattern) -> bool:
    """Whether no service has more replicas in it than it may have, and none that must stand apart meet."""
    services = [problem.columns[k].service for k in pattern]
    if any(services.count(s) > problem.services[s].most for s in set(services)):
        return False
    here = set(services)
    return not any(one in here and other in here for one, other in problem.apart)


def fits(problem: PlacementProblem, pattern: Pattern, total: int) -> bool:
    """Say whether a GPU of `total` bytes holds a pattern."""
    return fits_gpu([problem.columns[k] for k in pattern], total)
