"""Calibration cells, spreads and the slow-side constants of SKUs that were never measured, from residuals."""

import math
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.coefficients import effective_path
from vllm_opt.constraints.speed.model_work import model_shape
from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES
from vllm_opt.optimizer.fitting.latency.parameters import controlled_gpus
from vllm_opt.optimizer.fitting.latency.replay import Replay, log_errors
from vllm_opt.profiles.nouns.latency_constants import (
    CalibrationCell,
    GpuConstants,
    LatencyConstants,
    PathFactor,
    Spread,
)

LEAST_CELL_POINTS = 2
SHRINKAGE_POINTS = 1.5
"""A cell of n points moves n / (n + 1.5) of the way from 1 to its median residual: cells differ by about as much as the
points inside one."""
NORMAL_90 = 1.6449
"""Two-sided 90 % of a normal distribution, in standard deviations."""
SPREAD_POINTS = 5.0
"""A SKU's own spread counts n / (n + 5), the spread of all SKUs the rest."""
LEAST_SPREAD = 0.04
UNKNOWN_CELL_SPREAD = Spread(tpot=0.15, ttft=0.3, throughput=0.15)
"""Inside a cell of a SKU without held-back points."""
TRUSTED_IN_CELLS = (*CONTROLLED_SOURCES, "cloudrift", "millstone-mi300x")
"""Sources that may form cells on SKUs with controlled points; the others ran 2024 stacks there."""


Rows = Numbers | NDArray[np.bool_] | slice


def step_errors(errors: dict[str, Numbers]) -> Numbers:
    """ln(measured / predicted) of step time: TPOT, else end-to-end time, else the inverse of throughput."""
    best = np.where(np.isfinite(errors["tpot"]), errors["tpot"], errors["e2e"])
    return np.where(np.isfinite(best), best, -errors["throughput"])


def cells_of(replay: Replay, constants: LatencyConstants, spreads: dict[str, Spread]) -> tuple[CalibrationCell, ...]:
    """One cell per (model shape, SKU, path) with enough points, shrunk towards 1; `spreads` holds each SKU's."""
    errors = log_errors(replay, replay.predict(constants))
    step, groups = step_errors(errors), defaultdict(list)
    controlled = controlled_gpus(replay.observations)
    for index, one in enumerate(replay.observations):
        if one.gpu in controlled and one.source not in TRUSTED_IN_CELLS:
            continue
        path = effective_path(replay.catalog.quantization(one.quantization), replay.catalog.gpu(one.gpu))
        if np.isfinite(step[index]):
            groups[model_shape(replay.catalog.model(one.model)), one.gpu, path].append(index)
    found = []
    for (shape, gpu, path), rows in sorted(groups.items()):
        if len(rows) < LEAST_CELL_POINTS:
            continue
        moved = shrunk_median(step[rows])
        prefill = errors["ttft"][rows] - moved
        prefill = prefill[np.isfinite(prefill)]
        extra = shrunk_median(prefill) if prefill.size >= LEAST_CELL_POINTS else 0.0
        found.append(
            CalibrationCell(
                model=min(replay.observations[row].model for row in rows),
                shape=shape,
                gpu=gpu,
                path=path,
                step_factor=round(math.exp(moved), 4),
                prefill_factor=round(math.exp(extra), 4),
                points=len(rows),
                spread=spreads.get(gpu, UNKNOWN_CELL_SPREAD),
            )
        )
    return tuple(found)


def shrunk_median(errors: Numbers) -> float:
    """Median pulled towards 0 when there are few points."""
    return float(np.median(errors)) * errors.size / (errors.size + SHRINKAGE_POINTS)


def robust_sigma(errors: Numbers) -> float:
    """Standard deviation whose normal 90 % interval holds 90 % of these ln errors."""
    finite = np.abs(errors[np.isfinite(errors)])
    return float(np.quantile(finite, 0.9)) / NORMAL_90 if finite.size else math.nan


def spread_from(errors: dict[str, Numbers], rows: Rows) -> Spread:
    """Spread of each metric over some rows; a metric without points takes that of step time."""
    step = robust_sigma(step_errors(errors)[rows])
    by_metric = [robust_sigma(errors[metric][rows]) for metric in ("tpot", "ttft", "throughput")]
    tpot, ttft, throughput = (step if math.isnan(value) else value for value in by_metric)
    return Spread(tpot=at_least(tpot), ttft=at_least(max(ttft, tpot)), throughput=at_least(throughput))


def at_least(value: float) -> float:
    """A spread, rounded, and never below what repeats of one measurement show."""
    return round(max(value, LEAST_SPREAD), 4)


def blended(own: Spread, common: Spread, points: int) -> Spread:
    """A SKU's own spread, pulled towards the common one when it has few points."""
    share = points / (points + SPREAD_POINTS)
    return Spread(
        **{
            metric: at_least(share * getattr(own, metric) + (1 - share) * getattr(common, metric))
            for metric in ("tpot", "ttft", "throughput")
        }
    )


def trusted_rows(replay: Replay) -> NDArray[np.bool_]:
    """Every row but those of 2024 stacks on SKUs that have controlled points."""
    modern = controlled_gpus(replay.observations)
    return np.array([one.gpu not in modern or one.source in TRUSTED_IN_CELLS for one in replay.observations])


def spreads_by_gpu(replay: Replay, errors: dict[str, Numbers]) -> dict[str, Spread]:
    """Each SKU's spread, pulled towards that of all SKUs with, or without, controlled points.

    On SKUs with controlled points the 2024 stacks of other sources do not count.
    """
    names = np.array([one.gpu for one in replay.observations])
    counted = trusted_rows(replay)
    modern = np.isin(names, sorted(controlled_gpus(replay.observations)))
    found = {}
    for group in (modern & counted, ~modern):
        if not group.any():
            continue
        common = spread_from(errors, group)
        for gpu in dict.fromkeys(names[group].tolist()):
            rows = group & (names == gpu)
            found[gpu] = blended(spread_from(errors, rows), common, int(rows.sum()))
    return found


def with_cell_spreads(constants: LatencyConstants, spreads: dict[str, Spread]) -> LatencyConstants:
    """The constants with each cell's spread replaced by its SKU's."""
    cells = tuple(
        cell.model_copy(update={"spread": spreads.get(cell.gpu, UNKNOWN_CELL_SPREAD)}) for cell in constants.cells
    )
    return constants.model_copy(update={"cells": cells})


def class_of(replay: Replay, gpu: str) -> str:
    """Fallback class of a SKU."""
    profile = replay.catalog.gpu(gpu)
    if profile.vendor != "nvidia":
        return profile.vendor
    return "nvidia" if LatencyConstants.has_switch(profile) else "nvidia_pcie"


def fallback_gpus(
    replay: Replay, constants: LatencyConstants, spread: Spread, *, slow: float
) -> dict[str, GpuConstants]:
    """Constants for SKUs that were never measured: the class's mean, `slow` standard deviations to the slow side.

    SKUs with controlled points go before those known from 2024 stacks alone. A class with fewer than three measured
    SKUs takes its few and all others together.
    """
    controlled = controlled_gpus(replay.observations)
    measured = list(dict.fromkeys(one.gpu for one in replay.observations))
    paths = sorted({path for own in constants.gpus.values() for path in own.paths})
    result = {}
    for name in ("nvidia", "nvidia_pcie", "amd", "intel"):
        members = [gpu for gpu in measured if class_of(replay, gpu) == name]
        modern = [gpu for gpu in members if gpu in controlled]
        members = modern if len(modern) >= 3 else members
        chosen = members if len(members) >= 3 else [*members, *measured] if name != "nvidia" else measured
        em, ec, overhead = (
            slow_side([getattr(constants.gpus[gpu], field) for gpu in chosen], sign * slow)
            for field, sign in (("memory_efficiency", -1), ("compute_efficiency", -1), ("overhead_factor", 1))
        )
        result[name] = GpuConstants(
            memory_efficiency=em,
            compute_efficiency=ec,
            overhead_factor=overhead,
            basis="datasheet",
            spread=spread,
            paths=dict.fromkeys(paths, PathFactor()),
            source=f"{len(members)} measured SKUs of the class, {slow:g} standard deviations to the slow side",
        )
    return result


def slow_side(values: Iterable[float], deviations: float) -> float:
    """Geometric mean moved by so many geometric standard deviations."""
    logs = np.log(list(values))
    return round(float(np.exp(np.mean(logs) + deviations * np.std(logs))), 4)
