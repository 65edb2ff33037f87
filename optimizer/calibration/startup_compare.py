"""A start that a log tells of against what is predicted for it, term by term."""

import re
from dataclasses import dataclass
from typing import Any

from vllm_opt.optimizer.calibration.observe import known_gpu, known_model, known_quantization
from vllm_opt.optimizer.calibration.startup_reader import StartUp
from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.gpu import GpuProfile

GIB = 1 << 30
FIELDS = (
    "max_model_len", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "kv_cache_dtype",
    "enforce_eager", "enable_prefix_caching", "enable_chunked_prefill", "gpu_memory_utilization", "max_num_seqs",
    "max_num_batched_tokens", "block_size",
)  # fmt: skip
CACHE_DTYPES = {"fp8_e4m3": "fp8", "bfloat16": "auto", "float16": "auto"}
RELEASE = re.compile(r"\d+\.\d+(?:\.\d+)?")
SIZE_TOLERANCE = 0.02
FIGURES = {
    "weights_gib": "weights_bytes",
    "activation_gib": "activation_peak_bytes",
    "non_torch_gib": "non_torch_bytes",
    "graph_gib": "cuda_graph_actual_bytes",
    "graph_estimate_gib": "cuda_graph_bytes",
    "kv_gib": "kv_cache_bytes",
    "total_gib": "gpu_total_bytes",
}
PLAIN_FIGURES = {
    "num_gpu_blocks": "num_gpu_blocks", "kv_tokens": "kv_cache_tokens", "max_concurrency": "max_concurrency"
}  # fmt: skip


@dataclass(frozen=True)
class ComparedStart:
    """One start with its prediction; sizes in bytes."""

    source: str
    request: EstimateRequest
    predicted: Estimate
    measured: dict[str, float]

    @property
    def key(self) -> tuple[str, str, str, int]:
        """(GPU, engine, model, tensor-parallel size): what a correction holds for."""
        asked = self.predicted.request
        return (
            str(asked["gpu"]), str(asked["engine"]), str(asked["model"]), int(asked["tensor_parallel_size"]),
        )  # fmt: skip

    def pairs(self) -> list[tuple[str, float, float, str]]:
        """(term, measured, predicted, unit) of everything that was printed."""
        memory = self.predicted.memory
        sizes = [
            (theirs, self.measured[name] * GIB, float(getattr(memory, theirs)), "bytes")
            for name, theirs in FIGURES.items()
            if name in self.measured
        ]
        return sizes + [
            (theirs, self.measured[name], float(getattr(memory, theirs)), "")
            for name, theirs in PLAIN_FIGURES.items()
            if name in self.measured
        ]


def compared_start(start: StartUp, source: str, stated: dict[str, Any], catalog: Catalog) -> ComparedStart | str:
    """Predict what a log printed, without any calibration of the user's own; or why that cannot be done."""
    told = {**stated, **start.configuration}
    model = known_model(told.get("model"), catalog) or known_model(stated.get("model"), catalog)
    if model is None:
        shown = str(told.get("model") or "")[:80]
        return (
            f"the catalogue holds no model '{shown}'; give --model" if shown else "the log names no model; give --model"
        )
    gpu = _gpu(told, stated, catalog)
    if gpu is None:
        return "the log names no GPU; give --gpu"
    quantization = known_quantization(told.get("quantization"), str(told.get("model")), model, catalog)
    if quantization is None:
        return f"the weight format '{str(told.get('quantization'))[:40]}' is not known; give --quantization"
    fields = {name: told[name] for name in FIELDS if name in told}
    dtype = str(fields.pop("kv_cache_dtype", "auto"))
    version = RELEASE.match(str(told.get("vllm_version") or ""))
    figures = start.figures
    try:
        request = EstimateRequest(
            **fields, model=model.id, gpu=gpu.id, quantization=quantization, confidence=0.5, calibration=False,
            kv_cache_dtype=CACHE_DTYPES.get(dtype, dtype), vllm_version=version[0] if version else None,
            engine=told.get("engine") if _had_both(version) else None, gpu_memory_gib=_total(figures, gpu),
        )  # fmt: skip
        return ComparedStart(source, request, estimate(request, catalog), figures)
    except VllmOptError as error:
        return str(error)[:160]


def _gpu(told: dict[str, Any], stated: dict[str, Any], catalog: Catalog) -> GpuProfile | None:
    """The SKU that the user states, else the device name in the log."""
    named = known_gpu(stated.get("gpu"), catalog)
    return named or known_gpu(told.get("gpu"), catalog)


def _total(figures: dict[str, float], gpu: GpuProfile) -> float | None:
    """The total that this machine printed, where it is that of the SKU within 2 % (a MIG slice is not)."""
    total = figures.get("total_gib")
    low, high = gpu.memory_bytes * (1 - SIZE_TOLERANCE), gpu.memory_bytes_high * (1 + SIZE_TOLERANCE)
    return total if total is not None and low <= total * GIB <= high else None


def _had_both(version: re.Match[str] | None) -> bool:
    """Releases 0.8 to 0.10 could start either engine."""
    return version is not None and version[0].split(".")[:2] in (["0", "8"], ["0", "9"], ["0", "10"])
