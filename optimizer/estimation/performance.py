"""From latency coefficients to the `Performance` of an answer, and to the bounds that the latency rules compare."""

import math

import numpy as np

from vllm_opt.constraints.judging.deployment import PerformanceBound
from vllm_opt.constraints.speed.latency import LoadPrediction, closed_loop
from vllm_opt.constraints.speed.spread import Metric, quantile_factor
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.contract.answer import Load, Performance

INTERVAL_CONFIDENCE = 0.95


def predict(
    coefficients: LatencyCoefficients,
    *,
    engines: int,
    users: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    lengths: tuple[int, int],
    chunked_prefill: bool,
    prefix_hit_share: float,
) -> Performance:
    """Predict a closed loop of `users` in all engines together; each engine runs at most `max_num_seqs` at once.

    Users spread evenly: times are those of the fullest engine, rates those of the average one. The interval is
    two-sided at 90 %: its ends are the 5 % and 95 % quantiles.
    """
    (only,) = predict_loads(
        coefficients, (users,), engines=engines, max_num_seqs=max_num_seqs, lengths=lengths,
        max_num_batched_tokens=max_num_batched_tokens, chunked_prefill=chunked_prefill,
        prefix_hit_share=prefix_hit_share,
    )  # fmt: skip
    return only


def predict_loads(
    coefficients: LatencyCoefficients,
    loads: tuple[int, ...],
    *,
    engines: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    lengths: tuple[int, int],
    chunked_prefill: bool,
    prefix_hit_share: float,
) -> tuple[Performance, ...]:
    """`predict` at several numbers of users, for little more than the time of one."""
    shares = [share for users in loads for share in (math.ceil(users / engines), users / engines)]
    load = closed_loop(
        coefficients,
        users=np.array(shares),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        input_tokens=lengths[0],
        output_tokens=lengths[1],
        chunked_prefill=chunked_prefill,
        prefix_hit_share=prefix_hit_share,
    )
    return tuple(
        _performance(coefficients, load, 2 * at, engines=engines, users=users, decodes=lengths[1] > 1)
        for at, users in enumerate(loads)
    )


def _performance(
    coefficients: LatencyCoefficients, load: LoadPrediction, at: int, *, engines: int, users: int, decodes: bool
) -> Performance:
    """One load: its times stand at position `at` of the prediction, its rates at the next."""
    ttft, e2e = float(load.ttft_ms[at]), float(load.e2e_ms[at])
    tpot = float(load.tpot_ms[at]) if decodes else None
    output = float(load.output_tokens_per_s[at + 1]) * engines
    interval = {
        "ttft_ms": _around(coefficients, "ttft", ttft),
        "output_tokens_per_s": _around(coefficients, "throughput", output),
    }
    if tpot is not None:
        interval["tpot_ms"] = _around(coefficients, "tpot", tpot)
    return Performance(
        ttft_ms=ttft,
        tpot_ms=tpot,
        e2e_ms=e2e,
        output_tokens_per_s=output,
        total_tokens_per_s=float(load.total_tokens_per_s[at + 1]) * engines,
        requests_per_s=float(load.requests_per_s[at + 1]) * engines,
        saturated=bool(load.saturated[at]),
        concurrency=users,
        load=Load(users=users),
        basis=coefficients.basis,
        basis_note=coefficients.basis_note,
        interval=interval,
    )


def bound_at(coefficients: LatencyCoefficients, performance: Performance, confidence: float | None) -> PerformanceBound:
    """The values that hold at `confidence` (one-sided); None keeps the central prediction."""

    def factor(metric: Metric) -> float:
        return 1.0 if confidence is None else float(quantile_factor(coefficients, metric, confidence))

    return PerformanceBound(
        ttft_ms=performance.ttft_ms * factor("ttft"),
        tpot_ms=None if performance.tpot_ms is None else performance.tpot_ms * factor("tpot"),
        output_tokens_per_s=performance.output_tokens_per_s * factor("throughput"),
    )


def _around(coefficients: LatencyCoefficients, metric: Metric, value: float) -> tuple[float, float]:
    """The two-sided interval: slow side by the slow quantile, fast side by its inverse."""
    slow = float(quantile_factor(coefficients, metric, INTERVAL_CONFIDENCE))
    ends = sorted((value * slow, value / slow))
    return ends[0], ends[1]
