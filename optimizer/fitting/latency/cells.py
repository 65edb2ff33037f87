"""Calibration cells: what measurements of one (model, SKU, kernel path, TP) say against the formula."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.model_work import model_shape
from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.optimizer.fitting.latency.replay import Replay, log_errors, predict_all
from vllm_opt.profiles.nouns.latency_constants import CalibrationCell, LatencyConstants

LEAST_CELL_POINTS = 2
SHRINKAGE_POINTS = 1.5
PREFILL_SHRINKAGE = 1.2
"""A cell of n points moves n / (n + 1.5) of the way from what its model says at all sizes to its own median residual,
its TTFT n / (n + 1.2)."""
SLOPE_SHRINKAGE = 0.02
"""Added to the squared distances of the loaded shares, so that points of one load tell nothing of the slope."""
MOST_SLOPE = 0.7
LEAST_TRUST = 0.9
"""Rows below it (stacks or clients that are badly known) form no cell."""
STEP = 0.05
LOADED = (
    *(
        "dense_compute_s_per_token",
        "head_compute_s_per_sequence",
        "expert_compute_s_per_token",
        "token_s",
        "sequence_s",
    ),
    *("decode_s_per_context_token", "decode_s_per_window_token"),
    *("prefill_s_per_span_token", "prefill_s_per_window_token"),
)
"""Coefficients that grow with tokens or sequences: those that `load_factor` multiplies."""

Mask = NDArray[np.bool_]
CellName = tuple[str, str, str, int, int]
Groups = dict[CellName, list[int]]


def step_errors(errors: dict[str, Numbers]) -> Numbers:
    """ln(measured / predicted) of step time: TPOT, else end-to-end time, else the inverse of throughput."""
    best = np.where(np.isfinite(errors["tpot"]), errors["tpot"], errors["e2e"])
    return np.where(np.isfinite(best), best, -errors["throughput"])


def cells_of(replay: Replay, constants: LatencyConstants, counted: Mask) -> tuple[CalibrationCell, ...]:
    """One cell per (model shape, SKU, path, TP, DP) with enough trusted points, shrunk towards 1.

    A cell holds at the sizes that were measured: what one layout loses to its links says little about another's. Its
    residuals are a median and a slope over the share of a step that grows with the load.
    """
    errors, shares = errors_and_shares(replay, constants)
    step, share, kept = step_errors(errors), step_errors(shares), groups_of(replay, step_errors(errors), counted)
    moved = shrunk_medians(kept, step, SHRINKAGE_POINTS)
    slopes = {name: slope_of(share[rows], step[rows]) for name, rows in kept.items()}
    level = {name: moved[name] - slopes[name] * float(np.median(share[rows])) for name, rows in kept.items()}
    prefill = np.full(len(step), np.nan)
    for name, rows in kept.items():
        prefill[rows] = errors["ttft"][rows] - level[name] - slopes[name] * shares["ttft"][rows]
    extra = shrunk_medians(kept, prefill, PREFILL_SHRINKAGE)
    return tuple(
        CalibrationCell(
            model=min(replay.observations[row].model for row in rows),
            shape=name[0],
            gpu=name[1],
            path=name[2],
            tensor_parallel_size=name[3],
            data_parallel_size=name[4],
            step_factor=round(math.exp(level[name]), 4),
            load_factor=round(math.exp(slopes[name]), 4),
            prefill_factor=round(math.exp(extra[name]), 4),
            points=len(rows),
        )
        for name, rows in kept.items()
    )


def errors_and_shares(replay: Replay, constants: LatencyConstants) -> tuple[dict[str, Numbers], dict[str, Numbers]]:
    """ln errors without cells, and how much each metric moves with all that grows with the load (0 to 1; rates < 0)."""
    c = replay.coefficients(constants, calibrated=False)
    slower = replace(c, **{name: getattr(c, name) * math.exp(STEP) for name in LOADED})
    predicted, moved = predict_all(c, replay), predict_all(slower, replay)
    shares = {metric: np.log(moved[metric] / predicted[metric]) / STEP for metric in predicted}
    errors = log_errors(replay, predicted)
    return errors, {metric: np.where(np.isfinite(errors[metric]), shares[metric], np.nan) for metric in shares}


def groups_of(replay: Replay, step: Numbers, counted: Mask) -> Groups:
    """Rows of each cell that has enough of them."""
    groups = defaultdict[CellName, list[int]](list)
    for index, one in enumerate(replay.observations):
        if counted[index] and one.trust >= LEAST_TRUST and np.isfinite(step[index]):
            shape = model_shape(replay.catalog.model(one.model))
            ranks = one.tensor_parallel_size, one.data_parallel_size
            groups[shape, one.gpu, replay.paths[index], *ranks].append(index)
    return {name: rows for name, rows in sorted(groups.items()) if len(rows) >= LEAST_CELL_POINTS}


def slope_of(shares: Numbers, errors: Numbers) -> float:
    """Ridge slope of residuals over loaded shares, both about their medians."""
    distance = shares - np.median(shares)
    slope = np.sum(distance * (errors - np.median(errors))) / (np.sum(distance * distance) + SLOPE_SHRINKAGE)
    return float(np.clip(slope, -MOST_SLOPE, MOST_SLOPE))


def shrunk_medians(groups: Groups, errors: Numbers, points: float) -> dict[CellName, float]:
    """Median error of each cell, pulled towards that of all sizes of its (shape, SKU, path), and that towards 0."""
    together = defaultdict[tuple[str, str, str], list[int]](list)
    for (shape, gpu, path, *_), rows in groups.items():
        together[shape, gpu, path] += rows
    wider = {name: shrunk_median(errors[rows], points) for name, rows in together.items()}
    return {name: shrunk_median(errors[rows], points, wider[name[:3]]) for name, rows in groups.items()}


def shrunk_median(errors: Numbers, points: float, towards: float = 0.0) -> float:
    """Median of the finite errors, pulled as `points` further errors of `towards` would do."""
    known = errors[np.isfinite(errors)]
    share = known.size / (known.size + points)
    return (float(np.median(known)) if known.size else 0.0) * share + towards * (1 - share)
