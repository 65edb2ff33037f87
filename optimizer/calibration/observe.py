"""Points in the catalogue's vocabulary: which model, GPU, weight format and release, and the load of one engine."""

from dataclasses import dataclass
from typing import Any

from vllm_opt.constraints.decisions.engine_defaults import default_max_num_batched_tokens, default_max_num_seqs
from vllm_opt.optimizer.calibration.point import BenchmarkPoint
from vllm_opt.optimizer.estimation.resolution import resolve_quantization
from vllm_opt.optimizer.fitting.latency.measurements import names
from vllm_opt.optimizer.fitting.latency.observation import Observation
from vllm_opt.optimizer.fitting.startup.names import find_model, find_quantization
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile

SPELLINGS = {
    "fp4": "nvfp4", "int4": "w4a16", "fp16": "bf16", "float16": "bf16", "half": "bf16", "bfloat16": "bf16",
    "compressed-tensors": "", "auto": "", "native": "", "modelopt": "fp8", "modelopt_fp4": "nvfp4", "awq_marlin": "awq",
    "gptq_marlin": "gptq",
}  # fmt: skip
"""Words for weight formats that benchmarks use; nothing: as the checkpoint's name or its config says."""


def known_model(name: str | None, catalog: Catalog) -> ModelProfile | None:
    """The catalogue's model behind a name, a path, or one of the short names that benchmarks use."""
    if not name:
        return None
    short = {key.lower(): value for key, value in names()["models"].items()}.get(name.lower())
    try:
        return catalog.model(short or name)
    except VllmOptError:
        return find_model(name, catalog)


def known_gpu(name: str | None, catalog: Catalog) -> GpuProfile | None:
    """The SKU behind a name; 'h100-dgxc', 'NVIDIA H100 80GB HBM3' and names of measurements are understood."""
    if not name:
        return None
    short = {key.lower(): value for key, value in names()["gpus"].items()}.get(name.lower())
    for candidate in (short, name, name.split("-")[0].split("_")[0]):
        try:
            if candidate:
                return catalog.gpu(candidate)
        except VllmOptError:
            continue
    return None


def known_quantization(name: str | None, model_name: str, model: ModelProfile, catalog: Catalog) -> str | None:
    """The weight format: as stated, else by the checkpoint's name, else the model's own."""
    stated = SPELLINGS.get(name.lower(), name) if name else ""
    try:
        if stated:
            return resolve_quantization(catalog, model, stated).id
    except VllmOptError:
        return None
    found = find_quantization({"model": model_name, "weight_dtype_or_quant": ""}, model, catalog)
    return found.id if found is not None else resolve_quantization(catalog, model, None).id


class NotComparable(Exception):  # noqa: N818 - what a point is
    """Why a point cannot be compared, in one clause."""


@dataclass(frozen=True)
class Served:
    """What a point ran on, by the catalogue's ids."""

    model: str
    gpu: GpuProfile
    quantization: str
    engine: EngineProfile


def served_by(point: BenchmarkPoint, catalog: Catalog) -> Served:
    """Look everything up; raises NotComparable."""
    model, gpu = known_model(point.model, catalog), known_gpu(point.gpu, catalog)
    if model is None or point.model is None:
        shown = f"the catalogue holds no model '{point.model[:80]}'" if point.model else "the model is not stated"
        raise NotComparable(f"{shown}; give --model")
    if gpu is None:
        shown = f"the catalogue holds no GPU '{point.gpu[:60]}'" if point.gpu else "the GPU is not stated"
        raise NotComparable(f"{shown}; give --gpu")
    quantization = known_quantization(point.quantization, point.model, model, catalog)
    if quantization is None:
        raise NotComparable(f"the weight format '{str(point.quantization)[:40]}' is not known; give --quantization")
    try:
        engine, _ = catalog.engine(point.vllm_version, None)
    except VllmOptError:
        raise NotComparable(f"no profile stands for vLLM {point.vllm_version}") from None
    return Served(model.id, gpu, quantization, engine)


def observation_of(point: BenchmarkPoint, source: str, catalog: Catalog) -> Observation:
    """A point as the latency model sees it.

    Raises:
        NotComparable: something is not stated, not in the catalogue, or not part of a calibration.
    """
    served = served_by(point, catalog)
    if not point.input_tokens or not point.output_tokens or point.output_tokens < 2:
        raise NotComparable("the lengths are not stated; give --input-tokens and --output-tokens")
    if point.load is None:
        raise NotComparable("the load is not stated; give --concurrency")
    if (point.pipeline_parallel_size or 1) > 1:
        raise NotComparable("pipeline stages take no part in a calibration")
    tokens = point.max_num_batched_tokens or default_max_num_batched_tokens(
        served.engine, served.gpu, chunked_prefill=True,
        max_model_len=int(point.input_tokens + point.output_tokens) + 1, max_num_seqs=point.max_num_seqs,
    )  # fmt: skip
    engines = (point.replicas or 1) * (point.data_parallel_size or 1)
    load = point.load / engines
    return Observation(
        model=served.model, gpu=served.gpu.id, quantization=served.quantization,
        kv_cache_dtype=cache_dtype(point.kv_cache_dtype), tensor_parallel_size=point.tensor_parallel_size or 1,
        data_parallel_size=(point.data_parallel_size or 1) if point.enable_expert_parallel else 1,
        expert_parallel=point.enable_expert_parallel, enforce_eager=point.enforce_eager, kind=point.kind,
        load=load if point.kind == "open" else max(load, 1.0),
        max_num_seqs=float(point.max_num_seqs or default_max_num_seqs(served.engine, served.gpu, tokens)),
        max_num_batched_tokens=float(tokens), input_tokens=point.input_tokens, output_tokens=point.output_tokens,
        source=source, release=served.engine.version, trust=1.0, prefix_hit_share=point.prefix_hit_share,
        memory_bound_load=False, measured=comparable(point, engines),
    )  # fmt: skip


def cache_dtype(name: str | None) -> str:
    """fp8 or auto: what a benchmark's word for the KV cache means for its speed."""
    return "fp8" if name is not None and "fp8" in name.lower() else "auto"


def comparable(point: BenchmarkPoint, engines: int) -> dict[str, float]:
    """What the model predicts of this kind of load, per engine: a burst and an open loop have no throughput."""
    kept: dict[str, Any] = dict(point.measured)
    if point.kind in ("open", "burst"):
        kept.pop("throughput", None)
    if point.kind == "offline":
        kept = {name: value for name, value in kept.items() if name in ("throughput", "e2e")}
    if "throughput" in kept:
        kept["throughput"] = kept["throughput"] / engines
    if len(kept) > 1:
        kept.pop("e2e", None)
    return {name: float(value) for name, value in kept.items()}
