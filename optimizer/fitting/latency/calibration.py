"""Fallbacks for SKUs that were never measured, and spreads that hold for strangers."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.optimizer.fitting.latency.cells import Mask, step_errors
from vllm_opt.optimizer.fitting.latency.prior import PUBLISHED, TWINS, kernel_summary
from vllm_opt.optimizer.fitting.latency.replay import Replay
from vllm_opt.profiles.nouns.latency_constants import (
    GpuConstants,
    LatencyConstants,
    Spread,
    generation_of,
    gpu_class,
)

NORMAL_90 = 1.6449
"""Two-sided 90 % of a normal distribution, in standard deviations."""
LEAST_SPREAD = 0.04
FEW_POINTS = 12.0
"""A regime's own spread counts n / (n + 12), the spread of its basis the rest."""


def known_only(constants: LatencyConstants, replay: Replay, counted: Mask) -> LatencyConstants:
    """The constants as they are when only the counted rows were ever measured.

    A SKU or path without a counted row and without kernels or published products falls back to the mean of its class.
    """
    timed = set(kernel_summary()) | set(TWINS) | set(PUBLISHED)
    seen = {(one.gpu, path) for one, path, used in zip(replay.observations, replay.paths, counted, strict=True) if used}
    measured = {gpu for gpu, _ in seen}
    summary = kernel_summary()
    kept = {}
    for gpu, own in constants.gpus.items():
        if gpu in measured | timed:
            kernels = set(summary.get(TWINS.get(gpu, gpu), {}).get("products", {}))
            paths = {path: value for path, value in own.paths.items() if (gpu, path) in seen or path in kernels}
            kept[gpu] = own.model_copy(update={"paths": paths})
    pruned = constants.model_copy(update={"gpus": kept})
    return pruned.model_copy(update={"fallback_gpus": fallback_gpus(replay, pruned, measured)})


def fallback_gpus(replay: Replay, constants: LatencyConstants, measured: set[str]) -> dict[str, GpuConstants]:
    """Constants for SKUs that were never measured: the geometric mean of the class's measured ones.

    A generation of a class counts by itself, with its class's mean as one more member: cards of one generation share
    memory technology and tensor cores.
    """
    result = dict[str, GpuConstants]()
    profiles = {gpu: replay.catalog.gpu(gpu) for gpu in sorted(measured & set(constants.gpus))}
    for name, old in constants.fallback_gpus.items():
        members = [gpu for gpu, profile in profiles.items() if gpu_class(profile) == name]
        if " " in name:
            continue
        result[name] = mean_of(old, [constants.gpus[gpu] for gpu in members], "class") if members else old
        for generation in sorted({generation_of(profiles[gpu]) for gpu in members}):
            own = [constants.gpus[gpu] for gpu in members if generation_of(profiles[gpu]) == generation]
            result[f"{name} {generation}"] = mean_of(result[name], [result[name], *own], "class and generation")
    return result


def mean_of(old: GpuConstants, members: Sequence[GpuConstants], what: str) -> GpuConstants:
    """`old` with the geometric means of its members' efficiencies."""
    return old.model_copy(
        update={
            "memory_efficiency": geometric_mean([one.memory_efficiency for one in members]),
            "compute_efficiency": geometric_mean([one.compute_efficiency for one in members]),
            "source": f"geometric mean of {len(members)} of its {what}",
        }
    )


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm."""
    return round(float(np.exp(np.mean(np.log(list(values))))), 4)


def source_weights(replay: Replay, rows: Mask, exponent: float = 0.5) -> Numbers:
    """Weights with which a source counts as n^exponent of its n rows."""
    names = np.array([one.source for one in replay.observations])
    weights = np.zeros(len(names))
    for source in set(names[rows].tolist()):
        here = rows & (names == source)
        weights[here] = float(here.sum()) ** (exponent - 1.0)
    return weights


def calibrated_sigma(errors: Numbers, weights: Numbers, confidence: float = 0.9) -> float:
    """Standard deviation whose normal interval holds `confidence` of these ln errors by weight; NaN without any.

    The weighted split-conformal quantile: one more point, beyond all others, counts as an average one.
    """
    kept = np.isfinite(errors) & (weights > 0)
    if not kept.any():
        return math.nan
    size, share = np.abs(errors[kept]), weights[kept]
    order = np.argsort(size)
    reached = np.cumsum(share[order]) / (share.sum() + share.mean())
    index = min(int(np.searchsorted(reached, confidence)), size.size - 1)
    return max(LEAST_SPREAD, float(size[order][index]) / NORMAL_90)


def sigma_of_rows(replay: Replay, errors: Numbers, rows: Mask) -> float:
    """Mean of what rows and what sources ask for: the next source is neither a row nor like the largest one."""
    here = rows & np.isfinite(errors)
    values = np.where(here, errors, np.nan)
    found = [calibrated_sigma(values, source_weights(replay, here, exponent)) for exponent in (1.0, 0.5)]
    return float(np.mean(found))


def spread_of_rows(replay: Replay, errors: dict[str, Numbers], rows: Mask, wider: Spread | None = None) -> Spread:
    """Spread of each metric over rows of sources that were left out; TTFT by the clients' pattern.

    Few rows are pulled towards `wider`, the spread of a weaker basis (without one, a pattern towards all patterns).
    """

    def pulled(values: Numbers, mask: Mask, towards: float) -> float:
        own, count = sigma_of_rows(replay, values, mask), float((mask & np.isfinite(values)).sum())
        if math.isnan(own):
            return round(towards, 4)
        share = 1.0 if math.isnan(towards) else count / (count + FEW_POINTS)
        return round(share * own + (1 - share) * (0.0 if share == 1.0 else towards), 4)

    step = sigma_of_rows(replay, step_errors(errors), rows)
    tpot = pulled(errors["tpot"], rows, wider.tpot if wider else step)
    throughput = pulled(errors["throughput"], rows, wider.throughput if wider else step)
    ttft = pulled(errors["ttft"], rows, wider.ttft if wider else 2 * step)
    patterns = np.array([one.pattern for one in replay.observations])
    closed, single, poisson, burst = (
        pulled(errors["ttft"], rows & (patterns == pattern), ttft)
        for pattern in ("closed", "single", "poisson", "burst")
    )
    return Spread(
        tpot=tpot, ttft=closed, throughput=throughput, ttft_single=single, ttft_poisson=poisson, ttft_burst=burst,
    )  # fmt: skip
