"""Limits that hold when nobody stated any, and how a request bends before a default makes it infeasible.

MLPerf Inference's Server scenario bounds the 99th percentile of TTFT and TPOT of Llama 2 70B at 2 s and 200 ms, and of
Llama 3.1 405B, whose prompts are long, at 6 s and 175 ms. Here they bound means.
Source: https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc, section "Scenarios", read
through `profiles/data/workloads.json`.
"""

from dataclasses import dataclass

from vllm_opt.optimizer.contract.request import SolveRequest

LONG_PROMPT_TOKENS = 2048
SHORT_PROMPT_LIMITS_MS, LONG_PROMPT_LIMITS_MS = (2000.0, 200.0), (6000.0, 175.0)


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


def takes_default_limits(request: SolveRequest) -> bool:
    """Whether the default limits apply: no latency limit is given, and nobody turned them off."""
    return request.default_limits and request.max_ttft_ms is None and request.max_tpot_ms is None


def default_limits_ms(request: SolveRequest, prompt_tokens: int) -> tuple[float, float] | None:
    """(TTFT, TPOT) in milliseconds when the default limits apply; None otherwise."""
    if not takes_default_limits(request):
        return None
    return LONG_PROMPT_LIMITS_MS if prompt_tokens > LONG_PROMPT_TOKENS else SHORT_PROMPT_LIMITS_MS


def assumptions(request: SolveRequest, lengths: tuple[int, int], bends: Bends) -> tuple[dict[str, object], ...]:
    """Every default that mattered, with why and from what it was bent (contract, `request.assumed`)."""
    stated, found = request.model_fields_set, list[dict[str, object]]()

    def assume(field: str, value: object, why: str, bent_from: object = None) -> None:
        entry: dict[str, object] = {"field": field, "value": value, "why": why}
        found.append(entry if bent_from is None else {**entry, "bent_from": bent_from})

    if "target_context" not in stated:
        if bends.target_context is None:
            assume("target_context", request.target_context, "the default context")
        else:
            why = "the model allows no longer context"
            assume("target_context", bends.target_context, why, request.target_context)
    if "concurrency" not in stated:
        if bends.concurrency is None:
            assume("concurrency", request.concurrency, "the default number of users")
        else:
            why = "the most that the hardware allowed holds within the limits"
            assume("concurrency", bends.concurrency, why, request.concurrency)
    if request.input_tokens is None or request.output_tokens is None:
        assume("input_tokens", lengths[0], "an eighth of the context is taken for the answer, the rest for the prompt")
        assume("output_tokens", lengths[1], "an eighth of the context is taken for the answer")
    limits = default_limits_ms(request, lengths[0])
    if limits is not None:
        why = "MLPerf's Server limit for " + ("long" if lengths[0] > LONG_PROMPT_TOKENS else "short") + " prompts"
        for field, limit in zip(("max_ttft_ms", "max_tpot_ms"), limits, strict=True):
            if bends.limits:
                assume(field, None, "nothing that was allowed meets the default limit", limit)
            else:
                assume(field, limit, f"{why}, on means")
    return tuple(found)
