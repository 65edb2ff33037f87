"""FleetRequest: what a buyer may ask. Field names are the keys of a DEMAND.yaml."""

from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from vllm_opt.optimizer.contract.assumptions import with_workload
from vllm_opt.optimizer.contract.fault import one_sentence
from vllm_opt.optimizer.contract.field_types import (
    Count,
    CountOrZero,
    NumberOrZero,
    PositiveNumber,
    Switch,
    Text,
    Texts,
    _many,
    _number,
)
from vllm_opt.optimizer.contract.prefix_hits import check_hits
from vllm_opt.optimizer.contract.request import Request, typical_lengths
from vllm_opt.optimizer.contract.spellings import renamed
from vllm_opt.optimizer.contract.traffic import Percentile
from vllm_opt.optimizer.procurement.scenarios import (
    MOST_SCENARIOS,
    CommitmentTerms,
    Profile,
    Scenario,
    ServiceLevel,
    checked,
    whole_week,
)
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.noun import Noun

Share = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)]
FIELDS_OF_A_WORKLOAD = (
    "input_tokens", "output_tokens", "prefix_hit_share", "target_context", "max_ttft_ms", "max_tpot_ms"
)  # fmt: skip
GpuPrices = dict[Text, PositiveNumber]
GpuCounts = dict[Text, CountOrZero]
FleetGoal = Literal["cost", "capex", "gpus", "served"]


class InvalidDemand(InvalidRequest):
    """A demand that cannot be understood; keeps pydantic's own words, from which a file's line is found."""

    def __init__(self, error: ValidationError) -> None:
        super().__init__(one_sentence(error, tuple(FleetRequest.model_fields)))
        self.error = error


class LengthBucket(Noun):
    """One bar of a histogram of request lengths."""

    input_tokens: Count = Field(description="prompt tokens of requests in this bar")
    output_tokens: Count = Field(description="generated tokens of requests in this bar")
    share: PositiveNumber = Field(description="share of the requests, in any unit: shares are divided by their sum")


class WorkloadDemand(Noun):
    """One thing to serve: a model, its traffic, and what users must feel."""

    name: Text = Field(description="a short name, unique in the file")
    model: Text = Field(description="catalogue name, Hugging Face id, or path of a config.json")
    requests_per_s: PositiveNumber | None = Field(None, description="average arrival rate; or give concurrency")
    concurrency: Count | None = Field(None, description="requests held at once; or give requests_per_s")
    input_tokens: Count | None = Field(None, description="prompt tokens of the typical request")
    output_tokens: Count | None = Field(None, description="generated tokens of the typical request")
    lengths: tuple[LengthBucket, ...] = Field((), description="histogram of lengths, instead of one typical request")
    target_context: Count = Field(8192, description="tokens (prompt + output) that each sequence may reach")
    max_ttft_ms: PositiveNumber | None = Field(None, description="limit on time to first token")
    max_tpot_ms: PositiveNumber | None = Field(None, description="limit on time per output token")
    ttft_percentile: Percentile | None = Field(None, description="over requests, at which max_ttft_ms holds")
    tpot_percentile: Percentile | None = Field(None, description="over requests, at which max_tpot_ms holds")
    burstiness: Annotated[float, BeforeValidator(_number), Field(ge=0.05, le=100)] = Field(
        1.0, description="shape of the gamma law between arrivals, with percentiles; 1 is Poisson"
    )
    prefix_hit_share: Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)] = 0.0
    kv_offloading_size: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1e6)] | None = Field(
        None, description="GiB of host memory in which every engine keeps finished prompts"
    )
    offload_hit_share: Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)] = Field(
        0.0, description="share of prompt tokens loaded from there"
    )
    peak_factor: Annotated[float, BeforeValidator(_number), Field(ge=1, le=1000)] = Field(
        1.0, description="peak traffic divided by average traffic"
    )
    priority: Count = Field(1, description="1 is served first when a budget does not pay for everything")
    quantization: Texts = Field((), description="allowed weight formats; empty: all that the quality floor allows")
    min_quality: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1.5)] | None = None
    kv_cache_dtype: Text = "any"
    spare_replicas: CountOrZero | None = Field(None, description="overrides resilience.spare_replicas")
    workload: Text | None = Field(None, description="preset that fills in lengths, context and limits not stated")
    profile: Profile = Field((), description="multiples of the traffic by hour: 24, 168 or 7 lists of 24 numbers")

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        """Read the preset, and `users` for `concurrency`."""
        if not isinstance(data, dict):
            return data
        wanted = FIELDS_OF_A_WORKLOAD if not data.get("lengths") else FIELDS_OF_A_WORKLOAD[2:]
        filled = with_workload(renamed(data), wanted)
        return {field: value for field, value in filled.items() if field != "assumed"}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.requests_per_s is None) == (self.concurrency is None):
            raise ValueError(f"workload '{self.name}' needs either requests_per_s or concurrency")
        if self.lengths and (self.input_tokens or self.output_tokens):
            raise ValueError(f"workload '{self.name}' has lengths; leave input_tokens and output_tokens out")
        if self.lengths and self.concurrency:
            raise ValueError(f"workload '{self.name}' has lengths, so its traffic must be requests_per_s")
        whole_week(self.profile)
        check_hits(self.prefix_hit_share, self.offload_hit_share, self.kv_offloading_size)
        if (self.ttft_percentile or self.tpot_percentile) and (self.lengths or self.requests_per_s is None):
            raise ValueError(
                f"workload '{self.name}': percentiles need requests_per_s and one typical request, not a histogram"
            )
        for request in self.buckets:
            if sum(request) > self.target_context:
                raise ValueError(
                    f"workload '{self.name}': {request[0]} + {request[1]} tokens exceed target_context "
                    f"{self.target_context}"
                )
        return self

    @property
    def buckets(self) -> tuple[tuple[int, int], ...]:
        """Input and output tokens of every bar, or of the typical request."""
        if self.lengths:
            return tuple((bucket.input_tokens, bucket.output_tokens) for bucket in self.lengths)
        return (typical_lengths(self.target_context, self.input_tokens, self.output_tokens),)

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """Share of the requests in every bar, exact, summing to 1."""
        if not self.lengths:
            return (Fraction(1),)
        weights = [Fraction(str(bucket.share)) for bucket in self.lengths]
        return tuple(weight / sum(weights) for weight in weights)

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Average input and output tokens of a request."""
        pairs = list(zip(self.buckets, self.shares, strict=True))
        return tuple(float(sum(bucket[i] * share for bucket, share in pairs)) for i in (0, 1))  # type: ignore[return-value]


class Stock(Noun):
    """Nodes that are already owned."""

    gpu: Text
    nodes: Count
    gpus_per_node: Count | None = Field(None, description="default: the usual server of this SKU")
    usd_per_node_hour: NumberOrZero | None = Field(
        None, description="running cost; default: power and hosting as bought"
    )


class Inventory(Noun):
    """What may be used and how much of it there is."""

    gpu: Texts = Field((), description="SKUs allowed; empty: every SKU that can be had")
    stock: tuple[Stock, ...] = ()
    stock_first: Switch = Field(True, description="spend no new money while stock could serve")
    quota: GpuCounts = Field(default_factory=dict, description="SKU -> GPUs that may be rented or bought at most")
    nodes_available: GpuCounts = Field(default_factory=dict, description="SKU -> nodes of each of its offers")
    gpus_per_node: dict[Text, Count] = Field(default_factory=dict, description="SKU -> GPUs of one server")
    rack_units_per_node: dict[Text, PositiveNumber] = Field(default_factory=dict, description="SKU -> rack units")
    gpu_sharing: Switch = Field(True, description="small models may share a GPU, in halves and quarters")
    internode_gbps: PositiveNumber | None = Field(None, description="link between nodes; unset: no replica spans nodes")
    max_gpus_per_replica: Count = Field(8, description="GPUs of the largest server that is considered")

    @property
    def counted_gpus(self) -> int | None:
        """GPUs of the largest server where someone says how many there are; None where any number may be had.

        As `--max-gpus` of `solve`: only then are pipelines over an uneven part of a node, such as 3 of 8 GPUs, tried.
        """
        stated = {"stock", "gpus_per_node", "max_gpus_per_replica"} & self.model_fields_set
        return self.max_gpus_per_replica if stated else None


class Purchase(Noun):
    """What owning costs."""

    years: PositiveNumber = Field(3.0, description="years over which the price is spread")
    usd_per_gpu: GpuPrices = Field(default_factory=dict, description="SKU -> price of one GPU; default: the price list")
    estimate: Literal["low", "mid", "high"] = Field("mid", description="where in a listed price range to stand")
    usd_per_server: NumberOrZero = Field(0.0, description="everything in a node besides its GPUs")
    watts_per_server: NumberOrZero = Field(0.0, description="power of a node besides its GPUs")
    usd_per_kwh: NumberOrZero = 0.12
    pue: Annotated[float, BeforeValidator(_number), Field(ge=1, le=5)] = Field(1.3, description="facility / IT power")
    hosting_usd_per_kw_month: NumberOrZero = Field(0.0, description="colocation, per kW of IT power")


class Money(Noun):
    """Prices."""

    acquire: Annotated[tuple[Literal["rent", "buy"], ...], BeforeValidator(_many)] = ("rent",)
    provider: Texts = Field((), description="restrict to these providers")
    region: Texts = Field((), description="restrict to price rows whose region names one of these")
    commitment: Texts = Field(("on-demand",), description="kinds of billing that are acceptable")
    billing: Texts = Field((), description="the same by the command line's name; overrides commitment")
    price: GpuPrices = Field(default_factory=dict, description="SKU -> USD per GPU-hour, GPUs sold singly")
    node_price: GpuPrices = Field(default_factory=dict, description="SKU -> USD per hour of a whole node")
    prices: Text | None = Field(None, description="path of another price list")
    synthetic_prices: Switch = Field(False, description="invent a price, marked so, where the list has none")
    purchase: Purchase = Purchase()


class FleetLimit(Noun):
    """Upper limits on the whole fleet; none when left out."""

    budget_usd_per_month: PositiveNumber | None = Field(None, description="rent, power, hosting and depreciation")
    capex_usd: PositiveNumber | None = Field(None, description="purchase money")
    watts: PositiveNumber | None = Field(None, description="power of owned nodes, before PUE")
    rack_units: PositiveNumber | None = None
    gpu_kinds: Count | None = Field(None, description="at most so many kinds of SKU")
    gpus: Count | None = Field(None, description="at most so many GPUs in all")


class Resilience(Noun):
    """What may fail without anyone noticing."""

    spare_replicas: CountOrZero = Field(0, description="replicas of every workload that may be lost at its peak")
    spare_nodes: CountOrZero = Field(
        0, le=100, description="nodes of every offer in use that may be lost: kept idle; of GPUs sold singly, as many "
        "as its largest replica takes",
    )  # fmt: skip
    zones: Count = Field(1, le=8, description="failure domains; with 2 or more no zone holds all of a workload")


class FleetRequest(Request):
    """Everything that a DEMAND.yaml may hold."""

    name: Text = "fleet"
    workloads: tuple[WorkloadDemand, ...] = Field(min_length=1, max_length=200)
    inventory: Inventory = Inventory()
    money: Money = Money()
    limits: FleetLimit = FleetLimit()
    resilience: Resilience = Resilience()
    objective: Annotated[tuple[FleetGoal, ...], BeforeValidator(_many), Field(min_length=1)] = ("cost",)
    headroom: Annotated[float, BeforeValidator(_number), Field(ge=0, le=10)] = Field(
        0.0, description="extra capacity over the peak: 0.2 is a fifth"
    )
    utilization_cap: Share = Field(
        0.85, description="share of its capacity that a fleet is asked for at the peak: queues grow without bound at 1"
    )
    router_imbalance: Annotated[float, BeforeValidator(_number), Field(ge=0, le=10)] = Field(
        0.1, description="with percentiles: by how much the busiest replica gets more requests than the average"
    )
    tolerance: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)] = Field(
        0.05, description="how much dearer a simpler fleet may be: fewer kinds of SKU, providers and weight formats"
    )
    pooling: Switch = Field(
        True,
        description="workloads of one model may share replicas where that is cheaper, under their strictest limits",
    )
    scenarios: tuple[Scenario, ...] = Field(
        (), max_length=MOST_SCENARIOS, description="how things may turn out, with probabilities"
    )
    service_level: ServiceLevel = ServiceLevel()
    commitment: CommitmentTerms = CommitmentTerms()
    confidence: Annotated[float, BeforeValidator(_number), Field(ge=0.5, le=0.99)] = 0.9
    hypothetical_checkpoints: Switch = Field(False, description="also plan with weights that nobody has published")
    vllm_version: Text | None = None
    gpu_file: Text | None = Field(None, description="path of a file that adds or overrides GPUs")
    comparisons: Switch = Field(True, description="single-SKU fleets, sensitivity and why each SKU lost")
    relative_gap: NumberOrZero | None = Field(
        None, description="stop this close to the proven bound; default: 0, or 0.005 once half of the time is spent"
    )
    time_limit: PositiveNumber = Field(30.0, description="seconds for the fleet")
    workers: Count = 1
    seed: CountOrZero = 0
    second_opinion: Switch = Field(False, description="count every plan and the bill again by code that shares nothing")

    def __init__(self, /, **data: Any) -> None:
        try:
            BaseModel.__init__(self, **data)
        except ValidationError as error:
            raise InvalidDemand(error) from None

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [workload.name for workload in self.workloads]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two workloads are called '{name}'; give each its own name")
        checked(self.scenarios, tuple(names))
        if self.limits.rack_units and not self.inventory.rack_units_per_node:
            raise ValueError("limits.rack_units needs inventory.rack_units_per_node (SKU -> rack units)")
        return self
