"""Names that benchmarks give to one and the same thing, and their units."""

import math
import re
from typing import Any

MILLISECONDS = {
    "ttft": ("median_ttft_ms", "mean_ttft_ms", "ttft_ms", "p50_ttft_ms"),
    "tpot": ("median_tpot_ms", "mean_tpot_ms", "tpot_ms", "median_itl_ms", "mean_itl_ms", "itl_ms"),
    "e2e": ("median_e2el_ms", "mean_e2el_ms", "e2e_ms", "e2el_ms", "request_latency_ms"),
}
SECONDS = {
    "ttft": ("median_ttft", "mean_ttft", "ttft", "ttft_s"),
    "tpot": ("median_tpot", "mean_tpot", "tpot", "tpot_s"),
    "e2e": ("median_e2el", "mean_e2el", "e2el", "e2e_s"),
}
"""InferenceX publishes seconds without a unit in the name."""
THROUGHPUT = ("output_throughput", "output_tok_s", "output_tokens_per_s", "output_tokens_per_second")
PER_GPU = ("output_tput_per_gpu", "output_tok_s_per_gpu")
FIELDS: dict[str, tuple[str, ...]] = {
    "model": ("model", "model_id", "hf_model", "model_name", "served_model_name", "infmax_model_prefix"),
    "gpu": ("gpu", "gpu_type", "hw", "hardware", "gpu_name", "accelerator", "device"),
    "vllm_version": ("vllm_version", "framework_version", "version", "image", "engine_version"),
    "quantization": ("quantization", "precision", "weight_precision", "dtype"),
    "kv_cache_dtype": ("kv_cache_dtype", "kv_precision"),
    "tensor_parallel_size": ("tensor_parallel_size", "tp", "tp_size", "decode_tp"),
    "pipeline_parallel_size": ("pipeline_parallel_size", "pp"),
    "data_parallel_size": ("data_parallel_size", "dp", "dp_size"),
    "enable_expert_parallel": ("enable_expert_parallel", "expert_parallel"),
    "replicas": ("replicas",),
    "enforce_eager": ("enforce_eager",),
    "max_num_seqs": ("max_num_seqs",),
    "max_num_batched_tokens": ("max_num_batched_tokens",),
    "concurrency": ("max_concurrency", "conc", "concurrency", "users", "num_concurrent", "streams"),
    "requests_per_s": ("request_rate", "requests_per_s", "rate", "qps"),
    "input_tokens": ("input_tokens", "isl", "random_input_len", "input_len", "prompt_tokens"),
    "output_tokens": ("output_tokens", "osl", "random_output_len", "output_len"),
    "prompts": ("completed", "num_prompts", "successful_requests"),
    "prefix_hit_share": ("prefix_hit_share",),
}
"""Field of a point -> keys, the most telling first."""
RELEASE = re.compile(r"(?<![\d.])v?(0\.\d{1,3}(?:\.\d{1,3})?)")


def normalised(record: dict[str, Any]) -> dict[str, Any]:
    """Keys in lower case, with underscores and without dashes in front: '--max-num-seqs' is max_num_seqs."""
    found: dict[str, Any] = {}
    for key, value in list(record.items())[:2_000]:
        name = str(key).strip().lstrip("-").replace("-", "_").replace(" ", "_").lower()
        found.setdefault(name, value)
    return found


def finite(value: Any) -> float | None:
    """A positive finite number, also as text; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value.strip().replace(",", "")[:40])
        except ValueError:
            return None
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) and 0 < number < 1e15 else None
    return None


def first_number(record: dict[str, Any], keys: tuple[str, ...]) -> float | None:
    """The first of these keys that holds a positive number."""
    return next((number for key in keys if (number := finite(record.get(key))) is not None), None)


def first_text(record: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """The first of these keys that holds some text."""
    for key in keys:
        value = record.get(key)
        if isinstance(value, str) and value.strip() and value.strip().lower() not in ("none", "null", "nan"):
            return value.strip()[:400]
    return None
