"""Which kernels run a weight format on a SKU, and what is known of them there."""

from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import GpuConstants, KernelPath, LatencyConstants, PathFactor
from vllm_opt.profiles.nouns.quantization import Quantization

AS_ELSEWHERE = PathFactor()


def is_native(quantization: Quantization, gpu: GpuProfile) -> bool:
    """Whether the SKU has arithmetic for the format, not only a kernel that unpacks weights to 16 bit."""
    if quantization.compute == "half":
        return True
    if peak_of(quantization.compute, gpu) is None:
        return False
    needed, found = quantization.native_capability, gpu.compute_capability
    return needed is None or found is None or found >= needed


def peak_of(compute: str, gpu: GpuProfile) -> float | None:
    """Dense peak of one arithmetic, FLOP/s; None where the SKU lists none."""
    peaks = {"fp8": gpu.fp8_flops_per_s, "int8": gpu.int8_ops_per_s, "fp4": gpu.fp4_flops_per_s}
    return gpu.half_flops_per_s if compute == "half" else peaks[compute]


def effective_path(quantization: Quantization, gpu: GpuProfile) -> str:
    """Key of the kernels that really run: the format's own path, or the weight-only one below native capability.

    MXFP4 experts run natively on datacentre Blackwell alone; on its graphics chips they are unpacked as elsewhere.
    """
    if not is_native(quantization, gpu):
        return "w8a16" if quantization.weight_bits == 8 else unpacking_path("w4a16", gpu)
    if quantization.kernel_path == "mxfp4" and gpu.fp4_flops_per_s is not None and unpacking_chip(gpu) == "hopper":
        return "mxfp4_native"
    return unpacking_path(quantization.kernel_path, gpu)


def unpacking_chip(gpu: GpuProfile) -> str:
    """Chips by what unpacking 4-bit weights costs them: "graphics", "hopper" (datacentre since then), else "".

    Weights are unpacked by the CUDA cores, of which datacentre chips have few per tensor core: 16 tensor FLOP per FP32
    FLOP on an A100, 15 on an H100, 30 on a B200, against 2 to 4 on graphics chips since Ampere (datasheets). Kernels
    that unpack also multiply with the instruction of Ampere, which reaches a smaller share of every later datacentre
    chip's peak (kernel tables: experts at 0.94 of 16-bit ones on an L40S, 0.54 on an H100, 0.29 on a B200).
    """
    capability = gpu.compute_capability or (0, 0)
    if (9, 0) <= capability < (12, 0):
        return "hopper"
    return "graphics" if capability > (8, 0) else ""


def unpacking_path(name: str, gpu: GpuProfile) -> str:
    """The path of 4-bit weights with 16-bit arithmetic on this chip; other paths are as they are.

    MXFP4 experts have kernels of their own on Hopper; graphics chips unpack them as they do integers.
    """
    chip = unpacking_chip(gpu)
    split = ("graphics", "hopper") if name == "w4a16" else ("graphics",) if name == "mxfp4" else ()
    return f"{name}_{chip}" if chip in split else name


def path_peak(quantization: Quantization, gpu: GpuProfile) -> float:
    """Peak that quantised products run at, FLOP/s."""
    if not is_native(quantization, gpu):
        return peak_of(quantization.compute_below_native or "half", gpu) or gpu.half_flops_per_s
    return peak_of(quantization.compute, gpu) or gpu.half_flops_per_s


def path_on(constants: LatencyConstants, own: GpuConstants, name: str) -> KernelPath:
    """A kernel path with what is known of it on one SKU."""
    path, here = constants.kernel_paths[name], own.paths.get(name)
    if here is None or here == AS_ELSEWHERE:
        return path
    factors = {
        "compute_factor": path.compute_factor * here.compute,
        "memory_factor": path.memory_factor * here.memory,
        "expert_compute_factor": path.expert_compute_factor * here.expert_compute,
        "expert_memory_factor": path.expert_memory_factor * here.expert_memory,
    }
    return path.model_copy(update=factors)
