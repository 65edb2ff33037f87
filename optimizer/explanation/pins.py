"""Choices that a request takes away from the solver: which of them are in the way, and what leaving them out gives."""

from collections.abc import Iterator
from typing import Any

from vllm_opt.optimizer.contract.answer import Conflict
from vllm_opt.optimizer.questions.points import is_feasible
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.questions.thresholds import changed
from vllm_opt.optimizer.questions.witness import witness

ASKS_PIN = 0.05
"""How much leaving a choice to the solver asks: less than any number that a user has to give up."""


def pins_in_conflict(atlas: Atlas, question: Question, rules: tuple[str, ...]) -> tuple[Conflict, ...]:
    """The pins that cannot hold beside the rules of a minimal conflict, by the same deletion filter."""
    held = Question(question.setting, frozenset(rules), question.skus)
    for field in question.setting.request.pins:
        without = changed(held, **{field: None})
        if not is_feasible(atlas, without):
            held = without
    return tuple(
        Conflict(rule=field, message=f"--{field.replace('_', '-')} {value} leaves no other choice")
        for field, value in held.setting.request.pins.items()
    )


def without_pins(atlas: Atlas, question: Question) -> Iterator[tuple[dict[str, Any], float]]:
    """Each pin whose leaving out alone suffices; all of them together when no single one does."""
    pins = question.setting.request.pins
    found = False
    for field in pins:
        if witness(atlas, changed(question, **{field: None})) is not None:
            found = True
            yield {field: None}, ASKS_PIN
    together: dict[str, Any] = dict.fromkeys(pins)
    if len(pins) > 1 and not found and witness(atlas, changed(question, **together)) is not None:
        yield together, ASKS_PIN * len(pins)
