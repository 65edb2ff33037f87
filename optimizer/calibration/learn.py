"""From measured points to factors: a small regression per SKU, or a shrunken median where there are few points.

With `FEW_POINTS` points or more on one SKU the logarithms of its terms (memory, compute), of its host's (host,
frontend) and of one step and one prefill factor per (model shape, kernel path, size) are fitted together: robust
Gauss-Newton steps with Gaussian priors around 0, so that what the points do not tell stays as shipped. With fewer
points only the (shape, path, size) moves: n points go n / (n + 0.5) of the way to their median, their TTFT
n / (n + 1). Numbers: own choices, judged on sources left out whole (docs/calibrate.md).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.model_work import model_shape
from vllm_opt.constraints.speed.own_factors import scaled
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers
from vllm_opt.optimizer.fitting.latency.replay import METRICS, Replay, log_errors, predict_all
from vllm_opt.profiles.elementary import exp
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants
from vllm_opt.profiles.nouns.own_calibration import KnownSpreads, SpeedFactors, SpeedTerm

FEW_POINTS = 6
STEP_SHRINKAGE, PREFILL_SHRINKAGE = 0.5, 1.0
SKU_SPREADS = {"memory": 0.12, "compute": 0.2, "host": 0.3, "frontend": 0.4}
CELL_SPREADS = {"step": 0.15, "prefill": 0.2}
"""Standard deviation of the ln of each factor before anything is measured."""
METRIC_SCALES = {"tpot": 0.1, "ttft": 0.25, "throughput": 0.1, "e2e": 0.1}
"""ln error of one measured number by chance: the clients', the stack's, the formula's."""
ROUNDS, LONGEST_STEP, FARTHEST = 8, 0.5, math.log(3.5)
DIFFERENCE = 1e-3

Cell = tuple[str, str, str, int]
"""(shape, SKU, kernel path, tensor-parallel size)."""


@dataclass(frozen=True)
class Factor:
    """One free logarithm: what it multiplies, for which rows, and how wide it is before the points."""

    name: str
    spread: float
    rows: NDArray[np.bool_]
    cell: Cell | None = None


def learned_speed(replay: Replay, constants: LatencyConstants) -> dict[str, tuple[SpeedTerm, ...]]:
    """The terms of every SKU that the observations name; the shipped calibration cells are part of the prediction."""
    base = replay.coefficients(constants, calibrated=True)
    gpus = np.array([one.gpu for one in replay.observations])
    cells = cells_of(replay)
    found = {}
    for gpu in sorted(set(gpus.tolist())):
        rows = gpus == gpu
        named = [
            (cell, rows & np.array([one == cell for one in cells])) for cell in sorted(set(cells)) if cell[1] == gpu
        ]
        few = int(rows.sum()) < FEW_POINTS
        factors = shrunken(replay, base, named) if few else regressed(replay, base, rows, named)
        found[gpu] = terms_of(replay, base, rows, named, factors)
    return found


def cells_of(replay: Replay) -> list[Cell]:
    """The (shape, SKU, path, size) of each observation."""
    return [
        (model_shape(replay.catalog.model(one.model)), one.gpu, path, one.tensor_parallel_size)
        for one, path in zip(replay.observations, replay.paths, strict=True)
    ]


Logs = dict[tuple[str, Cell | None], float]


def shrunken(replay: Replay, base: LatencyCoefficients, cells: Sequence[tuple[Cell, NDArray[np.bool_]]]) -> Logs:
    """Medians of the ln errors per cell, pulled towards 0."""
    errors, found = log_errors(replay, predict_all(base, replay)), Logs()
    step = np.where(np.isfinite(errors["tpot"]), errors["tpot"], errors["e2e"])
    step = np.where(np.isfinite(step), step, -errors["throughput"])
    for cell, rows in cells:
        moved = pulled(step[rows], STEP_SHRINKAGE)
        found["step", cell] = moved
        found["prefill", cell] = pulled(errors["ttft"][rows] - moved, PREFILL_SHRINKAGE)
    return found


def pulled(errors: Numbers, points: float) -> float:
    """Median of the finite errors, as if `points` further ones were 0; 0 without any."""
    kept = errors[np.isfinite(errors)]
    return bounded(float(np.median(kept)) * kept.size / (kept.size + points)) if kept.size else 0.0


def bounded(value: float) -> float:
    """A logarithm within the bounds that a calibration file accepts."""
    return max(-FARTHEST, min(FARTHEST, value))


def regressed(
    replay: Replay, base: LatencyCoefficients, rows: NDArray[np.bool_], cells: Sequence[tuple[Cell, NDArray[np.bool_]]]
) -> Logs:
    """Robust least squares over one SKU's rows, priors included."""
    free = [Factor(name, spread, rows) for name, spread in SKU_SPREADS.items()]
    free += [Factor(name, spread, mask, cell) for cell, mask in cells for name, spread in CELL_SPREADS.items()]
    spreads, values = np.array([factor.spread for factor in free]), np.zeros(len(free))
    for _ in range(ROUNDS):
        start = residuals(replay, base, free, values, rows)
        slope = np.stack(
            [(residuals(replay, base, free, values + DIFFERENCE * unit, rows) - start) / DIFFERENCE
             for unit in np.eye(len(free))], axis=1,
        )  # fmt: skip
        weight = 1 / np.sqrt(1 + start * start)
        matrix = (slope * weight[:, None]).T @ slope + np.diag(spreads**-2)
        move = -np.linalg.solve(matrix, (slope * weight[:, None]).T @ start + values * spreads**-2)
        values = np.clip(values + np.clip(move, -LONGEST_STEP, LONGEST_STEP), -FARTHEST, FARTHEST)
        if float(np.abs(move).max()) < DIFFERENCE:
            break
    return {(factor.name, factor.cell): float(value) for factor, value in zip(free, values, strict=True)}


def residuals(
    replay: Replay, base: LatencyCoefficients, free: Sequence[Factor], values: Numbers, rows: NDArray[np.bool_]
) -> Numbers:
    """ln errors over their scales, of every finite measured number of these rows."""
    errors = log_errors(replay, predict_all(with_factors(base, free, values), replay))
    parts = [errors[metric][rows] / METRIC_SCALES[metric] for metric in METRICS]
    together = np.concatenate(parts)
    return np.asarray(together[np.isfinite(np.concatenate([replay.measured(metric)[rows] for metric in METRICS]))])


def with_factors(base: LatencyCoefficients, free: Sequence[Factor], values: Numbers) -> LatencyCoefficients:
    """The coefficients of every row with the factors applied to the rows that they touch."""
    size = len(np.asarray(base.fixed_s))
    logs: dict[str, Numbers] = defaultdict(lambda: np.zeros(size))
    for factor, value in zip(free, values, strict=True):
        logs[factor.name] = logs[factor.name] + value * factor.rows
    return scaled(base, {name: exp(log) for name, log in logs.items()})


def terms_of(
    replay: Replay, base: LatencyCoefficients, rows: NDArray[np.bool_],
    cells: Sequence[tuple[Cell, NDArray[np.bool_]]], logs: Logs,
) -> tuple[SpeedTerm, ...]:  # fmt: skip
    """One term for every model of the SKU where it was fitted, and one per cell with the errors that are left."""
    free, values = [], []
    for (name, cell), value in logs.items():
        free.append(Factor(name, 1.0, rows if cell is None else dict(cells)[cell], cell))
        values.append(value)
    errors = log_errors(replay, predict_all(with_factors(base, free, np.array(values)), replay))
    general = {name: rounded(value) for (name, cell), value in logs.items() if cell is None}
    found = [SpeedTerm(factors=SpeedFactors(**general), points=int(rows.sum()))] if general else []
    for cell, mask in cells:
        own = {name: rounded(value) for (name, where), value in logs.items() if where == cell}
        found.append(
            SpeedTerm(
                shape=cell[0], path=cell[2], tensor_parallel_size=cell[3], factors=SpeedFactors(**own),
                spreads=left_over(replay, errors, mask), points=int(mask.sum()),
            )
        )  # fmt: skip
    return tuple(found)


def rounded(log: float) -> float:
    """A factor with four digits."""
    return round(math.exp(log), 4)


def left_over(replay: Replay, errors: dict[str, Numbers], rows: NDArray[np.bool_]) -> KnownSpreads:
    """Root mean square of the ln errors that remain, TTFT by the clients' pattern; a single point counts double."""
    patterns = np.array([one.pattern for one in replay.observations])

    def spread(values: Numbers) -> float | None:
        kept = values[np.isfinite(values)]
        if not kept.size:
            return None
        return round(min(5.0, float(np.sqrt(np.sum(kept**2) / max(1, kept.size - 1)))), 4)

    by_pattern = {
        f"ttft_{name}": spread(errors["ttft"][rows & (patterns == name)]) for name in ("single", "poisson", "burst")
    }
    return KnownSpreads(
        tpot=spread(errors["tpot"][rows]), throughput=spread(errors["throughput"][rows]),
        ttft=spread(errors["ttft"][rows & (patterns == "closed")]), **by_pattern,
    )  # fmt: skip
