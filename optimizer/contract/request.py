"""What a user may ask: `SolveRequest` and `EstimateRequest`.

Field names are the command line's options with underscores. A list of one is accepted where one value is expected,
and one value where a list is. Bad input raises `InvalidRequest` with one sentence.
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vllm_opt.optimizer.contract.fault import one_sentence
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import parse_count

ObjectiveName = Literal["cost", "throughput", "concurrency", "gpus", "latency", "efficiency"]
DEFAULT_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
LARGEST_COUNT = 2**31 - 1
LARGEST_GPU_COUNT = 1_000_000
MOST_WORKERS = 1024


def _one(value: object) -> object:
    """Unwrap a list of one."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _many(value: object) -> object:
    """Wrap one value into a tuple; None is an empty tuple."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _count(value: object) -> object:
    """Read a whole number, also as '8k' (8000) or '8K' (8192)."""
    value = _one(value)
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    if not isinstance(value, str):
        return value
    try:
        return parse_count(value, "it", minimum=-LARGEST_COUNT)
    except InvalidRequest as fault:
        raise ValueError(str(fault).removeprefix("it ")) from None


def _number(value: object) -> object:
    """Read a finite number; true and false are not numbers."""
    value = _one(value)
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _prices(value: object) -> object:
    """Read `{'h100-sxm': 2.5}` or `['h100-sxm=2.5']` into a tuple of pairs."""
    if isinstance(value, dict):
        return tuple((str(sku), usd) for sku, usd in value.items())
    pairs = []
    for item in _many(value):  # type: ignore[attr-defined]
        if isinstance(item, list | tuple) and len(item) == 2:
            pairs.append(tuple(item))
            continue
        sku, separator, usd = str(item).partition("=")
        if not separator or not sku.strip():
            raise ValueError(f"must look like SKU=USD, not {printable(repr(str(item)[:60]))}")
        pairs.append((sku.strip(), usd))
    return tuple(pairs)


def _model_len(value: object) -> object:
    """Read a context length; 'auto' and -1 ask vLLM to fit the largest."""
    value = _one(value)
    if isinstance(value, list | tuple):
        raise ValueError("must be one number or 'auto'")
    if value in (-1, "-1", "auto"):
        return "auto"
    counted = _count(value)
    if isinstance(counted, float) and counted.is_integer():
        counted = int(counted)
    if isinstance(counted, int) and not 0 < counted <= LARGEST_COUNT:
        raise ValueError(f"must be a positive whole number of at most {LARGEST_COUNT}")
    return counted


Count = Annotated[int, BeforeValidator(_count), Field(gt=0, le=LARGEST_COUNT)]
GpuCount = Annotated[int, BeforeValidator(_count), Field(gt=0, le=LARGEST_GPU_COUNT)]
CountOrZero = Annotated[int, BeforeValidator(_count), Field(ge=0, le=LARGEST_COUNT)]
PositiveNumber = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1e15)]
NumberOrZero = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1e15)]
Text = Annotated[str, BeforeValidator(_one), Field(min_length=1, max_length=4096)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_many)]
Bytes = Annotated[int, BeforeValidator(_count), Field(gt=0, le=10**15)]
Switch = Annotated[bool, BeforeValidator(_one)]


class Request(BaseModel):
    """Base of all requests: frozen, strict about keys, and its errors are `InvalidRequest`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise InvalidRequest(one_sentence(error, tuple(type(self).model_fields))) from None

    def replaced(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        return type(self)(**{**self.model_dump(exclude_unset=True), **changes})


class SolveRequest(Features, Request):
    """Everything that `vllm-opt solve` takes."""

    model: Text = DEFAULT_MODEL
    gpu: Texts = ()
    gpus: GpuCount | None = None
    max_gpus: GpuCount | None = Field(None, description="default 16, or `gpus` when that is given")
    target_context: Count = 8192
    concurrency: Count = 32
    mean_context: Count | None = Field(None, description="default target_context")
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prefix_hit_share: Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)] = 0.0
    max_ttft_ms: PositiveNumber | None = None
    max_tpot_ms: PositiveNumber | None = None
    min_output_tokens_per_s: PositiveNumber | None = None
    max_hourly_cost: PositiveNumber | None = None
    quantization: Texts = ()
    hypothetical_checkpoints: Switch = Field(True, description="also plan with weights that nobody has published")
    min_quality: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1.5)] = 0.98
    kv_cache_dtype: Text = "any"
    max_num_seqs: Count | None = Field(
        None, description="largest batch to try, never below the concurrency; default 1024"
    )
    max_gpu_memory_utilization: Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)] = 0.95
    provider: Texts = ()
    price: Annotated[tuple[tuple[Text, PositiveNumber], ...], BeforeValidator(_prices)] = ()
    prices: Text | None = Field(None, description="path of another price list")
    gpu_file: Text | None = Field(None, description="path of a file that adds or overrides GPUs")
    host_memory_gib: PositiveNumber | None = None
    lora_adapters: Annotated[int, BeforeValidator(_count), Field(gt=0, le=65536)] | None = Field(
        None, description="adapters that are served at once: implies enable_lora"
    )
    lora_rank: Annotated[int, BeforeValidator(_count), Field(gt=0, le=512)] | None = Field(
        None, description="rank of the largest adapter; the next rank that vLLM offers is taken"
    )
    internode_gbps: PositiveNumber | None = None
    engine: Annotated[Literal["v0", "v1"] | None, BeforeValidator(_one)] = None
    objective: Annotated[tuple[ObjectiveName, ...], BeforeValidator(_many)] = ("cost", "throughput")
    vllm_version: Text | None = None
    confidence: Annotated[float, BeforeValidator(_number), Field(ge=0.5, le=0.99)] = 0.9
    calibration: Switch = Field(True, description="use learned factors per model family, SKU and precision")
    top: Count | None = None
    explain: Switch = Field(True, description="when nothing fits, look for the smallest changes that would help")
    pareto: Switch = False
    time_limit: PositiveNumber = Field(30.0, description="seconds")
    workers: Annotated[int, BeforeValidator(_count), Field(gt=0, le=MOST_WORKERS)] = 1
    seed: CountOrZero = 0
    equations: Switch = False

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
        if self.mean_context is not None and self.mean_context > self.target_context:
            raise ValueError(f"mean_context {self.mean_context} exceeds target_context {self.target_context}")
        if self.gpus is not None and self.max_gpus is not None and self.gpus > self.max_gpus:
            raise ValueError(f"gpus {self.gpus} exceeds max_gpus {self.max_gpus}")
        if len(set(self.objective)) != len(self.objective) or not self.objective:
            raise ValueError("objective must name at least one objective, each once")
        return self

    @property
    def lengths(self) -> tuple[int, int]:
        """Input and output tokens of the typical request, defaults filled in."""
        return typical_lengths(self.target_context, self.input_tokens, 1 if self.is_pooling else self.output_tokens)


class EstimateRequest(Features, Request):
    """Everything that `vllm-opt estimate` takes; unset flags take that vLLM version's default for that GPU."""

    model: Text = DEFAULT_MODEL
    gpu: Text = "h100-sxm"
    vllm_version: Text | None = None
    engine: Annotated[Literal["v0", "v1"] | None, BeforeValidator(_one)] = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prefix_hit_share: Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)] = 0.0
    concurrency: Count | None = None
    replicas: GpuCount = 1
    tensor_parallel_size: Count = 1
    pipeline_parallel_size: Count = 1
    data_parallel_size: GpuCount = 1
    decode_context_parallel_size: Count = 1
    enable_expert_parallel: Switch = False
    quantization: Text | None = Field(None, description="None: as the checkpoint is stored")
    kv_cache_dtype: Text = "auto"
    block_size: Count | None = None
    gpu_memory_utilization: Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)] | None = None
    max_model_len: Annotated[int | Literal["auto"], BeforeValidator(_model_len)] | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    enforce_eager: Switch = False
    enable_prefix_caching: Switch | None = None
    enable_chunked_prefill: Switch | None = None
    async_scheduling: Switch | None = None
    disable_hybrid_kv_cache_manager: Switch = False
    kv_cache_memory_bytes: Bytes | None = None
    num_gpu_blocks_override: Count | None = None
    swap_space: NumberOrZero | None = Field(None, description="GiB per GPU")
    kv_offloading_size: NumberOrZero | None = Field(None, description="GiB in all ranks")
    cpu_offload_gb: NumberOrZero = 0.0
    gpu_memory_gib: Annotated[float, BeforeValidator(_number), Field(ge=0.001, le=1e6)] | None = Field(
        None, description="overrides the reported memory"
    )
    max_ttft_ms: PositiveNumber | None = None
    max_tpot_ms: PositiveNumber | None = None
    min_output_tokens_per_s: PositiveNumber | None = None
    provider: Texts = ()
    price: Annotated[tuple[tuple[Text, PositiveNumber], ...], BeforeValidator(_prices)] = ()
    prices: Text | None = None
    gpu_file: Text | None = None
    internode_gbps: PositiveNumber | None = None
    confidence: Annotated[float, BeforeValidator(_number), Field(ge=0.5, le=0.99)] = 0.9
    calibration: Switch = True
    equations: Switch = False


def typical_lengths(context: int, input_tokens: int | None, output_tokens: int | None) -> tuple[int, int]:
    """Fill in the typical request: output = max(2, context // 8), input = the rest (contract)."""
    if output_tokens is None:
        output_tokens = max(2, context // 8)
        if input_tokens is not None:
            output_tokens = max(1, min(output_tokens, context - input_tokens))
    if input_tokens is None:
        input_tokens = max(1, context - output_tokens)
    return input_tokens, output_tokens
