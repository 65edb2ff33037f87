"""How far the closed forms of queueing may be from the event simulation: doubt beside that of the speed model.

Root mean squares of ln(simulated / closed form) of the mean TTFT over random designs (`benchmarks/queueing.py`, seeds
71, 72, 101 and 102, 280 points), by what made waits unsure there; elsewhere they are below 0.04 and not counted. The
doubt widens an interval and what a confidence asks for; the prediction itself does not move.
"""

import numpy as np

from vllm_opt.constraints.queueing.engine import Demand
from vllm_opt.constraints.speed.first_token import Pattern
from vllm_opt.constraints.speed.spread import quantile_of, spread_for
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, Scalars
from vllm_opt.profiles.elementary import exp

BUSY, NEARLY_FULL = 0.5, 0.75
"""Shares of the capacity from which clumps, and from which anybody, wait for slots that are nearly all taken."""
NEARLY_FULL_DOUBT = 0.1
CLUMPS_DOUBT, CLUMPS_NEARLY_FULL_DOUBT = 0.08, 0.25
THINKING_DOUBT = 0.25
POOL_DOUBT = 0.05
"""Bursts beyond the KV pool: admitted by prompts, preempted as answers grow."""
FEW_DOUBT = 0.05
"""Bursts of different lengths: a run is a sample."""


def queueing_doubt(demand: Demand, utilization: Scalars, *, beyond_pool: bool = False) -> Numbers:
    """Standard deviation of ln(true / predicted) that queueing adds to the TTFT, by traffic and how busy engines are.

    `beyond_pool`: more were sent at once than the KV pool holds.
    """
    busy = np.asarray(utilization, dtype=np.float64)
    if demand.arrivals == "closed":
        doubt = np.where(busy > NEARLY_FULL, THINKING_DOUBT, 0.0) if demand.think_s else np.zeros_like(busy)
    elif demand.arrivals == "poisson":
        some, most = (CLUMPS_DOUBT, CLUMPS_NEARLY_FULL_DOUBT) if demand.burstiness < 1.0 else (0.0, NEARLY_FULL_DOUBT)
        doubt = np.where(busy > NEARLY_FULL, most, np.where(busy > BUSY, some, 0.0))
    else:
        doubt = np.full_like(busy, POOL_DOUBT if beyond_pool else FEW_DOUBT if demand.lengths.spread else 0.0)
    return np.asarray(doubt)


def ttft_factor(c: LatencyCoefficients, confidence: float, pattern: Pattern, doubt: Scalars) -> Numbers:
    """`spread.quantile_factor` of the TTFT with the doubt of queueing beside that of the speed model.

    exp(z sqrt(sigma^2 + doubt^2)); exactly that of the speed model where there is none.
    """
    sigma, more = spread_for(c, "ttft", pattern), np.asarray(doubt, dtype=np.float64)
    both = np.where(more > 0.0, np.sqrt(sigma * sigma + more * more), sigma)
    return np.asarray(exp(quantile_of(max(confidence, 0.5)) * both))
