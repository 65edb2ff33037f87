"""The NVIDIA GPUs of this machine, read through NVML (extra `local`) and matched to the catalogue."""

import re
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from vllm_opt.profiles.catalogues.gpus import index_gpus
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.name_index import lookup_key
from vllm_opt.profiles.reading.quantities import GIB, format_gib

CUDA_BELOW_NVML_BYTES = int(0.9 * GIB)
"""CUDA reports less than NVML; the largest gap among SKUs where both are known is taken (README, GPU memory)."""

IDLE_BYTES = GIB // 8
"""What an idle card shows as used at most: a console, the persistence daemon."""

_LARGEST_MEMORY_DIFFERENCE = 0.1


class LocalDevice(NamedTuple):
    """One GPU as NVML describes it."""

    name: str
    memory_bytes: int
    used_bytes: int = 0


def read_local_gpus(gpus: Sequence[GpuProfile]) -> tuple[GpuProfile, ...]:
    """Return one profile per GPU of this machine, in NVML's order.

    Memory is the catalogue's for that SKU where it was measured, else NVML's total minus 0.9 GiB; gpus_per_node is the
    number of GPUs of that kind. What other programs hold is that of the fullest card of a kind, as any may be used.

    Raises:
        InvalidRequest: the library or the driver is missing, no GPU is found, or one is not in the catalogue.
    """
    devices = _read_devices()
    if not devices:
        raise InvalidRequest("NVML finds no GPU on this machine; name one with --gpu")
    found = [match_device(device, gpus) for device in devices]
    count = Counter(gpu.id for gpu in found)
    used = {name: max(d.used_bytes for d, g in zip(devices, found, strict=True) if g.id == name) for name in count}
    return tuple(
        gpu.model_copy(update={"gpus_per_node": count[gpu.id], "memory_in_use_bytes": used[gpu.id]}) for gpu in found
    )


def match_device(device: LocalDevice, gpus: Sequence[GpuProfile]) -> GpuProfile:
    """Return the SKU that a device name and its memory mean.

    Several SKUs share a device name in part ('NVIDIA A100-SXM4' with 40 and 80 GB), so the memory has to be within
    10 % of the catalogue's.

    Raises:
        InvalidRequest: no SKU fits.
    """
    index = index_gpus(tuple(gpus))
    by_id = {gpu.id: gpu for gpu in gpus}
    exact = index.get(lookup_key(device.name))
    if exact is not None and _memory_fits(device, by_id[exact]):
        return _with_memory(by_id[exact], device)
    words = set(re.findall(r"[a-z0-9]+", device.name.lower())) - {"nvidia"}
    sharing = [
        gpu
        for gpu in gpus
        if _memory_fits(device, gpu) and words & set(gpu.id.split("-")) and _family(gpu) in lookup_key(device.name)
    ]
    if len(sharing) == 1:
        return _with_memory(sharing[0], device)
    raise InvalidRequest(
        f"this machine's GPU {printable(repr(device.name[:80]))} with {format_gib(device.memory_bytes)} is not in the "
        "catalogue; describe it in a file and pass --gpu-file"
    )


def _family(gpu: GpuProfile) -> str:
    return lookup_key(gpu.id.split("-")[0])


def _memory_fits(device: LocalDevice, gpu: GpuProfile) -> bool:
    low = gpu.memory_bytes * (1 - _LARGEST_MEMORY_DIFFERENCE)
    high = max(gpu.memory_bytes_high, gpu.memory_gb_nominal * 1e9) * (1 + _LARGEST_MEMORY_DIFFERENCE)
    return low <= device.memory_bytes <= high


def _with_memory(gpu: GpuProfile, device: LocalDevice) -> GpuProfile:
    if gpu.memory_basis == "measured":
        return gpu
    total = device.memory_bytes - CUDA_BELOW_NVML_BYTES
    return gpu.model_copy(
        update={
            "memory_bytes": total,
            "memory_bytes_high": device.memory_bytes,
            "memory_note": f"NVML total {format_gib(device.memory_bytes)} of this machine minus 0.9 GiB",
        }
    )


def _read_devices() -> tuple[LocalDevice, ...]:
    nvml = _library()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise InvalidRequest(
            f"this machine's GPUs cannot be read: NVML says {printable(str(error))[:120]}; "
            "check the NVIDIA driver, or name the GPU with --gpu"
        ) from None
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        return tuple(LocalDevice(_text(nvml.nvmlDeviceGetName(each)), *_memory(nvml, each)) for each in handles)
    except nvml.NVMLError as error:
        raise InvalidRequest(f"this machine's GPUs cannot be read: NVML says {printable(str(error))[:120]}") from None
    finally:
        nvml.nvmlShutdown()


def _library() -> Any:
    try:
        return import_module("pynvml")
    except ImportError:
        raise InvalidRequest(
            "reading this machine's GPUs needs nvidia-ml-py; install it with: pip install nvidia-ml-py"
        ) from None


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def _memory(nvml: Any, handle: object) -> tuple[int, int]:
    """Total and used bytes. What the driver keeps for itself is no use: CUDA's total does not hold it either."""
    try:
        known = nvml.nvmlDeviceGetMemoryInfo(handle)
        total, used = int(known.total), int(getattr(known, "used", 0))
    except nvml.NVMLError:
        return 0, 0
    used -= _reserved_bytes(nvml, handle)
    return total, used if used > IDLE_BYTES else 0


def _reserved_bytes(nvml: Any, handle: object) -> int:
    """What the driver keeps, where the library tells it apart; else the gap between NVML's and CUDA's total."""
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2).reserved)
    except (AttributeError, TypeError, nvml.NVMLError):
        return CUDA_BELOW_NVML_BYTES
