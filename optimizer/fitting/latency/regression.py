"""Robust least squares of the latency constants on published measurements (scipy, from the dev extra)."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.optimizer.fitting.latency.parameters import (
    Parameter,
    apply,
    parameters,
    source_offsets,
    with_rooms,
)
from vllm_opt.optimizer.fitting.latency.replay import METRICS, Replay, log_errors, predict_all
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants

METRIC_WEIGHTS = {"tpot": 1.0, "ttft": 0.5, "throughput": 0.5, "e2e": 0.7}
METRIC_SCALES = {"tpot": 0.15, "ttft": 0.3, "throughput": 0.15, "e2e": 0.15}
"""ln errors well beyond the scale count linearly, not squared: wrong rows must not bend the fit."""
PRIOR_WEIGHT = 0.4
STEP = 1e-4
ROWS_OF_FULL_WEIGHT = 16.0


@dataclass(frozen=True)
class Fit:
    """Fitted constants and the values behind them, to start a refit from."""

    constants: LatencyConstants
    values: dict[tuple[str | int, ...], float]
    cost: float


def row_weights(replay: Replay) -> Numbers:
    """Trust, less for every further row of one source on one SKU: a source counts as the square root of its rows."""
    groups = Counter((one.source, one.gpu) for one in replay.observations)
    return np.array(
        [one.trust * (groups[one.source, one.gpu] / ROWS_OF_FULL_WEIGHT) ** -0.25 for one in replay.observations]
    )


class Regression:
    """Residuals and their grouped Jacobian for scipy.

    Queueing under random arrivals has steps that cannot be differentiated: what it answers over the smooth formula is
    worked out once, at `near` (else the prior), and held while the formula moves.
    """

    def __init__(self, base: LatencyConstants, replay: Replay, near: LatencyConstants | None = None) -> None:
        self.replay = replay
        self.queueing = queueing_factors(replay, near or base)
        self.table: dict[str, Any] = with_rooms(base, replay)
        self.chosen: list[Parameter] = parameters(self.table, replay)
        self.spreads = np.array([parameter.spread for parameter in self.chosen])
        weights = row_weights(replay)
        self.kept = {metric: np.isfinite(replay.measured(metric)) for metric in METRICS}
        self.weights = {metric: METRIC_WEIGHTS[metric] * weights[self.kept[metric]] for metric in METRICS}
        self.rows = np.concatenate([np.flatnonzero(self.kept[metric]) for metric in METRICS])

    def data_residuals(self, values: Numbers) -> Numbers:
        """Weighted robust ln errors of every measured number."""
        c = self.replay.coefficients(apply(self.table, self.chosen, values), calibrated=False)
        smooth = predict_all(c, self.replay, queued=False)
        predicted = {metric: smooth[metric] * self.queueing[metric] for metric in METRICS}
        offsets = source_offsets(self.chosen, values, len(self.replay.observations))
        errors, parts = log_errors(self.replay, predicted), []
        for metric in METRICS:
            sign = -1.0 if metric == "throughput" else 1.0
            moved = offsets["source"] + (offsets["client"] if metric == "ttft" else 0.0)
            error = (errors[metric] - sign * moved)[self.kept[metric]] / METRIC_SCALES[metric]
            robust = np.sign(error) * np.sqrt(2 * (np.sqrt(1 + error * error) - 1))
            parts.append(robust * METRIC_SCALES[metric] * self.weights[metric])
        return np.concatenate(parts)

    def residuals(self, values: Numbers) -> Numbers:
        """Data, then priors."""
        return np.concatenate([self.data_residuals(values), PRIOR_WEIGHT * values / self.spreads])

    def jacobian(self, values: Numbers) -> Numbers:
        """Forward differences, one evaluation per family of constants with disjoint rows."""
        start = self.data_residuals(values)
        matrix = np.zeros((start.size, len(self.chosen)))
        for family in dict.fromkeys(parameter.family for parameter in self.chosen):
            members = [index for index, parameter in enumerate(self.chosen) if parameter.family == family]
            moved = values.copy()
            moved[members] += STEP
            slope = (self.data_residuals(moved) - start) / STEP
            for index in members:
                touched = self.chosen[index].rows[self.rows]
                matrix[touched, index] = slope[touched]
        return np.vstack([matrix, np.diag(PRIOR_WEIGHT / self.spreads)])


def queueing_factors(replay: Replay, constants: LatencyConstants) -> dict[str, Numbers]:
    """Queueing's answers over those of the smooth formula; 1 but for random arrivals."""
    c = replay.coefficients(constants, calibrated=False)
    queued, smooth = predict_all(c, replay), predict_all(c, replay, queued=False)
    return {metric: np.nan_to_num(queued[metric] / smooth[metric], nan=1.0) for metric in METRICS}


def fit(base: LatencyConstants, replay: Replay, *, start: Fit | None = None, rounds: int = 15) -> Fit:
    """Fit every free constant; `start` gives first values to those it knows, and where queueing is looked at.

    Without a start it is fitted twice, the second time from the first fit.
    """
    from scipy.optimize import least_squares

    if start is None:
        start = fit(base, replay, start=Fit(base, {}, 0.0), rounds=rounds)
    problem = Regression(base, replay, start.constants)
    known = start.values
    first = np.array([known.get(parameter.path, 0.0) for parameter in problem.chosen])
    solution = least_squares(
        problem.residuals, first, jac=problem.jacobian, x_scale=np.maximum(problem.spreads, 0.1), max_nfev=rounds
    )
    values = {parameter.path: float(value) for parameter, value in zip(problem.chosen, solution.x, strict=True)}
    return Fit(apply(problem.table, problem.chosen, solution.x), values, float(solution.cost))
