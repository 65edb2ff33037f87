"""Answers to questions: the feasible points, found with as few predictions as the limits allow."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.questions.pools import Integers
from vllm_opt.optimizer.questions.question import LATENCY_RULES
from vllm_opt.optimizer.questions.questions import (
    Atlas,
    LatencyRule,
    Points,
    Question,
    eligible_rows,
    fewest_points,
    joined,
    most_admitted,
    total_rate,
    within_limits,
)
from vllm_opt.optimizer.questions.speed_table import Numbers
from vllm_opt.optimizer.space.points import CAPTURED, slot_grid

CHUNK = 4096
POINTS_PER_STEP = 256
PAIRS_PER_CHUNK = 128
COARSE = 4
RATE_SLACK = 1.1
"""How much more a batch may deliver than its coarse neighbours: throughput rises, then stays or falls slowly."""


def is_feasible(atlas: Atlas, question: Question) -> bool:
    """Whether any point satisfies the question."""
    return any(len(points) for points in feasible_points(atlas, question))


def feasible_skus(atlas: Atlas, question: Question) -> frozenset[str]:
    """The SKUs on which some point satisfies the question."""
    names = (item.gpu.id for item in question.setting.gpus)
    return frozenset(
        name for name in names if is_feasible(atlas, Question(question.setting, question.active, frozenset((name,))))
    )


def feasible_points(atlas: Atlas, question: Question, *, within: dict[int, Integers] | None = None) -> Iterator[Points]:
    """Yield feasible points in pieces; speeds are filled in where a latency rule is asked.

    Larger batches than the fewest needed are looked at only where the load is free and a throughput floor holds.
    `within`: rows to look at, per landscape (by its id).
    """
    batches = question.limit("throughput") is not None and not question.setting.load_is_asked(question.active)
    timed = any(question.limit(rule) is not None for rule in LATENCY_RULES)
    for landscape in atlas.landscapes(question):
        rows = eligible_rows(question, landscape)
        if within is not None:
            rows = np.intersect1d(rows, within.get(id(landscape), rows[:0]), assume_unique=True)
        points = atlas.promising(question, fewest_points(question, landscape, rows))
        if not timed:
            yield points
            continue
        for start in range(0, len(points), CHUNK):
            piece = points.take(np.arange(start, min(start + CHUNK, len(points))))
            if question.setting.demand.arrivals == "poisson":
                yield from with_slots(atlas, question, piece)
            elif batches:
                yield from with_batches(atlas, question, piece)
            else:
                yield timely(atlas, question, piece)


def timely(atlas: Atlas, question: Question, points: Points, *, rates: bool = False) -> Points:
    """The points that meet the latency limits, with their speeds."""
    keep = within_limits(question, points, atlas.speeds(question, points))
    kept = points.take(np.flatnonzero(keep))
    speeds = atlas.speeds(question, kept, rates=rates)
    return Points(kept.landscape, kept.rows, kept.tokens, kept.sequences, kept.replicas, speeds)


def with_slots(atlas: Atlas, question: Question, points: Points) -> Iterator[Points]:
    """Feasible points over every number of slots that is tried for random arrivals."""
    if not len(points):
        return
    most = most_admitted(question, points)
    for start in range(0, len(points), PAIRS_PER_CHUNK):
        index = np.arange(start, min(start + PAIRS_PER_CHUNK, len(points)))
        pairs, largest = points.take(index), most[index]
        sizes = [slot_grid(*pair) for pair in zip(pairs.sequences.tolist(), largest.tolist(), strict=True)]
        owned = pairs.take(np.repeat(np.arange(len(pairs)), [len(values) for values in sizes]))
        slots = np.array([size for values in sizes for size in values], dtype=np.int64)
        yield timely(atlas, question, Points(owned.landscape, owned.rows, owned.tokens, slots, owned.replicas))


def with_batches(atlas: Atlas, question: Question, points: Points, least_rate: float = 0.0) -> Iterator[Points]:
    """Feasible points over the whole grid of batches, the most promising layouts first.

    Layouts that cannot reach `least_rate` output tokens per second are left out.
    """
    points = timely(atlas, question.without("throughput"), points)
    if not len(points):
        return
    floor = max(least_rate, question.limit("throughput") or 0.0)
    most = most_admitted(question, points)
    potential = RATE_SLACK * _coarse_rates(atlas, question, points, most)
    order = np.argsort(-potential, kind="stable")
    order = order[potential[order] >= floor]
    for start in range(0, len(order), PAIRS_PER_CHUNK):
        index = order[start : start + PAIRS_PER_CHUNK]
        pairs = points.take(index)
        grid, owner = batch_grid(pairs, most[index])
        refined = refined_batches(atlas, question, pairs, grid, owner)
        yield timely(atlas, question, joined([grid, refined]))


def _coarse_rates(atlas: Atlas, question: Question, points: Points, most: Integers) -> Numbers:
    """The highest rate of each point at its largest batch and at halves, quarters … of it, latency aside."""
    best = np.zeros(len(points))
    sizes = most.copy()
    while True:
        probe = Points(points.landscape, points.rows, points.tokens, sizes, points.replicas)
        best = np.maximum(best, total_rate(probe, atlas.speeds(question, probe)))
        if (sizes <= points.sequences).all():
            return best
        sizes = np.maximum(points.sequences, sizes // COARSE)


def batch_grid(pairs: Points, most: Integers) -> tuple[Points, Integers]:
    """Every batch that is tried between the fewest sequences and the most, and which pair each belongs to."""
    captured = np.array(CAPTURED, dtype=np.int64)
    sizes = [
        np.unique(np.concatenate([[least], captured[(captured > least) & (captured < largest)], [largest]]))
        for least, largest in zip(pairs.sequences.tolist(), most.tolist(), strict=True)
    ]
    owner = np.repeat(np.arange(len(pairs)), [len(values) for values in sizes])
    taken = pairs.take(owner)
    sequences = np.concatenate(sizes).astype(np.int64)
    return Points(taken.landscape, taken.rows, taken.tokens, sequences, taken.replicas), owner


def refined_batches(atlas: Atlas, question: Question, pairs: Points, grid: Points, owner: Integers) -> Points:
    """The largest batch of each pair under the TTFT and TPOT limits, where it lies between two points of the grid."""
    if question.setting.request.needs_queueing:
        return pairs.take(np.arange(0))
    upper = question.without("throughput")
    holds = within_limits(upper, grid, atlas.speeds(question, grid))
    low, high = _last_and_next(grid.sequences, holds, owner, len(pairs))
    while (open_ := (high - low) > 1).any():
        index = np.flatnonzero(open_)
        middle = (low[index] + high[index]) // 2
        probe = Points(pairs.landscape, pairs.rows[index], pairs.tokens[index], middle, pairs.replicas[index])
        ok = within_limits(upper, probe, atlas.speeds(question, probe))
        low[index] = np.where(ok, middle, low[index])
        high[index] = np.where(ok, high[index], middle)
    return Points(pairs.landscape, pairs.rows, pairs.tokens, low, pairs.replicas)


def _last_and_next(
    sequences: Integers, holds: NDArray[np.bool_], owner: Integers, pairs: int
) -> tuple[Integers, Integers]:
    """Per pair, the last batch of its grid that holds and the one after it (itself when all hold)."""
    low, high = np.zeros(pairs, dtype=np.int64), np.zeros(pairs, dtype=np.int64)
    for pair in range(pairs):
        mine, held = sequences[owner == pair], holds[owner == pair]
        last = int(np.flatnonzero(held)[-1])
        low[pair], high[pair] = mine[last], mine[min(last + 1, len(mine) - 1)]
    return low, high


def extreme(atlas: Atlas, question: Question, rule: LatencyRule) -> tuple[float, Points] | None:
    """The best value that any feasible point reaches when `rule` is not asked, and that point; None without a point.

    Lowest TTFT or TPOT in ms, highest output rate in tokens per second, at the confidence asked. Layouts are visited
    in the order of their bounds, until no bound beats what was found.
    """
    question = question.without(rule)
    sign = -1.0 if rule == "throughput" else 1.0
    best, at = np.inf, None
    for landscape in atlas.landscapes(question):
        points = atlas.promising(question, fewest_points(question, landscape, eligible_rows(question, landscape)))
        if not len(points):
            continue
        bounds = sign * atlas.bounds(question, points, rule)
        order = np.argsort(bounds, kind="stable")
        for start in range(0, len(order), POINTS_PER_STEP):
            index = order[start : start + POINTS_PER_STEP]
            if bounds[index[0]] >= best:
                break
            for piece in _pieces(atlas, question, points.take(index), rule, best):
                if not len(piece):
                    continue
                values = sign * value_of(piece, rule)
                if values.min() < best:
                    best, at = float(values.min()), piece.take(np.array([int(values.argmin())]))
    return None if at is None else (sign * best, at)


def _pieces(atlas: Atlas, question: Question, points: Points, rule: LatencyRule, best: float) -> Iterator[Points]:
    if question.setting.demand.arrivals == "poisson":
        return with_slots(atlas, question, points)
    if question.setting.load_is_asked(question.active):
        return iter((timely(atlas, question, points, rates=rule == "throughput"),))
    if rule == "throughput":
        return with_batches(atlas, question, points, least_rate=max(0.0, -best) if np.isfinite(best) else 0.0)
    if question.limit("throughput") is not None:
        return with_batches(atlas, question, points)
    return iter((timely(atlas, question, points),))


def value_of(points: Points, rule: LatencyRule) -> Numbers:
    """What a latency rule compares, for points that carry speeds."""
    if points.speed is None:
        raise ValueError("the points carry no speeds")
    if rule == "throughput":
        return total_rate(points, points.speed)
    return points.speed.ttft_ms if rule == "ttft" else points.speed.tpot_ms
