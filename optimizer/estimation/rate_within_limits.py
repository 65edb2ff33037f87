"""The highest rate of random arrivals at which limits on TTFT and TPOT still hold, and where such waits are unsure.

Kinds and figures of the doubt: `benchmarks/queueing.py`, docs/traffic.md. Elsewhere means are within 10 % and 95th
percentiles within 15 % of the event simulation in nine points of ten.
"""

import numpy as np

from vllm_opt.constraints.queueing.engine import Demand
from vllm_opt.constraints.queueing.random_arrivals import MOST_LOAD
from vllm_opt.constraints.speed.spread import Metric, quantile_factor
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.performance import Engines

METRICS: tuple[Metric, ...] = ("ttft", "tpot", "throughput")
RATES = 12
ROUNDS = 2
NEARLY_FULL = 0.75
CLUMPS_FROM = 0.5
"""Utilisation from which clumps wait in ways that no formula here follows closely."""
PLAY = "`vllm-opt simulate` with the same flags plays it"
Limit = tuple[float | None, float | None]
"""(limit in ms, percentile over requests; None is the mean)."""


def rate_within_limits(served: Engines, demand: Demand, ttft: Limit, tpot: Limit, confidence: float) -> float | None:
    """Requests/s of all engines at which every limit holds at the confidence; None where none is limited.

    0 where not even a lone request is in time. Rates are tried on a grid, then on a finer one below the first that
    fails.
    """
    if ttft[0] is None and tpot[0] is None:
        return None
    first, token, slower = (
        float(quantile_factor(served.coefficients, metric, confidence, "poisson")) for metric in METRICS
    )
    most = float(served.outcome(demand, 1e-9).capacity_per_s[0]) * MOST_LOAD * slower
    low, high = 0.0, most
    for _ in range(ROUNDS):
        rates = low + (high - low) * np.arange(1, RATES + 1) / RATES
        times = served.outcome(demand, np.maximum(rates, 1e-9).tolist())
        holds = np.ones(RATES, dtype=bool)
        if ttft[0] is not None:
            holds &= times.ttft_ms(ttft[1]) * first <= ttft[0]
        if tpot[0] is not None and served.lengths[1] > 1:
            holds &= times.tpot_ms(tpot[1]) * token <= tpot[0]
        if holds.all():
            low = high
            break
        failing = int(np.argmin(holds))
        low, high = (low if failing == 0 else float(rates[failing - 1])), float(rates[failing])
    return low * served.engines


def with_rate_within_limits(
    performance: Performance, served: Engines, request: EstimateRequest | SolveRequest,
    limits_ms: tuple[float | None, float | None] | None = None,
) -> Performance:  # fmt: skip
    """The performance with the rate at which limits break, where requests arrive at a rate.

    `limits_ms`: TTFT and TPOT, where they are not those of the request.
    """
    if request.pattern != "poisson":
        return performance
    ttft, tpot = limits_ms or (request.max_ttft_ms, request.max_tpot_ms)
    rate = rate_within_limits(
        served, request.demand, (ttft, request.ttft_percentile), (tpot, request.tpot_percentile), request.confidence
    )
    return performance.model_copy(update={"requests_per_s_within_limits": rate})


def queueing_notes(request: EstimateRequest, performance: Performance | None) -> tuple[str, ...]:
    """A sentence where the wait for the first token may be off by more than a sixth; empty elsewhere."""
    if performance is None or performance.utilization is None:
        return ()
    busy, pattern = performance.utilization, request.pattern
    clumped = pattern == "poisson" and request.burstiness < 1.0
    if clumped and busy > CLUMPS_FROM:
        return (
            f"requests in clumps at {busy:.0%} of the capacity: TTFT may be off by half at the upper percentiles; "
            f"{PLAY}",
        )
    if pattern == "poisson" and busy > NEARLY_FULL:
        return (f"at {busy:.0%} of the capacity the upper percentiles of TTFT may be off by a third; {PLAY}",)
    if pattern == "closed" and request.think_time_s > 0 and busy > NEARLY_FULL:
        return (f"users who pause, at {busy:.0%} of the capacity: TTFT may be off by half; {PLAY}",)
    if pattern == "closed" and not request.think_time_s and request.ttft_percentile is not None:
        return (
            "users without pauses keep the order in which they began where answers are equally long: TTFT and its "
            f"percentiles may be off by a third either way, as they begin apart or together; {PLAY}",
        )
    return ()
