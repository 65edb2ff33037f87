"""The smallest change of one number (or one choice) that alone makes a request feasible; pairs when none does.

Each is exact up to the rounding that keeps it feasible, and each is made into a plan that every rule accepts before it
is returned.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from vllm_opt.optimizer.contract.answer import Relaxation
from vllm_opt.optimizer.explanation.choices import choices
from vllm_opt.optimizer.explanation.pins import without_pins
from vllm_opt.optimizer.explanation.wording import relaxation_words
from vllm_opt.optimizer.questions.points import extreme, is_feasible
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.questions.thresholds import (
    CONTEXT_STEP,
    changed,
    fewest_gpus,
    highest_rate,
    largest_concurrency,
    largest_context,
    lowest_cost,
    nearest_exact_gpus,
)
from vllm_opt.optimizer.questions.utilization_threshold import lowest_utilization
from vllm_opt.optimizer.questions.witness import witness
from vllm_opt.profiles.catalogues.catalog import Catalog


@dataclass(frozen=True)
class Change:
    """New values of request fields, and how much is asked: the sum of |ln(to / from)|, or a fixed amount."""

    fields: dict[str, Any]
    asks: float


Threshold = Callable[[Atlas, Question], float | int | None]


def _upper(rule: str, places: float) -> Threshold:
    """The lowest limit on TTFT or TPOT that can be met, rounded up."""

    def threshold(atlas: Atlas, question: Question) -> float | None:
        reached = extreme(atlas, question, rule)  # type: ignore[arg-type]
        return None if reached is None else round(math.ceil(reached[0] / places) * places, 3)

    return threshold


def _throughput(atlas: Atlas, question: Question) -> float | None:
    """The highest throughput that can be reached, rounded down to three digits at least."""
    reached = extreme(atlas, question, "throughput")
    if reached is None or reached[0] <= 0:
        return None
    step = 10.0 ** (math.floor(math.log10(reached[0])) - 3)
    return round(math.floor(reached[0] / step) * step, 6)


NUMBERS: dict[str, tuple[str | None, Threshold]] = {
    "target_context": (None, largest_context),
    "mean_context": (None, lambda atlas, question: largest_context(atlas, question, "mean_context")),
    "concurrency": (None, largest_concurrency),
    "max_ttft_ms": ("ttft", _upper("ttft", 0.1)),
    "max_tpot_ms": ("tpot", _upper("tpot", 0.1)),
    "min_output_tokens_per_s": ("throughput", _throughput),
    "requests_per_s": (None, highest_rate),
    "max_gpus": ("gpu_count", fewest_gpus),
    "gpus": ("gpu_count", nearest_exact_gpus),
    "max_hourly_cost": ("budget", lowest_cost),
    "max_gpu_memory_utilization": (None, lowest_utilization),
}
"""Per field, the rule that it alone can satisfy (None: several), and its threshold."""


def fields_of(question: Question) -> tuple[str, ...]:
    """The numbers that this request has and that a change could relax."""
    targets = question.setting.targets
    absent = {
        "max_ttft_ms": targets.max_ttft_ms,
        "max_tpot_ms": targets.max_tpot_ms,
        "requests_per_s": targets.requests_per_s,
        "concurrency": None if targets.requests_per_s is not None and targets.concurrency == 1 else targets.concurrency,
        "min_output_tokens_per_s": None if targets.requests_per_s is not None else targets.min_output_tokens_per_s,
        "max_hourly_cost": targets.max_hourly_cost,
        "gpus": targets.gpus,
        "max_gpus": None if targets.gpus is not None or question.setting.machine_gpus else targets.max_gpus,
    }
    return tuple(name for name in NUMBERS if absent.get(name, 0) is not None)


def relaxations(atlas: Atlas, question: Question, catalog: Catalog) -> tuple[Relaxation, ...]:
    """Every single change that suffices, the least first; else the best pair."""
    found = [
        *number_changes(atlas, question),
        *(Change(dict(fields), asks) for fields, asks in choices(atlas, question, catalog)),
        *(Change(dict(fields), asks) for fields, asks in without_pins(atlas, question)),
    ]
    if not found:
        found = _best_pair(atlas, question)
    ordered = sorted(found, key=lambda change: (change.asks, sorted(change.fields)))
    return tuple(_told(question, change) for change in ordered)


def number_changes(atlas: Atlas, question: Question, without: tuple[str, ...] = ()) -> Iterator[Change]:
    """The smallest change of each number that alone suffices; fields in `without` are left as they are."""
    for field in fields_of(question):
        change = None if field in without else _change(atlas, question, field)
        if change is not None and witness(atlas, changed(question, **change.fields)) is not None:
            yield change


def _change(atlas: Atlas, question: Question, field: str) -> Change | None:
    rule, threshold = NUMBERS[field]
    if rule is not None and not is_feasible(atlas, question.without(rule)):
        return None
    to = threshold(atlas, question)
    start = _from(question, field)
    if to is None or to == start:
        return None
    return Change({field: to}, abs(math.log(to / start)))


def _from(question: Question, field: str) -> Any:
    if field == "max_gpu_memory_utilization":
        return question.setting.request.max_gpu_memory_utilization
    return getattr(question.setting.targets, field)


def _best_pair(atlas: Atlas, question: Question) -> list[Change]:
    """The pair of numbers that asks least: with the first out of the way, the second as little as then suffices, and
    the first no further than that needs; or the first eased by a few fixed steps.
    """
    best: Change | None = None
    for first, second in permutations(fields_of(question), 2):
        if {first, second} == {"target_context", "mean_context"}:
            continue
        aside = _aside(question, first)
        if aside is None or not is_feasible(atlas, _aside(aside, second) or aside):
            continue
        for eased in (None, *_eased(question, first)):
            both = _pair(atlas, question, first, second, aside if eased is None else None, eased)
            if both is None or (best is not None and best.asks <= both.asks):
                continue
            if witness(atlas, changed(question, **both.fields)) is not None:
                best = both
    return [] if best is None else [best]


def _pair(
    atlas: Atlas, question: Question, first: str, second: str, aside: Question | None, eased: Change | None
) -> Change | None:
    """The second number's change beside a fixed first one, or beside the least change of the first that then helps."""
    start = aside if eased is None else changed(question, **eased.fields)
    change = None if start is None else _change(atlas, start, second)
    if change is None:
        return None
    least = eased or _change(atlas, changed(question, **change.fields), first)
    return None if least is None else Change({**least.fields, **change.fields}, least.asks + change.asks)


def _aside(question: Question, field: str) -> Question | None:
    """The question with one number out of the way: its rule dropped, or the number as low as it goes."""
    rule = NUMBERS[field][0]
    if rule is not None:
        return question.without(rule)
    if field in ("max_gpu_memory_utilization", "requests_per_s"):
        return None
    request = question.setting.request
    if field == "target_context" and (request.input_tokens or request.output_tokens or request.mean_context):
        return None
    context = min(CONTEXT_STEP, question.setting.targets.target_context)
    return changed(question, **{field: 1 if field == "concurrency" else context})


def _eased(question: Question, field: str) -> Iterator[Change]:
    """Steps by which the first number of a pair is eased: to a half and a quarter, or to twice and four times."""
    start, ceiling = _from(question, field), field in ("max_ttft_ms", "max_tpot_ms", "max_gpus", "max_hourly_cost")
    if field in ("gpus", "max_gpu_memory_utilization", "requests_per_s"):
        return
    for factor in (2, 4) if ceiling else (0.5, 0.25):
        value: float | int = start * factor
        if field in ("concurrency", "max_gpus"):
            value = max(1, int(value))
        if field in ("target_context", "mean_context"):
            value = max(CONTEXT_STEP, int(value) // CONTEXT_STEP * CONTEXT_STEP)
        if value != start and (ceiling or value < start):
            yield Change({field: value}, abs(math.log(value / start)))


def _told(question: Question, change: Change) -> Relaxation:
    """A change as it is answered; the first field leads, others are `also`."""
    (field, to), *others = change.fields.items()
    request = question.setting.request
    start = getattr(request, field)
    return Relaxation(
        change=field,
        from_value=_from(question, field) if start is None else list(start) if isinstance(start, tuple) else start,
        to=to,
        message=relaxation_words(question, change.fields),
        also=dict(others),
    )
