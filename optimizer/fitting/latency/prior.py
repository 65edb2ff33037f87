"""The prior of the latency constants: kernel tables where a SKU has them, assumed values elsewhere.

`profiles/data/kernels.json` says how fast single kernels run; `latency_prior.json` holds what it cannot tell (host,
scheduling, links never timed). End-to-end measurements then move the constants as far as they have to.
"""

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants

DATA = files("vllm_opt.profiles").joinpath("data")
PRIOR, KERNELS, CONSTANTS = (Path(str(DATA / name)) for name in ("latency_prior.json", "kernels.json", "latency.json"))
MOST_MEMORY_EFFICIENCY = 0.95
LAUNCH_BOUND_US = 50.0
"""A fitted floor beyond this is the benchmark's own launch time: such a law says nothing of memory reads."""
TWINS = {
    "a100-sxm4-40gb": "a100-sxm4-80gb",
    "a100-pcie-80gb": "a100-sxm4-80gb",
    "a100-pcie-40gb": "a100-sxm4-80gb",
    "h100-pcie": "h100-sxm",
    "h100-nvl": "h100-sxm",
    "h200-nvl": "h200-sxm",
    "h20": "h100-sxm",
    "gh200-96gb": "h200-sxm",
    "gh200-144gb": "h200-sxm",
    "rtx-pro-6000-ws": "rtx-pro-6000-server",
    "rtx-5090": "rtx-pro-6000-server",
    "l40": "l40s",
    "rtx-6000-ada": "l40s",
    "b100": "b200",
}
"""SKUs whose kernels are those of a measured SKU with another memory, clock or power limit."""


def kernel_summary(path: Path = KERNELS) -> dict[str, Any]:
    """The summary of kernel tables by SKU; raises InvalidRequest with one sentence."""
    try:
        systems = json.loads(path.read_text(encoding="utf-8"))["systems"]
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequest(f"Cannot read the kernel summary '{path}': {error!r}.") from None
    return dict(systems)


def read_prior(path: Path = PRIOR, kernels: Path = KERNELS) -> LatencyConstants:
    """The constants before any end-to-end measurement."""
    table, systems = json.loads(path.read_text(encoding="utf-8")), kernel_summary(kernels)
    for gpu, summary in systems.items():
        table["gpus"][gpu] = from_kernels(summary, table["kernel_paths"], "kernel tables, profiles/data/kernels.json")
    for gpu, twin in TWINS.items():
        source = f"kernel tables of {twin}, profiles/data/kernels.json"
        table["gpus"][gpu] = from_kernels(systems[twin], table["kernel_paths"], source)
    return LatencyConstants.model_validate(table)


def from_kernels(summary: dict[str, Any], paths: dict[str, Any], source: str) -> dict[str, Any]:
    """One SKU's constants: efficiencies of 16-bit products and attention, and how other formats differ here."""
    half, attention = summary["products"]["bf16"], summary["attention"]
    return {
        "memory_efficiency": min(MOST_MEMORY_EFFICIENCY, half["memory_efficiency"]),
        "compute_efficiency": min(0.95, half["large_compute_efficiency"]),
        "attention_efficiency": attention["prefill_efficiency"],
        "kv_read_efficiency": min(MOST_MEMORY_EFFICIENCY, attention["decode_efficiency"]),
        "basis": "fitted",
        "paths": {
            path: path_factors(path, law, half, paths[path])
            for path, law in summary["products"].items()
            if path in paths
        },
        "source": source,
    }


def path_factors(
    path: str, law: dict[str, float], half: dict[str, float], common: dict[str, float]
) -> dict[str, float]:
    """How a format's products differ on this SKU from the path's common factors."""
    if path == "bf16":
        return {"compute": 1.0, "memory": 1.0}
    compute = law["large_compute_efficiency"] / half["large_compute_efficiency"] / common["compute_factor"]
    memory = 1.0
    if law["floor_us"] < LAUNCH_BOUND_US:
        memory = law["memory_efficiency"] / half["memory_efficiency"] / common["memory_factor"]
    return {"compute": round(math.sqrt(compute), 4), "memory": round(math.sqrt(memory), 4)}
