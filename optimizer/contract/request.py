"""What a user may ask: `SolveRequest` and `EstimateRequest`.

Field names are the command line's options with underscores. A list of one is accepted where one value is expected,
and one value where a list is. Bad input raises `InvalidRequest` with one sentence.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vllm_opt.optimizer.contract.assumptions import Assumption, kept_assumptions, with_workload
from vllm_opt.optimizer.contract.fault import one_sentence
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.optimizer.contract.field_types import (
    MOST_WORKERS,
    Bytes,
    Concurrency,
    Confidence,
    Count,
    CountOrZero,
    Gibibytes,
    GibibytesOrZero,
    GpuCount,
    Milliseconds,
    ModelLen,
    PerformanceMode,
    PositiveNumber,
    Prices,
    Share,
    Stock,
    Switch,
    Text,
    Texts,
    _count,
    _many,
    _number,
    _one,
)
from vllm_opt.optimizer.contract.prefix_hits import PrefixHits, check_hits
from vllm_opt.optimizer.contract.spellings import renamed, with_gpu_count, with_server_size, without_negation
from vllm_opt.optimizer.contract.traffic import TrafficFields, with_trace
from vllm_opt.profiles.errors import InvalidRequest

ObjectiveName = Literal["cost", "throughput", "concurrency", "gpus", "latency", "efficiency"]
DEFAULT_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
PINS = (
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "replicas", "max_num_seqs",
    "max_num_batched_tokens",
)  # fmt: skip
"""Fields of a `SolveRequest` that take a choice away from the solver."""


ESTIMATE_FIELDS_OF_A_WORKLOAD = (
    "input_tokens", "output_tokens", "prefix_hit_share", "max_ttft_ms", "max_tpot_ms", "min_output_tokens_per_s"
)  # fmt: skip
SOLVE_FIELDS_OF_A_WORKLOAD = (
    *ESTIMATE_FIELDS_OF_A_WORKLOAD, "target_context", "mean_context", "concurrency", "objective"
)  # fmt: skip


class Request(BaseModel):
    """Base of all requests: frozen, strict about keys, and its errors are `InvalidRequest`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise InvalidRequest(one_sentence(error, tuple(type(self).model_fields))) from None

    def replaced(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        kept = {**self.model_dump(exclude_unset=True), **changes}
        if assumed := getattr(self, "assumed", ()):
            kept["assumed"] = assumed
        return type(self)(**kept)


class SolveRequest(TrafficFields, Features, PrefixHits, Request):
    """Everything that `vllm-opt solve` takes."""

    model: Text = DEFAULT_MODEL
    gpu: Texts = ()
    gpus: GpuCount | None = None
    max_gpus: GpuCount | None = Field(None, description="default 16, or `gpus` when that is given")
    target_context: Count = 8192
    concurrency: Concurrency = Field(
        32, description="sequences held at once, in all replicas; 'max': whatever the flags admit is the load"
    )
    mean_context: Count | None = Field(None, description="default target_context")
    workload: Text | None = Field(None, description="preset that fills in what is not stated")
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prefix_hit_share: Share = 0.0
    max_ttft_ms: Milliseconds | None = None
    max_tpot_ms: Milliseconds | None = None
    min_output_tokens_per_s: PositiveNumber | None = None
    max_hourly_cost: PositiveNumber | None = None
    quantization: Texts = ()
    hypothetical_checkpoints: Switch = Field(False, description="also plan with weights that nobody has published")
    undocumented_layouts: Switch = Field(
        False, description="also plan what a platform such as the Gaudi plugin does not document as supported"
    )
    min_quality: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1.5)] = 0.98
    kv_cache_dtype: Text = "any"
    tensor_parallel_size: Count | None = Field(None, description="exactly this; likewise the five below")
    pipeline_parallel_size: Count | None = None
    data_parallel_size: GpuCount | None = None
    replicas: GpuCount | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    kv_sizing: Annotated[Literal["typical", "full"] | None, BeforeValidator(_one)] = Field(
        None, description="KV pool by typical lengths or by full contexts; default typical when lengths are given"
    )
    max_gpu_memory_utilization: Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)] = 0.95
    provider: Texts = ()
    billing: Texts = Field((), description="kinds of billing that are acceptable; default: on-demand")
    region: Texts = ()
    owned: Stock = Field((), description="SKU -> GPUs that are owned: they cost nothing")
    price: Prices = ()
    prices: Text | None = Field(None, description="path of another price list")
    gpu_file: Text | None = Field(None, description="path of a file that adds or overrides GPUs")
    host_memory_gib: Gibibytes | None = None
    kv_offloading_size: GibibytesOrZero | None = Field(None, description="GiB of host memory of every engine")
    offload_hit_share: Share = Field(0.0, description="prompt tokens loaded from the KV offload tier")
    lora_adapters: Annotated[int, BeforeValidator(_count), Field(gt=0, le=65536)] | None = Field(
        None, description="adapters that are served at once: implies enable_lora"
    )
    lora_rank: Annotated[int, BeforeValidator(_count), Field(gt=0, le=512)] | None = Field(
        None, description="rank of the largest adapter; the next rank that vLLM offers is taken"
    )
    internode_gbps: PositiveNumber | None = None
    engine: Annotated[Literal["v0", "v1"] | None, BeforeValidator(_one)] = None
    objective: Annotated[tuple[ObjectiveName, ...], BeforeValidator(_many)] = ("cost", "throughput")
    tolerance: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)] = Field(
        0.05, description="relative; how much of the first objective may be conceded for what comes after it"
    )
    default_limits: Switch = Field(True, description="limit TTFT and TPOT where the request limits neither")
    vllm_version: Text | None = None
    confidence: Confidence = 0.9
    calibration: Switch = Field(True, description="use learned factors per model family, SKU and precision")
    calibration_file: Text | None = Field(None, description="what `calibrate` wrote; default: the user's own")
    top: Count | None = None
    explain: Switch = Field(True, description="when nothing fits, look for the smallest changes that would help")
    pareto: Switch = False
    time_limit: PositiveNumber = Field(30.0, description="seconds")
    workers: Annotated[int, BeforeValidator(_count), Field(gt=0, le=MOST_WORKERS)] = 1
    seed: CountOrZero = 0
    equations: Switch = False
    second_opinion: Switch = Field(False, description="count every plan again by code that shares nothing")
    assumed: tuple[Assumption, ...] = Field((), description="what the workload filled in; ignored when it is given")

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        """Read the workload, `no_default_limits`, and a free load, which is decided by concurrency."""
        if not isinstance(data, dict):
            return data
        plain = with_gpu_count(renamed(without_negation(data)))
        fields = with_trace(with_workload(kept_assumptions(plain), SOLVE_FIELDS_OF_A_WORKLOAD))
        free = str(_one(fields.get("concurrency"))).strip().lower() == "max"
        return (
            {**fields, "objective": ("concurrency", "throughput")} if free and not fields.get("objective") else fields
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        lengths = self.input_tokens, self.output_tokens
        if self.target_context < 2:
            raise ValueError("target_context must hold a prompt and an answer: at least 2 tokens")
        if None not in lengths and sum(lengths) > self.target_context:  # type: ignore[arg-type]
            raise ValueError(
                f"input_tokens + output_tokens = {sum(lengths)} exceed target_context "  # type: ignore[arg-type]
                f"{self.target_context}; raise target_context or shorten the request"
            )
        for name, length in zip(("input_tokens", "output_tokens"), lengths, strict=True):
            if length is not None and length >= self.target_context:
                raise ValueError(f"{name} {length} leaves no room in target_context {self.target_context}")
        check_hits(self.prefix_hit_share, self.offload_hit_share, self.kv_offloading_size)
        if self.mean_context is not None and self.mean_context > self.target_context:
            raise ValueError(f"mean_context {self.mean_context} exceeds target_context {self.target_context}")
        if self.gpus is not None and self.max_gpus is not None and self.gpus > self.max_gpus:
            raise ValueError(f"gpus {self.gpus} exceeds max_gpus {self.max_gpus}")
        if self.max_num_seqs and self.max_num_batched_tokens and self.max_num_seqs > self.max_num_batched_tokens:
            raise ValueError(
                f"max_num_seqs {self.max_num_seqs} exceeds max_num_batched_tokens {self.max_num_batched_tokens}, which "
                "vLLM refuses"
            )
        if len(set(self.objective)) != len(self.objective) or not self.objective:
            raise ValueError("objective must name at least one objective, each once")
        return self

    @property
    def typical_request(self) -> tuple[int, int]:
        """Input and output tokens of the typical request, defaults filled in."""
        return typical_lengths(self.target_context, self.input_tokens, 1 if self.is_pooling else self.output_tokens)

    @property
    def least_concurrency(self) -> int:
        """Sequences that must be held at once; one when the load is left free."""
        return 1 if self.concurrency == "max" else self.concurrency

    @property
    def pins(self) -> dict[str, int]:
        """The choices that are taken away from the solver."""
        return {name: value for name in PINS if (value := getattr(self, name)) is not None}


class EstimateRequest(TrafficFields, Features, PrefixHits, Request):
    """Everything that `vllm-opt estimate` takes; unset flags take that vLLM version's default for that GPU."""

    model: Text = DEFAULT_MODEL
    gpu: Text = "h100-sxm"
    vllm_version: Text | None = None
    engine: Annotated[Literal["v0", "v1"] | None, BeforeValidator(_one)] = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prefix_hit_share: Share = 0.0
    concurrency: Count | None = None
    replicas: GpuCount = 1
    tensor_parallel_size: Count = 1
    pipeline_parallel_size: Count = 1
    data_parallel_size: GpuCount = 1
    decode_context_parallel_size: Count = 1
    enable_expert_parallel: Switch = False
    quantization: Text | None = Field(None, description="None: as the checkpoint is stored")
    quantize_at_load: Switch = Field(False, description="the format is made from the 16-bit checkpoint while loading")
    kv_cache_dtype: Text = "auto"
    block_size: Count | None = None
    gpu_memory_utilization: Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)] | None = None
    max_model_len: ModelLen | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    performance_mode: PerformanceMode = "balanced"
    enforce_eager: Switch = False
    enable_prefix_caching: Switch | None = None
    enable_chunked_prefill: Switch | None = None
    async_scheduling: Switch | None = None
    disable_hybrid_kv_cache_manager: Switch = False
    kv_cache_memory_bytes: Bytes | None = None
    num_gpu_blocks_override: Count | None = None
    swap_space: GibibytesOrZero | None = Field(None, description="GiB per GPU")
    kv_offloading_size: GibibytesOrZero | None = Field(None, description="GiB in all ranks")
    offload_hit_share: Share = Field(0.0, description="prompt tokens loaded from the KV offload tier")
    cpu_offload_gb: GibibytesOrZero = Field(0.0, description="GiB per GPU, whatever its name says")
    gpu_memory_gib: Annotated[Gibibytes | None, Field(ge=0.001, le=1e6, description="replaces what it reports")] = None
    max_ttft_ms: Milliseconds | None = None
    max_tpot_ms: Milliseconds | None = None
    min_output_tokens_per_s: PositiveNumber | None = None
    provider: Texts = ()
    billing: Texts = Field((), description="kinds of billing that are acceptable; default: on-demand")
    region: Texts = ()
    owned: Stock = Field((), description="SKU -> GPUs that are owned: they cost nothing")
    price: Prices = ()
    prices: Text | None = None
    gpu_file: Text | None = None
    internode_gbps: PositiveNumber | None = None
    confidence: Confidence = 0.9
    calibration: Switch = True
    calibration_file: Text | None = Field(None, description="what `calibrate` wrote; default: the user's own")
    equations: Switch = False
    workload: Text | None = Field(None, description="preset that fills in lengths and limits that are not stated")
    assumed: tuple[Assumption, ...] = Field((), description="what the workload filled in; ignored when it is given")

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        """Read the workload."""
        if not isinstance(data, dict):
            return data
        plain = with_server_size(renamed(data))
        return with_trace(with_workload(kept_assumptions(plain), ESTIMATE_FIELDS_OF_A_WORKLOAD))


def typical_lengths(context: int, input_tokens: int | None, output_tokens: int | None) -> tuple[int, int]:
    """Fill in the typical request: output = max(2, context // 8), input = the rest (contract)."""
    if output_tokens is None:
        output_tokens = max(2, context // 8)
        if input_tokens is not None:
            output_tokens = max(1, min(output_tokens, context - input_tokens))
    if input_tokens is None:
        input_tokens = max(1, context - output_tokens)
    return input_tokens, output_tokens


SPEECH_PROMPT_TOKENS, SPEECH_SHARE = 4, 4  # the tokens that say what to do; a quarter of the rest is written down


def clip_lengths(context: int, input_tokens: int | None, output_tokens: int | None) -> tuple[int, int]:
    """Fill in a clip of speech: its audio is no prompt token."""
    prompt = input_tokens or min(SPEECH_PROMPT_TOKENS, max(1, context - 1))
    return prompt, output_tokens or max(1, (context - prompt) // SPEECH_SHARE)
