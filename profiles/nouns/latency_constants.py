"""LatencyConstants: the fitted numbers behind step time, TTFT, TPOT and throughput, each with its basis and spread.

`python -m vllm_opt.optimizer.fitting.latency.fit` writes `data/latency.json`; the formulas are in
`constraints/speed/step_time.py`.
"""

import json
from collections.abc import Mapping
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.gpu import GpuProfile

LatencyBasis = Literal["measured", "fitted", "datasheet"]
"""measured: a calibration cell exists; fitted: this SKU and path were in the fit; datasheet: neither was."""


class SharedConstants(Noun):
    """Constants common to every GPU; seconds unless named otherwise."""

    serial_share: float = Field(ge=0, le=1, description="share of the shorter of memory and compute time not hidden")
    layer_s: float = Field(ge=0, description="fixed time of a mixer and a feed-forward inside a CUDA graph")
    moe_layer_s: float = Field(ge=0, description="more fixed time of a layer with experts")
    state_layer_s: float = Field(0.0, ge=0, description="more fixed time of a recurrent mixer")
    latent_mixer_s: float = Field(0.0, ge=0, description="more fixed time of a latent-attention mixer")
    step_s: float = Field(ge=0, description="scheduler and sampler time of one step")
    worker_s: float = Field(0.0, ge=0, description="more of it where one engine has several workers")
    sequence_s: float = Field(ge=0, description="per decoding sequence and step: sampling, detokenising")
    frontend_s: float = Field(ge=0, description="HTTP, queue and first answer")
    frontend_token_s: float = Field(0.0, ge=0, description="tokenising and hashing, per prompt token")
    busy_frontend_s: float = Field(0.0, ge=0, description="more of the front end's time while others are served")
    busy_users: float = Field(1.0, ge=0, description="others at which half of busy_frontend_s is reached")
    request_s: float = Field(0.0, ge=0, description="of the front end, per request: they are served one by one")
    synchrony: float = Field(ge=0, le=1, description="share of closed-loop users that send in step with each other")
    attention_efficiency: float = Field(gt=0, description="prefill attention, share of the 16-bit peak")
    kv_read_efficiency: float = Field(gt=0, description="KV reads, share of the memory bandwidth")
    expert_read_efficiency: float = Field(gt=0, description="expert weight reads relative to dense weight reads")
    expert_compute_efficiency: float = Field(gt=0, description="grouped expert products relative to dense products")
    routing_shape: float = Field(
        1e6, gt=0, description="shape of the gamma law of expert popularity; large: all experts are equally likely"
    )
    activation_passes: float = Field(
        ge=0, description="reads and writes of the residual stream per layer beyond fusion"
    )
    collective_latency_factor: float = Field(gt=0, description="all-reduce start-up time in serving over the benchmark")
    collective_bandwidth_factor: float = Field(gt=0, description="all-reduce bandwidth in serving over the benchmark")
    eager_layer_s: float = Field(gt=0, description="CPU time to launch one layer's kernels without a CUDA graph")
    eager_moe_layer_s: float = Field(ge=0, description="more launch time of a layer with experts")
    eager_gap_s: float = Field(
        1e-5, ge=0, description="time per layer that eager mode adds to any step: gaps between kernels, lost fusion"
    )
    compiled_launch_share: float = Field(
        1.0, gt=0, le=2, description="launches of a step too wide for a CUDA graph, over eager mode's"
    )
    pipeline_hop_s: float = Field(ge=0, description="start-up time of one transfer between pipeline stages")


class Spread(Noun):
    """Standard deviation of the natural log of measured over predicted, per metric; TTFT by the clients' pattern."""

    tpot: float = Field(ge=0)
    ttft: float = Field(ge=0, description="closed loop")
    throughput: float = Field(ge=0)
    ttft_single: float | None = Field(None, ge=0, description="one user; None: as in a closed loop")
    ttft_poisson: float | None = Field(None, ge=0, description="open loop; None: as in a closed loop")
    ttft_burst: float | None = Field(None, ge=0, description="all at once; None: as in a closed loop")


class PathFactor(Noun):
    """How one kernel path differs on one SKU from what it does on the others."""

    compute: float = Field(1.0, gt=0, description="multiplies the path's compute_factor")
    memory: float = Field(1.0, gt=0, description="multiplies the path's memory_factor")
    expert_compute: float = Field(1.0, gt=0, description="multiplies the path's expert_compute_factor")
    expert_memory: float = Field(1.0, gt=0, description="multiplies the path's expert_memory_factor")


class GpuConstants(Noun):
    """How much of its datasheet one SKU delivers."""

    memory_efficiency: float = Field(gt=0, le=1, description="share of the memory bandwidth that weight reads reach")
    compute_efficiency: float = Field(gt=0, le=1, description="share of the dense 16-bit peak of matrix products")
    attention_efficiency: float | None = Field(None, gt=0, le=1, description="own prefill attention; None: the shared")
    kv_read_efficiency: float | None = Field(None, gt=0, le=1, description="own KV reads; None: the shared")
    narrow_kv_efficiency: float = Field(1.0, gt=0, description="bandwidth of 8-bit KV reads relative to 16-bit ones")
    latent_mixer_s: float | None = Field(None, ge=0, description="more fixed time of a latent mixer; None: the shared")
    basis: LatencyBasis
    paths: dict[str, PathFactor] = Field({}, description="kernel paths that this SKU was measured with")
    source: str


class KernelPath(Noun):
    """How one weight format's kernels compare with 16-bit ones on the same GPU."""

    compute_factor: float = Field(gt=0, description="share of the format's own peak, relative to 16-bit products")
    memory_factor: float = Field(1.0, gt=0, description="weight reads relative to 16-bit weight reads")
    expert_compute_factor: float = Field(1.0, gt=0, description="further factor of grouped expert products")
    expert_memory_factor: float = Field(1.0, gt=0, description="further factor of expert weight reads")
    serial_share: float | None = Field(
        None, ge=0, le=1, description="memory and compute time of its products not hidden; None: the shared"
    )
    product_s: float = Field(0.0, ge=0, description="more fixed time of one dense product: quantising its input")
    expert_s: float = Field(0.0, ge=0, description="more fixed time of a layer with experts")
    basis: LatencyBasis
    source: str


class Collective(Noun):
    """All-reduce of one SKU or link: start-up time and algorithm bandwidth at tensor-parallel sizes 2, 4 and 8."""

    alpha_us: tuple[float, float, float]
    gb_per_s: tuple[float, float, float]
    link_gb_per_s: float | None = Field(
        None, gt=0, description="10^9 bytes/s per GPU and direction of the link measured: others scale with theirs"
    )
    source: str


class ReleaseFactor(Noun):
    """How much slower a range of vLLM releases was than the newest one measured, on one family of GPUs."""

    first: str = Field(description="oldest release of the range, e.g. '0.8'; it ends where the next one begins")
    step: float = Field(1.0, gt=0, description="multiplies step time but for dense weight reads")
    compute: float = Field(1.0, gt=0, description="further factor of 16-bit matrix arithmetic: not yet tuned")
    host: float = Field(1.0, gt=0, description="further factor of scheduler, sampler and front end")
    sequence: float = Field(1.0, gt=0, description="further factor of the host's time per decoding sequence")
    link: float = Field(1.0, gt=0, description="further factor of what an all-reduce needs to start")
    block_experts: float = Field(1.0, gt=0, description="further factor of block-scaled experts' arithmetic: not tuned")
    latent_launch: float = Field(0.0, ge=0, description="share of latent mixers' launches that no CUDA graph holds")
    points: int = Field(0, ge=0, description="measured points behind the factors; 0: no evidence")


class CalibrationCell(Noun):
    """What measurements of one (model, SKU, kernel path, TP) say against the formula, shrunk towards 1."""

    model: str = Field(description="catalogue id of a model that was measured")
    shape: str = Field(description="width, layers and vocabulary: fine-tunes of one shape share the cell")
    gpu: str
    path: str
    tensor_parallel_size: int = Field(gt=0, description="the cell holds at the size that was measured, no other")
    data_parallel_size: int = Field(1, gt=0, description="of attention; with more than 1 experts are exchanged")
    step_factor: float = Field(gt=0, description="multiplies step time")
    load_factor: float = Field(1.0, gt=0, description="further factor of all that grows with tokens or sequences")
    prefill_factor: float = Field(1.0, gt=0, description="multiplies TTFT's prefill time on top of step_factor")
    points: int = Field(gt=0, description="measured points behind the factor")


class LatencyConstants(Noun):
    """Everything `latency_coefficients` reads besides the model, the GPU and the layout."""

    shared: SharedConstants
    gpus: dict[str, GpuConstants] = Field(description="by SKU id; a missing SKU takes `fallback_gpus`")
    fallback_gpus: dict[str, GpuConstants] = Field(
        description="nvidia, nvidia_pcie, amd, intel: mean of the class; 'nvidia_pcie 8.6': of one generation in it"
    )
    generations: dict[str, float] = Field(
        {}, description="fixed kernel time over Hopper's, by compute capability or architecture; absent: 1"
    )
    frontends: dict[str, float] = Field({}, description="front end's time on the hosts of a generation; absent: 1")
    kernel_paths: dict[str, KernelPath]
    collectives: dict[str, Collective] = Field(description="by SKU id, else by kind of link")
    releases: dict[str, tuple[ReleaseFactor, ...]] = Field({}, description="by family of GPUs, ascending")
    cells: tuple[CalibrationCell, ...] = ()
    spreads: dict[LatencyBasis, Spread] = Field(description="of predictions for sources that were left out whole")
    unseen_feature_spread: Spread = Field(description="added in quadrature per feature that no measurement covers")
    source: str

    def gpu_constants(self, gpu: GpuProfile) -> GpuConstants:
        """The SKU's own constants, or those of its class when it was never measured."""
        known = self.gpus.get(gpu.id)
        if known is not None:
            return known
        name = gpu_class(gpu)
        return self.fallback_gpus.get(f"{name} {generation_of(gpu)}") or self.fallback_gpus[name]

    def generation_factor(self, gpu: GpuProfile) -> float:
        """Fixed kernel time of the SKU's generation over Hopper's."""
        return self.generations.get(generation_of(gpu), 1.0)

    def frontend_factor(self, gpu: GpuProfile) -> float:
        """Front end's time on the hosts that the SKU's generation comes with, over that of usual servers."""
        return self.frontends.get(generation_of(gpu), 1.0)

    def collective(self, gpu: GpuProfile, ranks: int = 2) -> Collective:
        """All-reduce numbers of the SKU over `ranks` GPUs, else of the link that joins so many of them.

        A link that joins fewer GPUs (a bridge over two cards) leaves the rest to PCIe; a rack-scale switch joins all.
        Numbers of another SKU scale with the datasheet's bandwidth per GPU.
        """
        joined = self.joined(gpu, ranks)
        known = self.collectives.get(gpu.id)
        if known is not None and (joined or gpu.interconnect.kind == "pcie"):
            return known
        if joined:
            return scaled(self.collectives[gpu.interconnect.kind], gpu.interconnect.gb_per_s_per_direction)
        own = self.collectives.get(f"{gpu.id} without bridge", self.collectives["pcie"])
        if gpu.interconnect.kind == "ethernet":
            return self.collectives["network"]
        return scaled(own, gpu.interconnect.pcie_gb_per_s_per_direction)

    @staticmethod
    def joined(gpu: GpuProfile, ranks: int) -> bool:
        """Whether a link faster than PCIe joins so many GPUs."""
        link = gpu.interconnect
        return link.kind != "pcie" and (link.gpus_joined is None or ranks <= link.gpus_joined)

    def release_factor(self, gpu: GpuProfile, release: str | None) -> ReleaseFactor:
        """Factors of a release on a family of GPUs; the newest measured one is 1, and stands for later ones."""
        known = self.releases.get(release_family(gpu), ())
        if release is None or not known:
            return ReleaseFactor(first="0", points=0 if release else 1)
        wanted = version_key(release)
        older = [one for one in known if version_key(one.first) <= wanted]
        return older[-1] if older else known[0]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy looks its own cells up, not those of the original."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("_cells_by_name", None)
        return copied

    def cell(
        self, shape: str, gpu_id: str, path: str, tensor_parallel_size: int, data_parallel_size: int = 1
    ) -> CalibrationCell | None:
        """The calibration cell of exactly this model shape, SKU, path and sizes."""
        return self._cells_by_name.get((shape, gpu_id, path, tensor_parallel_size, data_parallel_size))

    @cached_property
    def _cells_by_name(self) -> dict[tuple[str, str, str, int, int], CalibrationCell]:
        """The first cell of each name."""
        found: dict[tuple[str, str, str, int, int], CalibrationCell] = {}
        for cell in self.cells:
            ranks = cell.tensor_parallel_size, cell.data_parallel_size
            found.setdefault((cell.shape, cell.gpu, cell.path, *ranks), cell)
        return found


def gpu_class(gpu: GpuProfile) -> str:
    """Key of `fallback_gpus`: the vendor, and of NVIDIA's cards whether a switch joins four of them."""
    if gpu.vendor != "nvidia":
        return gpu.vendor
    return "nvidia" if LatencyConstants.joined(gpu, 4) else "nvidia_pcie"


def generation_of(gpu: GpuProfile) -> str:
    """'9.0' for a CUDA capability, else the architecture's name."""
    found = gpu.compute_capability
    return gpu.architecture if found is None else f"{found[0]}.{found[1]}"


def release_family(gpu: GpuProfile) -> str:
    """GPUs whose kernels matured together: NVIDIA up to Hopper, and after; AMD up to CDNA 2, and after; Intel."""
    if gpu.vendor == "nvidia":
        return "nvidia_blackwell" if (gpu.compute_capability or (0, 0)) >= (10, 0) else "nvidia"
    return "amd_cdna2" if gpu.architecture == "CDNA2" else gpu.vendor


@lru_cache(maxsize=256)
def version_key(release: str) -> tuple[int, ...]:
    """(0, 19) for '0.19.1rc2': the first two numbers, which order releases."""
    numbers = []
    for part in release.lstrip("v").split(".")[:2]:
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits[:4]) if digits else 0)
    return tuple(numbers)


def scaled(link: Collective, gb_per_s: float | None) -> Collective:
    """The same link at another datasheet bandwidth; unchanged where either is unknown."""
    if gb_per_s is None or link.link_gb_per_s is None or gb_per_s == link.link_gb_per_s:
        return link
    two, four, eight = (value * gb_per_s / link.link_gb_per_s for value in link.gb_per_s)
    return link.model_copy(update={"gb_per_s": (two, four, eight), "link_gb_per_s": gb_per_s})


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
