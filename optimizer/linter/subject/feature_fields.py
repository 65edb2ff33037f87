"""Drafts, adapters, images and connectors of a command, as far as an estimate can express them."""

from dataclasses import dataclass
from typing import Any

from vllm_opt.optimizer.linter.subject.context import FEATURE_FIELDS, LintContext
from vllm_opt.profiles.errors import RefusedByVllm, VllmOptError


@dataclass(frozen=True)
class LeftOut:
    """Why a feature is not in the prediction; `refused`: vLLM itself does not start with it."""

    why: str
    refused: bool


def with_features(context: LintContext, fields: dict[str, Any]) -> tuple[LintContext, dict[str, LeftOut]]:
    """Return the context with every feature that can be predicted, and why the others cannot, by field.

    A feature that is not understood is left out of the prediction and said so: the command may be right all the same,
    unless vLLM is known to refuse it.
    """
    left_out: dict[str, LeftOut] = {}
    kept = dict(fields)
    for _ in range(len(FEATURE_FIELDS) + 1):
        try:
            changed = context.with_changes(kept)
            changed.setting()
        except VllmOptError as fault:
            field, _, why = str(fault).partition(": ")
            if field not in kept or field not in FEATURE_FIELDS:
                raise
            left_out[field] = LeftOut(why, isinstance(fault, RefusedByVllm))
            kept.pop(field)
            context = context.without((field,))
            continue
        return changed, left_out
    return context.with_changes(kept), left_out
