"""LatencyConstants: the fitted numbers behind step time, TTFT, TPOT and throughput, each with its basis and spread.

`python -m vllm_opt.optimizer.fitting.latency.fit` writes `data/latency.json`; the formulas are in
`constraints/speed/step_time.py`.
"""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.gpu import GpuProfile

LatencyBasis = Literal["measured", "fitted", "datasheet"]
"""measured: a calibration cell exists; fitted: this SKU and path were in the fit; datasheet: neither was."""


class SharedConstants(Noun):
    """Constants common to every GPU; seconds unless named otherwise."""

    serial_share: float = Field(ge=0, le=1, description="share of the shorter of memory and compute time not hidden")
    layer_s: float = Field(ge=0, description="fixed time of one decoder layer inside a CUDA graph")
    moe_layer_s: float = Field(ge=0, description="more fixed time of a layer with experts")
    step_s: float = Field(ge=0, description="scheduler and sampler time of one step")
    sequence_s: float = Field(ge=0, description="per decoding sequence and step: sampling, detokenising")
    frontend_s: float = Field(ge=0, description="HTTP, tokeniser and queue before the first step")
    crowding: float = Field(ge=0, description="growth of TTFT per further user, in single-request prefill times")
    crowding_exponent: float = Field(1.0, gt=0, le=1, description="below 1 the growth slows down with the users")
    attention_efficiency: float = Field(gt=0, description="prefill attention, share of the 16-bit peak")
    kv_read_efficiency: float = Field(gt=0, description="KV reads relative to weight reads")
    expert_read_efficiency: float = Field(gt=0, description="expert weight reads relative to dense weight reads")
    expert_compute_efficiency: float = Field(gt=0, description="grouped expert products relative to dense products")
    activation_passes: float = Field(
        ge=0, description="reads and writes of the residual stream per layer beyond fusion"
    )
    collective_latency_factor: float = Field(gt=0, description="all-reduce start-up time in serving over the benchmark")
    collective_bandwidth_factor: float = Field(gt=0, description="all-reduce bandwidth in serving over the benchmark")
    pcie_collective_factor: float = Field(1.0, gt=0, description="time of all-reduces over PCIe, on top of the above")
    eager_layer_s: float = Field(
        gt=0, description="CPU time to launch one layer's kernels without a CUDA graph; assumed"
    )
    eager_moe_layer_s: float = Field(ge=0, description="more launch time of a layer with experts")
    pipeline_hop_s: float = Field(ge=0, description="start-up time of one transfer between pipeline stages")
    expert_imbalance: float = Field(ge=1, description="slowest over mean rank with expert parallelism")


class Spread(Noun):
    """Standard deviation of the natural log of measured over predicted, per metric."""

    tpot: float = Field(ge=0)
    ttft: float = Field(ge=0)
    throughput: float = Field(ge=0)


class PathFactor(Noun):
    """How one kernel path differs on one SKU from what it does on the others."""

    compute: float = Field(1.0, gt=0, description="multiplies the path's compute_factor")
    memory: float = Field(1.0, gt=0, description="multiplies the path's memory_factor")
    step: float = Field(
        1.0, gt=0, description="multiplies the whole step: an older software stack than the other paths'"
    )


class GpuConstants(Noun):
    """How much of its datasheet one SKU delivers."""

    memory_efficiency: float = Field(gt=0, description="em: share of the memory bandwidth that weight reads reach")
    compute_efficiency: float = Field(gt=0, description="ec: share of the dense 16-bit peak that matrix products reach")
    overhead_factor: float = Field(1.0, gt=0, description="multiplies fixed layer and step time")
    collective_factor: float = Field(1.0, gt=0, description="multiplies the time of all-reduces")
    basis: LatencyBasis
    spread: Spread
    paths: dict[str, PathFactor] = Field({}, description="kernel paths that this SKU was measured with")
    source: str


class KernelPath(Noun):
    """How one weight format's kernels compare with 16-bit ones on the same GPU."""

    compute_factor: float = Field(gt=0, description="share of the format's own peak, relative to 16-bit products")
    memory_factor: float = Field(1.0, gt=0, description="weight reads relative to 16-bit weight reads")
    expert_compute_factor: float = Field(1.0, gt=0, description="further factor of grouped expert products")
    basis: LatencyBasis
    spread: Spread = Field(description="added in quadrature to the SKU's spread")
    source: str


class Collective(Noun):
    """All-reduce of one SKU: start-up time and algorithm bandwidth at tensor-parallel sizes 2, 4 and 8."""

    alpha_us: tuple[float, float, float]
    gb_per_s: tuple[float, float, float]
    source: str


class CalibrationCell(Noun):
    """What measurements of one (model, SKU, kernel path) say against the formula, shrunk towards 1."""

    model: str = Field(description="catalogue id of a model that was measured")
    shape: str = Field(description="width, layers and vocabulary: fine-tunes of one shape share the cell")
    gpu: str
    path: str
    step_factor: float = Field(gt=0, description="multiplies step time")
    prefill_factor: float = Field(1.0, gt=0, description="multiplies TTFT's prefill time on top of step_factor")
    points: int = Field(gt=0, description="measured points behind the factor")
    spread: Spread = Field(description="spread of unseen points inside the cell")


class LatencyConstants(Noun):
    """Everything `latency_coefficients` reads besides the model, the GPU and the layout."""

    shared: SharedConstants
    gpus: dict[str, GpuConstants] = Field(description="by SKU id; a missing SKU takes `fallback_gpus`")
    fallback_gpus: dict[str, GpuConstants] = Field(
        description="nvidia, nvidia_pcie, amd, intel: biased to the slow side"
    )
    kernel_paths: dict[str, KernelPath]
    collectives: dict[str, Collective] = Field(description="by SKU id, else by link kind")
    cells: tuple[CalibrationCell, ...] = ()
    unseen_path_spread: Spread = Field(description="added in quadrature for a path never measured on this SKU")
    unseen_path_slowdown: float = Field(
        ge=1, description="step time is multiplied by it there: biased to the slow side"
    )
    source: str

    def gpu_constants(self, gpu: GpuProfile) -> GpuConstants:
        """The SKU's own constants, or those of its class when it was never measured."""
        known = self.gpus.get(gpu.id)
        if known is not None:
            return known
        if gpu.vendor != "nvidia":
            return self.fallback_gpus[gpu.vendor]
        return self.fallback_gpus["nvidia" if self.has_switch(gpu) else "nvidia_pcie"]

    def collective(self, gpu: GpuProfile) -> Collective:
        """All-reduce numbers of the SKU, else of its link kind; an optional bridge over two cards counts as PCIe."""
        known = self.collectives.get(gpu.id)
        if known is not None:
            return known
        return self.collectives["pcie" if not self.has_switch(gpu) else gpu.interconnect.kind]

    @staticmethod
    def has_switch(gpu: GpuProfile) -> bool:
        """Whether a fast link joins the whole node; PCIe cards and optional bridges over two cards do not count."""
        return gpu.interconnect.kind != "pcie" and gpu.interconnect.gpus_joined is None

    def cell(self, shape: str, gpu_id: str, path: str) -> CalibrationCell | None:
        """The calibration cell of exactly this model shape, SKU and path."""
        for cell in self.cells:
            if (cell.shape, cell.gpu, cell.path) == (shape, gpu_id, path):
                return cell
        return None


def read_latency_constants(path: Path) -> LatencyConstants:
    """Constants from a file that `latency_fit` or a user wrote; raises InvalidRequest with one sentence."""
    try:
        return LatencyConstants.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"Cannot read the latency constants '{path}': {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidRequest(f"The latency constants '{path}' are invalid at {where}: {first['msg']}.") from None


@cache
def default_latency_constants() -> LatencyConstants:
    """The constants shipped with the product."""
    text = files("vllm_opt.profiles").joinpath("data/latency.json").read_text(encoding="utf-8")
    return LatencyConstants.model_validate(json.loads(text))
