"""What each rule of a conflict needs and what there is, measured at the point that comes nearest.

A rule is measured with the rest of the conflict kept and the rule itself dropped: what would be needed then.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.kv.held_blocks import tokens_held
from vllm_opt.optimizer.contract.answer import Conflict
from vllm_opt.optimizer.contract.quantities import count, dollars, gib, milliseconds, percent, rate
from vllm_opt.optimizer.explanation.place_words import place_words
from vllm_opt.optimizer.questions.landscape import Place
from vllm_opt.optimizer.questions.points import extreme, feasible_points, is_feasible
from vllm_opt.optimizer.questions.questions import LATENCY_RULES, Atlas, LatencyRule, Points, Question
from vllm_opt.optimizer.questions.thresholds import MOST_GPUS, fewest_gpus, largest_concurrency, lowest_cost
from vllm_opt.profiles.reading.quantities import counted


@dataclass(frozen=True)
class Measure:
    """One rule in numbers: `short` for a list of SKUs, `message` as a sentence."""

    rule: str
    needed: float | int | None
    available: float | int | None
    unit: str
    message: str

    @property
    def conflict(self) -> Conflict:
        """The measure as it is answered."""
        return Conflict(
            rule=self.rule, message=self.message, needed=self.needed, available=self.available, unit=self.unit
        )


def measures(
    atlas: Atlas, question: Question, rules: tuple[str, ...], told: tuple[str, ...] | None = None
) -> tuple[Measure, ...]:
    """Measure every rule of a conflict, or those in `told`."""
    found = []
    for rule in rules if told is None else told:
        whole = question.without(rule)
        rest = Question(question.setting, frozenset(rules) - {rule}, question.skus)
        found.append(MEASURES[rule](atlas, whole if is_feasible(atlas, whole) else rest))
    return tuple(found)


def _context_length(atlas: Atlas, question: Question) -> Measure:
    del atlas
    asked, limit = question.setting.targets.target_context, question.setting.model.max_model_len
    return Measure(
        "context_length", asked, limit, "tokens",
        f"{question.setting.model.id} takes at most {counted(limit, 'token')} and {count(asked)} are asked",
    )  # fmt: skip


def _refusal(rule: str) -> Callable[[Atlas, Question], Measure]:
    def measure(atlas: Atlas, question: Question) -> Measure:
        for points in feasible_points(atlas, question):
            for row in points.rows.tolist():
                place = points.landscape.places[row // 2]
                said = next((item for item in place.refused if item.rule == rule), None)
                if said is not None:
                    message = f"{place_words(place)}: {said.message.rstrip('.')}"
                    return Measure(rule, said.needed, said.available, said.unit, message)
        return Measure(rule, None, None, "", f"vLLM {question.setting.engine.version} refuses every layout")

    return measure


def _quality(atlas: Atlas, question: Question) -> Measure:
    floor = question.setting.targets.min_quality
    best: tuple[float, str] | None = None
    for place in _places(atlas, question):
        context = question.setting.targets.target_context
        both = place.facts.weights.plan_quality(place.shape.kv_cache_dtype, place.facts.sku.gpu, context)
        quality = both.low(question.setting.request.confidence)
        if quality is not None and (best is None or quality > best[0]):
            best = quality, place.facts.layout.quantization
    if best is None:
        return Measure(
            "quality", floor, None, "recovery",
            f"no format with published accuracy fits; at least {percent(floor)} of the 16-bit score is asked",
        )  # fmt: skip
    return Measure(
        "quality", floor, best[0], "recovery",
        f"the best format that fits is {best[1]}, which keeps at least {percent(best[0])} of the 16-bit score; "
        f"at least {percent(floor)} is asked",
    )  # fmt: skip


def _memory(atlas: Atlas, question: Question) -> Measure:
    found: tuple[float, int, int, Points] | None = None
    setting = question.setting
    targets = setting.targets
    held = targets if "concurrency" in question.active else None
    for points in feasible_points(atlas, question):
        for width in np.unique(points.tokens).tolist():
            mine = points.take(np.flatnonzero(points.tokens == width))
            demand = mine.landscape.memory.demand(
                mine.rows,
                width,
                mine.sequences,
                targets.target_context,
                held,
                setting.request.max_gpu_memory_utilization,
            )
            ratio = demand.needed / np.maximum(1, demand.available)
            at = int(ratio.argmin())
            if found is None or ratio[at] < found[0]:
                nearest = mine.take(np.array([at]))
                found = float(ratio[at]), int(demand.needed[at]), int(demand.available[at]), nearest
    if found is None:
        raise ValueError("no point is left when memory is not asked")
    _, needed, available, points = found
    place, sequences = points.landscape.places[int(points.rows[0]) // 2], int(points.sequences[0])
    weights = max(place.facts.terms.weights)
    tokens = tokens_held(place.facts.terms.kv, held, sequences) if held else targets.target_context
    one_node = setting.request.internode_gbps is None and targets.max_gpus > place.facts.sku.gpu.gpus_per_node
    return Measure(
        "memory_budget", needed, available, "bytes",
        f"nearest is {place_words(place)}: {counted(sequences, 'sequence')} of "
        f"{counted(tokens, 'token')} per engine need {gib(needed)} per GPU, {gib(weights)} "
        f"of it weights, and {gib(available)} can be used"
        + ("; no server spans nodes unless --internode-gbps says what joins them" if one_node else ""),
    )  # fmt: skip


def _headroom(atlas: Atlas, question: Question) -> Measure:
    place = next(_places(atlas, question))
    terms, ceiling = place.facts.terms, question.setting.request.max_gpu_memory_utilization
    needed, available = terms.headroom_needed_bytes(512, 1, place.facts.confidence), terms.headroom_bytes(ceiling)
    return Measure(
        "startup_headroom", needed, available, "bytes",
        f"{place_words(place)}: the CUDA context and communication buffers need {gib(needed)} outside the budget and "
        f"{gib(available)} are left at a utilisation of {ceiling:g}",
    )  # fmt: skip


def _concurrency(atlas: Atlas, question: Question) -> Measure:
    asked = question.setting.targets.concurrency
    again = Question(question.setting, question.active | {"concurrency"}, question.skus)
    most = largest_concurrency(atlas, again) or 0
    context = counted(question.setting.targets.mean_context, "token")
    up_to = "up to " if question.setting.targets.kv_sizing == "typical" else ""
    held = "served within the limits on latency" if any(map(again.limit, LATENCY_RULES)) else "held"
    return Measure(
        "concurrency", asked, most, "sequences",
        f"{counted(most, 'sequence') if most else 'no sequence'} of {up_to}{context} can be {held} and "
        f"{count(asked)} are asked",
    )  # fmt: skip


def _latency(rule: LatencyRule) -> Callable[[Atlas, Question], Measure]:
    def measure(atlas: Atlas, question: Question) -> Measure:
        limit = Question(question.setting, question.active | {rule}).limit(rule)
        reached = extreme(atlas, question, rule)
        if reached is None or limit is None:
            raise ValueError(f"no point is left when {rule} is not asked")
        value, points = reached
        place = place_words(points.landscape.places[int(points.rows[0]) // 2])
        if rule == "throughput":
            return Measure(
                rule, limit, value, "tokens/s",
                f"at most {rate(value)} output tokens per second are reached ({place}) and {rate(limit)} are asked",
            )  # fmt: skip
        return Measure(
            rule, value, limit, "ms",
            f"{rule.upper()} is at least {milliseconds(value)} ({place}) and at most {milliseconds(limit)} is asked",
        )  # fmt: skip

    return measure


def _gpu_count(atlas: Atlas, question: Question) -> Measure:
    targets = question.setting.targets
    exact = targets.gpus is not None
    limit = targets.gpus or targets.max_gpus
    needed = fewest_gpus(atlas, Question(question.setting, question.active | {"gpu_count"}, question.skus))
    words = (
        f"{'exactly' if exact else 'at most'} {limit} {'is' if limit == 1 else 'are'} {'asked' if exact else 'allowed'}"
    )
    if needed is None:
        return Measure(
            "gpu_count", None, limit, "GPUs", f"more than {count(MOST_GPUS)} GPUs are needed and {words}"
        )  # fmt: skip
    if exact and needed <= limit:
        words = f"exactly {limit} cannot be divided into such servers"
    return Measure(
        "gpu_count",
        needed,
        limit,
        "GPUs",
        f"{counted(needed, 'GPU')} {'is' if needed == 1 else 'are'} needed and {words}",
    )


def _budget(atlas: Atlas, question: Question) -> Measure:
    limit = question.setting.targets.max_hourly_cost
    needed = lowest_cost(atlas, Question(question.setting, question.active | {"budget"}, question.skus))
    shown = "no GPU with a known price" if needed is None else f"{dollars(needed)} per hour"
    return Measure(
        "budget", needed, limit, "USD/hour",
        f"{shown} would meet the rest and at most {dollars(limit or 0)} per hour may be spent",
    )  # fmt: skip


def _places(atlas: Atlas, question: Question) -> Iterator[Place]:
    for points in feasible_points(atlas, question):
        for place in np.unique(points.rows // 2).tolist():
            yield points.landscape.places[place]


MEASURES: dict[str, Callable[[Atlas, Question], Measure]] = {
    "context_length": _context_length,
    "compatibility": _refusal("compatibility"),
    "divisibility": _refusal("divisibility"),
    "quality": _quality,
    "memory_budget": _memory,
    "startup_headroom": _headroom,
    "concurrency": _concurrency,
    "ttft": _latency("ttft"),
    "tpot": _latency("tpot"),
    "throughput": _latency("throughput"),
    "gpu_count": _gpu_count,
    "budget": _budget,
}
