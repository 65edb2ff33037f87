"""Quality: what weights or a KV cache keep of a model's scores, as a pooled mean with its uncertainty."""

import math

from pydantic import Field

from vllm_opt.profiles.normal import normal_quantile
from vllm_opt.profiles.noun import Noun


class Quality(Noun):
    """Recovery: a score divided by the score of the model as published, on the same benchmark.

    ln(recovery) is normal around `log_mean` with `log_deviation`: the uncertainty of the mean over benchmarks, not the
    spread of one benchmark. Losses of weights and KV cache multiply, so their logarithms add.
    """

    log_mean: float | None = Field(None, description="ln(recovery); None: no number is published")
    log_deviation: float = Field(0.0, ge=0, description="standard deviation of log_mean")
    evidence: str = Field("", description="what it rests on, in one phrase")

    @property
    def recovery(self) -> float | None:
        """The central value; above 1 is chance, so never above 1."""
        return None if self.log_mean is None else min(1.0, math.exp(self.log_mean))

    def low(self, confidence: float) -> float | None:
        """The recovery that the mean exceeds with this probability."""
        if self.log_mean is None:
            return None
        z = normal_quantile(max(confidence, 0.5))
        return min(1.0, math.exp(self.log_mean - z * self.log_deviation))

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """The two-sided interval that holds the mean with this probability."""
        if self.log_mean is None:
            return None
        z = normal_quantile((1 + confidence) / 2)
        ends = (math.exp(self.log_mean + sign * z * self.log_deviation) for sign in (-1, 1))
        low, high = (min(1.0, end) for end in ends)
        return low, high

    def times(self, other: "Quality") -> "Quality":
        """Both losses together; unknown where one of them is."""
        evidence = "; ".join(text for text in (self.evidence, other.evidence) if text)
        if self.log_mean is None or other.log_mean is None:
            return Quality(log_mean=None, evidence=evidence)
        return Quality(
            log_mean=self.log_mean + other.log_mean,
            log_deviation=math.hypot(self.log_deviation, other.log_deviation),
            evidence=evidence,
        )


def published(evidence: str) -> Quality:
    """The reference itself: nothing is lost by definition."""
    return Quality(log_mean=0.0, evidence=evidence)
