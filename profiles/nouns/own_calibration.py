"""OwnCalibration: what a user's logs and benchmarks say of the user's GPUs, kept beside the shipped constants.

`vllm-opt calibrate` writes it (`optimizer/calibration`). A `GpuCalibration` rides on its `GpuProfile`, so whatever
asks for the speed or the memory of that SKU hears of it. Every factor is bounded: no file, however wrong, turns a
prediction by more than these factors, and no exact rule reads one.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from vllm_opt.profiles.noun import Noun

Factor = Annotated[float, Field(ge=0.25, le=4.0)]
"""Times: measured over predicted."""
Sigma = Annotated[float, Field(ge=0.0, le=5.0)]
LARGEST_CORRECTION_BYTES = 1 << 36


class SpeedFactors(Noun):
    """What multiplies the parts of step time of one SKU, or of one model, path and size on it."""

    memory: Factor = Field(1.0, description="reads of weights and of the KV cache")
    compute: Factor = Field(1.0, description="matrix products and prefill attention")
    host: Factor = Field(1.0, description="launches, scheduler, sampler, start-up part of communication")
    frontend: Factor = Field(1.0, description="HTTP, tokenising, queue")
    step: Factor = Field(1.0, description="every part of step time alike")
    prefill: Factor = Field(1.0, description="prefill time beyond `step`")


class KnownSpreads(Noun):
    """Standard deviation of ln(measured / predicted) that is left after the factors; None: nothing was measured."""

    tpot: Sigma | None = None
    ttft: Sigma | None = Field(None, description="closed loop")
    ttft_single: Sigma | None = None
    ttft_poisson: Sigma | None = None
    ttft_burst: Sigma | None = None
    throughput: Sigma | None = None


class SpeedTerm(Noun):
    """Speed of one SKU: of every model on it, or of one (shape, path, tensor-parallel size)."""

    shape: str | None = Field(None, description="width, layers and vocabulary of the model; None: every model")
    path: str | None = Field(None, description="kernel path; None: every one")
    tensor_parallel_size: int | None = Field(None, gt=0)
    factors: SpeedFactors
    spreads: KnownSpreads = KnownSpreads()
    points: int = Field(gt=0, description="measured points behind the factors")


class MemoryTerm(Noun):
    """Start-up memory of one model on one SKU, or of every model (None), by engine and tensor-parallel size."""

    model: str | None = None
    engine: Literal["v0", "v1"]
    tensor_parallel_size: int = Field(gt=0)
    activation: Factor = Field(1.0, description="multiplies the activation peak")
    graphs: Factor = Field(1.0, description="multiplies CUDA-graph memory")
    non_torch_bytes: int = Field(
        0, ge=-LARGEST_CORRECTION_BYTES, le=LARGEST_CORRECTION_BYTES, description="added to non-torch memory"
    )
    logs: int = Field(gt=0, description="start-up logs behind it")


class GpuCalibration(Noun):
    """Everything that was learned of one SKU."""

    gpu: str
    speed: tuple[SpeedTerm, ...] = ()
    memory: tuple[MemoryTerm, ...] = ()
    points: int = Field(0, ge=0)
    logs: int = Field(0, ge=0)

    def speed_of(self, shape: str, path: str, ranks: int) -> tuple[SpeedTerm, ...]:
        """The terms that apply, the general one first; an earlier calibration's shape lacks the weights."""
        general = (term for term in self.speed if term.shape is None)
        shapes, named = (shape, shape.rpartition(", ")[0]), (path, ranks)
        own = (term for term in self.speed if term.shape in shapes and (term.path, term.tensor_parallel_size) == named)
        return (*general, *own)

    def memory_of(self, model: str | None, engine: str, ranks: int) -> MemoryTerm | None:
        """What holds for one model, else for every model, at exactly this engine and size."""
        fitting = [one for one in self.memory if one.engine == engine and one.tensor_parallel_size == ranks]
        own = next((one for one in fitting if model is not None and one.model == model), None)
        return own or next((one for one in fitting if one.model is None), None)


class OwnCalibration(Noun):
    """One calibration file."""

    schema_name: Literal["vllm-opt/calibration/1"] = Field("vllm-opt/calibration/1", alias="schema")
    about: str = ""
    gpus: tuple[GpuCalibration, ...] = ()
    measured: tuple[dict[str, Any], ...] = Field(
        (), description="the points behind it, so that the next ones join them instead of replacing them"
    )
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True, validate_by_name=True,
        validate_by_alias=True,
    )  # fmt: skip

    def of(self, gpu: str) -> GpuCalibration | None:
        """What is known of one SKU."""
        return next((one for one in self.gpus if one.gpu == gpu), None)

    def terms(self) -> Iterator[SpeedTerm | MemoryTerm]:
        """Every term."""
        for gpu in self.gpus:
            yield from gpu.speed
            yield from gpu.memory
