"""PlaceRequest: what an operator may ask. Field names are the keys of a SITE.yaml."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from vllm_opt.optimizer.contract.assumptions import with_workload
from vllm_opt.optimizer.contract.fault import one_sentence
from vllm_opt.optimizer.contract.field_types import (
    Confidence,
    Count,
    CountOrZero,
    Gibibytes,
    GibibytesOrZero,
    Milliseconds,
    NumberOrZero,
    PositiveNumber,
    Share,
    Switch,
    Text,
    Texts,
    _count,
    _many,
    _number,
    _one,
)
from vllm_opt.optimizer.contract.request import Request, typical_lengths
from vllm_opt.optimizer.contract.spellings import renamed
from vllm_opt.optimizer.contract.traffic import Percentile
from vllm_opt.optimizer.procurement.scenarios import MOST_SCENARIOS, Profile, Scenario, checked, whole_week
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.noun import Noun

MOST_GPUS = 20_000
FIELDS_OF_A_WORKLOAD = (
    "input_tokens", "output_tokens", "prefix_hit_share", "target_context", "max_ttft_ms", "max_tpot_ms"
)  # fmt: skip
PlaceGoal = Literal["served", "headroom", "moves", "gpus", "watts", "blocks"]
Reach = Literal["node", "zone"]
SmallCount = Annotated[int, BeforeValidator(_count), Field(gt=0, le=MOST_GPUS)]
Indices = tuple[Annotated[int, BeforeValidator(_count), Field(ge=0, lt=MOST_GPUS)], ...]
GpuIndices = Annotated[Indices, BeforeValidator(_many), Field(min_length=1)]


class InvalidSite(InvalidRequest):
    """A site that cannot be understood; keeps pydantic's own words, from which a file's line is found."""

    def __init__(self, error: ValidationError) -> None:
        super().__init__(one_sentence(error, tuple(PlaceRequest.model_fields)))
        self.error = error


class NodeSpec(Noun):
    """One machine, or several like it."""

    name: Text = Field(description="unique; with `count` above 1 the nodes are called name-1, name-2 …")
    gpu: Text = Field(description="SKU id, alias or CUDA device name; `local` reads this machine's GPUs")
    gpus: SmallCount | None = Field(None, description="default: the usual server of this SKU")
    count: SmallCount = Field(1, description="machines like this one")
    islands: Literal["switch"] | SmallCount | tuple[GpuIndices, ...] = Field(
        "switch",
        description="GPUs that a tensor-parallel group may span: 'switch' for all of them, a number for islands of "
        "that many, or lists of GPU indices",
    )
    pcie_groups: tuple[GpuIndices, ...] = Field(
        (), description="GPUs below one PCIe switch; where no islands are stated, groups stay inside them"
    )
    mig: Texts = Field((), description="MIG profiles that every GPU of the node is cut into, as in [3g.40gb, 3g.40gb]")
    host_memory_gib: Gibibytes | None = Field(None, description="for weights of sleeping servers; unset: no sleeping")
    disk_gib: GibibytesOrZero | None = Field(None, description="room for checkpoints; unset: not limited")
    load_gb_per_s: PositiveNumber | None = Field(
        None, description="10^9 bytes/s at which a checkpoint is read; unset: restart times are not known"
    )
    labels: dict[Text, Annotated[str, Field(max_length=4096)]] = Field(default_factory=dict)
    zone: Annotated[str, Field(max_length=4096)] = Field("", description="rack or availability zone")


class LinkSpec(Noun):
    """Nodes with a fast link between them: pipelines may span them."""

    nodes: Texts = Field(min_length=1, description="names; the name of several nodes means all of them")
    gbps: PositiveNumber = Field(description="10^9 bits/s per node")


class ReplicaRange(Noun):
    """How many replicas may run."""

    least: SmallCount = 1
    most: SmallCount | None = Field(None, description="default: as many as the site holds")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.most is not None and self.most < self.least:
            raise ValueError(f"replicas: most {self.most} is below least {self.least}")
        return self


class Wanted(Noun):
    """Where a service should or should not stand."""

    nodes: Texts = Field((), description="names of nodes")
    labels: dict[Text, Text] = Field(default_factory=dict, description="labels that a node has, all of them")
    services: Texts = Field((), description="other services, which should be on the same nodes, or on none of them")

    @property
    def says_nodes(self) -> bool:
        """Whether it names nodes at all."""
        return bool(self.nodes or self.labels)


def _range(value: object) -> object:
    value = _one(value)
    return {"least": value, "most": value} if isinstance(value, int | str) and not isinstance(value, bool) else value


def _wanted(value: object) -> object:
    """A list of names is short for `nodes`."""
    return {"nodes": value} if isinstance(value, str | list | tuple) else value


def _names(value: object) -> object:
    """A list of names is short for `services`."""
    return {"services": value} if isinstance(value, str | list | tuple) else value


class ServiceSpec(Noun):
    """One thing to serve: a model, its traffic, and what users must feel."""

    name: Text = Field(description="a short name, unique in the file")
    model: Annotated[tuple[Text, ...], BeforeValidator(_many), Field(min_length=1, max_length=16)] = Field(
        description="catalogue name, Hugging Face id, or path of a config.json; several: any of them will do"
    )
    workload: Text | None = Field(None, description="preset that fills in lengths, context and limits not stated")
    requests_per_s: PositiveNumber | None = Field(None, description="arrival rate; or give concurrency")
    concurrency: Count | None = Field(None, description="requests held at once; 32 where neither is given")
    profile: Profile = Field((), description="multiples of the traffic by hour: 24, 168 or 7 lists of 24 numbers")
    input_tokens: Count | None = Field(None, description="prompt tokens of the typical request")
    output_tokens: Count | None = Field(None, description="generated tokens of the typical request")
    prefix_hit_share: Share = 0.0
    target_context: Count = Field(8192, description="tokens (prompt + output) that each sequence may reach")
    max_ttft_ms: Milliseconds | None = Field(None, description="limit on time to first token")
    max_tpot_ms: Milliseconds | None = Field(None, description="limit on time per output token")
    ttft_percentile: Percentile | None = Field(None, description="over requests, at which max_ttft_ms holds")
    tpot_percentile: Percentile | None = Field(None, description="over requests, at which max_tpot_ms holds")
    burstiness: Annotated[float, BeforeValidator(_number), Field(ge=0.05, le=100)] = Field(
        1.0, description="shape of the gamma law between arrivals, with percentiles; 1 is Poisson"
    )
    quantization: Texts = Field((), description="allowed weight formats; empty: all that the quality floor allows")
    min_quality: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1.5)] | None = None
    kv_cache_dtype: Text = "any"
    lora_adapters: Annotated[int, BeforeValidator(_count), Field(gt=0, le=65536)] | None = None
    lora_rank: Annotated[int, BeforeValidator(_count), Field(gt=0, le=512)] | None = None
    replicas: Annotated[ReplicaRange, BeforeValidator(_range)] = ReplicaRange()
    priority: Count = Field(1, description="1 is served first")
    spread: Reach | None = Field(None, description="replicas are dealt evenly over nodes or zones")
    pack: Reach | None = Field(None, description="all replicas stand in one node or zone")
    pin: Annotated[Wanted, BeforeValidator(_wanted)] = Field(Wanted(), description="only on these nodes")
    avoid: Annotated[Wanted, BeforeValidator(_wanted)] = Field(
        Wanted(), description="not on these nodes, and on no node with these services"
    )
    together: Annotated[Wanted, BeforeValidator(_names)] = Field(
        Wanted(), description="on every node with one of these services, and on no other"
    )
    share: Switch = Field(True, description="may share a GPU with other services")
    cold: Switch = Field(False, description="may sleep: weights wait in host memory until a request comes")
    survive: Switch | None = Field(None, description="overrides whether it survives the loss of a node")

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        """Read the preset, and `users` for `concurrency`."""
        if not isinstance(data, dict):
            return data
        filled = with_workload(renamed(data), FIELDS_OF_A_WORKLOAD)
        return {field: value for field, value in filled.items() if field != "assumed"}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.requests_per_s is not None and self.concurrency is not None:
            raise ValueError(f"service '{self.name}' needs either requests_per_s or concurrency, not both")
        whole_week(self.profile)
        for limit, percentile in ((self.max_ttft_ms, "ttft"), (self.max_tpot_ms, "tpot")):
            if getattr(self, f"{percentile}_percentile") is not None and limit is None:
                raise ValueError(f"service '{self.name}': {percentile}_percentile needs max_{percentile}_ms")
        if (self.ttft_percentile or self.tpot_percentile) and self.requests_per_s is None:
            raise ValueError(f"service '{self.name}': percentiles need requests_per_s")
        lengths = typical_lengths(self.target_context, self.input_tokens, self.output_tokens)
        if sum(lengths) > self.target_context:
            raise ValueError(
                f"service '{self.name}': {lengths[0]} + {lengths[1]} tokens exceed target_context {self.target_context}"
            )
        if self.spread is not None and self.spread == self.pack:
            raise ValueError(f"service '{self.name}' cannot be spread over and packed into the same {self.spread}s")
        if self.together.says_nodes:
            raise ValueError(f"service '{self.name}': together names services; use pin for nodes")
        return self


class PartSpec(Noun):
    """GPUs of one node."""

    node: Text
    gpus: GpuIndices


class TodaySpec(Noun):
    """One server that runs now."""

    service: Text
    node: Text | None = Field(None, description="or `parts`, where it spans nodes")
    gpus: Annotated[Indices, BeforeValidator(_many)] = ()
    parts: tuple[PartSpec, ...] = ()
    model: Text | None = None
    tensor_parallel_size: SmallCount | None = None
    pipeline_parallel_size: SmallCount | None = None
    data_parallel_size: SmallCount | None = None
    quantization: Text | None = None
    kv_cache_dtype: Text | None = None
    gpu_memory_utilization: Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if bool(self.parts) == bool(self.node and self.gpus):
            raise ValueError(f"a server of '{self.service}' needs either node and gpus, or parts")
        return self

    @property
    def places(self) -> tuple[PartSpec, ...]:
        """Its GPUs by node."""
        return self.parts or (PartSpec(node=self.node or "", gpus=self.gpus),)


class PlaceRequest(Request):
    """Everything that a SITE.yaml may hold."""

    name: Text = "site"
    nodes: tuple[NodeSpec, ...] = Field(min_length=1, max_length=MOST_GPUS)
    links: tuple[LinkSpec, ...] = Field((), max_length=200)
    services: tuple[ServiceSpec, ...] = Field(min_length=1, max_length=500)
    placement: tuple[TodaySpec, ...] = Field((), max_length=MOST_GPUS, description="what runs today")
    objective: Annotated[tuple[PlaceGoal, ...], BeforeValidator(_many), Field(min_length=1)] = (
        "served", "headroom", "moves", "gpus", "blocks"
    )  # fmt: skip
    survive: Literal["node"] | None = Field(None, description="any one node may fail and priority services still run")
    survive_priority: Count = Field(1, description="services of at most this priority survive")
    sharing: Switch = Field(True, description="services may share a GPU")
    headroom: NumberOrZero = Field(
        0.25, le=100, description="capacity beyond the demand that is worth having: 0.25 is a quarter"
    )
    utilization_cap: Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)] = Field(
        0.85, description="share of its capacity that a rate may take: queues grow without bound at 1"
    )
    scenarios: tuple[Scenario, ...] = Field(
        (), max_length=MOST_SCENARIOS, description="how demand may turn out: growth with probabilities"
    )
    missed_hours: Share = Field(
        0.0, description="share of the hours, over all scenarios, in which a service's load may be more than is placed"
    )
    start_seconds: NumberOrZero | None = Field(None, description="of a restart, besides reading the checkpoint")
    default_limits: Switch = Field(True, description="limit TTFT and TPOT where a service limits neither")
    router_imbalance: Annotated[float, BeforeValidator(_number), Field(ge=0, le=10)] = Field(
        0.1, description="with percentiles: by how much the busiest replica gets more requests than the average"
    )
    confidence: Confidence = 0.9
    hypothetical_checkpoints: Switch = Field(False, description="also plan with weights that nobody has published")
    vllm_version: Text | None = None
    gpu_file: Text | None = Field(None, description="path of a file that adds or overrides GPUs")
    relative_gap: NumberOrZero | None = Field(None, description="stop this close to the bound; default: 0")
    time_limit: PositiveNumber = Field(30.0, description="seconds")
    workers: Annotated[int, BeforeValidator(_count), Field(gt=0, le=64)] = 1
    seed: CountOrZero = 0
    second_opinion: Switch = Field(False, description="count every plan and GPU again by code that shares nothing")

    def __init__(self, /, **data: Any) -> None:
        try:
            BaseModel.__init__(self, **data)
        except ValidationError as error:
            raise InvalidSite(error) from None

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for kind, names in (("nodes", [n.name for n in self.nodes]), ("services", [s.name for s in self.services])):
            twice = next((name for name in names if names.count(name) > 1), None) if len(names) < 600 else None
            if twice is not None or len(set(names)) < len(names):
                raise ValueError(f"two {kind} are called '{twice or names[0]}'; give each its own name")
        checked(self.scenarios, tuple(service.name for service in self.services))
        if any(scenario.swap for scenario in self.scenarios):
            raise ValueError("scenarios of a site cannot swap models; give the service a choice of models")
        if len(set(self.objective)) != len(self.objective):
            raise ValueError("objective must name each objective once")
        gpus = sum(node.count * (node.gpus or 8) * max(1, len(node.mig)) for node in self.nodes)
        if gpus > MOST_GPUS:
            raise ValueError(
                f"the site has {gpus:,} GPUs; at most {MOST_GPUS:,} can be placed at once, split it by zone"
            )
        return self
