"""The fastest operating point of each class of servers, with few of their points evaluated.

`Search.solve_servers` evaluates every max_num_seqs of its grid at every width of a step; a fleet's column needs the
fastest only. Widths are visited best first by their ceilings (`curve.py`), until none is above what was found. Of one
width, with S the batch: TTFT and TPOT never fall when S grows, and decoders D never do, so

- the largest S within the limits is found by cutting its range into equal parts;
- between two evaluated batches i < j the rate D / TPOT is at most rate(j) TPOT(j) / TPOT(i).

Intervals in which that is below the best found of their class are left out; the others are cut until they hold no batch
of the grid. What is left out is slower, so the point found is the one that evaluating all of them would find.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from vllm_opt.optimizer.search.curve import rate_ceilings
from vllm_opt.optimizer.search.pool import sequences_of_server
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.search import ALL_RULES, Search
from vllm_opt.optimizer.search.units import needs_no_more, sizes_at, tokens_of
from vllm_opt.optimizer.space.latency_limits import masks
from vllm_opt.optimizer.space.points import Candidate, Unit, evaluate

ROUNDING = 1e-9
"""relative slack for rounding in an interval's bound"""
FIRST_WIDTHS = 2
"""widths of each class that are sized together at first; each further round takes twice as many"""
TOGETHER, MOST_PARTS = 600, 8
"""points of one evaluation about, and parts into which an interval is cut at most"""


@dataclass(eq=False)
class Width:
    """One layout at one width of a step: its batches, those evaluated, and the intervals between them that are open."""

    unit: Unit
    tokens: int
    kind: Hashable
    ceiling: int = 0
    """units of capacity that no batch exceeds"""
    twin: "Width | None" = None
    """the same with CUDA graphs, where this is in eager mode"""
    grid: list[int] = field(default_factory=list)
    """batches that memory admits"""
    sizes: list[int] | None = None
    """those of them worth trying; None: not asked yet"""
    known: dict[int, Candidate] = field(default_factory=dict)
    """batch -> its point, whether or not it keeps the limits"""
    low: int = 0
    """the largest batch known to keep the limits; 0: none"""
    high: int = 0
    """the smallest known to break them; 0: none"""
    open: list[tuple[int, int]] = field(default_factory=list)
    """positions in `sizes`, both evaluated, between which there is more"""

    @property
    def batches(self) -> list[int]:
        """The batches of the grid."""
        return self.sizes or []

    def most(self, lower: int, upper: int) -> float:
        """Tokens per second that no batch between two evaluated ones exceeds."""
        first, last = self.known[lower], self.known[upper]
        fallen = float(last.tpot_ms[0]) / float(first.tpot_ms[0])
        return float(last.bound_tokens_per_s[0]) * max(1.0, fallen) * (1 + ROUNDING)

    def fastest(self) -> Candidate | None:
        """The fastest evaluated batch of `sizes` within the limits; of equal ones the smallest."""
        within = [self.known[size] for size in self.batches if size <= self.low and size in self.known]
        return max(within, key=lambda point: float(point.bound_tokens_per_s[0]), default=None)


class FastestPoints:
    """`units` turns tokens per second into whole units of capacity; `floors` are what each class has to reach."""

    def __init__(
        self, search: Search, units: Callable[[float], int], floors: Mapping[Any, int], kind: Callable[[Unit], Hashable]
    ) -> None:  # fmt: skip
        self.search, self.setting, self.units, self.kind = search, search.setting, units, kind
        self.best: dict[Hashable, int] = dict(floors)

    def of_servers(self, servers: list[Server]) -> list[Candidate]:
        """The fastest point of everything that may be the best of its class."""
        self.search.result.layouts_evaluated += len(servers)
        waiting: dict[Hashable, list[Width]] = {}
        for width in self._widths(servers):
            waiting.setdefault(width.kind, []).append(width)
        found: list[Candidate] = []
        count = FIRST_WIDTHS
        while waiting:
            chosen: list[Width] = []
            for kind, widths in waiting.items():
                able = [width for width in widths if width.ceiling >= max(1, self.best.get(kind, 0))]
                able.sort(key=lambda width: -width.ceiling)
                chosen, waiting[kind] = chosen + able[:count], able[count:]
            waiting = {kind: widths for kind, widths in waiting.items() if widths}
            twins = [width.twin for width in chosen if width.twin is not None and width.twin.sizes is None]
            captured = dict.fromkeys([*twins, *(width for width in chosen if width.twin is None)])
            found += self._solved([width for width in captured if width.sizes is None])
            found += self._solved([width for width in chosen if width.twin is not None])
            count *= 2
        return found

    def _widths(self, servers: list[Server]) -> list[Width]:
        """Every width of some servers, with CUDA graphs and in eager mode, with its ceiling."""
        widths: list[Width] = []
        held: list[int] = []
        for server in servers:
            most = sequences_of_server(self.setting, self.search.physics, server, ALL_RULES)
            captured = self.search.physics.facts(server.sku, server.weights, server.shape)
            if not captured.terms.loads(captured.confidence):
                self.search.result.drop(server.sku.gpu.id, "memory_budget")
                continue
            units = [Unit(facts, server.shape, 1) for facts in (captured, self.search.physics.eager_facts(captured))]
            kind = self.kind(units[0])
            for tokens in tokens_of(captured):
                twin = Width(units[0], tokens, kind)
                widths += [twin, Width(units[1], tokens, kind, twin=twin)]
                held += [min(most, tokens)] * 2
        ceilings = rate_ceilings(
            self.setting, [(width.unit, width.tokens, most) for width, most in zip(widths, held, strict=True)]
        )
        for width, ceiling in zip(widths, ceilings, strict=True):
            width.ceiling = self.units(ceiling) + 1
        return widths

    def _size(self, width: Width) -> None:
        """The batches that memory admits; in eager mode only those that do not run with CUDA graphs."""
        twin = width.twin
        if twin is None:
            width.grid = sizes_at(self.setting, width.unit, width.tokens, ALL_RULES) or []
            width.sizes = list(width.grid)
            return
        most = min(width.tokens, self.setting.largest_batch)
        if twin.grid[-1:] == [most] and needs_no_more(width.unit, twin.unit.facts):
            width.sizes = list(twin.grid)
        else:
            width.sizes = sizes_at(self.setting, width.unit, width.tokens, ALL_RULES) or []
        if twin.low:
            width.sizes = [size for size in width.sizes if not twin.grid[0] <= size <= twin.low]

    def _solved(self, widths: list[Width]) -> list[Candidate]:
        for width in widths:
            self._size(width)
        self._limit([width for width in widths if width.batches])
        able = [width for width in widths if width.low]
        for width in able:
            width.sizes = [size for size in width.batches if size <= width.low]
            if width.high - width.low == 1 and width.sizes[-1] < width.low:
                width.sizes.append(width.low)
        self._evaluate([(width, size) for width in able for size in (width.batches[0], width.batches[-1])])
        for width in able:
            width.open = [(0, len(width.batches) - 1)]
        while halved := [
            (width, pair) for width in self._noted(able) for pair in width.open if self._may_win(width, pair)
        ]:
            for width in able:
                width.open = []
            parts = _parts(len(halved))
            for width, pair in halved:
                cuts = _cuts(*pair, parts)
                width.open += list(pairwise(cuts))
            self._evaluate([(width, width.batches[at]) for width in able for pair in width.open for at in pair])
        return [point for width in able if (point := width.fastest()) is not None]

    def _may_win(self, width: Width, pair: tuple[int, int]) -> bool:
        lower, upper = pair
        return upper - lower > 1 and self._reaches(width, width.batches[lower], width.batches[upper])

    def _reaches(self, width: Width, lower: int, upper: int) -> bool:
        return self.units(width.most(lower, upper)) >= self.best.get(width.kind, 0)

    def _noted(self, widths: list[Width]) -> list[Width]:
        """The same widths, the best of every class remembered."""
        for width in widths:
            point = width.fastest()
            if point is not None:
                units = self.units(float(point.bound_tokens_per_s[0]))
                self.best[width.kind] = max(self.best.get(width.kind, 0), units)
        return widths

    def _limit(self, widths: list[Width]) -> None:
        """Find the largest batch of each that keeps the limits, but where none beyond what is known can win."""
        self._evaluate([(width, size) for width in widths for size in (width.batches[0], width.batches[-1])])
        for width in widths:
            if not width.low:
                rules = self._rules(width.known[width.batches[0]])
                self.search.result.drop(
                    width.unit.facts.sku.gpu.id, next(rule for rule, kept in rules.items() if not kept)
                )
        left = [width for width in widths if width.low and width.high]
        while left := [
            width
            for width in self._noted(left)
            if width.high - width.low > 1 and self._reaches(width, width.low, width.high)
        ]:
            parts = _parts(len(left))
            self._evaluate([(width, size) for width in left for size in _cuts(width.low, width.high, parts)])

    def _rules(self, point: Candidate) -> dict[str, bool]:
        return {rule: bool(mask[0]) for rule, mask in masks(self.setting, point, ALL_RULES).items()}

    def _evaluate(self, wanted: list[tuple[Width, int]]) -> None:
        wanted = [(width, size) for width, size in dict.fromkeys(wanted) if size not in width.known]
        points = evaluate(self.setting, [(width.unit, width.tokens, [size]) for width, size in wanted], asked=False)
        for (width, size), point in zip(wanted, points, strict=True):
            width.known[size] = point
            if all(self._rules(point).values()):
                width.low = max(width.low, size)
            else:
                width.high = min(width.high or size, size)


def _parts(intervals: int) -> int:
    return max(2, min(MOST_PARTS, TOGETHER // intervals))


def _cuts(low: int, high: int, parts: int) -> list[int]:
    """The ends of so many about equal parts of an interval of whole numbers."""
    return sorted({low + (high - low) * part // parts for part in range(parts + 1)})
