"""Questions about feasibility: is there any point when these rules hold with these numbers, and which?

The points are those of `Search`: the same widths of a step, the fewest sequences that the replicas need, and, where a
throughput floor makes larger batches matter, the same grid of batches. More replicas never hurt, so each layout is
asked with the most that the limits allow.
"""

import math
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.questions.answers import Answers
from vllm_opt.optimizer.questions.landscape import Landscape, Part, TimeIsUp, storage_key
from vllm_opt.optimizer.questions.pools import Integers
from vllm_opt.optimizer.questions.question import ALL_RULES, LATENCY_RULES, LatencyRule, Points, Question
from vllm_opt.optimizer.questions.rows import accepted_storage, eligible_rows, replicas_allowed, widths
from vllm_opt.optimizer.questions.speed_table import Numbers, Speed, SpeedTable
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import SolveSetting

LARGEST_AMOUNT = 2**62
"""Millionths of a dollar that an array holds: no budget above it tells two fleets apart."""


class Atlas:
    """The landscapes of one setting, built as they are needed, and the points that answer questions.

    After the deadline (`time.monotonic`) every question raises TimeIsUp.
    """

    def __init__(
        self, setting: SolveSetting, physics: LayoutPhysics | None = None, *, deadline: float = math.inf
    ) -> None:
        self.deadline = deadline
        self.answers = Answers()
        self._setting = setting
        self._physics = physics or LayoutPhysics(setting)
        self._landscapes: dict[Part, Landscape] = {}
        self._speeds: dict[tuple[object, ...], SpeedTable] = {}
        self._accepted = accepted_storage(setting)
        self._stored: dict[tuple[object, ...], tuple[SolveSetting, bool]] = {}

    def of(self, setting: SolveSetting) -> "Atlas":
        """The atlas of a changed setting of the same model and release, which shares what their layouts have alike."""
        return Atlas(setting, LayoutPhysics(setting, self._physics.shared), deadline=self.deadline)

    @property
    def layouts(self) -> int:
        """Layouts looked at so far, with CUDA graphs and without."""
        return sum(len(landscape.rows) for landscape in self._landscapes.values())

    def landscapes(self, question: Question) -> Iterator[Landscape]:
        """The parts that a question reaches, the cheapest first."""
        parts: list[Part] = ["candidates"]
        if "quality" not in question.active or not self._stores_as_well(question.setting):
            parts.append("rejected")
        if not {"compatibility", "divisibility"} <= question.active:
            parts.append("refused")
        if "memory_budget" not in question.active:
            parts.append("oversized")
        for part in parts:
            self._check_time()
            if part not in self._landscapes:
                self._landscapes[part] = Landscape(self._setting, self._physics, part, self._check_time)
            yield self._landscapes[part]

    def _stores_as_well(self, setting: SolveSetting) -> bool:
        """Whether a changed setting accepts no weights and caches that the first one does not."""
        key = storage_key(setting)
        if key not in self._stored:
            self._stored[key] = setting, accepted_storage(setting) <= self._accepted
        return self._stored[key][1]

    def _check_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise TimeIsUp

    def bounds(self, question: Question, points: Points, rule: LatencyRule, *, whatever_fits: bool = False) -> Numbers:
        """What no batch of each point can beat: lowest TTFT or TPOT, highest output rate of all replicas.

        `whatever_fits`: of batches that memory does not admit either, which is quicker.
        """
        most = most_sequences_tried(question, points) if whatever_fits else points.tokens
        if rule == "throughput" and not whatever_fits:
            asked = question.setting.load_is_asked(question.active)
            most = points.sequences if asked else most_admitted(question, points)
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
                if rule == "throughput" and not question.setting.load_is_asked(question.active):
                    loose = self.bounds(question, points, rule, whatever_fits=True)
                    points = points.take(np.flatnonzero(loose >= limit))
                bounds = sign * self.bounds(question, points, rule)
                points = points.take(np.flatnonzero(bounds <= sign * limit))
        return points

    def nearness(self, question: Question, points: Points) -> Numbers:
        """How near each point may come to the limit that is hardest for it: least is most promising."""
        hardest = np.zeros(len(points))
        for rule in LATENCY_RULES:
            limit = question.limit(rule)
            if limit:
                loose = rule == "throughput" and not question.setting.load_is_asked(question.active)
                bounds = np.maximum(self.bounds(question, points, rule, whatever_fits=loose), 1e-300)
                hardest = np.maximum(hardest, limit / bounds if rule == "throughput" else bounds / limit)
        return hardest

    def hopeful(self, question: Question, points: Points) -> Points:
        """The points that may meet the latency limits, by bounds close to what is predicted."""
        for rule in LATENCY_RULES:
            limit = question.limit(rule)
            if limit is not None:
                points = self.hopeful_of(question, points, rule, limit)
        return points

    def hopeful_of(self, question: Question, points: Points, rule: LatencyRule, limit: float) -> Points:
        """The points that may come to a value of one latency rule; all of them where bounds do not know."""
        if not len(points):
            return points
        users = points.sequences.astype(np.float64)
        if question.setting.load_is_asked(question.active):
            users = question.setting.targets.concurrency / points.engines
            users = users if rule == "throughput" else np.ceil(users)
        bounds = self._table(question, points.landscape).brackets(points.rows, points.tokens, users)
        if bounds is None:
            return points
        if rule == "throughput":
            return points.take(np.flatnonzero(bounds.rate * points.engines >= limit))
        return points.take(np.flatnonzero((bounds.ttft_ms if rule == "ttft" else bounds.tpot_ms) <= limit))

    def _table(self, question: Question, landscape: Landscape) -> SpeedTable:
        request = question.setting.request
        traffic = request.ttft_percentile, request.tpot_percentile, request.requests_per_s, request.arrivals
        key = (id(landscape), question.setting.lengths, request.hit_share, request.confidence, traffic)
        if key not in self._speeds:
            self._speeds[key] = SpeedTable(landscape, question.setting)
        return self._speeds[key]

    def speeds(self, question: Question, points: Points, *, rates: bool = False) -> Speed:
        """Predicted speeds of points; `rates`: output rates matter although no floor is asked."""
        table = self._table(question, points.landscape)
        if question.setting.demand.arrivals == "poisson":
            return table.under_rate(points.rows, points.tokens, points.sequences, points.engines)
        if not question.setting.load_is_asked(question.active):
            return table.at(points.rows, points.tokens, points.sequences)
        average = question.setting.targets.concurrency / points.engines
        fullest = np.ceil(average).astype(np.int64)
        speed = table.at(points.rows, points.tokens, fullest)
        uneven = np.flatnonzero(average != fullest)
        if (rates or question.limit("throughput") is not None) and len(uneven):
            speed.rate[uneven] = table.rates(points.rows[uneven], points.tokens[uneven], average[uneven])
        return speed


def fewest_points(question: Question, landscape: Landscape, rows: Integers, *, distinct: bool = False) -> Points:
    """Per row and step width, the fewest sequences that the concurrency needs, where memory admits them; with
    `distinct` only the first of those that no speed tells apart."""
    empty = np.empty(0, dtype=np.int64)
    parts = points_by_width(question, landscape, rows, distinct=distinct)
    return joined([Points(landscape, empty, empty, empty, empty), *parts])


def points_by_width(
    question: Question, landscape: Landscape, rows: Integers, *, distinct: bool = False
) -> Iterator[Points]:
    """`fewest_points` of one step width after another."""
    setting, active = question.setting, question.active
    if "context_length" in active and setting.targets.target_context > setting.model.max_model_len:
        return
    replicas = replicas_allowed(question, landscape, rows)
    rows, replicas = rows[replicas > 0], replicas[replicas > 0]
    least = np.full(len(rows), setting.request.max_num_seqs or 1, dtype=np.int64)
    if "concurrency" in active:
        least = fewest_admitted(setting, replicas * landscape.data[rows])
    for tokens, kinds in widths(question, landscape).items():
        mine = kinds[landscape.kind[rows]] & (least <= min(tokens, setting.largest_batch))
        if not mine.any():
            continue
        points = Points(landscape, rows[mine], np.full(int(mine.sum()), tokens), least[mine], replicas[mine])
        points = points.take(admitted(question, points))
        yield points.take(_first_alike(question, points)) if distinct else points


def _first_alike(question: Question, points: Points) -> Integers:
    """The first of the points of one width that no speed tells apart: such rows have the same replicas too."""
    alike = points.landscape.alike(hits=question.setting.request.hit_share > 0)[points.rows]
    order, first = np.arange(len(alike)), np.zeros(len(points.landscape.rows), dtype=np.int64)
    first[alike[::-1]] = order[::-1]
    return np.flatnonzero(first[alike] == order)


def fewest_admitted(setting: SolveSetting, engines: Integers) -> Integers:
    """`Targets.sequences_admitted`, one entry per number of engines."""
    counts, position = np.unique(engines, return_inverse=True)
    pinned = setting.request.max_num_seqs or 1
    known = np.array([max(pinned, setting.targets.sequences_admitted(count)) for count in counts.tolist()])
    found: Integers = known.astype(np.int64)[position]
    return found


def admitted(question: Question, points: Points) -> NDArray[np.bool_]:
    """Which points (all of one step width) memory admits under the active rules."""
    if not {"memory_budget", "startup_headroom"} & question.active or not len(points):
        return np.ones(len(points), dtype=bool)
    setting, tokens = question.setting, int(points.tokens[0])
    targets = setting.targets
    held = targets if "concurrency" in question.active else None
    demand = points.landscape.memory.demand(
        points.rows, tokens, points.sequences, targets.target_context, held,
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
    "ALL_RULES", "LATENCY_RULES", "Atlas", "LatencyRule", "Points", "Question", "TimeIsUp", "admitted", "eligible_rows",
    "fewest_points", "joined", "most_admitted", "points_by_width", "total_rate", "within_limits",
]  # fmt: skip
