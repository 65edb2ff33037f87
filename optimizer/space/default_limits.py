"""Limits that hold when nobody stated any, and how a request bends before a default makes it infeasible.

MLPerf Inference's Server scenario bounds the 99th percentile of TTFT and TPOT of Llama 2 70B at 2 s and 200 ms, and of
Llama 3.1 405B, whose prompts are long, at 6 s and 175 ms. Here they bound means, or the percentile that is asked.
Source: https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc, section "Scenarios", read
through `profiles/data/workloads.json`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from vllm_opt.optimizer.contract.assumptions import Assumption
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.estimation.media import media_prompt_tokens
from vllm_opt.profiles.nouns.model import ModelProfile

LONG_PROMPT_TOKENS = 2048
SHORT_PROMPT_LIMITS_MS, LONG_PROMPT_LIMITS_MS = (2000.0, 200.0), (6000.0, 175.0)

DEFAULTS = (
    ("target_context", "the default context of a sequence", "the model allows no longer context"),
    ("concurrency", "the default number of users", "the most that the hardware allowed holds within the limits"),
)
"""What may be left open, why its value is taken, and why it bends."""
LENGTHS = {"input_tokens": "what the output leaves of the context", "output_tokens": "an eighth of the context"}


@dataclass(frozen=True)
class Bends:
    """Which defaults of a request gave way. Only what nobody asked for may bend, in this order.

    `target_context`: the model's own limit; `reserve`: no admission beyond the load; `concurrency`: the most that fits;
    `limits`: no default limits.
    """

    target_context: int | None = None
    reserve: bool = False
    concurrency: int | None = None
    limits: bool = False


NOTHING_BENT = Bends()


def is_stated(request: SolveRequest, field: str) -> bool:
    """Whether a person gave this field: neither the default nor what a workload preset filled in."""
    return field in request.model_fields_set and field not in {item.field for item in request.assumed}


def least_context(request: SolveRequest, model: ModelProfile) -> int:
    """The shortest context that the typical request fits, images included; an eighth is output where none is stated."""
    images = media_prompt_tokens(model, request)
    if images and request.input_tokens is None and request.output_tokens is None:
        return -(-images * 8 // 7) + 2
    return images + sum(item or 1 for item in (request.input_tokens, request.output_tokens))


def takes_default_limits(request: SolveRequest) -> bool:
    """Whether the default limits apply: no latency limit is given, and nobody turned them off."""
    return request.default_limits and request.max_ttft_ms is None and request.max_tpot_ms is None


def limits_may_bend(request: SolveRequest) -> bool:
    """Whether some limit on TTFT or TPOT holds that no person gave."""
    given = request.max_ttft_ms is not None or request.max_tpot_ms is not None
    preset = given and not (is_stated(request, "max_ttft_ms") and is_stated(request, "max_tpot_ms"))
    return takes_default_limits(request) or preset


def limits_ms(request: SolveRequest, prompt_tokens: int, bends: Bends) -> tuple[float | None, float | None]:
    """(TTFT, TPOT) in milliseconds: what is given, else the default for prompts of this length."""
    if takes_default_limits(request):
        default = LONG_PROMPT_LIMITS_MS if prompt_tokens > LONG_PROMPT_TOKENS else SHORT_PROMPT_LIMITS_MS
        return (None, None) if bends.limits else default
    kept = [
        None if bends.limits and not is_stated(request, field) else getattr(request, field)
        for field in ("max_ttft_ms", "max_tpot_ms")
    ]
    return kept[0], kept[1]


def assumptions(request: SolveRequest, lengths: tuple[int, int], bends: Bends) -> tuple[dict[str, Any], ...]:
    """Every default that mattered, with why and from what it was bent (contract, `request.assumed`)."""
    by_rate = ("concurrency",) if request.pattern == "poisson" else ()  # a rate leaves the users open
    preset = {item.field: item for item in request.assumed if item.field not in by_rate}
    found: dict[str, Assumption] = {}

    def assume(field: str, value: object, why: str, bent_from: object = None) -> None:
        found[field] = Assumption(field=field, value=value, why=why, bent_from=bent_from)

    if not is_stated(request, "model"):
        assume("model", request.model, "the default model")
    for field, why, reason in DEFAULTS:
        value, bent = getattr(request, field), getattr(bends, field)
        if bent is not None:
            assume(field, bent, reason, value)
        elif field in preset:
            found[field] = preset[field]
        elif not is_stated(request, field) and field not in by_rate:
            assume(field, value, why)
    for field, value in zip(LENGTHS, lengths, strict=True):
        if field == "output_tokens" and request.is_pooling:
            continue
        if field in preset and preset[field].value == value:
            found[field] = preset[field]
        elif getattr(request, field) is None:
            assume(field, value, LENGTHS[field])
    found.update({field: item for field, item in preset.items() if field not in found})
    _assume_limits(request, lengths[0], bends, assume)
    return tuple(item.row() for item in found.values())


def _assume_limits(request: SolveRequest, prompt: int, bends: Bends, assume: Callable[..., None]) -> None:
    """Default limits as they hold, and limits that gave way."""
    known, holds = limits_ms(request, prompt, replace(bends, limits=False)), limits_ms(request, prompt, bends)
    percentiles = request.ttft_percentile, request.tpot_percentile
    pairs = zip(("max_ttft_ms", "max_tpot_ms"), known, holds, percentiles, strict=True)
    for field, limit, kept, percentile in pairs:
        if field == "max_tpot_ms" and request.is_pooling:
            continue
        over = "means" if percentile is None else f"{percentile:g} % of the requests"
        why = f"MLPerf's Server limit for {'long' if prompt > LONG_PROMPT_TOKENS else 'short'} prompts, here on {over}"
        if limit is not None and kept is None:
            assume(field, None, "nothing that was allowed meets this limit, which nobody asked for", limit)
        elif limit is not None and takes_default_limits(request):
            assume(field, limit, why)
