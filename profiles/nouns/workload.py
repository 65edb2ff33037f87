"""Workload and Targets: the traffic that a deployment serves, and what must hold while it does."""

from pydantic import Field

from vllm_opt.profiles.noun import Noun


class Workload(Noun):
    """The typical request and how many are in flight."""

    input_tokens: int = Field(gt=0, description="prompt tokens of the typical request")
    output_tokens: int = Field(gt=0, description="generated tokens of the typical request")
    concurrency: int = Field(gt=0, description="requests held at once, in all replicas together")
    prefix_hit_share: float = Field(0.0, ge=0, lt=1, description="share of prompt tokens found in the prefix cache")


class Targets(Noun):
    """Limits. None means no limit."""

    target_context: int = Field(gt=0, description="tokens (prompt + output) that each sequence may reach")
    concurrency: int = Field(gt=0, description="sequences held at once, in all replicas together")
    mean_context: int = Field(gt=0, description="tokens that a running sequence holds on average")
    max_ttft_ms: float | None = Field(None, gt=0)
    max_tpot_ms: float | None = Field(None, gt=0)
    min_output_tokens_per_s: float | None = Field(None, gt=0)
    max_hourly_cost: float | None = Field(None, gt=0, description="USD per hour")
    min_quality: float = Field(0.98, ge=0, le=1.5, description="lowest accepted recovery against 16-bit")
    gpus: int | None = Field(None, gt=0, description="exactly this many GPUs")
    max_gpus: int = Field(16, gt=0, description="at most this many GPUs")
