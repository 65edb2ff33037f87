"""What a change gains: the figures before and after, and the same in words."""

from vllm_opt.optimizer.contract.answer import Estimate

WORTH_SAYING = 0.02
WORTH_A_WARNING = 0.10
"""Relative gains from which a finding is a note and a warning."""


def growth(before: float, after: float) -> float:
    """Relative growth; nothing before counts as no growth."""
    return after / before - 1 if before > 0 else 0.0


def percent_words(share: float) -> str:
    """A signed percentage."""
    return f"{share * 100:+.0f} %" if abs(share) >= 0.095 else f"{share * 100:+.1f} %"


def figures(before: Estimate, after: Estimate) -> dict[str, tuple[float, float]]:
    """The figures that a change moves."""
    found: dict[str, tuple[float, float]] = {
        "max_concurrency": (before.memory.max_concurrency, after.memory.max_concurrency),
        "kv_cache_tokens": (before.memory.kv_cache_tokens, after.memory.kv_cache_tokens),
    }
    if before.performance is not None and after.performance is not None:
        one, two = before.performance, after.performance
        found["output_tokens_per_s"] = (one.output_tokens_per_s, two.output_tokens_per_s)
        found["ttft_ms"] = (one.ttft_ms, two.ttft_ms)
        if one.tpot_ms is not None and two.tpot_ms is not None:
            found["tpot_ms"] = (one.tpot_ms, two.tpot_ms)
    return found


def pool_words(before: Estimate, after: Estimate) -> str:
    """How the pool changes, in words."""
    tokens = growth(before.memory.kv_cache_tokens, after.memory.kv_cache_tokens)
    return (
        f"the pool grows from {before.memory.kv_cache_tokens:,} to {after.memory.kv_cache_tokens:,} tokens "
        f"({percent_words(tokens)}), full-length sequences from {before.memory.max_concurrency:.1f} to "
        f"{after.memory.max_concurrency:.1f}"
    )
