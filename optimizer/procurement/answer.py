"""What `procure` answers: `FleetAnswer`. `.model_dump(mode="json")` equals the command line's JSON."""

from typing import Any, Literal

from pydantic import Field

from vllm_opt.optimizer.contract.answer import Explanation, ObjectiveValue, Plan, Report
from vllm_opt.optimizer.contract.second_opinion import SecondOpinion
from vllm_opt.optimizer.procurement.commitment_answer import Commitment
from vllm_opt.profiles.noun import Noun


class Assignment(Noun):
    """Replicas of one plan for one workload."""

    workload: str
    gpu: str
    replicas: int
    gpus: float = Field(description="GPUs of all replicas; a shared GPU counts by its part")
    gpu_part: float = Field(1.0, description="part of a GPU that one replica has; 1 unless it shares")
    capacity: float = Field(description="what all replicas serve at most, in `unit`")
    load: float = Field(description="what they serve at the peak, headroom included, in `unit`")
    utilisation: float = Field(description="load / capacity; spare replicas count as capacity")
    unit: Literal["requests/s", "sequences"]
    lengths: str = Field("", description="which lengths of the histogram come here")
    plan: Plan
    notes: tuple[str, ...] = ()


class HostedServers(Noun):
    """Servers of one assignment on one host, or their parts there where a server spans hosts."""

    assignment: int = Field(description="position in `assignments`, from 0")
    servers: int


class OrderedHost(Noun):
    """What stands on a host; equal hosts counted once."""

    hosts: int = Field(description="how many hosts are like this one")
    gpus: int
    zone: int = Field(0, description="failure zone, where servers are spread over several")
    servers: tuple[HostedServers, ...] = Field(description="empty: a spare")


class NodeOrder(Noun):
    """What to take of one offer."""

    gpu: str
    kind: Literal["stock", "rent", "buy"]
    provider: str
    what: str
    nodes: int = Field(description="nodes; where GPUs are sold singly, orders of as many GPUs as a replica needs")
    gpus: int
    idle_gpus: float = Field(description="GPUs that are paid for and hold nothing")
    usd_per_hour: float = Field(description="rent, or power and hosting, and depreciation")
    usd_per_month: float
    capex_usd: float
    watts: int
    rack_units: float
    placement: tuple[str, ...] = Field(description="what runs on each node, equal nodes counted once")
    hosts: tuple[OrderedHost, ...] = Field((), description="the same placement, in numbers")
    source: str
    as_of: str
    synthetic: bool = Field(False, description="the price was invented because the list has none")


class ServedDemand(Noun):
    """How much of one workload is served."""

    workload: str
    served: float = Field(description="share of its peak demand, 1 is all of it")
    peak: float = Field(description="peak demand, headroom included")
    unit: Literal["requests/s", "sequences"]
    usd_per_month: float = Field(description="its part of the bill, by GPUs used and idle ones in proportion")
    usd_per_million_tokens: float | None = None


class FleetTotals(Noun):
    """Sums over the fleet."""

    gpus: int
    nodes: int
    usd_per_hour: float
    usd_per_month: float = Field(description="730 hours")
    new_usd_per_month: float = Field(description="the part that is not running cost of stock")
    capex_usd: float
    watts: int = Field(description="power of GPUs and servers at their rated maximum, before PUE")
    hosted_watts: int = Field(description="of which in the user's own racks")
    rack_units: float
    tokens_per_month: float | None = Field(description="input and output at average traffic; None without rates")
    usd_per_million_tokens: float | None


class Comparison(Noun):
    """Another fleet, for comparison."""

    name: str
    usd_per_month: float | None = Field(description="None: no such fleet")
    relative: float | None = Field(description="its cost against the answer's: 0.18 is 18 % dearer")
    gpus: int | None = None
    message: str
    gap: float = 0.0


class BreakEven(Noun):
    """When buying beats renting, for one SKU."""

    gpu: str
    months: float | None = Field(description="None: renting is cheaper than running what is owned")
    rent_usd_per_gpu_month: float
    running_usd_per_gpu_month: float
    capex_usd_per_gpu: float
    message: str


class FleetSolverReport(Noun):
    """How the answer was found."""

    wall_ms: float
    columns: int
    columns_solved: int
    offers: int
    routing_cuts: int
    workers: int
    seed: int


class FleetAnswer(Report):
    """The answer to a `FleetRequest`."""

    schema_name: str = Field("vllm-opt/fleet/1", alias="schema")
    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    covers: Literal["every plan", "the plans in the model"] = Field(
        "every plan", description="what the bounds hold for; a histogram of lengths is served by the plans in the model"
    )
    request: dict[str, Any]
    objectives: tuple[ObjectiveValue, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    nodes: tuple[NodeOrder, ...] = ()
    totals: FleetTotals | None = None
    workloads: tuple[ServedDemand, ...] = ()
    single_gpu_fleets: tuple[Comparison, ...] = ()
    sensitivity: tuple[Comparison, ...] = ()
    break_even: tuple[BreakEven, ...] = ()
    rejected: tuple[str, ...] = Field((), description="one sentence per SKU that was allowed and is not used")
    commitment: Commitment | None = Field(None, description="with a profile or scenarios: what to sign now")
    explanation: Explanation | None = None
    second_opinion: SecondOpinion | None = Field(None, description="of every plan and the bill, where it was asked for")
    notes: tuple[str, ...] = ()
    solver: FleetSolverReport
