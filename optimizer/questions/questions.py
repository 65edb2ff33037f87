"""Questions about feasibility: is there any point when these rules hold with these numbers, and which?

The points are those of `Search`: the same widths of a step, the fewest sequences that the replicas need, and, where a
throughput floor makes larger batches matter, the same grid of batches. More replicas never hurt, so each layout is
asked with the most that the limits allow.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.decisions.engine_defaults import default_max_num_batched_tokens
from vllm_opt.constraints.rules.budget import microusd
from vllm_opt.optimizer.questions.landscape import Landscape, Part
from vllm_opt.optimizer.questions.pools import Integers
from vllm_opt.optimizer.questions.question import ALL_RULES, LATENCY_RULES, UNLIMITED, LatencyRule, Points, Question
from vllm_opt.optimizer.questions.speed_table import Numbers, Speed, SpeedTable
from vllm_opt.optimizer.space.layouts import kv_cache_dtypes
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.points import token_grid
from vllm_opt.optimizer.space.setting import SolveSetting


class Atlas:
    """The landscapes of one setting, built as they are needed, and the points that answer questions."""

    def __init__(self, setting: SolveSetting, physics: LayoutPhysics | None = None) -> None:
        self._setting = setting
        self._physics = physics or LayoutPhysics(setting)
        self._landscapes: dict[Part, Landscape] = {}
        self._speeds: dict[tuple[int, tuple[int, int]], SpeedTable] = {}
        self._accepted = frozenset(item.quantization.id for item in setting.formats if item.accepted)

    @property
    def layouts(self) -> int:
        """Layouts looked at so far, with CUDA graphs and without."""
        return sum(len(landscape.rows) for landscape in self._landscapes.values())

    def landscapes(self, question: Question) -> Iterator[Landscape]:
        """The parts that a question reaches, the cheapest first."""
        parts: list[Part] = ["candidates"]
        accepted = {item.quantization.id for item in question.setting.formats if item.accepted}
        if "quality" not in question.active or not accepted <= self._accepted:
            parts.append("rejected")
        if not {"compatibility", "divisibility"} <= question.active:
            parts.append("refused")
        if "memory_budget" not in question.active:
            parts.append("oversized")
        for part in parts:
            if part not in self._landscapes:
                self._landscapes[part] = Landscape(self._setting, self._physics, part)
            yield self._landscapes[part]

    def bounds(self, question: Question, points: Points, rule: LatencyRule) -> Numbers:
        """What no batch of each point can beat: lowest TTFT or TPOT, highest output rate of all replicas."""
        most = most_admitted(question, points) if rule == "throughput" else points.tokens
        bounds = self._table(question, points.landscape).bounds(points.rows, points.tokens, most)
        if rule == "throughput":
            return bounds.rate * points.engines
        return bounds.ttft_ms if rule == "ttft" else bounds.tpot_ms

    def promising(self, question: Question, points: Points) -> Points:
        """The points that may meet the latency limits, by cheap bounds."""
        for rule in LATENCY_RULES:
            limit = question.limit(rule)
            if limit is not None and len(points):
                sign = -1.0 if rule == "throughput" else 1.0
                bounds = sign * self.bounds(question, points, rule)
                points = points.take(np.flatnonzero(bounds <= sign * limit))
        return points

    def _table(self, question: Question, landscape: Landscape) -> SpeedTable:
        key = (id(landscape), question.setting.lengths)
        if key not in self._speeds:
            self._speeds[key] = SpeedTable(landscape, question.setting)
        return self._speeds[key]

    def speeds(self, question: Question, points: Points) -> Speed:
        """Predicted speeds of points."""
        setting, landscape = question.setting, points.landscape
        users = points.sequences
        if landscape.tier.any():
            share = -(-setting.targets.concurrency // points.engines)
            users = np.where(landscape.tier[points.rows], np.maximum(users, share), users)
        return self._table(question, landscape).at(points.rows, points.tokens, points.sequences, users)


def eligible_rows(question: Question, landscape: Landscape) -> Integers:
    """Rows whose SKU, formats and refusals the question allows."""
    setting, rows = question.setting, landscape.rows
    if not len(rows):
        return rows
    skus = question.skus or {item.gpu.id for item in setting.gpus}
    formats = {item.quantization.id for item in setting.formats if item.accepted or "quality" not in question.active}
    keep = landscape.sku.within(skus) & landscape.quantization.within(formats)
    keep &= landscape.kv_dtype.within(kv_cache_dtypes(setting)) & landscape.matches(setting.request)
    for rule, refused in landscape.refused.items():
        if rule in question.active:
            keep &= ~refused
    return rows[keep]


def replicas_allowed(question: Question, landscape: Landscape, rows: Integers) -> Integers:
    """The most replicas of each row; 0 where not even one is allowed."""
    targets, gpus = question.setting.targets, landscape.gpus[rows]
    most = np.full(len(rows), UNLIMITED, dtype=np.int64)
    exact = targets.gpus if "gpu_count" in question.active else None
    if "gpu_count" in question.active:
        most = (targets.gpus or targets.max_gpus) // gpus
    if exact is not None:
        most = np.where(exact % gpus == 0, exact // gpus, 0)
    pinned = question.setting.request.replicas
    if pinned is not None:
        most = np.where((most >= pinned) & ((exact is None) | (most == pinned)), pinned, 0)
    limit = targets.max_hourly_cost
    if limit is not None and "budget" in question.active:
        price = landscape.microusd[rows]
        affordable = np.where(price < 0, 0, microusd(limit) // np.maximum(1, price * gpus))
        most = np.where(affordable >= most, most, affordable if exact is None and pinned is None else 0)
    return most


def widths(question: Question, landscape: Landscape) -> dict[int, NDArray[np.bool_]]:
    """Every max_num_batched_tokens that is tried, with the kinds of rows that try it."""
    setting = question.setting
    found: dict[int, NDArray[np.bool_]] = {}
    for index, (gpu, chunked) in enumerate(landscape.kinds):
        default = default_max_num_batched_tokens(
            setting.engine, gpu, chunked_prefill=chunked, max_model_len=setting.targets.target_context,
            max_num_seqs=None,
        )  # fmt: skip
        for tokens in token_grid(setting, default, chunked_prefill=chunked):
            found.setdefault(tokens, np.zeros(len(landscape.kinds), dtype=bool))[index] = True
    return dict(sorted(found.items()))


def fewest_points(question: Question, landscape: Landscape, rows: Integers) -> Points:
    """Per row and step width, the fewest sequences that the concurrency needs, where memory admits them."""
    setting, active = question.setting, question.active
    empty = np.empty(0, dtype=np.int64)
    if "context_length" in active and setting.targets.target_context > setting.model.max_model_len:
        rows = empty
    replicas = replicas_allowed(question, landscape, rows)
    rows, replicas = rows[replicas > 0], replicas[replicas > 0]
    least = np.ones(len(rows), dtype=np.int64)
    if "concurrency" in active:
        share = -(-setting.targets.concurrency // (replicas * landscape.data[rows]))
        least = np.maximum(1, share - landscape.parked(setting)[rows])
    pinned = setting.request.max_num_seqs
    if pinned is not None:
        rows, replicas, least = (column[least <= pinned] for column in (rows, replicas, least))
        least = np.full(len(rows), pinned, dtype=np.int64)
    found = [Points(landscape, empty, empty, empty, empty)]
    for tokens, kinds in widths(question, landscape).items():
        mine = kinds[landscape.kind[rows]] & (least <= tokens)
        if not mine.any():
            continue
        points = Points(landscape, rows[mine], np.full(int(mine.sum()), tokens), least[mine], replicas[mine])
        found.append(points.take(admitted(question, points)))
    return joined(found)


def admitted(question: Question, points: Points) -> NDArray[np.bool_]:
    """Which points (all of one step width) memory admits under the active rules."""
    if not {"memory_budget", "startup_headroom"} & question.active or not len(points):
        return np.ones(len(points), dtype=bool)
    setting, tokens = question.setting, int(points.tokens[0])
    targets = setting.targets
    mean = targets.mean_context if "concurrency" in question.active else 1
    demand = points.landscape.memory.demand(
        points.rows, tokens, points.sequences, (targets.target_context, mean),
        setting.request.max_gpu_memory_utilization, headroom="startup_headroom" in question.active,
    )  # fmt: skip
    return demand.fits if "memory_budget" in question.active else demand.available >= 0


def joined(parts: list[Points]) -> Points:
    """Points of one landscape in one piece."""
    return Points(
        parts[0].landscape,
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.sequences for part in parts]),
        np.concatenate([part.replicas for part in parts]),
    )


def most_sequences_tried(question: Question, points: Points) -> Integers:
    """The largest max_num_seqs that is tried, memory aside."""
    return np.minimum(points.tokens, question.setting.largest_batch)


def most_admitted(question: Question, points: Points) -> Integers:
    """The largest max_num_seqs of each point that memory admits; each point itself is admitted."""
    low, high = points.sequences.copy(), most_sequences_tried(question, points)
    while (open_ := low < high).any():
        index = np.flatnonzero(open_)
        middle = (low[index] + high[index] + 1) // 2
        probe = Points(points.landscape, points.rows[index], points.tokens[index], middle, points.replicas[index])
        fits = np.zeros(len(index), dtype=bool)
        for width in np.unique(probe.tokens).tolist():
            mine = np.flatnonzero(probe.tokens == width)
            fits[mine] = admitted(question, probe.take(mine))
        low[index] = np.where(fits, middle, low[index])
        high[index] = np.where(fits, high[index], middle - 1)
    return low


def within_limits(question: Question, points: Points, speed: Speed) -> NDArray[np.bool_]:
    """Which points meet the latency limits, compared as the rules do."""
    keep = np.ones(len(points), dtype=bool)
    for limit, value in ((question.limit("ttft"), speed.ttft_ms), (question.limit("tpot"), speed.tpot_ms)):
        if limit is not None:
            keep &= value <= limit
    floor = question.limit("throughput")
    if floor is not None:
        keep &= total_rate(points, speed) >= floor
    return keep


def total_rate(points: Points, speed: Speed) -> Numbers:
    """Output tokens per second of all replicas at the confidence asked."""
    return speed.rate * points.engines * speed.rate_factor


__all__ = [
    "ALL_RULES", "LATENCY_RULES", "Atlas", "LatencyRule", "Points", "Question", "admitted", "eligible_rows",
    "fewest_points", "joined", "most_admitted", "total_rate", "within_limits",
]  # fmt: skip
