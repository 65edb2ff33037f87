"""The second half of a fix's proof: both commands are estimated, and the mended one must not be worse."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.linter.fixes.correction import Correction
from vllm_opt.optimizer.linter.subject.context import LintContext
from vllm_opt.optimizer.linter.subject.feature_fields import with_features
from vllm_opt.optimizer.linter.subject.fields import estimate_fields
from vllm_opt.optimizer.serve_lines.flags import parse_flags
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand
from vllm_opt.profiles.errors import VllmOptError

WORSE = "the mended command would start less surely than the one that stands there, so it stays as it is"
CHANGED = "the mended command would serve other weights or another KV format, so it stays as it is"


def worse_than_before(context: LintContext, correction: Correction) -> str:
    """Return why the correction makes the command worse; an empty text when it does not, or no estimate can tell."""
    if not correction.changes_something or "model" not in context.fields:
        return ""
    command = correction.command
    mended = parse_flags(
        correction.placed_words(), context.engine, positional_model=command.positional_model,
        wrapper=command.wrapper_flags,
    )  # fmt: skip
    model = context.fields["model"]
    before = _estimate(context, context.parsed, model)
    after = _estimate(context, mended, model)
    if before is None or after is None:
        return ""
    if (before.fits and not after.fits) or len(after.violations) > len(before.violations):
        return WORSE
    same: Callable[[Estimate], Any] = lambda each: (each.request.get("quantization"), each.memory.kv_bytes_per_token)  # noqa: E731
    return CHANGED if before.fits and same(before) != same(after) else ""


def _estimate(context: LintContext, parsed: ParsedCommand, model: str) -> Estimate | None:
    served = {name: context.fields.get(name) for name in ("quantization", "quantize_at_load")}
    try:
        return with_features(replace(context, fields={}), {**estimate_fields(parsed), "model": model, **served})[
            0
        ].estimate()
    except VllmOptError:
        return None
