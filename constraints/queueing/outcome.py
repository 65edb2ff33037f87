"""What queueing says of one engine: times of many equally likely requests, and their percentiles."""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.queueing.lattice import mean_of, percentile_of
from vllm_opt.constraints.speed.step_time import Numbers


@dataclass(frozen=True)
class Outcome:
    """Seconds of equally likely requests (first axis) of many engines (second axis). TPOT is NaN for one token."""

    ttft_s: Numbers
    tpot_s: Numbers
    e2e_s: Numbers
    requests_per_s: Numbers
    """Served by one engine."""
    capacity_per_s: Numbers
    """What one engine serves at most: beyond it the queue grows without end."""

    @property
    def utilization(self) -> Numbers:
        """Share of the capacity that the load takes."""
        return np.asarray(np.minimum(self.requests_per_s / self.capacity_per_s, 1.0))

    def ttft_ms(self, percent: float | None) -> Numbers:
        """A percentile over requests, or their mean."""
        return _summary(self.ttft_s, percent)

    def tpot_ms(self, percent: float | None) -> Numbers:
        """A percentile over requests, or their mean."""
        return _summary(self.tpot_s, percent)

    def e2e_ms(self, percent: float | None) -> Numbers:
        """A percentile over requests, or their mean."""
        return _summary(self.e2e_s, percent)


def _summary(seconds: Numbers, percent: float | None) -> Numbers:
    return np.asarray((mean_of(seconds) if percent is None else percentile_of(seconds, percent)) * 1e3)
