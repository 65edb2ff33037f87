"""How far a latency prediction may be off, and the factors that make a limit hold at a confidence."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vllm_opt.constraints.speed.first_token import Pattern
from vllm_opt.constraints.speed.step_time import BASES, LatencyCoefficients, Numbers
from vllm_opt.profiles.elementary import exp
from vllm_opt.profiles.normal import normal_quantile
from vllm_opt.profiles.nouns.latency_constants import LatencyBasis

Metric = Literal["ttft", "tpot", "throughput"]


@dataclass(frozen=True)
class RelativeSpread:
    """Standard deviation of ln(measured / predicted) per metric, and what it rests on."""

    tpot: float
    ttft: float
    throughput: float
    basis: LatencyBasis


def relative_spread(c: LatencyCoefficients) -> RelativeSpread:
    """Spread of one layout (scalar coefficients)."""
    tpot, ttft, throughput = (float(np.asarray(item)) for item in (c.tpot_spread, c.ttft_spread, c.throughput_spread))
    return RelativeSpread(tpot, ttft, throughput, BASES[int(np.asarray(c.basis_rank))])


def spread_for(c: LatencyCoefficients, metric: Metric, pattern: Pattern = "closed") -> Numbers:
    """Sigma of ln(measured / predicted) of one metric; how well TTFT is known depends on how the clients send."""
    if metric == "ttft":
        by_pattern = {
            "closed": c.ttft_spread,
            "single": c.ttft_single_spread,
            "poisson": c.ttft_poisson_spread,
            "burst": c.ttft_burst_spread,
        }
        return np.asarray(by_pattern[pattern], dtype=np.float64)
    return np.asarray({"tpot": c.tpot_spread, "throughput": c.throughput_spread}[metric], dtype=np.float64)


def quantile_of(probability: float) -> float:
    """Standard deviations at which errors stay below, with this probability."""
    return normal_quantile(probability)


def quantile_factor(c: LatencyCoefficients, metric: Metric, confidence: float, pattern: Pattern = "closed") -> Numbers:
    """What to multiply a prediction by so that reality is no worse with probability `confidence` (0.5 to 0.99).

    At least 1 for TTFT and TPOT, at most 1 for throughput: exp(+-z sigma) with the normal quantile z.
    """
    z = quantile_of(max(confidence, 0.5))
    sign = -1.0 if metric == "throughput" else 1.0
    return np.asarray(exp(sign * z * spread_for(c, metric, pattern)))


def interval_factors(
    c: LatencyCoefficients, metric: Metric, confidence: float, pattern: Pattern = "closed"
) -> tuple[Numbers, Numbers]:
    """(low, high) factors of the two-sided interval that holds `confidence` of reality."""
    z = quantile_of((1.0 + confidence) / 2.0)
    sigma = spread_for(c, metric, pattern)
    return np.asarray(exp(-z * sigma)), np.asarray(exp(z * sigma))
