"""The prior of the latency constants: kernel tables where a SKU has them, assumed values elsewhere.

`profiles/data/kernels.json` says how fast single kernels run; `latency_prior.json` holds what it cannot tell (host,
scheduling, links never timed). End-to-end measurements then move the constants as far as they have to.
"""

import json
import math
import re
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
EXPERT_LAUNCH_BOUND_US = 2 * LAUNCH_BOUND_US
"""The same for an expert layer, which is two products: beyond it nothing of the law is kept. FP8 experts on Hopper took
140 to 160 us whatever their size, and end to end they are not the slowest format there but the fastest."""
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
HALF_RATE = {"l40": 0.85, "rtx-5090": 0.93}
"""Twins whose 16-bit peak is half the timed SKU's on the same die, so that power does not limit products before it:
what they reach of it. L40: as on the RTX 4090, the same die at the same rate. RTX 5090 (209.5 TFLOP/s with 32-bit
accumulation, 503.8 on the RTX PRO 6000): nearly all, as the same die reaches 0.85 of twice the rate. Their 8-bit and
4-bit products keep their own share."""
ONE_LATENT_KERNEL = ("b200", "b300", "gb200", "gb300")
"""Chips that run one and the same latent-attention kernel (FlashInfer's): 30 to 34 us on a B200 and on a GB300 with
vLLM 0.27, 82 to 85 on B300 and GB200 with 0.24. The least is the kernel, what is beyond it the benchmark's launches."""
PUBLISHED = ("mi250x", "mi300x")
"""SKUs without kernel tables whose prior cites a published measurement of matrix products."""


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
    known = [systems[one]["latent"] for one in ONE_LATENT_KERNEL if "latent" in systems.get(one, {})]
    for gpu, summary in systems.items():
        if gpu in ONE_LATENT_KERNEL and known:
            summary["latent"] = min(known, key=lambda one: float(one["floor_us"]))
        table["gpus"][gpu] = from_kernels(summary, table, "kernel tables, profiles/data/kernels.json")
    for gpu, twin in TWINS.items():
        table["gpus"][gpu] = from_kernels(systems[twin], table, f"kernel tables of {twin}, profiles/data/kernels.json")
    for gpu, efficiency in HALF_RATE.items():
        table["gpus"][gpu] = at_half_rate(table["gpus"][gpu], efficiency)
    for gpu, link in table["collectives"].items():
        link.update(timed_link(systems.get(timed_name(gpu, link["source"]), {})))
    return LatencyConstants.model_validate(table)


def at_half_rate(entry: dict[str, Any], efficiency: float) -> dict[str, Any]:
    """A twin's constants with another share of the 16-bit peak; 8-bit products reach what they did."""
    growth = efficiency / entry["compute_efficiency"]
    narrow = {
        path: {**factors, "compute": round(factors["compute"] / growth, 4)}
        for path, factors in entry["paths"].items()
        if path.startswith(("fp8", "nvfp4"))
    }
    paths = {**entry["paths"], **narrow}
    return {**entry, "compute_efficiency": efficiency, "paths": paths}


def timed_name(name: str, source: str) -> str:
    """The system whose link stands for this one: itself, or the one that its source names ("as l40s, ...")."""
    found = re.match(r"as ([a-z0-9-]+)", source)
    return found[1] if found else name


def timed_link(summary: dict[str, Any]) -> dict[str, Any]:
    """All-reduce over 2, 4 and 8 GPUs as timed; a size never timed is as the next smaller one."""
    timed, columns = summary.get("all_reduce", {}), list[dict[str, float]]()
    for ranks in ("2", "4", "8"):
        if ranks in timed or columns:
            columns.append(timed.get(ranks) or columns[-1])
    if len(columns) < 3:
        return {}
    return {name: [column[name] for column in columns] for name in ("alpha_us", "gb_per_s")}


def from_kernels(summary: dict[str, Any], table: dict[str, Any], source: str) -> dict[str, Any]:
    """One SKU's constants: efficiencies of 16-bit products and attention, and how other formats differ here."""
    half, attention, paths = summary["products"]["bf16"], summary["attention"], table["kernel_paths"]
    known = [
        path for path in paths if timed_as(path) in summary["products"] or timed_as(path) in summary.get("experts", {})
    ]
    return {
        "memory_efficiency": min(MOST_MEMORY_EFFICIENCY, half["memory_efficiency"]),
        "compute_efficiency": min(0.95, half["large_compute_efficiency"]),
        "attention_efficiency": attention["prefill_efficiency"],
        "kv_read_efficiency": min(MOST_MEMORY_EFFICIENCY, attention["decode_efficiency"]),
        "narrow_kv_efficiency": min(1.0, attention.get("narrow_decode_ratio", 1.0)),
        **latent_mixer(summary, table["shared"]["layer_s"]),
        "basis": "fitted",
        "paths": {path: path_factors(path, summary, table) for path in known},
        "source": source,
    }


def latent_mixer(summary: dict[str, Any], layer_s: float) -> dict[str, float]:
    """What a latent mixer adds to the half of a layer that every mixer has: many small kernels between its factors.

    Half of the way, as products: the module was timed without the fusion that serving has.
    """
    if "latent" not in summary:
        return {}
    usual = layer_s / 2
    return {"latent_mixer_s": max(0.0, round(math.sqrt(summary["latent"]["floor_us"] * 1e-6 * usual) - usual, 8))}


def timed_as(path: str) -> str:
    """The format under which kernel tables hold a path: paths of one format differ by generation."""
    return path.removesuffix("_hopper").removesuffix("_graphics")


def path_factors(path: str, summary: dict[str, Any], table: dict[str, Any]) -> dict[str, float]:
    """How a format's products and expert layers differ on this SKU from the path's common factors.

    Products go half of the way: their kernels were timed without the fusion that serving has.
    """
    found = {"compute": 1.0, "memory": 1.0, "expert_compute": 1.0, "expert_memory": 1.0}
    common, half, law = (
        table["kernel_paths"][path],
        summary["products"]["bf16"],
        summary["products"].get(timed_as(path)),
    )
    if law is not None and path != "bf16":
        compute = law["large_compute_efficiency"] / half["large_compute_efficiency"] / common["compute_factor"]
        found["compute"] = round(math.sqrt(compute), 4)
        if law["floor_us"] < LAUNCH_BOUND_US:
            memory = law["memory_efficiency"] / half["memory_efficiency"] / common.get("memory_factor", 1.0)
            found["memory"] = round(math.sqrt(memory), 4)
    experts = summary.get("experts", {}).get(timed_as(path))
    if experts is not None and path != "bf16" and experts["floor_us"] < EXPERT_LAUNCH_BOUND_US:
        shared, own = table["shared"], found
        compute = common["compute_factor"] * own["compute"] * common.get("expert_compute_factor", 1.0)
        compute *= half["large_compute_efficiency"] * shared["expert_compute_efficiency"]
        memory = common.get("memory_factor", 1.0) * own["memory"] * common.get("expert_memory_factor", 1.0)
        memory *= half["memory_efficiency"] * shared["expert_read_efficiency"]
        found["expert_compute"] = round(math.sqrt(experts["compute_efficiency"] / compute), 4)
        found["expert_memory"] = round(experts["memory_efficiency"] / memory, 4)
    return found
