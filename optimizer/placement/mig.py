"""A MIG instance as a small GPU of its own.

NVIDIA's MIG user guide, "Supported MIG profiles"
(https://docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-mig-profiles.html): a profile `Ng.MMgb` has N of the
GPU's compute slices (7, on the A30 and RTX PRO 6000 4) and a whole number of its memory slices (8, there 4), with that
part of the memory's bandwidth. Its memory is taken as the smaller of that part and the gigabytes in its name. Instances
reach each other neither by NVLink nor peer to peer, so no server spans two.
"""

import re

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.gpu import GpuProfile, Interconnect

NAME = re.compile(r"(?:mig-)?([1-7])g\.([0-9]{1,3})gb", re.IGNORECASE)
FOUR_SLICES = ("a30", "rtx-pro-6000-ws", "rtx-pro-6000-server")
SEVEN_SLICES = ("a100", "a800", "h100", "h800", "h200", "h20", "gh200", "b100", "b200", "b300", "gb200", "gb300")
PEAKS = ("bf16_flops_per_s", "fp16_flops_per_s", "fp8_flops_per_s", "int8_ops_per_s", "fp4_flops_per_s", "tdp_watts")


def mig_instances(gpu: GpuProfile, names: tuple[str, ...]) -> tuple[GpuProfile, ...]:
    """The instances that one GPU is cut into.

    Raises:
        InvalidRequest: the SKU has no MIG, a profile is not one of its, or they exceed the GPU.
    """
    slices = 4 if gpu.id in FOUR_SLICES else 7 if gpu.id.startswith(SEVEN_SLICES) else 0
    if not slices:
        raise InvalidRequest(f"mig: {gpu.id} cannot be cut into MIG instances")
    made, compute, memory = [], 0, 0
    memory_slices = 4 if slices == 4 else 8
    for name in names:
        found = NAME.fullmatch(name.strip())
        part = round(memory_slices * int(found.group(2)) / gpu.memory_gb_nominal) if found else 0
        if not found or not 1 <= part <= memory_slices or int(found.group(1)) > slices:
            raise InvalidRequest(f"mig: '{name[:40]}' is no MIG profile of {gpu.id}; they look like 1g.10gb or 3g.40gb")
        compute, memory = compute + int(found.group(1)), memory + part
        made.append(
            _instance(
                gpu,
                found.group(0).lower().removeprefix("mig-"),
                int(found.group(1)) / slices,
                part / memory_slices,
                int(found.group(2)),
            )
        )
    if compute > slices or memory > memory_slices:
        raise InvalidRequest(
            f"mig: {', '.join(names)} take {compute} of {slices} compute and {memory} of {memory_slices} memory slices "
            f"of one {gpu.id}"
        )
    return tuple(made)


def _instance(gpu: GpuProfile, name: str, compute: float, memory: float, gigabytes: int) -> GpuProfile:
    total = min(int(gpu.memory_bytes * memory), gigabytes * 10**9)
    peaks = {field: value * compute for field in PEAKS if (value := getattr(gpu, field)) is not None}
    return gpu.model_copy(
        update={
            "id": f"{gpu.id}-{name}",
            "name": f"{gpu.name} MIG {name}",
            "aliases": (),
            "memory_bytes": total,
            "memory_bytes_high": max(total, int(gpu.memory_bytes_high * memory)),
            "memory_basis": "derived",
            "memory_note": f"{memory:g} of {gpu.id}, at most the {gigabytes} GB in the profile's name",
            "memory_gb_nominal": float(gigabytes),
            "memory_bandwidth_bytes_per_s": gpu.memory_bandwidth_bytes_per_s * memory,
            "interconnect": Interconnect(kind="pcie", gpus_joined=1),
            "gpus_per_node": 1,
            **peaks,
        }
    )
