"""GpuProfile: one purchasable GPU (SKU) as the CUDA runtime and its datasheet describe it."""

from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Basis, Noun
from vllm_opt.profiles.nouns.own_calibration import GpuCalibration
from vllm_opt.profiles.nouns.platform import Platform


class Interconnect(Noun):
    """How the GPUs of one node reach each other."""

    kind: Literal["nvlink", "pcie", "infinity_fabric", "ethernet"]
    gb_per_s_per_direction: float | None = Field(None, gt=0, description="10^9 bytes/s per GPU and direction")
    gpus_joined: int | None = Field(None, gt=0, description="GPUs that the fast link joins; None: the whole node")
    pcie_gb_per_s_per_direction: float | None = Field(
        None, gt=0, description="host PCIe, 10^9 bytes/s: what applies beyond gpus_joined or without the bridge"
    )


class GpuProfile(Noun):
    """One SKU. Peaks are dense (no structured sparsity); memory is what the runtime reports, not marketing GB."""

    id: str = Field(description="SKU id, e.g. 'h100-sxm'")
    name: str = Field(description="the vendor's name")
    aliases: tuple[str, ...] = Field((), description="other names that mean this SKU")
    vendor: Literal["nvidia", "amd", "intel"]
    architecture: str
    compute_capability: tuple[int, int] | None = Field(None, description="CUDA compute capability; None off NVIDIA")
    gfx: str | None = Field(None, description="AMD gfx target")
    memory_bytes: int = Field(gt=0, description="total as the runtime reports it; the low end where a range is known")
    memory_bytes_high: int = Field(gt=0, description="the high end of the same")
    memory_basis: Basis
    memory_note: str = Field("", description="how the total was derived when no machine reported it")
    memory_in_use_bytes: int = Field(0, ge=0, description="what other programs hold on this machine's card right now")
    memory_gb_nominal: float = Field(gt=0, description="marketing size, 10^9 bytes")
    memory_bandwidth_bytes_per_s: float = Field(gt=0)
    bf16_flops_per_s: float | None = None
    fp16_flops_per_s: float | None = None
    fp8_flops_per_s: float | None = None
    int8_ops_per_s: float | None = None
    fp4_flops_per_s: float | None = None
    free_at_start_share: float | None = Field(
        None, gt=0, le=1, description="part of the total that is free before vLLM starts; None: not known, taken as all"
    )
    free_at_start_spread: float = Field(
        0.0, ge=0, le=1, description="standard deviation of that part from machine to machine, as a share of the total"
    )
    free_at_start_source: str = Field("", description="where that was seen")
    unified_memory: bool = Field(False, description="CPU and GPU share the memory")
    interconnect: Interconnect
    host_link_gb_per_s_per_direction: float | None = Field(
        None, gt=0, description="to host memory, 10^9 bytes/s; None: the interconnect's PCIe rate, where that is known"
    )
    gpus_per_node: int = Field(gt=0, description="GPUs in a usual server")
    tdp_watts: float | None = Field(None, gt=0)
    vllm_device_names: tuple[str, ...] = Field((), description="names that vLLM prints and keys its tuned kernels by")
    platform: Platform | None = Field(
        None,
        description="the build of vLLM that serves it, where that is not the one for CUDA and what it lacks is known",
    )
    sources: tuple[str, ...] = Field(min_length=1, description="addresses a reader can open")
    note: str = ""
    own: GpuCalibration | None = Field(
        None, exclude=True, description="what the user's own logs and benchmarks say; None: nothing, or not asked for"
    )

    @property
    def taken_at_start_bytes(self) -> int:
        """Bytes that the driver or the operating system holds before vLLM starts, rounded up; 0 where not known."""
        if self.free_at_start_share is None:
            return 0
        return self.memory_bytes - int(self.memory_bytes * self.free_at_start_share)

    @property
    def taken_spread_bytes(self) -> int:
        """One standard deviation of the bytes taken at start."""
        return int(self.memory_bytes * self.free_at_start_spread)

    @property
    def host_link_bytes_per_s(self) -> float | None:
        """Nominal rate from host memory to one GPU; None where it is not known, or the memory is the host's own."""
        rate = self.host_link_gb_per_s_per_direction or self.interconnect.pcie_gb_per_s_per_direction
        return None if rate is None or self.unified_memory else rate * 1e9

    @property
    def half_flops_per_s(self) -> float:
        """Dense 16-bit peak: bf16, or fp16 where bf16 has no tensor core (T4, V100)."""
        peak = self.bf16_flops_per_s or self.fp16_flops_per_s
        if peak is None:
            raise ValueError(f"GPU '{self.id}' lists no 16-bit peak")
        return peak
