"""Rows that state the request which describes them (`estimate_request`), their load, and how far to trust them."""

from functools import cache
from typing import Any

from vllm_opt.optimizer.fitting.latency.observation import Kind, Observation
from vllm_opt.optimizer.fitting.latency.releases import release_of
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError

KINDS: dict[str, Kind] = {
    "closed": "closed",
    "single": "closed",
    "saturated": "closed",
    "offline-capped": "closed",
    "burst": "burst",
    "open": "open",
    "offline": "offline",
}
TRUST = {"high": 1.0, "medium": 0.7, "low": 0.4}
PRECISIONS = {"bf16": "bf16", "fp16": "bf16", "fp8": "fp8", "fp8_block": "fp8_block", "nvfp4": "nvfp4", "awq4": "awq"}
MORE_PRECISIONS = {"mxfp4": "mxfp4", "gptq4": "gptq", "int4": "w4a16", "w4a16": "w4a16", "int8": "int8"}
SQUARED_LENGTHS = {"aws-p50p90-v1": 1.45}
"""Mean square over squared mean of the prompts of a data set. Median 3,500 and 90th percentile 10,000, cut at 12,288:
a log-normal law (https://github.com/systalyze/vllm-benchmarks)."""
QUANTIZATIONS = {"fp8_per_tensor": "fp8"}


@cache
def catalog() -> Catalog:
    """The catalogue, read once."""
    return Catalog()


@cache
def checkpoint_of(name: str) -> str:
    """The name where the catalogue knows this quantised checkpoint, else nothing: what it leaves wide is read wide."""
    try:
        found = catalog().model(name)
    except VllmOptError:
        return ""
    return name if found.native_quantization is not None else ""


def why_not_stated(row: dict[str, Any]) -> str | None:
    """Why a row that states its request cannot be used, or None."""
    request = row["estimate_request"]
    if not row.get("expressible"):
        return "not expressible: " + str(row.get("inexpressible_why") or "")[:60]
    if row["framework"] != "vllm" or row.get("load") not in KINDS:
        return f"load '{row.get('load')}' of {row['framework']} is not modelled"
    if not request.get("input_tokens") or (request.get("output_tokens") or 0) < 2:
        return "lengths not stated"
    try:
        catalog().model(request["model"])
        catalog().gpu(request["gpu"])
        catalog().quantization(quantization_of(row))
    except VllmOptError as error:
        return str(error)
    unstated = KINDS[row["load"]] == "open" and rate_of(row) is None
    return "request rate not stated" if unstated else None


def quantization_of(row: dict[str, Any]) -> str:
    """The format of the request, else that of the row."""
    asked = row["estimate_request"].get("quantization")
    if asked:
        return QUANTIZATIONS.get(asked, str(asked))
    return {**PRECISIONS, **MORE_PRECISIONS}.get(row["weight_precision"], str(row["weight_precision"]))


def rate_of(row: dict[str, Any]) -> float | None:
    """Requests per second, where a number was asked."""
    try:
        rate = float(row["request_rate"])
    except (TypeError, ValueError):
        return None
    return rate if 0 < rate < float("inf") else None


def values_of(row: dict[str, Any], kind: Kind, engines: float) -> dict[str, float]:
    """The measured numbers that count: medians before means, without what the row excludes."""
    values = row["measured"]
    found = {
        "tpot": values.get("median_tpot_ms") or values.get("mean_tpot_ms"),
        "ttft": values.get("median_ttft_ms") or values.get("mean_ttft_ms"),
        "e2e": values.get("e2e_ms"),
        "throughput": None if kind == "open" else (values.get("output_tok_s") or 0.0) / engines or None,
    }
    if row["load"] in ("saturated", "offline-capped"):
        found["ttft"] = None
    return {name: float(value) for name, value in found.items() if value and name not in (row.get("exclude") or ())}


def stated_observation(row: dict[str, Any]) -> Observation:
    """One row that states its request as an observation."""
    request, kind = row["estimate_request"], KINDS[row["load"]]
    peers = int(request.get("data_parallel_size") or 1)
    experts = bool(request.get("enable_expert_parallel"))
    users = float(request.get("concurrency") or 256)
    load = rate_of(row) if kind == "open" else None
    cached = request.get("enable_prefix_caching") is not False
    return Observation(
        model=request["model"],
        gpu=request["gpu"],
        quantization=quantization_of(row),
        kv_cache_dtype=str(request.get("kv_cache_dtype") or "auto"),
        tensor_parallel_size=int(request["tensor_parallel_size"]),
        data_parallel_size=peers if experts else 1,
        expert_parallel=experts,
        enforce_eager=bool(request.get("enforce_eager")),
        kind=kind,
        load=(load if load is not None else max(1.0, users)) / peers,
        max_num_seqs=float(request.get("max_num_seqs") or max(256.0, users)),
        max_num_batched_tokens=float(request.get("max_num_batched_tokens") or 8192),
        input_tokens=float(request["input_tokens"]),
        output_tokens=float(request["output_tokens"]),
        source=row["source_id"],
        release=release_of(row),
        trust=TRUST.get(str(row.get("confidence")), 0.4),
        prefix_hit_share=float(request.get("prefix_hit_share") or 0.0) if cached else 0.0,
        memory_bound_load=row["load"] == "saturated",
        checkpoint=checkpoint_of(row["model"]),
        prompts_per_user=max(1.0, float(row["num_prompts"]) / users) if row["num_prompts"] else float("inf"),
        squared_lengths=SQUARED_LENGTHS.get(str(row.get("dataset")), 1.0),
        arrival_s=(users / (rate_of(row) or float("inf"))) if kind == "burst" else 0.0,
        mean_ttft=not row["measured"].get("median_ttft_ms"),
        measured=values_of(row, kind, float(peers)),
    )
