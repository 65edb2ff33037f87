"""The conflict SKU by SKU: those that fail alike in one sentence."""

from collections.abc import Iterable

from vllm_opt.optimizer.contract.quantities import count, dollars, gib, milliseconds, percent, rate
from vllm_opt.optimizer.explanation.conflict import conflicts_by_sku
from vllm_opt.optimizer.explanation.measures import Measure, measures
from vllm_opt.optimizer.questions.points import feasible_skus
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.profiles.reading.quantities import counted

SAME_FOR_ALL = ("context_length",)
SAID_BY_THROUGHPUT = ("gpu_count", "budget")
"""Rules left unsaid beside a throughput: tokens per second already tell how many times more would be needed."""
MOST_NAMES = 8


def sentences_per_gpu(atlas: Atlas, question: Question, rules: tuple[str, ...]) -> tuple[str, ...]:
    """One sentence per group of SKUs that break the same rules; none for a single SKU or a rule of the model.

    A conflict of all SKUs is one of each, so each SKU's own conflict is looked for among its rules.
    """
    skus = [item.gpu.id for item in question.setting.gpus]
    if len(skus) < 2 or not rules or any(rule in SAME_FOR_ALL for rule in rules):
        return ()
    conflicts = conflicts_by_sku(atlas, question, skus, rules)
    for rule in {rule for own in conflicts.values() for rule in _told(own, len(skus))}:
        names = frozenset(sku for sku in skus if rule in conflicts[sku])
        feasible_skus(atlas, Question(question.setting, question.active - {rule}, names))  # asked together, remembered
    groups: dict[tuple[str, ...], list[tuple[str, tuple[Measure, ...]]]] = {}
    for sku, own in conflicts.items():
        mine = Question(question.setting, question.active, frozenset((sku,)))
        groups.setdefault(own, []).append((sku, measures(atlas, mine, own, _told(own, len(skus)))))
    ordered = sorted(groups.values(), key=lambda group: (len(group[0][1]), group[0][0]))
    return tuple(_sentence(group) for group in ordered)


def _told(rules: tuple[str, ...], skus: int) -> tuple[str, ...]:
    """The rules that are told in numbers. Throughput is measured for a few SKUs only: it takes a whole search each."""
    if "throughput" not in rules:
        return rules
    silent = SAID_BY_THROUGHPUT if skus <= MOST_NAMES else (*SAID_BY_THROUGHPUT, "throughput")
    return tuple(rule for rule in rules if rule not in silent)


def _sentence(group: list[tuple[str, tuple[Measure, ...]]]) -> str:
    names = [sku for sku, _ in group]
    shown = ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
    per_rule = list(zip(*(found for _, found in group), strict=True))
    clauses = [_clause(list(of_rule)) for of_rule in per_rule] or ["fewer output tokens/s than asked"]
    return f"{shown}: {'; '.join(clauses)}"


def _clause(found: list[Measure]) -> str:
    """One rule over several SKUs, with the range of what they need or have."""
    first = found[0]
    words = CLAUSES.get(first.rule)
    if words is None:
        return first.message.partition(": ")[2] or first.message
    needed = _range([item.needed for item in found], first.unit)
    available = _range([item.available for item in found], first.unit)
    return words.format(needed=needed, available=available, name=first.rule.upper())


CLAUSES = {
    "memory_budget": "{needed} needed per GPU and {available} usable",
    "concurrency": "{available} held of {needed}",
    "gpu_count": "{needed} needed and {available} allowed",
    "ttft": "{name} at least {needed}",
    "tpot": "{name} at least {needed}",
    "throughput": "at most {available} output tokens/s",
    "budget": "{needed} per hour needed and {available} allowed",
}


def _range(values: Iterable[float | int | None], unit: str) -> str:
    known = sorted({value for value in values if value is not None})
    if not known:
        return "no known number of"
    low, high = _shown(known[0], unit), _shown(known[-1], unit)
    return low if low == high else f"{low} to {high}"


def _shown(value: float | int, unit: str) -> str:
    if unit == "bytes":
        return gib(value)
    if unit == "ms":
        return milliseconds(value)
    if unit == "USD/hour":
        return dollars(value)
    if unit == "tokens/s":
        return rate(value)
    if unit == "recovery":
        return percent(value)
    noun = {"GPUs": "GPU", "sequences": "sequence"}.get(unit)
    return counted(int(value), noun) if noun else count(value)
