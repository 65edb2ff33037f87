"""Answers to questions: the feasible points, found with as few predictions as the limits allow."""

from collections.abc import Iterator
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.questions.landscape import Landscape
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
    points_by_width,
    total_rate,
    within_limits,
)
from vllm_opt.optimizer.questions.speed_table import Numbers
from vllm_opt.optimizer.space.points import CAPTURED, slot_grid

CHUNK = 4096
"""points that are looked at together"""
SOONEST = (64, 512, CHUNK)
"""the same where one feasible point is enough"""
POINTS_PER_STEP = 256
PAIRS_PER_CHUNK = 128
OF_EACH_SKU = (4, 32, 256)
"""points of each SKU that are looked at together, where one of each is enough"""
COARSE = 4
RATE_SLACK = 1.1
"""How much more a batch may deliver than its coarse neighbours: throughput rises, then stays or falls slowly."""


def is_feasible(atlas: Atlas, question: Question) -> bool:
    """Whether any point satisfies the question."""
    return any(_any_on(atlas, question, landscape) for landscape in atlas.landscapes(question))


def _any_on(atlas: Atlas, question: Question, landscape: Landscape) -> bool:
    """Whether a landscape has a feasible point: width by width, the most promising points first."""
    known = atlas.answers.of(question, landscape)
    if known is None:
        rows = eligible_rows(question, landscape)
        every = points_by_width(question, landscape, rows, distinct=_speed_decides(question))
        known = any(len(points) for of_width in every for points in _soonest(atlas, question, of_width))
        atlas.answers.learn(question, landscape, known=known)
    return known


def _speed_decides(question: Question) -> bool:
    """Whether points that memory admits and that are alike in speed are all feasible or none: not where larger batches
    are tried, as far as memory admits them."""
    if question.setting.demand.arrivals == "poisson":
        return False
    return question.setting.load_is_asked(question.active) or question.limit("throughput") is None


def feasible_skus(atlas: Atlas, question: Question) -> frozenset[str]:
    """The SKUs on which some point satisfies the question, all asked together."""
    setting, active = question.setting, question.active
    asked = question.skus or frozenset(item.gpu.id for item in setting.gpus)
    found: set[str] = set()
    for landscape in atlas.landscapes(question):
        each = {name: Question(setting, active, frozenset((name,))) for name in asked - found}
        known = {name: atlas.answers.of(one, landscape) for name, one in each.items()}
        open_ = frozenset(name for name, answer in known.items() if answer is None)
        reached = _reached_on(atlas, Question(setting, active, open_), landscape) if open_ else set()
        for name in open_:
            atlas.answers.learn(each[name], landscape, known=name in reached)
        found |= reached | {name for name, answer in known.items() if answer}
        if len(found) == len(asked):
            break
    return frozenset(found)


def feasible_points(atlas: Atlas, question: Question, *, within: dict[int, Integers] | None = None) -> Iterator[Points]:
    """Yield feasible points in pieces; speeds are filled in where a latency rule is asked.

    Larger batches than the fewest needed are looked at only where the load is free and a throughput floor holds.
    `within`: rows to look at, per landscape (by its id).
    """
    for landscape in atlas.landscapes(question):
        rows = eligible_rows(question, landscape)
        if within is not None:
            rows = np.intersect1d(rows, within.get(id(landscape), rows[:0]), assume_unique=True)
        points = atlas.promising(question, fewest_points(question, landscape, rows))
        timed = any(question.limit(rule) is not None for rule in LATENCY_RULES)
        yield from _in_chunks(atlas, question, points) if timed else (points,)


def _in_chunks(
    atlas: Atlas, question: Question, points: Points, chunks: tuple[int, ...] = (CHUNK,)
) -> Iterator[Points]:
    """What is feasible of some points, so many of them at a time."""
    start, sizes = 0, chain(chunks, repeat(chunks[-1]))
    while start < len(points):
        piece = points.take(np.arange(start, min(start + next(sizes), len(points))))
        start += len(piece)
        yield from _judged(atlas, question, piece)


def _soonest(atlas: Atlas, question: Question, points: Points) -> Iterator[Points]:
    """What is feasible of some points, the most promising ones first and few at a time."""
    points = atlas.promising(question, points)
    if len(points) > SOONEST[0]:
        points = points.take(np.argsort(atlas.nearness(question, points), kind="stable"))
    return _in_chunks(atlas, question, points, SOONEST)


def _reached_on(atlas: Atlas, question: Question, landscape: Landscape) -> set[str]:
    """The SKUs that have a feasible point in one landscape: a few points of each at first, the most promising ones."""
    rows = eligible_rows(question, landscape)
    points = fewest_points(question, landscape, rows, distinct=_speed_decides(question))
    points = atlas.promising(question, points)
    points = points.take(np.argsort(atlas.nearness(question, points), kind="stable"))
    found: set[str] = set()
    for size in (*OF_EACH_SKU, len(points)):
        rank = landscape.sku.rank(points.rows)
        piece, points = points.take(np.flatnonzero(rank < size)), points.take(np.flatnonzero(rank >= size))
        for feasible in _in_chunks(atlas, question, piece):
            found |= landscape.sku.of(feasible.rows)
        points = points.take(np.flatnonzero(~landscape.sku.within(found)[points.rows]))
    return found


def _judged(atlas: Atlas, question: Question, points: Points) -> Iterator[Points]:
    """What the latency limits leave of some points, and where the load is free of their larger batches, in pieces."""
    if all(question.limit(rule) is None for rule in LATENCY_RULES):
        yield points
    elif question.setting.demand.arrivals == "poisson":
        yield from with_slots(atlas, question, points)
    elif question.limit("throughput") is not None and not question.setting.load_is_asked(question.active):
        yield from with_batches(atlas, question, points)
    else:
        yield timely(atlas, question, points)


def timely(atlas: Atlas, question: Question, points: Points, *, rates: bool = False) -> Points:
    """The points that meet the latency limits, with their speeds."""
    points = atlas.hopeful(question, points)
    speed = atlas.speeds(question.without("throughput"), points)
    index = np.flatnonzero(within_limits(question.without("throughput"), points, speed))
    kept, speed = points.take(index), speed.take(index)
    if rates or question.limit("throughput") is not None:
        speed = atlas.speeds(question, kept, rates=rates)
        index = np.flatnonzero(within_limits(question, kept, speed))
        kept, speed = kept.take(index), speed.take(index)
    return Points(kept.landscape, kept.rows, kept.tokens, kept.sequences, kept.replicas, speed)


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
    distinct = _speed_decides(question) and (rule != "throughput" or question.setting.load_is_asked(question.active))
    for landscape in atlas.landscapes(question):
        rows = eligible_rows(question, landscape)
        points = atlas.promising(question, fewest_points(question, landscape, rows, distinct=distinct))
        if not len(points):
            continue
        bounds = sign * atlas.bounds(question, points, rule)
        order = np.argsort(bounds, kind="stable")
        for start in range(0, len(order), POINTS_PER_STEP):
            index = order[start : start + POINTS_PER_STEP]
            if bounds[index[0]] >= best:
                break
            nearest = points.take(index)
            if np.isfinite(best) and question.setting.load_is_asked(question.active):
                nearest = atlas.hopeful_of(question, nearest, rule, sign * best)
            for piece in _pieces(atlas, question, nearest, rule, best):
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
