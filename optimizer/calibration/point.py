"""One benchmark result as a point: what was served, the load, and what was measured."""

from typing import Any, Literal

from pydantic import Field, ValidationError

from vllm_opt.optimizer.calibration.benchmark_words import (
    FIELDS,
    MILLISECONDS,
    PER_GPU,
    RELEASE,
    SECONDS,
    THROUGHPUT,
    finite,
    first_number,
    first_text,
    normalised,
)
from vllm_opt.profiles.noun import Noun

TEXTS = ("model", "gpu", "quantization", "kv_cache_dtype")
COUNTS = (
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "replicas", "max_num_seqs",
    "max_num_batched_tokens",
)  # fmt: skip
SWITCHES = ("enable_expert_parallel", "enforce_eager")
WORDS_OF_TRUE = (True, 1, "true", "True", "1", "yes", "on")
LARGEST_COUNT = 2**31 - 1


class BenchmarkPoint(Noun):
    """One measured load. Times in ms, rates per second of all replicas together; None: not stated."""

    model: str | None = None
    gpu: str | None = None
    vllm_version: str | None = None
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    tensor_parallel_size: int | None = Field(None, ge=1, le=LARGEST_COUNT)
    pipeline_parallel_size: int | None = Field(None, ge=1, le=LARGEST_COUNT)
    data_parallel_size: int | None = Field(None, ge=1, le=LARGEST_COUNT)
    enable_expert_parallel: bool = False
    enforce_eager: bool = False
    replicas: int | None = Field(None, ge=1, le=LARGEST_COUNT)
    max_num_seqs: int | None = Field(None, ge=1, le=LARGEST_COUNT)
    max_num_batched_tokens: int | None = Field(None, ge=1, le=LARGEST_COUNT)
    kind: Literal["closed", "burst", "open", "offline"] = "closed"
    load: float | None = Field(None, gt=0, description="users or prompts, or requests per second of an open loop")
    input_tokens: float | None = Field(None, gt=0)
    output_tokens: float | None = Field(None, gt=0)
    prefix_hit_share: float = Field(0.0, ge=0, le=1)
    measured: dict[str, float] = Field({}, description="ttft, tpot, e2e in ms; throughput in output tokens per second")
    failed: int = Field(0, ge=0, description="requests that got no answer")


def point_of(record: dict[str, Any], stated: dict[str, Any]) -> BenchmarkPoint | str:
    """One record of a benchmark as a point, `stated` filling what it does not say; or why it is none."""
    flat = normalised(record)
    measured = measured_of(flat)
    if not measured:
        return "no TTFT, TPOT or throughput in it"
    framework = flat.get("framework")
    if isinstance(framework, str) and "vllm" not in framework.lower():
        return f"measured on {framework.strip()[:40]}, not on vLLM"
    fields: dict[str, Any] = {name: first_text(flat, FIELDS[name]) for name in TEXTS}
    fields |= {name: whole(first_number(flat, FIELDS[name])) for name in COUNTS}
    fields |= {name: any(flat.get(key) in WORDS_OF_TRUE for key in FIELDS[name]) for name in SWITCHES}
    fields["enable_expert_parallel"] |= (finite(flat.get("ep")) or 1) > 1
    fields["vllm_version"] = release_in(flat)
    fields = {name: value for name, value in fields.items() if value is not None}
    known = {name: value for name, value in stated.items() if name in BenchmarkPoint.model_fields}
    fields = {**known, **fields}
    if "gpu" in stated and fields.get("gpu") in (None, "cuda", "gpu", "auto"):
        fields["gpu"] = stated["gpu"]
    per_gpu = first_number(flat, PER_GPU)
    gpus = finite(flat.get("num_gpus")) or (fields.get("tensor_parallel_size") or 1)
    if per_gpu is not None and "throughput" not in measured:
        measured["throughput"] = per_gpu * gpus
    lengths = lengths_of(flat, stated)
    kind, load = load_of(flat, stated)
    failed = whole(finite(flat.get("failed"))) or 0
    try:
        return BenchmarkPoint(
            **fields, kind=kind, load=load, input_tokens=lengths[0], output_tokens=lengths[1], measured=measured,
            prefix_hit_share=min(1.0, first_number(flat, FIELDS["prefix_hit_share"]) or 0.0), failed=failed,
        )  # fmt: skip
    except (ValidationError, TypeError):
        return "a figure that no deployment has"


def measured_of(flat: dict[str, Any]) -> dict[str, float]:
    """What was measured: medians before means, milliseconds before seconds."""
    inner = flat.get("metrics", flat.get("measured"))
    both = {**flat, **normalised(inner)} if isinstance(inner, dict) else flat
    found: dict[str, float] = {}
    for metric in ("ttft", "tpot", "e2e"):
        value = first_number(both, MILLISECONDS[metric])
        if value is None and (seconds := first_number(both, SECONDS[metric])) is not None:
            value = 1000.0 * seconds
        if value is not None:
            found[metric] = value
    rate = first_number(both, THROUGHPUT)
    if rate is not None:
        found["throughput"] = rate
    elif "tpot" not in found and both.get("total_output_tokens") and finite(both.get("duration")):
        tokens, seconds = finite(both["total_output_tokens"]), finite(both["duration"])
        if tokens and seconds:
            found["throughput"] = tokens / seconds
    return found


def lengths_of(flat: dict[str, Any], stated: dict[str, Any]) -> tuple[float | None, float | None]:
    """Mean prompt and answer: of what was sent where that is counted, else as asked for."""
    completed = finite(flat.get("completed"))
    found = []
    for name, total in (("input_tokens", "total_input_tokens"), ("output_tokens", "total_output_tokens")):
        tokens = finite(flat.get(total))
        mean = tokens / completed if tokens and completed else None
        found.append(mean or first_number(flat, FIELDS[name]) or finite(stated.get(name)))
    return found[0], found[1]


def load_of(
    flat: dict[str, Any], stated: dict[str, Any]
) -> tuple[Literal["closed", "burst", "open", "offline"], float | None]:
    """The kind of load and its size: users in a closed loop, all at once, or requests per second."""
    users = first_number(flat, FIELDS["concurrency"]) or finite(stated.get("concurrency"))
    prompts, rate = first_number(flat, FIELDS["prompts"]), first_number(flat, FIELDS["requests_per_s"])
    if rate is not None:
        served = finite(flat.get("request_throughput"))
        if served is not None and served < 0.85 * rate and users:
            return "closed", users
        return "open", rate
    if users is not None:
        return ("burst" if prompts is not None and prompts < 2 * users and users > 1 else "closed"), users
    return ("burst", prompts) if prompts is not None else ("closed", None)


def whole(number: float | None) -> int | None:
    """A whole number of a plausible size."""
    return int(number) if number is not None and number <= LARGEST_COUNT else None


def release_in(flat: dict[str, Any]) -> str | None:
    """The vLLM release, out of a version or an image's tag."""
    for key in FIELDS["vllm_version"]:
        value = flat.get(key)
        if isinstance(value, str) and (match := RELEASE.search(value[:200])):
            return match[1]
    return None
