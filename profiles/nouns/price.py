"""Price: what one GPU-hour, or one GPU, costs at one provider on one date."""

from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun


class HourlyPrice(Noun):
    """One row of a price list."""

    gpu: str = Field(description="SKU id")
    provider: str
    instance_type: str | None = None
    gpus_per_instance: int | None = Field(None, gt=0)
    usd_per_gpu_hour: float = Field(gt=0)
    usd_per_instance_hour: float | None = Field(None, gt=0)
    region: str | None = None
    billing: str = Field(description="'on-demand', 'spot', 'marketplace', 'serverless', 'reserved-1y', …")
    as_of: str = Field(description="date the price was read, as exactly as known")
    confidence: Literal["high", "medium-high", "medium", "low"]
    source: str
    note: str | None = None


class PurchasePrice(Noun):
    """What one card costs to buy."""

    gpu: str = Field(description="SKU id")
    usd_low: float = Field(gt=0)
    usd_high: float = Field(gt=0)
    as_of: str
    source: str
    note: str | None = None


class MarketRange(Noun):
    """What one GPU-hour costs across a market, for orientation; never used as a price."""

    gpu: str = Field(description="SKU id")
    tier: str = Field(description="which part of the market")
    usd_low: float = Field(gt=0)
    usd_high: float = Field(gt=0)
    as_of: str
    source: str
