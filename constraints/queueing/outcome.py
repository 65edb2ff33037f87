"""What queueing says of one engine: times of many equally likely requests, and their percentiles."""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.queueing.finite_runs import percentile_of_all, percentile_of_runs
from vllm_opt.constraints.queueing.lattice import FEW_POINTS, mean_of, percentile_of
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
    run: Numbers | None = None
    """Requests of a whole run, where it has an end."""
    drawn: bool = False
    """Whether lengths differ, so that such a run is a sample."""

    @property
    def utilization(self) -> Numbers:
        """Share of the capacity that the load takes."""
        return np.asarray(np.minimum(self.requests_per_s / self.capacity_per_s, 1.0))

    def ttft_ms(self, percent: float | None) -> Numbers:
        """A percentile over requests, or their mean."""
        return self._summary(self.ttft_s, percent, drawn=False)

    def tpot_ms(self, percent: float | None) -> Numbers:
        """A percentile over requests, or their mean."""
        return self._summary(self.tpot_s, percent, drawn=self.drawn)

    def e2e_ms(self, percent: float | None) -> Numbers:
        """A percentile over requests, or their mean."""
        return self._summary(self.e2e_s, percent, drawn=self.drawn)

    def _summary(self, seconds: Numbers, percent: float | None, *, drawn: bool) -> Numbers:
        if percent is None:
            return np.asarray(mean_of(seconds) * 1e3)
        if self.run is None:
            smoothly = len(seconds) > FEW_POINTS
            return np.asarray((percentile_of_all if smoothly else percentile_of)(seconds, percent) * 1e3)
        return percentile_of_runs(seconds, percent, self.run, drawn=drawn) * 1e3
