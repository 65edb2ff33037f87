"""From latency coefficients to the `Performance` of an answer, and to the bounds that the latency rules compare."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.judging.deployment import PerformanceBound
from vllm_opt.constraints.queueing.demand import ALIKE, Lengths
from vllm_opt.constraints.queueing.doubt import queueing_doubt, ttft_factor
from vllm_opt.constraints.queueing.engine import CLOSED, Demand, outcome
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.prompts_ahead import MOST_LOAD
from vllm_opt.constraints.speed.first_token import Pattern
from vllm_opt.constraints.speed.latency import LoadPrediction, closed_loop
from vllm_opt.constraints.speed.spread import Metric, quantile_factor
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, stack
from vllm_opt.optimizer.contract.performance import Load, Performance

INTERVAL_CONFIDENCE = 0.95
PERCENTILES = (50.0, 90.0, 95.0, 99.0)
Summary = dict[str, dict[str, Numbers]]
"""Times by name and percentile ("ttft_ms", "p95"), one value per engine."""
PATTERNS: dict[str, Pattern] = {"closed": "closed", "poisson": "poisson", "burst": "burst", "offline": "burst"}
"""How well TTFT is known, by how requests come (`constraints/speed/spread.py`)."""


@dataclass(frozen=True)
class Engines:
    """What serves the load: engines alike, each with its flags and the typical request."""

    coefficients: LatencyCoefficients
    engines: int
    max_num_seqs: int
    max_num_batched_tokens: int
    lengths: tuple[int, int]
    chunked_prefill: bool
    prefix_hit_share: float
    pool_sequences: float = math.inf
    """Sequences of mean length that the KV pool of one engine holds."""

    @property
    def input_tokens(self) -> int:
        """Prompt tokens of the typical request."""
        return self.lengths[0]

    @property
    def output_tokens(self) -> int:
        """Generated tokens of the typical request."""
        return self.lengths[1]

    def doubt(self, demand: Demand, performance: Performance) -> float:
        """What queueing adds to the doubt of the TTFT."""
        beyond = self.beyond_pool(performance.load.users)
        return float(queueing_doubt(demand, performance.utilization or 0.0, beyond_pool=beyond))

    def beyond_pool(self, prompts: int) -> bool:
        """Whether so many prompts at once are more than the KV pools hold."""
        return prompts > self.pool_sequences * self.engines

    def outcome(self, demand: Demand, load: float | Sequence[float]) -> Outcome:
        """Times over the requests of one engine."""
        return outcome(
            self.coefficients, demand, np.asarray(load, dtype=np.float64), self.max_num_seqs,
            self.max_num_batched_tokens, self.lengths[0], self.lengths[1], chunked_prefill=self.chunked_prefill,
            prefix_hit_share=self.prefix_hit_share, pool_sequences=self.pool_sequences,
        )  # fmt: skip


def predict(
    served: Engines, users: int, demand: Demand = CLOSED, asked_percentiles: tuple[float, ...] = ()
) -> Performance:
    """Predict the load on all engines together; each engine runs at most `max_num_seqs` at once.

    Users spread evenly: times are those of the fullest engine, rates those of the average one. Random arrivals come to
    engines at random, each with its share of the rate. The interval is two-sided at 90 %: its ends are the 5 % and 95 %
    quantiles of the model's error; percentiles run over requests.
    """
    if demand.arrivals == "closed" and demand.think_s == 0:
        (only,) = predict_loads(served, (users,), demand.lengths, asked_percentiles)
        return only
    engines, asked = served.engines, demand.requests_per_s
    times = served.outcome(demand, math.ceil(users / engines) if asked is None else asked / engines)
    plain = _open(served, demand, times, users)
    return _with_times(plain, served, times, _percentiles(times, asked_percentiles), 0)


def predict_loads(
    served: Engines, loads: tuple[int, ...], lengths: Lengths = ALIKE, asked_percentiles: tuple[float, ...] = ()
) -> tuple[Performance, ...]:
    """`predict` for a closed loop of several numbers of users, for little more than the time of one."""
    (found,) = predict_together(((served, loads),), lengths, asked_percentiles)
    return found


Asked = tuple[Engines, tuple[int, ...]]
"""Engines and the numbers of users that are asked of them."""


def predict_together(
    asked: Sequence[Asked], lengths: Lengths = ALIKE, asked_percentiles: tuple[float, ...] = ()
) -> list[tuple[Performance, ...]]:
    """`predict_loads` of several deployments in one evaluation, to the digit as each alone would have it.

    Means are those that measurements have fitted.
    """
    if not asked:
        return []
    each = [(served, users) for served, loads in asked for users in loads]
    engines = [served for served, _ in each]
    fullest = np.array([math.ceil(users / served.engines) for served, users in each], dtype=np.float64)
    average = np.array([users / served.engines for served, users in each], dtype=np.float64)
    seqs, budget, inputs, outputs, chunked, hit = (
        np.array([getattr(served, name) for served in engines])
        for name in ("max_num_seqs", "max_num_batched_tokens", "input_tokens", "output_tokens", "chunked_prefill",
                     "prefix_hit_share")
    )  # fmt: skip
    coefficients = stack([served.coefficients for served in engines])
    flags = seqs, budget, inputs, outputs
    load = closed_loop(
        coefficients, np.stack([fullest, average]), *flags, chunked_prefill=chunked, prefix_hit_share=hit
    )
    times = outcome(
        coefficients, Demand(lengths=lengths), fullest, *flags, chunked_prefill=chunked, prefix_hit_share=hit
    )
    summary = _percentiles(times, asked_percentiles)
    found = iter([
        _with_times(_closed(served, users, load, at), served, times, summary, at)
        for at, (served, users) in enumerate(each)
    ])  # fmt: skip
    return [tuple(next(found) for _ in loads) for _, loads in asked]


def _closed(served: Engines, users: int, load: LoadPrediction, at: int) -> Performance:
    """Means of a closed loop: times of the fullest engine, rates of the average one."""
    tpot = float(load.tpot_ms[0, at]) if served.output_tokens > 1 else None
    return _performance(
        served, CLOSED, Load(users=users), (float(load.ttft_ms[0, at]), tpot, float(load.e2e_ms[0, at])),
        float(load.output_tokens_per_s[1, at]) * served.engines, float(load.requests_per_s[1, at]) * served.engines,
        saturated=bool(load.saturated[0, at]),
    )  # fmt: skip


def _with_times(plain: Performance, served: Engines, times: Outcome, summary: Summary, at: int) -> Performance:
    """What the times over requests add to the means of one load."""
    kinds = [name for name in summary if name != "tpot_ms" or served.output_tokens > 1]
    return plain.model_copy(
        update={
            "percentiles": {name: {key: float(values[at]) for key, values in summary[name].items()} for name in kinds},
            "utilization": float(times.utilization[at]),
            "most_requests_per_s": float(times.capacity_per_s[at]) * served.engines,
        }
    )


def _open(served: Engines, demand: Demand, times: Outcome, users: int) -> Performance:
    """Any other traffic: means over its requests."""
    engines, lengths = served.engines, served.lengths
    rate = float(times.requests_per_s[0]) * engines
    ttft, e2e = float(times.ttft_ms(None)[0]), float(times.e2e_ms(None)[0])
    tpot = float(times.tpot_ms(None)[0]) if lengths[1] > 1 else None
    asked = demand.requests_per_s
    flying = users if asked is None else max(1, math.ceil(rate * e2e / 1e3))
    saturated = users > served.max_num_seqs * engines if asked is None else float(times.utilization[0]) > MOST_LOAD
    return _performance(
        served, demand, Load(pattern=demand.arrivals, users=flying, requests_per_s=asked), (ttft, tpot, e2e),
        rate * lengths[1], rate, saturated=saturated, busy=float(times.utilization[0]),
    )  # fmt: skip


def _performance(
    served: Engines, demand: Demand, load: Load, times: tuple[float, float | None, float], output: float, rate: float,
    *, saturated: bool, busy: float = 0.0,
) -> Performance:  # fmt: skip
    ttft, tpot, e2e = times
    coefficients, pattern = served.coefficients, PATTERNS[demand.arrivals]
    doubt = float(queueing_doubt(demand, busy, beyond_pool=served.beyond_pool(load.users)))
    interval = {
        "ttft_ms": _between(ttft, float(ttft_factor(coefficients, INTERVAL_CONFIDENCE, pattern, doubt))),
        "output_tokens_per_s": _around(coefficients, "throughput", output, pattern),
    }
    if tpot is not None:
        interval["tpot_ms"] = _around(coefficients, "tpot", tpot, pattern)
    return Performance(
        ttft_ms=ttft,
        tpot_ms=tpot,
        e2e_ms=e2e,
        output_tokens_per_s=output,
        total_tokens_per_s=rate * (served.lengths[0] + served.lengths[1]),
        requests_per_s=rate,
        saturated=saturated,
        concurrency=load.users,
        load=load,
        basis=coefficients.basis,
        basis_note=coefficients.basis_note,
        interval=interval,
    )


def _percentiles(times: Outcome, asked: tuple[float, ...]) -> Summary:
    """Percentiles over requests, of every engine at once."""
    wanted = sorted({*PERCENTILES, *asked})
    kinds = {"ttft_ms": times.ttft_ms, "tpot_ms": times.tpot_ms, "e2e_ms": times.e2e_ms}
    return {name: {f"p{percent:g}": of(percent) for percent in wanted} for name, of in kinds.items()}


def following(before: Performance, after: Performance) -> Performance:
    """Percentiles moved with the means that images or drafts have changed: shifted to first tokens, scaled after."""
    if not before.percentiles:
        return after
    shift, ends = after.ttft_ms - before.ttft_ms, after.e2e_ms - before.e2e_ms
    ratio = 1.0 if not before.tpot_ms or after.tpot_ms is None else after.tpot_ms / before.tpot_ms
    moved = {
        "ttft_ms": {name: value + shift for name, value in before.percentiles["ttft_ms"].items()},
        "tpot_ms": {name: value * ratio for name, value in before.percentiles.get("tpot_ms", {}).items()},
        "e2e_ms": {name: max(0.0, value + ends) for name, value in before.percentiles["e2e_ms"].items()},
    }
    kept = {name: values for name, values in moved.items() if name in before.percentiles}
    return after.model_copy(update={"percentiles": kept})


def bound_at(
    coefficients: LatencyCoefficients,
    performance: Performance,
    confidence: float | None,
    percentiles: tuple[float | None, float | None] = (None, None),
    doubt: float = 0.0,
) -> PerformanceBound:
    """The values that hold at `confidence` (one-sided); None keeps the central prediction.

    `percentiles`: over requests, of TTFT and TPOT; None is the mean. With random arrivals the rate is the one asked, or
    what the engines keep up with at that confidence. `doubt`: `Engines.doubt`, of the TTFT.
    """
    pattern = PATTERNS[performance.load.pattern]

    def factor(metric: Metric) -> float:
        return 1.0 if confidence is None else float(quantile_factor(coefficients, metric, confidence, pattern))

    first = 1.0 if confidence is None else float(ttft_factor(coefficients, confidence, pattern, doubt))
    output = performance.output_tokens_per_s * factor("throughput")
    asked, most = performance.load.requests_per_s, performance.most_requests_per_s
    if asked is not None and most is not None:
        each = performance.output_tokens_per_s / performance.requests_per_s
        output = min(asked * each, most * MOST_LOAD * each * factor("throughput"))
    tpot = _at(performance, "tpot_ms", percentiles[1])
    return PerformanceBound(
        ttft_ms=(_at(performance, "ttft_ms", percentiles[0]) or 0.0) * first,
        tpot_ms=None if tpot is None else tpot * factor("tpot"),
        output_tokens_per_s=output,
    )


def _at(performance: Performance, name: str, percentile: float | None) -> float | None:
    """A time at a percentile over requests, or its mean."""
    mean: float | None = getattr(performance, name)
    if percentile is None or mean is None:
        return mean
    return performance.percentiles[name][f"p{percentile:g}"]


def _around(coefficients: LatencyCoefficients, metric: Metric, value: float, pattern: Pattern) -> tuple[float, float]:
    """The two-sided interval: slow side by the slow quantile, fast side by its inverse."""
    return _between(value, float(quantile_factor(coefficients, metric, INTERVAL_CONFIDENCE, pattern)))


def _between(value: float, slow: float) -> tuple[float, float]:
    """From so many times slower to as many times faster."""
    ends = sorted((value * slow, value / slow))
    return ends[0], ends[1]
