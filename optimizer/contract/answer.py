"""What comes back: `Estimate`, `Plan`, `Answer`. `.model_dump(mode="json")` equals the command line's JSON."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.second_opinion import SecondOpinion
from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.checkpoint import Publisher
from vllm_opt.profiles.nouns.price import Billing


class Report(Noun):
    """Base of every answer; `schema` is written under its own name."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), serialize_by_alias=True,
        validate_by_name=True, validate_by_alias=True,
    )  # fmt: skip


class RankMemory(Noun):
    """Memory of one pipeline stage (each of its TP ranks), in bytes."""

    stage: int
    layers: int
    weights_bytes: int
    weights_extra_bytes: int
    activation_peak_bytes: int
    non_torch_bytes: int
    cuda_graph_bytes: int
    kv_cache_bytes: int
    kv_block_bytes: int
    num_gpu_blocks: int


class Memory(Noun):
    """Memory per GPU on the rank with the fewest blocks; every size in bytes (contract, JSON)."""

    gpu_total_bytes: int = Field(description="as the runtime reports it; the low end where a range is known")
    budget_bytes: int = Field(description="gpu_memory_utilization x total, rounded as that release does")
    weights_bytes: int
    weights_extra_bytes: int
    draft_bytes: int = Field(0, description="weights of the drafter of speculative decoding")
    lora_bytes: int = Field(0, description="slots of all adapters, whether or not they are used")
    encoder_peak_bytes: int = Field(0, description="of the vision encoder while profiling: a floor of the peak")
    activation_peak_bytes: int
    non_torch_bytes: int
    cuda_graph_bytes: int = Field(description="estimate; inside the budget only from the release that subtracts it")
    cuda_graph_in_budget: bool
    cuda_graph_actual_bytes: int = Field(0, description="what capture takes in the end; vLLM's estimate may differ")
    kv_cache_bytes: int = Field(description="what is left for the pool; 0 when nothing is left")
    kv_block_bytes: int
    block_size: int = Field(description="tokens per block")
    num_gpu_blocks: int
    kv_cache_tokens: int
    max_concurrency: float = Field(description="requests of max_model_len: what the release prints at start-up")
    admission_concurrency: float = Field(0.0, description="prompts of max_model_len that may start at once")
    running_concurrency: float = Field(0.0, description="requests of max_model_len that decode at once")
    kv_bytes_per_token: int
    max_supported_model_len: int
    headroom_bytes: int = Field(
        description="total minus budget: room for the CUDA context, NCCL and, before 0.20, graphs"
    )
    headroom_needed_bytes: int
    host_tier_tokens: int = Field(0, description="tokens that swap space or KV offload holds besides the pool")
    confidence_bytes: int = Field(0, description="bytes added to the fitted terms at the asked confidence")
    ranks: tuple[RankMemory, ...] = ()


class Equation(Noun):
    """One formula with its numbers in."""

    name: str
    formula: str
    values: str = Field(description="the formula with the numbers in")
    result: float | int
    unit: str
    source: str = ""


class Cost(Noun):
    """Money."""

    usd_per_hour: float = Field(description="of whole machines, used or not")
    gpus_bought: int
    gpus_used: int
    instances: int = Field(description="machines of the instance type; pods where GPUs are sold one by one")
    instance_type: str
    provider: str
    region: str | None
    billing: Billing
    price_date: str
    price_source: str
    usd_per_million_output_tokens: float | None


class Starts(Noun):
    """How likely vLLM is to start with one configuration, by the condition that is nearest to failing."""

    probability: float = Field(ge=0, le=1, description="0 where a rule without uncertainty refuses")
    needed_bytes: int = Field(description="what that condition needs on one rank, usually KV cache for one request")
    available_bytes: int = Field(description="what is expected to be there; negative when the rest alone is too much")


class Estimate(Report):
    """What one given configuration would do."""

    schema_name: str = Field("vllm-opt/estimate/1", alias="schema")
    request: dict[str, Any]
    fits: bool = Field(description="starts at the confidence asked and meets every limit without which it does not")
    starts: Starts | None = None
    memory: Memory
    performance: Performance | None
    violations: tuple[Violation, ...]
    cost: Cost | None = Field(None, description="of all GPUs of all replicas; None where the SKU has no price")
    startup_log: tuple[str, ...] = Field((), description="what vLLM would print, or the error it would raise")
    notes: tuple[str, ...] = ()
    equations: tuple[Equation, ...] = ()


class Binding(Noun):
    """One rule of a feasible plan and how far it is from breaking."""

    rule: str
    slack: float | int
    unit: str
    message: str


class PlanQuality(Noun):
    """What weights and KV cache together keep of the scores of the model as published.

    `interval` holds the mean over benchmarks with the confidence asked; both are null where no number is published.
    """

    recovery: float | None
    interval: tuple[float, float] | None
    evidence: str


class Plan(Noun):
    """One deployment that satisfies every rule."""

    model: str
    checkpoint: str | None
    checkpoint_publisher: Publisher = "native"
    gpu: str
    gpu_count: int
    replicas: int
    tensor_parallel_size: int
    pipeline_parallel_size: int
    data_parallel_size: int
    decode_context_parallel_size: int = 1
    expert_parallel: bool
    quantization: str
    quality: PlanQuality | None = None
    kv_cache_dtype: str
    flags: dict[str, str | int | float | bool]
    env: dict[str, str]
    command: str
    vllm_version: str
    memory: Memory
    performance: Performance = Field(description="at the load asked")
    performance_full: Performance = Field(description="at the most that the flags admit")
    preemption_risk: float | None = Field(
        None, description="chance that the load asked holds more than the pool at a moment; None: full contexts fit"
    )
    cost: Cost | None
    binding: tuple[Binding, ...]
    notes: tuple[str, ...] = ()
    equations: tuple[Equation, ...] = ()


class ObjectiveValue(Noun):
    """One objective: the plan's value, and the proven optimum of its turn."""

    name: str
    value: float = Field(description="of the plan")
    bound: float = Field(description="proven optimum of its turn")
    gap: float = Field(description="of the proof, relative; 0 when the optimum is proven")
    conceded: float = Field(0.0, description="by how much the plan is worse than that optimum, within the tolerance")
    unit: str = ""


class Conflict(Noun):
    """One rule of a minimal set that cannot hold together."""

    rule: str
    message: str
    needed: float | int | None = None
    available: float | int | None = None
    unit: str = ""


class Relaxation(Noun):
    """The smallest change of one request field that alone makes the request feasible."""

    change: str = Field(description="request field")
    from_value: Any = Field(alias="from")
    to: Any
    message: str
    also: dict[str, Any] = Field(default_factory=dict, description="second change, when no single one suffices")
    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), serialize_by_alias=True, validate_by_name=True,
        validate_by_alias=True,
    )  # fmt: skip


class Explanation(Noun):
    """Why nothing fits, and what would."""

    conflict: tuple[Conflict, ...]
    relaxations: tuple[Relaxation, ...]
    per_gpu: tuple[str, ...] = Field((), description="one sentence per group of SKUs that fail alike")


class Sensitivity(Noun):
    """What a small change of one number would buy a feasible plan."""

    change: str = Field(description="request field, or 'kv_cache_bytes' for the pool")
    from_value: Any = Field(alias="from")
    to: Any
    gain: float
    unit: str
    message: str
    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), serialize_by_alias=True, validate_by_name=True,
        validate_by_alias=True,
    )  # fmt: skip


class SolverReport(Noun):
    """How the answer was found."""

    wall_ms: float
    layouts_considered: int
    layouts_solved: int
    workers: int
    seed: int


class CloseCall(Noun):
    """A plan that a person would weigh against the one chosen."""

    why: Literal["cheapest", "fastest", "fewest_gpus", "better_weights", "published_weights", "owned"]
    plan: Plan


class Doubt(Noun):
    """By how much another plan of the answer could turn out better within the intervals of the predictions."""

    regret: float = Field(description="min-max, relative: 0.1 is a tenth more of the first objective than was needed")
    rival: str | None = Field(description="the plan that could be so much better; null below 1 %")
    message: str


class Answer(Report):
    """The answer to a `SolveRequest`."""

    schema_name: str = Field("vllm-opt/plan/1", alias="schema")
    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    request: dict[str, Any]
    objectives: tuple[ObjectiveValue, ...] = ()
    plan: Plan | None = None
    alternatives: tuple[Plan, ...] = ()
    close_calls: tuple[CloseCall, ...] = Field((), description="plans that a person would weigh against this one")
    pareto: tuple[Plan, ...] = ()
    doubt: Doubt | None = Field(None, description="what the plan's place rests on; null without another plan")
    explanation: Explanation | None = None
    sensitivity: tuple[Sensitivity, ...] = Field((), description="what small changes would buy; filled by `explain`")
    second_opinion: SecondOpinion | None = Field(None, description="of every plan here, where it was asked for")
    notes: tuple[str, ...] = ()
    solver: SolverReport
