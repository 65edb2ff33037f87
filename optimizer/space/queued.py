"""Times of operating points under any traffic but a closed loop judged by means: percentiles, rates, bursts."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.queueing.doubt import queueing_doubt, ttft_factor
from vllm_opt.constraints.queueing.engine import Demand, outcome
from vllm_opt.constraints.queueing.prompts_ahead import MOST_LOAD
from vllm_opt.constraints.speed.latency import LoadPrediction
from vllm_opt.constraints.speed.spread import quantile_factor
from vllm_opt.constraints.speed.step_time import COEFFICIENT_NAMES, LatencyCoefficients
from vllm_opt.optimizer.estimation.performance import PATTERNS
from vllm_opt.optimizer.space.setting import SolveSetting

Numbers = NDArray[np.float64]
Slots = tuple[Numbers, Numbers, Numbers, NDArray[np.bool_]]
"""max_num_seqs, max_num_batched_tokens, chunked prefill, prefix caching."""


@dataclass(frozen=True)
class Times:
    """What queueing says of engines: means, times at the percentiles asked (means without one), and rates."""

    ttft_ms: Numbers
    tpot_ms: Numbers
    e2e_ms: Numbers
    ttft_asked_ms: Numbers
    tpot_asked_ms: Numbers
    requests_per_s: Numbers
    capacity_per_s: Numbers


@dataclass(frozen=True)
class Queued:
    """What queueing says of many engines, with what is asked of them."""

    setting: SolveSetting
    coefficients: LatencyCoefficients
    times: Times

    def bounds(self, engines: Numbers, ttft_ms: Numbers, tpot_ms: Numbers, rate: Numbers) -> tuple[Numbers, ...]:
        """(TTFT, TPOT, tokens/s of all engines) at the confidence asked; times at the percentile asked.

        `ttft_ms`, `tpot_ms`, `rate` (tokens/s of one engine): central means. Of random arrivals the rate is what is
        brought, or what the engines keep up with at that confidence.
        """
        request, targets = self.setting.request, self.setting.targets
        pattern, confidence = PATTERNS[self.setting.demand.arrivals], request.confidence
        first, token, slower = (
            ttft_factor(self.coefficients, confidence, pattern, self._doubt),
            quantile_factor(self.coefficients, "tpot", confidence, pattern),
            quantile_factor(self.coefficients, "throughput", confidence, pattern),
        )
        if targets.ttft_percentile is not None:
            ttft_ms = self.times.ttft_asked_ms
        if targets.tpot_percentile is not None:
            tpot_ms = self.times.tpot_asked_ms
        tokens = rate * engines * slower
        if targets.requests_per_s is not None:
            outputs = float(self.setting.lengths[1])
            kept_up = self.times.capacity_per_s * engines * MOST_LOAD * outputs * slower
            tokens = np.minimum(targets.requests_per_s * outputs, kept_up)
        return ttft_ms * first, tpot_ms * token, tokens

    @property
    def _doubt(self) -> Numbers:
        busy = np.minimum(self.times.requests_per_s / self.times.capacity_per_s, 1.0)
        return queueing_doubt(self.setting.demand, busy)

    def columns(self, load: LoadPrediction, rate: Numbers, engines: Numbers) -> tuple[NDArray[Any], ...]:
        """Columns of candidates behind the sequences; a closed loop without pauses keeps its fitted means."""
        means = load.ttft_ms, load.tpot_ms, load.e2e_ms, rate
        if self.setting.demand.arrivals != "closed" or self.setting.demand.think_s:
            output = self.times.requests_per_s * float(self.setting.lengths[1])
            means = self.times.ttft_ms, self.times.tpot_ms, self.times.e2e_ms, output
        return (*means, *self.bounds(engines, means[0], means[1], means[3]))


def queued(
    setting: SolveSetting, coefficients: LatencyCoefficients, engines: Numbers, users: Numbers, slots: Slots
) -> Queued:
    """Times of engines that share the traffic asked; `users` of each where it is no rate. Known ones are looked up."""
    sequences, tokens, chunked, cached = slots
    asked, targets, demand = setting.targets.requests_per_s, setting.targets, setting.demand
    load = users if asked is None else asked / engines
    columns = (load, sequences, tokens, chunked, np.where(cached, setting.request.hit_share, 0.0))
    given = [np.asarray(getattr(coefficients, name), dtype=np.float64) for name in COEFFICIENT_NAMES]
    rows = np.stack(np.broadcast_arrays(*columns, *given), axis=1).astype(np.float64)
    percentiles = targets.ttft_percentile, targets.tpot_percentile

    def work_out(new: NDArray[np.intp]) -> Numbers:
        part, c = rows[new], LatencyCoefficients(*rows[new][:, len(columns) :].T)
        found = outcome(
            c, demand, part[:, 0], part[:, 1], part[:, 2], float(setting.lengths[0]), float(setting.lengths[1]),
            chunked_prefill=part[:, 3], prefix_hit_share=part[:, 4],
        )  # fmt: skip
        return np.stack([
            found.ttft_ms(None), found.tpot_ms(None), found.e2e_ms(None), found.ttft_ms(percentiles[0]),
            found.tpot_ms(percentiles[1]), found.requests_per_s, found.capacity_per_s,
        ], axis=1)  # fmt: skip

    found = setting.queue_memory.rows(_kind(demand, setting.lengths, percentiles), rows, work_out)
    return Queued(setting, coefficients, Times(*np.ascontiguousarray(found.T)))


def _kind(demand: Demand, lengths: tuple[int, int], percentiles: tuple[float | None, float | None]) -> bytes:
    """What all rows have in common, as bytes."""
    plain = (demand.arrivals, demand.burstiness, demand.think_s, lengths, percentiles)
    spread = demand.lengths.inputs.tobytes() + demand.lengths.outputs.tobytes()
    return hashlib.sha256(repr(plain).encode() + spread).digest()
