"""Times of operating points under any traffic but a closed loop judged by means: percentiles, rates, bursts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.queueing.engine import outcome
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.random_arrivals import MOST_LOAD
from vllm_opt.constraints.speed.latency import LoadPrediction
from vllm_opt.constraints.speed.spread import quantile_factor
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.estimation.performance import PATTERNS
from vllm_opt.optimizer.space.setting import SolveSetting

Numbers = NDArray[np.float64]
Slots = tuple[Numbers, Numbers, Numbers, NDArray[np.bool_]]
"""max_num_seqs, max_num_batched_tokens, chunked prefill, prefix caching."""


@dataclass(frozen=True)
class Queued:
    """What queueing says of many engines, with what is asked of them."""

    setting: SolveSetting
    coefficients: LatencyCoefficients
    times: Outcome

    def bounds(self, engines: Numbers, ttft_ms: Numbers, tpot_ms: Numbers, rate: Numbers) -> tuple[Numbers, ...]:
        """(TTFT, TPOT, tokens/s of all engines) at the confidence asked; times at the percentile asked.

        `ttft_ms`, `tpot_ms`, `rate` (tokens/s of one engine): central means. Of random arrivals the rate is what is
        brought, or what the engines keep up with at that confidence.
        """
        request, targets = self.setting.request, self.setting.targets
        pattern, confidence = PATTERNS[self.setting.demand.arrivals], request.confidence
        first, token, slower = (
            quantile_factor(self.coefficients, "ttft", confidence, pattern),
            quantile_factor(self.coefficients, "tpot", confidence, pattern),
            quantile_factor(self.coefficients, "throughput", confidence, pattern),
        )
        if targets.ttft_percentile is not None:
            ttft_ms = self.times.ttft_ms(targets.ttft_percentile)
        if targets.tpot_percentile is not None:
            tpot_ms = self.times.tpot_ms(targets.tpot_percentile)
        tokens = rate * engines * slower
        if targets.requests_per_s is not None:
            outputs = float(self.setting.lengths[1])
            kept_up = self.times.capacity_per_s * engines * MOST_LOAD * outputs * slower
            tokens = np.minimum(targets.requests_per_s * outputs, kept_up)
        return ttft_ms * first, tpot_ms * token, tokens

    def columns(self, load: LoadPrediction, rate: Numbers, engines: Numbers) -> tuple[NDArray[Any], ...]:
        """Columns of candidates behind the sequences; a closed loop without pauses keeps its fitted means."""
        means = load.ttft_ms, load.tpot_ms, load.e2e_ms, rate
        if self.setting.demand.arrivals != "closed" or self.setting.demand.think_s:
            output = self.times.requests_per_s * float(self.setting.lengths[1])
            means = self.times.ttft_ms(None), self.times.tpot_ms(None), self.times.e2e_ms(None), output
        return (*means, *self.bounds(engines, means[0], means[1], means[3]))


def queued(
    setting: SolveSetting, coefficients: LatencyCoefficients, engines: Numbers, users: Numbers, slots: Slots
) -> Queued:
    """Times of engines that share the traffic asked; `users` of each where it is no rate."""
    sequences, tokens, chunked, cached = slots
    asked = setting.targets.requests_per_s
    times = outcome(
        coefficients, setting.demand, users if asked is None else asked / engines, sequences, tokens,
        float(setting.lengths[0]), float(setting.lengths[1]), chunked_prefill=chunked,
        prefix_hit_share=np.where(cached, setting.request.hit_share, 0.0),
    )  # fmt: skip
    return Queued(setting, coefficients, times)
