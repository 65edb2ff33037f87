"""Predicted speed at one load: means with the model's uncertainty, percentiles over requests, capacity."""

from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Basis, Noun


class Load(Noun):
    """The traffic that figures hold for."""

    pattern: Literal["closed", "poisson", "burst", "offline"] = "closed"
    users: int = Field(description="users in all replicas together; of random arrivals, requests in flight on average")
    requests_per_s: float | None = Field(None, description="asked, of all replicas together; None without a rate")


class Performance(Noun):
    """Predicted speed at one load."""

    ttft_ms: float
    tpot_ms: float | None = Field(description="None with one output token")
    e2e_ms: float
    output_tokens_per_s: float = Field(description="of all replicas together")
    total_tokens_per_s: float
    requests_per_s: float
    saturated: bool
    concurrency: int = Field(description="closed-loop users the figures hold for, in all replicas")
    load: Load
    utilization: float | None = Field(None, description="share of the capacity that this load takes, 0 to 1")
    percentiles: dict[str, dict[str, float]] = Field(
        {}, description="over requests: ttft_ms, tpot_ms, e2e_ms -> p50, p90, p95, p99; not the model's uncertainty"
    )
    most_requests_per_s: float | None = Field(
        None, description="capacity of all replicas: beyond it the queue grows without end"
    )
    requests_per_s_within_limits: float | None = Field(
        None, description="the highest rate of random arrivals at which the limits on TTFT and TPOT hold"
    )
    basis: Basis
    basis_note: str = ""
    interval: dict[str, tuple[float, float]] = Field(
        description="the model's own uncertainty of each mean at 90 %; not a range over requests"
    )

    def at_percentile(
        self, field: str, percentile: float | None
    ) -> tuple[str, float, tuple[float, float] | None] | None:
        """(name such as p95, value, the model's own uncertainty of it) of a time at a percentile over requests.

        The uncertainty is that of the mean, in proportion. None where no percentile is asked, or none is known.
        """
        key = "" if percentile is None else f"p{percentile:g}"
        value, mean = self.percentiles.get(field, {}).get(key), getattr(self, field)
        if value is None or mean is None:
            return None
        interval = self.interval.get(field)
        return key, value, None if interval is None else (interval[0] * value / mean, interval[1] * value / mean)
