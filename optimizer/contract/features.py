"""Fields that `solve` and `estimate` share for what a server does besides plain text: drafts, adapters, images.

JSON values are what vLLM's own flags take; they are kept as compact text, so that requests can be compared and hashed.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from vllm_opt.optimizer.contract.field_types import LARGEST_COUNT, Count, Switch, Text, Texts, _count, _number, _one

LONGEST_JSON = 100_000


def _json_object(value: object) -> object:
    """Read a JSON object, given as text or as a mapping, into compact text."""
    value = _one(value)
    if isinstance(value, str):
        if len(value) > LONGEST_JSON:
            raise ValueError(f"must be a JSON object of at most {LONGEST_JSON:,} characters")
        try:
            value = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise ValueError("must be a JSON object such as '{\"key\": 1}'") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError("must be a JSON object such as '{\"key\": 1}'")
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("must hold JSON values only") from None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


LONGEST_SIDE = 65_536


def _pixels(value: object) -> object:
    """Read WIDTHxHEIGHT, or a pair as it was read before."""
    value = value if isinstance(value, list | tuple) and len(value) == 2 else _one(value)
    parts = value.lower().split("x") if isinstance(value, str) else value
    if isinstance(parts, list | tuple) and len(parts) == 2:
        sides = [str(part).strip() for part in parts]
        if all(side.isascii() and side.isdigit() and len(side) < 6 and 0 < int(side) <= LONGEST_SIDE for side in sides):
            return int(sides[0]), int(sides[1])
    raise ValueError(f"must be WIDTHxHEIGHT in pixels, each from 1 to {LONGEST_SIDE:,}, such as 1920x1080")


All2AllBackend = Literal[
    "allgather_reducescatter", "deepep_high_throughput", "deepep_low_latency", "deepep_v2",
    "flashinfer_nvlink_one_sided", "flashinfer_nvlink_two_sided", "nixl_ep", "mori_high_throughput",
    "mori_low_latency", "moonep", "passthrough", "pplx", "naive",
]  # fmt: skip
"""What `--all2all-backend` takes in 0.33; of the last two it makes the first, with a warning."""

JsonText = Annotated[str, BeforeValidator(_json_object)]


def json_value(text: str | None) -> dict[str, Any]:
    """Return the object behind a JSON field; empty where none was given."""
    value: dict[str, Any] = json.loads(text) if text else {}
    return value


class Features(BaseModel):
    """Drafts, adapters, images, connectors (contract, Features in estimate and solve)."""

    speculative_config: JsonText | None = Field(None, description="as `vllm serve --speculative-config` takes it")
    acceptance: Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)] | None = Field(
        None, description="share of drafted tokens that the target accepts, each position alike"
    )
    enable_lora: Switch = False
    max_loras: Annotated[int, BeforeValidator(_count), Field(gt=0, le=65536)] | None = None
    max_lora_rank: Annotated[int, BeforeValidator(_count), Field(gt=0, le=65536)] | None = None
    max_cpu_loras: Annotated[int, BeforeValidator(_count), Field(gt=0, le=LARGEST_COUNT)] | None = None
    fully_sharded_loras: Switch = False
    lora_dtype: Annotated[Literal["auto", "float16", "bfloat16"], BeforeValidator(_one)] = Field(
        "auto", description="dtype of the adapters' slots; both formats take two bytes"
    )
    lora_target_modules: Texts = Field((), description="modules that take adapters, such as q_proj; none: all that can")
    enable_moe_shared_loras: Switch = Field(False, description="experts' adapters share their outer matrices")
    enable_mixed_moe_lora_format: Switch = Field(False, description="experts' adapters in 2-D and in 3-D layout")
    limit_mm_per_prompt: JsonText | None = Field(None, description="items per prompt by modality")
    images_per_request: Annotated[float, BeforeValidator(_number), Field(ge=0, le=10_000)] = 0.0
    image_tokens: Count | None = Field(None, description="tokens of one image; default: of image_size")
    image_size: Annotated[tuple[int, int], BeforeValidator(_pixels)] | None = Field(
        None, description="WIDTHxHEIGHT in pixels; default 1024x1024"
    )
    videos_per_request: Annotated[float, BeforeValidator(_number), Field(ge=0, le=10_000)] = 0.0
    video_tokens: Count | None = Field(None, description="tokens of one video; default: of the longest one")
    audios_per_request: Annotated[float, BeforeValidator(_number), Field(ge=0, le=10_000)] = 0.0
    audio_tokens: Count | None = Field(None, description="tokens of one audio clip")
    language_model_only: Switch = False
    skip_mm_profiling: Switch = False
    hf_overrides: JsonText | None = None
    enable_sleep_mode: Switch = False
    all2all_backend: Annotated[All2AllBackend | None, BeforeValidator(_one)] = None
    enable_eplb: Switch = False
    eplb_config: JsonText | None = None
    kv_transfer_config: JsonText | None = None
    kv_events_config: JsonText | None = None
    compilation_config: JsonText | None = None
    kv_cache_dtype_skip_layers: Texts = Field(
        (), description="layers whose KV cache stays 16-bit: numbers, or 'sliding_window'"
    )
    indexer_kv_dtype: Annotated[Literal["auto", "fp8", "mxfp4"], BeforeValidator(_one)] = Field(
        "auto", description="dtype of a sparse-attention indexer's keys (attention_config.indexer_kv_dtype)"
    )
    mamba_ssm_cache_dtype: Annotated[Literal["auto", "bfloat16", "float16", "float32"], BeforeValidator(_one)] = Field(
        "auto", description="dtype of recurrent matrices in the cache"
    )
    attention_backend: Text | None = Field(None, description="as `vllm serve --attention-backend` takes it")
    runner: Annotated[Literal["auto", "generate", "pooling"], BeforeValidator(_one)] = "auto"
    convert: Annotated[Literal["auto", "none", "embed", "classify"], BeforeValidator(_one)] = "auto"

    pooler_config: JsonText | None = Field(None, description="as `vllm serve --pooler-config` takes it")

    @property
    def is_pooling(self) -> bool:
        """Whether a request is one prompt and no answer: embeddings, rankings, classes."""
        return self.runner == "pooling" or (self.runner == "auto" and self.convert in ("embed", "classify"))
