"""Price: what one machine costs by the hour, or one GPU to buy, at one provider on one date."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from vllm_opt.profiles.noun import Noun

Billing = Literal["on-demand", "reserved-1y", "reserved-3y", "spot", "marketplace", "owned"]
BILLINGS: tuple[Billing, ...] = ("on-demand", "reserved-1y", "reserved-3y", "spot", "marketplace", "owned")
NOT_STATED = "not stated"
GIVEN = "given with the request"
MOST_USD_PER_HOUR = 1e6
AsOf = Annotated[
    str,
    StringConstraints(
        pattern=rf"^(\d{{4}}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?|{NOT_STATED}|{GIVEN})$",
    ),
]
"""An ISO date, month or year, as exactly as it is known."""


class Offer(Noun):
    """One machine that can be rented, or that is owned: it is paid whole, whatever part of it is used."""

    gpu: str = Field(description="SKU id")
    provider: str
    instance_type: str = Field(description="what to order, in the provider's words")
    gpus: int = Field(gt=0, le=4096, description="GPUs of one instance")
    up_to_gpus: int | None = Field(
        None, gt=0, le=4096,
        description="only where GPUs are sold one by one (gpus is 1): the most that share one machine at this price "
        "each",
    )  # fmt: skip
    stock_gpus: int | None = Field(None, gt=0, description="owned machines: GPUs in all")
    host_memory_gib: float | None = Field(None, gt=0, description="memory of one instance; None: not known")
    usd_per_hour: float = Field(ge=0, le=MOST_USD_PER_HOUR, description="price of one whole instance")
    region: str | None = None
    billing: Billing
    as_of: AsOf = Field(description="date of the price")
    confidence: Literal["high", "medium-high", "medium", "low"]
    source: str = Field(description="an address that a reader can open, or repository:path@commit")
    notes: str | None = None

    @property
    def usd_per_gpu_hour(self) -> float:
        """The instance's price by GPU, for comparison only: no part of an instance can be bought."""
        return self.usd_per_hour / self.gpus


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
