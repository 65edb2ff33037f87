"""The free constants of the latency fit: where each lives in LatencyConstants, its prior, and which rows it touches.

Every constant is prior * exp(x), with a Gaussian prior on x, so that a constant without data keeps its prior. What
kernel tables measured has a narrow prior; host and scheduling, which they cannot tell, a wide one. Constants of one
family (say, memory efficiency of each SKU) touch disjoint rows: one extra evaluation differentiates them all.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES, Observation
from vllm_opt.optimizer.fitting.latency.prior import TWINS, kernel_summary
from vllm_opt.optimizer.fitting.latency.replay import Replay
from vllm_opt.profiles.nouns.latency_constants import (
    LatencyConstants,
    PathFactor,
    generation_of,
    release_family,
    version_key,
)

SHARED_PRIORS = {
    "serial_share": 0.3,
    "layer_s": 0.12,
    "moe_layer_s": 0.12,
    "state_layer_s": 0.7,
    "latent_mixer_s": 0.5,
    "step_s": 0.35,
    "worker_s": 0.7,
    "sequence_s": 0.2,
    "frontend_s": 0.8,
    "frontend_token_s": 1.3,
    "busy_frontend_s": 1.0,
    "request_s": 1.0,
    "synchrony": 1.0,
    "attention_efficiency": 0.3,
    "kv_read_efficiency": 0.1,
    "expert_read_efficiency": 0.08,
    "expert_compute_efficiency": 0.5,
    "routing_shape": 0.4,
    "activation_passes": 0.8,
    "collective_latency_factor": 0.3,
    "collective_bandwidth_factor": 0.3,
    "eager_layer_s": 0.3,
    "eager_moe_layer_s": 0.3,
    "compiled_launch_share": 0.8,
}
"""Fitted shared constants and the standard deviation of ln(constant / prior)."""
MOST = {
    "serial_share": 1.0,
    "synchrony": 1.0,
    "compiled_launch_share": 2.0,
    "memory_efficiency": 0.95,
    "compute_efficiency": 0.95,
    "kv_read_efficiency": 0.95,
    "attention_efficiency": 0.95,
}
"""Upper ends: no efficiency beyond the datasheet."""
KERNEL_SPREADS = {"memory_efficiency": 0.06, "compute_efficiency": 0.1, "attention_efficiency": 0.15}
LATENT_SPREAD = 0.5
"""Of what a latent mixer adds: timed as a module, perhaps with launches that a CUDA graph does not have."""
TWIN_SPREADS = {"memory_efficiency": 0.15, "compute_efficiency": 0.2, "attention_efficiency": 0.2}
UNKNOWN_SPREADS = {"memory_efficiency": 0.3, "compute_efficiency": 0.7}
PATH_SPREADS = {
    "compute_factor": 0.25,
    "memory_factor": 0.12,
    "expert_compute_factor": 0.3,
    "expert_memory_factor": 0.1,
    "serial_share": 0.3,
    "product_s": 0.2,
    "expert_s": 0.2,
}
SKU_PATH_SPREADS = {"compute": 0.15, "memory": 0.1, "expert_compute": 0.2, "expert_memory": 0.1}
LEAST_PATH_POINTS = 5
GENERATION_SPREAD, OWN_HOST_SPREAD = 0.05, 0.6
OWN_HOSTS = ("12.1", "CDNA2", "CDNA3", "CDNA4")
"""Generations whose host or whose stack differs too, so that their fixed time is not that of kernels alone."""
RELEASE_SPREADS = {"step": 0.08, "host": 0.5, "block_experts": 0.4}
FIRST_ENGINE_SPREADS = {"step": 0.2, "host": 0.5, "compute": 0.3, "sequence": 0.5, "link": 0.4}
FIRST_V1 = (0, 8)
"""Before it the engine was another one, whose kernels and host differ most from SKU to SKU."""
SOURCE_SPREAD = 0.2
"""A source may be slower or faster as a whole by its stack (ln standard deviation); controlled ones set the level."""
CLIENT_SPREAD = 0.6
"""A source's TTFT may be off by how its clients send and where they stand, beside the stack's own offset.

Chosen by left-out sources: wider, and a source that is nearly all that is known of a SKU explains slow prefills by its
clients (GB10 was predicted 17 to 24 % too fast by a fit that had seen it); narrower, and clients bend the arithmetic.
"""
NUISANCES = ("source", "client")


@dataclass(frozen=True)
class Parameter:
    """One free constant."""

    path: tuple[str | int, ...]
    """Keys into the constants, or ("source", name) for a source's own offset."""
    prior: float
    spread: float
    family: str
    rows: Numbers
    """Which observations it touches (Boolean)."""


def controlled_gpus(observations: Sequence[Observation]) -> set[str]:
    """SKUs with points from the controlled sources."""
    return {one.gpu for one in observations if one.source in CONTROLLED_SOURCES}


def with_rooms(base: LatencyConstants, replay: Replay) -> dict[str, Any]:
    """The constants as a nested dictionary with an entry for every SKU and path that was measured."""
    table: dict[str, Any] = json.loads(base.model_dump_json())
    catalog = replay.catalog
    for one, path in zip(replay.observations, replay.paths, strict=True):
        start = base.gpu_constants(catalog.gpu(one.gpu)).model_dump(mode="json")
        entry = table["gpus"].setdefault(one.gpu, {**start, "paths": {}, "source": ""})
        known = entry["source"].split("; ")[0]
        added = "end-to-end fit of published measurements, docs/latency-accuracy.md"
        entry.update(basis="fitted", source=f"{known}; {added}" if known and known != added else added)
        entry["paths"].setdefault(path, PathFactor().model_dump())
    return table


def parameters(table: dict[str, Any], replay: Replay) -> list[Parameter]:
    """Every free constant for these observations."""
    observations, paths = replay.observations, np.array(replay.paths)
    everywhere = np.ones(len(observations), dtype=bool)
    found = [
        Parameter(("shared", name), table["shared"][name], spread, name, everywhere)
        for name, spread in SHARED_PRIORS.items()
    ]
    found += gpu_parameters(table, observations)
    found += sku_path_parameters(table, observations, paths)
    for path in sorted(set(paths)):
        for name, spread in PATH_SPREADS.items():
            prior = table["kernel_paths"][path].get(name)
            if prior and (path != "bf16" or name == "serial_share"):
                found.append(Parameter(("kernel_paths", path, name), prior, spread, f"path.{name}", paths == path))
    found += group_parameters(table, replay)
    sources = np.array([one.source for one in observations])
    for source in sorted(set(sources)):
        if source not in CONTROLLED_SOURCES:
            found.append(Parameter(("source", source), 1.0, SOURCE_SPREAD, "source", sources == source))
            found.append(Parameter(("client", source), 1.0, CLIENT_SPREAD, "client", sources == source))
    return found


def gpu_parameters(table: dict[str, Any], observations: Sequence[Observation]) -> list[Parameter]:
    """What one SKU delivers of its datasheet: closely known where kernels were timed."""
    gpus, timed, found = np.array([one.gpu for one in observations]), set(kernel_summary()), []
    for gpu in sorted(set(gpus.tolist())):
        spreads = KERNEL_SPREADS if gpu in timed else TWIN_SPREADS if gpu in TWINS else UNKNOWN_SPREADS
        for name, spread in spreads.items():
            prior = table["gpus"][gpu][name]
            found.append(Parameter(("gpus", gpu, name), prior, spread, f"gpu.{name}", gpus == gpu))
        own = table["gpus"][gpu].get("latent_mixer_s")
        if own:
            found.append(Parameter(("gpus", gpu, "latent_mixer_s"), own, LATENT_SPREAD, "gpu.latent", gpus == gpu))
    return found


def sku_path_parameters(table: dict[str, Any], observations: Sequence[Observation], paths: Numbers) -> list[Parameter]:
    """How a path with enough points differs on one SKU from what it does elsewhere."""
    gpus, found = np.array([one.gpu for one in observations]), []
    for gpu, path in sorted(set(zip(gpus.tolist(), paths.tolist(), strict=True))):
        rows = (gpus == gpu) & (paths == path)
        if path == "bf16" or rows.sum() < LEAST_PATH_POINTS:
            continue
        for name, spread in SKU_PATH_SPREADS.items():
            prior = table["gpus"][gpu]["paths"][path][name]
            where = ("gpus", gpu, "paths", path, name)
            found.append(Parameter(where, prior, spread, f"sku_path.{name}", rows))
    return found


def group_parameters(table: dict[str, Any], replay: Replay) -> list[Parameter]:
    """Fixed kernel time by generation, and factors by range of releases; Hopper and the newest range are 1."""
    profiles = [replay.catalog.gpu(one.gpu) for one in replay.observations]
    generation, found = np.array([generation_of(gpu) for gpu in profiles]), []
    for name in sorted(set(generation.tolist()) - {"9.0"}):
        prior = table["generations"].setdefault(name, 1.0)
        where = ("generations", name)
        spread = OWN_HOST_SPREAD if name in OWN_HOSTS else GENERATION_SPREAD
        found.append(Parameter(where, prior, spread, "generation", generation == name))
        if name in OWN_HOSTS:
            own_front = table["frontends"].setdefault(name, 1.0)
            here = generation == name
            found.append(Parameter(("frontends", name), own_front, OWN_HOST_SPREAD, "frontends", here))
    family = np.array([release_family(gpu) for gpu in profiles])
    own = [version_key(one.release) for one in replay.observations]
    hosts = [version_key(one.host_release or one.release) for one in replay.observations]
    for name, ranges in table["releases"].items():
        firsts = [version_key(one["first"]) for one in ranges]
        index, host = (
            np.array([max([0, *(at for at, first in enumerate(firsts) if first <= version)]) for version in versions])
            for versions in (own, hosts)
        )
        for at, one in enumerate(ranges):
            here, hosted = (family == name) & (index == at), (family == name) & (host == at)
            rows = {"step": here, "compute": here, "link": here, "host": hosted, "sequence": hosted}
            rows["block_experts"] = here & (np.array(replay.paths) == "fp8_block")
            one["points"] = int(here.sum())
            first_engine = version_key(one["first"]) < FIRST_V1
            for key, spread in (FIRST_ENGINE_SPREADS if first_engine else RELEASE_SPREADS).items():
                if at < len(ranges) - 1 and rows[key].any() and (key in ("step", "host") or one[key] != 1.0):
                    found.append(Parameter(("releases", name, at, key), one[key], spread, f"release.{key}", rows[key]))
    return found


def apply(table: dict[str, Any], chosen: Sequence[Parameter], values: Numbers) -> LatencyConstants:
    """The constants with each free one at prior * exp(value), and no efficiency beyond the datasheet."""
    changed = json.loads(json.dumps(table))
    for parameter, value in zip(chosen, values, strict=True):
        if parameter.path[0] in NUISANCES:
            continue
        place = changed
        for key in parameter.path[:-1]:
            place = place[key]
        last = parameter.path[-1]
        place[last] = min(float(parameter.prior * np.exp(value)), MOST.get(str(last), float("inf")))
    return LatencyConstants.model_validate(changed)


def source_offsets(chosen: Sequence[Parameter], values: Numbers, rows: int) -> dict[str, Numbers]:
    """ln slowdown of each observation by its source's stack, and of its TTFT by the source's clients."""
    offsets = {name: np.zeros(rows) for name in NUISANCES}
    for parameter, value in zip(chosen, values, strict=True):
        if parameter.path[0] in NUISANCES:
            offsets[str(parameter.path[0])][parameter.rows] += value
    return offsets
