"""Fields that solve, estimate and simulate share for how requests come, and at which percentile limits hold."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from vllm_opt.constraints.queueing.demand import ALIKE, Lengths
from vllm_opt.constraints.queueing.engine import Arrivals, Demand
from vllm_opt.optimizer.contract.assumptions import Assumption
from vllm_opt.optimizer.contract.field_types import NumberOrZero, PositiveNumber, Text, _number, _one
from vllm_opt.optimizer.contract.length_file import LEAST_BURSTINESS, MOST_BURSTINESS, read_lengths
from vllm_opt.profiles.printable import printable

Percentile = Annotated[float, BeforeValidator(_number), Field(ge=50, le=99)]


class TrafficFields(BaseModel):
    """How requests come (contract, Percentiles). `arrivals` None: poisson where a rate is given, else closed."""

    arrivals: Annotated[Literal["closed", "poisson", "burst", "offline"] | None, BeforeValidator(_one)] = Field(
        None, description="users in a closed loop, a rate of random arrivals, all at once, or an offline batch"
    )
    requests_per_s: PositiveNumber | None = Field(None, description="of all replicas together")
    burstiness: Annotated[float, BeforeValidator(_number), Field(ge=LEAST_BURSTINESS, le=MOST_BURSTINESS)] = Field(
        1.0, description="shape of the gamma law between arrivals, as `vllm bench serve` defines it"
    )
    think_time_s: NumberOrZero = Field(0.0, description="what a user of a closed loop waits between two requests")
    ttft_percentile: Percentile | None = Field(None, description="over requests, at which max_ttft_ms holds")
    tpot_percentile: Percentile | None = Field(None, description="over requests, at which max_tpot_ms holds")
    lengths: Text | None = Field(None, description="CSV or JSONL file: a trace of lengths and times, or a histogram")

    @model_validator(mode="after")
    def _traffic_is_consistent(self) -> Self:
        pattern = self.pattern
        if pattern == "poisson" and self.requests_per_s is None:
            raise ValueError("arrivals poisson needs requests_per_s")
        if pattern != "poisson" and self.requests_per_s is not None:
            raise ValueError(f"requests_per_s goes with arrivals poisson, not with {pattern}; leave one of them out")
        if pattern != "poisson" and self.burstiness != 1.0:
            raise ValueError("burstiness shapes random arrivals: it needs requests_per_s")
        if pattern != "closed" and self.think_time_s:
            raise ValueError(f"think_time_s goes with arrivals closed, not with {pattern}; leave one of them out")
        return self

    @property
    def pattern(self) -> Arrivals:
        """How requests come."""
        return self.arrivals or ("closed" if self.requests_per_s is None else "poisson")

    @property
    def length_spread(self) -> Lengths:
        """How lengths differ between requests."""
        return ALIKE if self.lengths is None else Lengths.of_pairs(*read_lengths(self.lengths).pairs())

    @property
    def demand(self) -> Demand:
        """The traffic as queueing takes it."""
        return Demand(self.pattern, self.requests_per_s, self.burstiness, self.think_time_s, self.length_spread)

    @property
    def asked_percentiles(self) -> tuple[float, ...]:
        """The percentiles that limits hold at."""
        return tuple(item for item in (self.ttft_percentile, self.tpot_percentile) if item is not None)

    @property
    def needs_queueing(self) -> bool:
        """Whether limits or load rest on more than the means of a closed loop."""
        return self.pattern != "closed" or bool(self.think_time_s) or bool(self.asked_percentiles)


def with_trace(fields: dict[str, Any]) -> dict[str, Any]:
    """Fill in what a file of lengths says and the request does not: mean lengths, and the rate of a trace.

    Raises:
        InvalidRequest: the file cannot be read or understood.
    """
    path = _one(fields.get("lengths"))
    if not isinstance(path, str) or not path:
        return fields
    trace = read_lengths(path)
    filled, found = {key: value for key, value in fields.items() if value is not None}, list(fields.get("assumed", ()))
    why = f"from {printable(path[-80:])}"
    said: dict[str, Any] = dict(zip(("input_tokens", "output_tokens"), trace.mean_lengths, strict=True))
    timing = trace.rate_and_burstiness
    asked = {"arrivals", "requests_per_s", "think_time_s"} & set(filled)
    if timing is not None and not asked:
        said |= {"requests_per_s": timing[0]} | ({} if "burstiness" in filled else {"burstiness": timing[1]})
    for field, value in said.items():
        if field not in filled or field in {item.field for item in found if "workload" in item.why}:
            filled[field] = value
            found = [item for item in found if item.field != field]
            found.append(Assumption(field=field, value=value, why=why))
    return {**filled, "assumed": tuple(found)}


def floor_of_traffic(request: Any, output_tokens: int) -> float | None:
    """Output tokens per second that must be reached: what is asked, and what random arrivals bring."""
    brought = None if request.requests_per_s is None else request.requests_per_s * output_tokens * (1 - 1e-9)
    # A hair below, so that the same product is no violation of itself.
    floors = [floor for floor in (request.min_output_tokens_per_s, brought) if floor is not None]
    return max(floors, default=None)
