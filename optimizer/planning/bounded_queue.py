"""Flags that bound the queue of a server, where a percentile of TTFT is asked under random arrivals."""

from vllm_opt.constraints.queueing.queue_bound import queue_bound
from vllm_opt.constraints.speed.spread import quantile_factor
from vllm_opt.optimizer.planning.predicted import Choice
from vllm_opt.optimizer.space.setting import SolveSetting

REQUESTS, TOKENS = "max-num-queued-reqs", "max-num-queued-tokens"


def queue_flags(setting: SolveSetting, choice: Choice) -> dict[str, int]:
    """The bounds of each server; none without a percentile, a rate and a limit, or where the release has no such flag.

    The limit is taken at the confidence asked. A prompt of the target context is always let in.
    """
    targets, facts = setting.targets, choice.unit.facts
    known = {flag.name for flag in setting.engine.flags}
    asked = targets.ttft_percentile is not None and targets.requests_per_s is not None
    if not asked or targets.max_ttft_ms is None or not {REQUESTS, TOKENS} <= known:
        return {}
    slower = float(quantile_factor(facts.coefficients, "ttft", setting.request.confidence, "poisson"))
    hit = setting.request.hit_share if facts.layout.enable_prefix_caching else 0.0
    bound = queue_bound(
        facts.coefficients, setting.lengths, choice.max_num_seqs, choice.max_num_batched_tokens, hit,
        targets.max_ttft_ms / 1e3 / slower,
    )  # fmt: skip
    ranks = facts.layout.data_parallel_size
    return {REQUESTS: bound.requests * ranks, TOKENS: max(bound.tokens * ranks, targets.target_context)}


def queue_notes(flags: dict[str, int]) -> tuple[str, ...]:
    """What a server with a bounded queue does to those who come beyond it."""
    if not flags:
        return ()
    return (
        f"each server refuses requests (HTTP 503) beyond {flags[REQUESTS]:,} in flight or {flags[TOKENS]:,} prompt "
        "tokens not yet computed, so that those it accepts have their first token in time: clients or the router "
        "must try again elsewhere or later",
    )
