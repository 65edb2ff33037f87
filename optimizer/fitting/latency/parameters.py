"""The free constants of the latency fit: where each lives in LatencyConstants, its prior, and which rows it touches.

Every constant is prior * exp(x), with a Gaussian prior on x, so that a constant without data keeps its prior. Constants
of one family (say, memory efficiency of each SKU) touch disjoint rows: one extra evaluation differentiates them all.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vllm_opt.constraints.speed.coefficients import effective_path
from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES, Observation
from vllm_opt.optimizer.fitting.latency.replay import Replay
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants

SHARED_PRIORS = {
    "serial_share": 0.2,
    "layer_s": 0.7,
    "moe_layer_s": 0.7,
    "step_s": 0.7,
    "sequence_s": 0.7,
    "frontend_s": 0.7,
    "crowding": 0.7,
    "crowding_exponent": 0.12,
    "attention_efficiency": 0.4,
    "kv_read_efficiency": 0.15,
    "expert_compute_efficiency": 0.7,
    "activation_passes": 0.7,
    "collective_latency_factor": 0.7,
    "collective_bandwidth_factor": 0.7,
    "pcie_collective_factor": 0.7,
}
"""Fitted shared constants and the standard deviation of ln(constant / prior)."""
AT_MOST_ONE = ("serial_share", "crowding_exponent")
LEAST_PATH_POINTS = 5
OLD_STACK_PATHS = (("mi300x", "bf16"),)
"""Paths whose every point on that SKU comes from a 2024 software stack, while its other paths have newer ones."""
NUISANCE_PRIOR = {"cloudrift": 0.05}
"""Sources are allowed an offset of their own on SKUs that have controlled points; ln standard deviation, else 0.3."""


@dataclass(frozen=True)
class Parameter:
    """One free constant."""

    path: tuple[str, ...]
    """Keys into the constants, or ("source", name) for a source's own offset."""
    prior: float
    spread: float
    family: str
    rows: Numbers
    """Which observations it touches (Boolean)."""


def paths_by_gpu(replay: Replay) -> list[str]:
    """The kernel path of each observation."""
    unique = [effective_path(quantization, gpu) for _, quantization, _, gpu in replay.unique_nouns]
    return [unique[index] for index in replay.position]


def controlled_gpus(observations: Sequence[Observation]) -> set[str]:
    """SKUs with points from the controlled sources."""
    return {one.gpu for one in observations if one.source in CONTROLLED_SOURCES}


def with_rooms(base: LatencyConstants, replay: Replay) -> dict[str, Any]:
    """The constants as a nested dictionary with an entry for every SKU and path that was measured."""
    table: dict[str, Any] = json.loads(base.model_dump_json())
    catalog = replay.catalog
    for one, path in zip(replay.observations, paths_by_gpu(replay), strict=True):
        start = base.gpu_constants(catalog.gpu(one.gpu)).model_dump(mode="json")
        entry = table["gpus"].setdefault(one.gpu, {**start, "paths": {}})
        entry.update(basis="fitted", source="end-to-end fit of published measurements, docs/latency-accuracy.md")
        entry["paths"].setdefault(path, {"compute": 1.0, "memory": 1.0, "step": 1.0})
    return table


def parameters(table: dict[str, Any], replay: Replay) -> list[Parameter]:
    """Every free constant for these observations."""
    observations, paths = replay.observations, np.array(paths_by_gpu(replay))
    gpus = np.array([one.gpu for one in observations])
    sources = np.array([one.source for one in observations])
    everywhere = np.ones(len(observations), dtype=bool)
    found = [
        Parameter(("shared", name), table["shared"][name], spread, name, everywhere)
        for name, spread in SHARED_PRIORS.items()
    ]
    controlled = controlled_gpus(observations)
    for gpu in sorted(set(gpus)):
        here, entry = gpus == gpu, table["gpus"][gpu]
        few = int(here.sum()) < 20
        found.append(own("memory_efficiency", gpu, entry, 0.35 if few else 0.2, here))
        found.append(own("compute_efficiency", gpu, entry, 0.35, here))
        found.append(own("overhead_factor", gpu, entry, 0.15 if gpu in controlled else 0.5, here))
        found.append(own("collective_factor", gpu, entry, 0.3, here))
        found.extend(path_parameters(gpu, entry, here, paths))
    for path in sorted(set(paths) - {"bf16"}):
        for name, spread in (("compute_factor", 0.4), ("memory_factor", 0.25), ("expert_compute_factor", 0.5)):
            prior = table["kernel_paths"][path].get(name, 1.0)
            found.append(Parameter(("kernel_paths", path, name), prior, spread, f"path.{name}", paths == path))
    known = np.isin(gpus, sorted(controlled))
    for source in sorted(set(sources) - set(CONTROLLED_SOURCES)):
        rows = (sources == source) & known
        if rows.any():
            found.append(Parameter(("source", source), 1.0, NUISANCE_PRIOR.get(source, 0.3), "source", rows))
    return found


def own(name: str, gpu: str, entry: dict[str, Any], spread: float, rows: Numbers) -> Parameter:
    """A constant of one SKU."""
    return Parameter(("gpus", gpu, name), entry.get(name, 1.0), spread, f"gpu.{name}", rows)


def path_parameters(gpu: str, entry: dict[str, Any], here: Numbers, paths: Numbers) -> list[Parameter]:
    """How paths with enough points differ on this SKU from what they do elsewhere."""
    found = []
    counts = Counter(paths[here].tolist())
    for path, points in sorted(counts.items()):
        if points < LEAST_PATH_POINTS or len(counts) < 2:
            continue
        rows, where = here & (paths == path), ("gpus", gpu, "paths", path)
        priors = entry["paths"][path]
        wide = 0.8 if any(name == gpu for name, _ in OLD_STACK_PATHS) else 0.25
        found.append(Parameter((*where, "compute"), priors["compute"], wide, "sku_path.compute", rows))
        found.append(Parameter((*where, "memory"), priors["memory"], 0.12, "sku_path.memory", rows))
        if (gpu, path) in OLD_STACK_PATHS:
            found.append(Parameter((*where, "step"), priors["step"], 0.5, "sku_path.step", rows))
    return found


def apply(table: dict[str, Any], chosen: Sequence[Parameter], values: Numbers) -> LatencyConstants:
    """The constants with each free one at prior * exp(value)."""
    changed = json.loads(json.dumps(table))
    for parameter, value in zip(chosen, values, strict=True):
        if parameter.path[0] == "source":
            continue
        place = changed
        for key in parameter.path[:-1]:
            place = place[key]
        number = float(parameter.prior * np.exp(value))
        place[parameter.path[-1]] = min(number, 1.0) if parameter.path[-1] in AT_MOST_ONE else number
    return LatencyConstants.model_validate(changed)


def source_offsets(chosen: Sequence[Parameter], values: Numbers, rows: int) -> Numbers:
    """ln slowdown of each observation by its source."""
    offsets = np.zeros(rows)
    for parameter, value in zip(chosen, values, strict=True):
        if parameter.path[0] == "source":
            offsets[parameter.rows] += value
    return offsets
