"""Demand that changes: a profile over the week, and scenarios of growth, prices and model swaps with probabilities."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from vllm_opt.optimizer.contract.field_types import NumberOrZero, PositiveNumber, Text, _many, _number
from vllm_opt.profiles.noun import Noun

HOURS_PER_WEEK = 168
MOST_SCENARIOS = 200


def _profile(value: object) -> object:
    """A day of 24 numbers, a week of 168, or seven lists of 24."""
    if isinstance(value, list | tuple) and len(value) == 7 and all(isinstance(day, list | tuple) for day in value):
        return tuple(hour for day in value for hour in day)
    return _many(value)


Profile = Annotated[tuple[NumberOrZero, ...], BeforeValidator(_profile)]


def whole_week(profile: tuple[float, ...]) -> tuple[float, ...]:
    """Multiples of the stated rate for each hour of the week, Monday 00:00 first; a day is repeated.

    Raises:
        ValueError: neither 24 nor 168 numbers.
    """
    if not profile:
        return (1.0,) * HOURS_PER_WEEK
    if len(profile) not in (24, HOURS_PER_WEEK):
        raise ValueError(f"profile must hold 24 numbers, 168, or 7 lists of 24 (got {len(profile)})")
    if not any(profile):
        raise ValueError("profile must hold at least one hour with traffic")
    return profile if len(profile) == HOURS_PER_WEEK else profile * 7


class Scenario(Noun):
    """One way that things may turn out."""

    name: Text
    probability: PositiveNumber = Field(1.0, description="in any unit: probabilities are divided by their sum")
    growth: PositiveNumber | dict[Text, PositiveNumber] = Field(
        1.0, description="traffic as a multiple of today's, of all workloads or by workload"
    )
    price: PositiveNumber | dict[Text, PositiveNumber] = Field(
        1.0, description="what is not committed costs so many times today's price, in all or by SKU"
    )
    swap: dict[Text, Text] = Field(default_factory=dict, description="workload -> the model that serves it instead")

    def growth_of(self, workload: str) -> float:
        """Traffic of a workload as a multiple of today's."""
        return self.growth.get(workload, 1.0) if isinstance(self.growth, dict) else self.growth

    def price_of(self, gpu: str) -> float:
        """Price of a SKU as a multiple of today's."""
        return self.price.get(gpu, 1.0) if isinstance(self.price, dict) else self.price


class ServiceLevel(Noun):
    """How much load may be missed."""

    missed_hours: Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)] = Field(
        0.0, description="share of the hours, over all scenarios, in which load may be missed"
    )
    cvar: Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)] | None = Field(
        None, description="instead: the mean share of load missed over the worst hours may be so much"
    )
    tail: Annotated[float, BeforeValidator(_number), Field(gt=0, lt=1)] = Field(
        0.05, description="which part of the hours the worst ones are, for cvar"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.cvar is not None and self.missed_hours:
            raise ValueError("service_level takes missed_hours or cvar, not both")
        return self


class GpuRates(Noun):
    """What one GPU-hour costs, by how it is had; what is left out is the price list's."""

    reserved: PositiveNumber | None = Field(None, description="committed; USD per GPU-hour, paid in every hour")
    on_demand: PositiveNumber | None = Field(None, description="USD per GPU-hour used")
    spot: PositiveNumber | None = Field(None, description="USD per GPU-hour used; may be taken away")


class CommitmentTerms(Noun):
    """How GPUs may be committed to, and what is done beyond."""

    rates: dict[Text, GpuRates] = Field(default_factory=dict, description="SKU -> rates that override the price list")
    spot_share: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)] = Field(
        0.0, description="share of what is not committed that may run on spot"
    )
    billing: Literal["reserved-1y", "reserved-3y"] = Field(
        "reserved-1y", description="what the price list is asked for"
    )


def checked(scenarios: tuple[Scenario, ...], workloads: tuple[str, ...]) -> None:
    """Refuse scenarios that name a workload that is not there, or share a name.

    Raises:
        ValueError: the first that does.
    """
    names = [scenario.name for scenario in scenarios]
    if len(set(names)) < len(names):
        raise ValueError("two scenarios have the same name; give each its own")
    for scenario in scenarios:
        named: list[Any] = [*scenario.swap, *(scenario.growth if isinstance(scenario.growth, dict) else ())]
        for name in named:
            if name not in workloads:
                raise ValueError(f"scenario '{scenario.name}' names the workload '{name}', which is not in workloads")
