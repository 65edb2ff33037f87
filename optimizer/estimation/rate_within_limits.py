"""The highest rate of random arrivals at which limits on TTFT and TPOT still hold, and where such waits are unsure.

Kinds and figures of the doubt: docs/traffic.md. There the interval of the TTFT is wider too
(`constraints/queueing/doubt.py`), and `estimate` and a plan of `solve` say so.
"""

import numpy as np

from vllm_opt.constraints.queueing.doubt import BUSY, NEARLY_FULL, queueing_doubt, ttft_factor
from vllm_opt.constraints.queueing.engine import Demand
from vllm_opt.constraints.queueing.prompts_ahead import MOST_LOAD
from vllm_opt.constraints.speed.spread import Metric, quantile_factor
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.performance import Engines

METRICS: tuple[Metric, ...] = ("tpot", "throughput")
RATES = 12
ROUNDS = 2
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
    token, slower = (float(quantile_factor(served.coefficients, metric, confidence, "poisson")) for metric in METRICS)
    most = float(served.outcome(demand, 1e-9).capacity_per_s[0]) * MOST_LOAD * slower
    low, high = 0.0, most
    for _ in range(ROUNDS):
        rates = low + (high - low) * np.arange(1, RATES + 1) / RATES
        times = served.outcome(demand, np.maximum(rates, 1e-9).tolist())
        holds = np.ones(RATES, dtype=bool)
        if ttft[0] is not None:
            doubt = queueing_doubt(demand, times.utilization)
            first = ttft_factor(served.coefficients, confidence, "poisson", doubt)
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


def queueing_notes(
    request: EstimateRequest | SolveRequest, performance: Performance | None, *, beyond_pool: bool = False
) -> tuple[str, ...]:
    """A sentence where the wait for the first token may be off by more than a sixth; empty elsewhere.

    `beyond_pool`: more were sent at once than the KV pool holds.
    """
    if performance is None or performance.utilization is None:
        return ()
    said = _doubt(request, performance.utilization, beyond_pool=beyond_pool)
    return (f"{said}; {PLAY}",) if said else ()


def _doubt(request: EstimateRequest | SolveRequest, busy: float, *, beyond_pool: bool) -> str:
    pattern, thinking = request.pattern, request.pattern == "closed" and request.think_time_s > 0
    said = ""
    if pattern == "poisson" and request.burstiness < 1.0 and busy > BUSY:
        said = f"requests in clumps at {busy:.0%} of the capacity: TTFT may be off by a fifth, its p95 by half"
    elif pattern == "poisson" and busy > NEARLY_FULL:
        said = f"at {busy:.0%} of the capacity the upper percentiles of TTFT may be off by a third"
    elif thinking and busy > NEARLY_FULL:
        said = f"users who pause, at {busy:.0%} of the capacity: TTFT may be off by half"
    elif beyond_pool and pattern in ("burst", "offline"):
        said = (
            "more at once than the KV pool holds, and what is preempted is computed again: TTFT may be off by a sixth, "
            "the upper percentiles of TPOT by half"
        )
    elif pattern == "closed" and not request.think_time_s and request.ttft_percentile is not None:
        said = (
            "users without pauses keep the order in which they began where answers are equally long: TTFT and its "
            "percentiles may be off by a third either way, as they begin apart or together"
        )
    return said
