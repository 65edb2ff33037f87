"""How far one number of a request must move before the request becomes feasible, all else held: exact thresholds.

Feasibility is monotone in each of these numbers (a longer context, more sequences, fewer GPUs, a tighter limit never
make anything possible), so each threshold is found by bisection over the layouts that are still in play.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from vllm_opt.optimizer.questions.points import feasible_points, is_feasible
from vllm_opt.optimizer.questions.pools import Integers
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.space.default_limits import Bends, least_context
from vllm_opt.optimizer.space.local_machine import within_machine
from vllm_opt.optimizer.space.setting import SolveSetting, lengths_of, targets_of, with_images

MOST_GPUS = 1024
"""GPUs beyond which no larger number is suggested."""
CONTEXT_STEP = 16
CENTS = 100
MOST_CENTS = 10**9
NEAREST_EXACT = 64
"""How far from an exact number of GPUs others are tried."""


def with_numbers(setting: SolveSetting, **changes: Any) -> SolveSetting:
    """The setting of the same request with some of its numbers changed.

    Raises:
        InvalidRequest: the numbers contradict each other.
    """
    request = setting.request.replaced(**changes)
    bends = without_bends(setting.bends, changes)
    context = bends.target_context or request.target_context
    lengths = with_images(lengths_of(request, bends), context, setting.model, request)
    targets = within_machine(targets_of(request, bends, lengths), request, setting.machine_gpus)
    return replace(setting, request=request, targets=targets, lengths=lengths, bends=bends)


def without_bends(bends: Bends, changes: dict[str, Any]) -> Bends:
    """What is changed is asked from now on, so it no longer bends."""
    return replace(
        bends,
        target_context=None if "target_context" in changes else bends.target_context,
        concurrency=None if "concurrency" in changes else bends.concurrency,
    )


def changed(question: Question, **changes: Any) -> Question:
    """The same question about changed numbers."""
    return replace(question, setting=with_numbers(question.setting, **changes))


def nearest(atlas: Atlas, ask: Callable[[int], Question], good: int, bad: int) -> int:
    """Return the feasible value nearest to `bad`, between a feasible `good` and an infeasible `bad`.

    Layouts that fail at a value fail at every value nearer to `bad` as well, so each probe looks only at the rest.
    """
    within: dict[int, Integers] | None = None
    while abs(bad - good) > 1:
        middle = (good + bad) // 2
        rows = _feasible_rows(atlas, ask(middle), within)
        if rows:
            good, within = middle, rows
        else:
            bad = middle
    return good


def first_feasible(atlas: Atlas, ask: Callable[[int], Question], asked: int, least: int) -> int | None:
    """The first feasible value of asked / 2, asked / 4 … down to `least`; None when even that fails."""
    value = asked
    if value > least and not is_feasible(atlas, ask(least)):
        return None
    while value > least:
        value = max(least, value // 2)
        if is_feasible(atlas, ask(value)):
            return value
    return None


def first_feasible_above(atlas: Atlas, ask: Callable[[int], Question], asked: int, most: int) -> int | None:
    """The first feasible value of 2 x asked, 4 x asked … up to `most`; None when even that fails."""
    value = max(1, asked)
    if value < most and not is_feasible(atlas, ask(most)):
        return None
    while value < most:
        value = min(most, value * 2)
        if is_feasible(atlas, ask(value)):
            return value
    return None


def largest_below(atlas: Atlas, ask: Callable[[int], Question], asked: int, least: int) -> int | None:
    """The largest feasible value below an infeasible `asked`; None when `least` is infeasible too."""
    good = first_feasible(atlas, ask, asked, least)
    if good is None:
        return None
    return nearest(atlas, ask, good, min(asked, 2 * good + 1))


def smallest_above(atlas: Atlas, ask: Callable[[int], Question], asked: int, most: int) -> int | None:
    """The smallest feasible value above an infeasible `asked`; None when `most` is infeasible too."""
    good = first_feasible_above(atlas, ask, asked, most)
    if good is None:
        return None
    return nearest(atlas, ask, good, max(asked, good // 2))


def largest_concurrency(atlas: Atlas, question: Question) -> int | None:
    """Sequences that fit when everything else holds."""
    return largest_below(
        atlas, lambda value: changed(question, concurrency=value), question.setting.targets.concurrency, 1
    )


def highest_rate(atlas: Atlas, question: Question) -> float | None:
    """The highest rate of random arrivals, in hundredths of the one asked, when everything else holds."""
    asked = question.setting.targets.requests_per_s
    if asked is None:
        return None

    def rate(hundredths: int) -> float:
        return float(f"{asked * hundredths / 100:.6g}")

    found = largest_below(atlas, lambda value: changed(question, requests_per_s=rate(value)), 100, 1)
    return None if found is None else rate(found)


def largest_context(atlas: Atlas, question: Question, field: str = "target_context") -> int | None:
    """The longest context (or mean context) that fits when everything else holds, a multiple of 16 tokens."""
    setting = question.setting
    asked = getattr(setting.targets, field)
    least = CONTEXT_STEP
    if field == "target_context":
        least = max(least_context(setting.request, setting.model), setting.request.mean_context or 1, CONTEXT_STEP)
    steps = largest_below(
        atlas,
        lambda value: changed(question, **{field: value * CONTEXT_STEP}),
        -(-asked // CONTEXT_STEP),
        -(-least // CONTEXT_STEP),
    )
    return None if steps is None else steps * CONTEXT_STEP


def fewest_gpus(atlas: Atlas, question: Question) -> int | None:
    """GPUs that suffice when everything else holds, an exact number asked for taken as a ceiling."""
    targets = question.setting.targets
    asked = targets.gpus or targets.max_gpus

    def ask(value: int) -> Question:
        return changed(question, gpus=None, max_gpus=value)

    if targets.gpus is not None and is_feasible(atlas, ask(asked)):
        return asked
    return smallest_above(atlas, ask, asked, MOST_GPUS)


def nearest_exact_gpus(atlas: Atlas, question: Question) -> int | None:
    """The feasible number of GPUs that is nearest to the exact number asked for; the larger one of two as near."""
    asked = question.setting.targets.gpus
    if asked is None:
        return None
    most = question.setting.machine_gpus or MOST_GPUS
    for distance in range(1, max(asked, NEAREST_EXACT) + 1):
        for value in (asked + distance, asked - distance):
            if 1 <= value <= most and is_feasible(atlas, changed(question, gpus=value, max_gpus=None)):
                return value
    return None


def lowest_cost(atlas: Atlas, question: Question) -> float | None:
    """USD per hour that suffice when everything else holds, in whole cents."""
    limit = question.setting.targets.max_hourly_cost
    if limit is None:
        return None
    cents = smallest_above(
        atlas,
        lambda value: changed(question, max_hourly_cost=value / CENTS),
        int(limit * CENTS),
        MOST_CENTS,
    )
    return None if cents is None else cents / CENTS


def _feasible_rows(atlas: Atlas, question: Question, within: dict[int, Integers] | None) -> dict[int, Integers]:
    """The rows with any feasible point, per landscape; empty when there is none."""
    found: dict[int, list[Integers]] = {}
    for points in feasible_points(atlas, question, within=within):
        if len(points):
            found.setdefault(id(points.landscape), []).append(points.rows)
    return {landscape: np.unique(np.concatenate(rows)) for landscape, rows in found.items()}
