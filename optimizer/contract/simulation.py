"""What a simulation is asked, and what it answers: times over the requests that were played."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.optimizer.contract.answer import Report
from vllm_opt.optimizer.contract.field_types import CountOrZero, _count
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.profiles.noun import Noun


class SimulateRequest(EstimateRequest):
    """Everything that `vllm-opt simulate` takes: an estimate's fields, and how much is played."""

    num_requests: Annotated[int, BeforeValidator(_count), Field(gt=0, le=200_000)] | None = Field(
        None, description="requests that are sent; default: all of a trace, else 1000, or ten for each user"
    )
    seed: CountOrZero = 0


class PlayedRequest(Noun):
    """One request of a simulation."""

    number: int
    engine: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    ttft_ms: float
    tpot_ms: float | None = Field(description="None with one output token")
    e2e_ms: float
    preemptions: int


class Played(Noun):
    """Sums over the requests of a simulation, the first tenth of a steady stream left out."""

    requests: int
    duration_s: float = Field(description="from the first arrival to the last finish, of everything that was sent")
    output_tokens_per_s: float
    requests_per_s: float
    preemptions: int
    steps: int
    utilization: float = Field(description="share of the time in which engines were at work")
    times: dict[str, dict[str, float]] = Field(description="ttft_ms, tpot_ms, e2e_ms -> mean, p50, p90, p95, p99")


class Interval(Noun):
    """Requests that arrived in one piece of time."""

    from_s: float
    to_s: float
    requests: int
    ttft_ms: dict[str, float] = Field(description="p50 and p95 over these requests; empty where none arrived")


class Simulation(Report):
    """The answer to a `SimulateRequest`; `played` is None where the configuration does not start."""

    schema_name: str = Field("vllm-opt/simulation/1", alias="schema")
    request: dict[str, Any]
    fits: bool
    played: Played | None = None
    closed_form: Performance | None = Field(None, description="what estimate says of the same traffic")
    timeline: tuple[Interval, ...] = ()
    violations: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()
    log: tuple[PlayedRequest, ...] = Field((), exclude=True, repr=False, description="every request; `--csv` writes it")
