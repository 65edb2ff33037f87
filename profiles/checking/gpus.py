"""The GPUs: schema, names that mean two cards, numbers whose unit cannot be right, sources."""

from pathlib import Path

from vllm_opt.profiles.catalogues.gpus import load_gpus
from vllm_opt.profiles.checking.fault import Fault, FileReport, fault, file_name, repeats
from vllm_opt.profiles.checking.sources import source_faults
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.reading.name_index import whole_key

GIB = 2**30
RANGES = {
    "memory_bandwidth_bytes_per_s": (5e10, 5e13, "bytes/s; 3.35 TB/s is 3350000000000"),
    "bf16_flops_per_s": (1e12, 1e17, "FLOP/s, dense; 989 TFLOP/s is 989000000000000"),
    "fp16_flops_per_s": (1e12, 1e17, "FLOP/s, dense; 65 TFLOP/s is 65000000000000"),
    "fp8_flops_per_s": (1e12, 1e17, "FLOP/s, dense"),
    "int8_ops_per_s": (1e12, 1e17, "operations/s, dense"),
    "fp4_flops_per_s": (1e12, 1e17, "FLOP/s, dense"),
    "tdp_watts": (15, 5000, "watts of one card"),
}
"""Least, most, and the unit: wide enough for any card, narrow enough for a factor of 1,000."""
LEAST_LINK_GB_PER_S, MOST_LINK_GB_PER_S = 1, 10_000


def check_gpus(gpu_file: Path | None = None) -> FileReport:
    """Check the package's SKUs, or those that a user's file adds or changes.

    Raises:
        InvalidRequest: a row breaks the schema; every such fault is named.
    """
    shipped = load_gpus()
    if gpu_file is None:
        return FileReport(file="gpus.json", rows=len(shipped), faults=tuple(_faults("gpus.json", shipped, shipped)))
    file, together = file_name(gpu_file), load_gpus(gpu_file)
    own = tuple(gpu for gpu in together if gpu not in shipped)
    return FileReport(file=file, rows=len(own), faults=tuple(_faults(file, own, together)))


def _faults(file: str, gpus: tuple[GpuProfile, ...], all_gpus: tuple[GpuProfile, ...]) -> list[Fault]:
    found = [one for gpu in gpus for one in (*_units(file, gpu), *source_faults(file, gpu.id, gpu.sources))]
    names = [(key, gpu.id) for gpu in all_gpus for key in {whole_key(name) for name in (gpu.id, *gpu.aliases)}]
    own = {gpu.id for gpu in gpus}
    return found + [one for one in repeats(file, names, "name") if one.place in own]


def _units(file: str, gpu: GpuProfile) -> list[Fault]:
    found = []
    for field, (least, most, unit) in RANGES.items():
        value = getattr(gpu, field)
        if value is not None and not least <= value <= most:
            found.append(fault(file, gpu.id, f"{field} {value:g} is no plausible figure in {unit}"))
    nominal = gpu.memory_gb_nominal
    if not nominal * 1e9 * 0.7 <= gpu.memory_bytes <= nominal * GIB * 1.01:
        found.append(
            fault(file, gpu.id, f"memory_bytes {gpu.memory_bytes:,} does not go with {nominal:g} GB; bytes are meant")
        )
    speed = gpu.interconnect.gb_per_s_per_direction
    if speed is not None and not LEAST_LINK_GB_PER_S <= speed <= MOST_LINK_GB_PER_S:
        found.append(fault(file, gpu.id, f"interconnect {speed:g} is no plausible figure in 10^9 bytes/s"))
    if gpu.vendor == "nvidia" and gpu.compute_capability is None:
        found.append(fault(file, gpu.id, "compute_capability is missing; kernels are chosen by it"))
    if gpu.bf16_flops_per_s is None and gpu.fp16_flops_per_s is None:
        found.append(fault(file, gpu.id, "bf16_flops_per_s and fp16_flops_per_s are both missing; speed needs one"))
    return found
