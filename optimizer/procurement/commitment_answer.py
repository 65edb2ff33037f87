"""What a demand with a profile or scenarios is answered: what to sign, what it costs, bounds for the autoscaler."""

from pydantic import Field

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.profiles.noun import Noun


class Signed(Noun):
    """GPUs of one SKU to commit to."""

    gpu: str
    kind: str = Field(description="owned, bought, or the kind of reservation")
    gpus: int
    usd_per_gpu_hour: float


class HourBounds(Noun):
    """One workload: where it runs and how many replicas the autoscaler may run in each hour of the week."""

    workload: str
    gpu: str
    gpus_per_replica: float
    plan: Plan
    least: tuple[int, ...] = Field(description="168 numbers, Monday 00:00 first: the fewest over all scenarios")
    most: tuple[int, ...] = Field(description="the most over all scenarios, missed hours left out")
    swapped: dict[str, str] = Field(default_factory=dict, description="scenario -> model that it runs instead")


class ScenarioCost(Noun):
    """One scenario."""

    name: str
    probability: float
    usd_per_month: float
    peak_gpus: int
    missed_hours: int = Field(description="hours of the week in which load is missed")


class Commitment(Noun):
    """What to sign now, what it costs, and how far it may be from the best."""

    signed: tuple[Signed, ...]
    workloads: tuple[HourBounds, ...]
    scenarios: tuple[ScenarioCost, ...]
    usd_per_month: float = Field(description="expected: commitments and what is taken on demand, 730 hours")
    committed_usd_per_month: float
    all_on_demand_usd_per_month: float = Field(description="the same without any commitment")
    on_demand_gpu_hours_per_week: float = Field(description="expected")
    missed_hours: float = Field(description="share of the hours, over all scenarios, in which load is missed")
    bound_usd_per_month: float
    gap: float = Field(description="relative distance of the expected cost from the bound")
    assignments: int = Field(description="ways to give each workload a SKU that were bounded")
