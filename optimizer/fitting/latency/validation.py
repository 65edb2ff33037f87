"""How good the latency model is on points it has not seen: by configuration, by model, by SKU; and its choices."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.speed.spread import Metric, quantile_of, spread_for
from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.optimizer.fitting.latency.calibration import (
    UNKNOWN_CELL_SPREAD,
    cells_of,
    fallback_gpus,
    spreads_by_gpu,
    with_cell_spreads,
)
from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES, Observation
from vllm_opt.optimizer.fitting.latency.regression import Fit, fit
from vllm_opt.optimizer.fitting.latency.replay import METRICS, Replay, log_errors, share_of
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants, PathFactor

REFIT_ROUNDS = 5
LEAST_POINTS = 15
LIMITS_MS = (8.0, 12.0, 20.0, 30.0, 50.0, 80.0)


@dataclass(frozen=True)
class Held:
    """Points that a fit has not seen, and its ln errors on them."""

    label: str
    replay: Replay
    errors: dict[str, Numbers]

    def of(self, metric: str, rows: Numbers | slice = slice(None)) -> Numbers:
        """Finite ln errors of one metric."""
        values = self.errors[metric][rows]
        return values[np.isfinite(values)]


def relative(errors: Numbers) -> Numbers:
    """|predicted / measured - 1| from ln(measured / predicted)."""
    return np.abs(np.expm1(-errors))


def unseen_configurations(base: LatencyConstants, replay: Replay, start: Fit) -> tuple[Held, Held, LatencyConstants]:
    """Fit without a third of the configurations; (calibrated, uncalibrated, the constants with cells)."""
    hidden = np.array([one.held_out for one in replay.observations])
    train, test = share_of(replay, ~hidden), share_of(replay, hidden)
    constants = fit(base, train, start=start, rounds=10).constants
    with_cells = constants.model_copy(update={"cells": cells_of(train, constants, {})})
    plain = log_errors(test, test.predict(with_cells, calibrated=False))
    calibrated = log_errors(test, test.predict(with_cells, calibrated=True))
    label = "unseen configurations"
    return Held(f"{label}, calibrated", test, calibrated), Held(f"{label}, no cells", test, plain), with_cells


def left_out_models(base: LatencyConstants, replay: Replay, start: Fit) -> list[Held]:
    """Refit without each model that has enough points, and predict it."""
    counts: dict[str, int] = defaultdict(int)
    for one in replay.observations:
        counts[one.model] += one.source in (*CONTROLLED_SOURCES, "cloudrift", "redhat-model-cards")
    results = []
    for model in sorted(model for model, points in counts.items() if points >= LEAST_POINTS):
        mask = np.array([one.model == model for one in replay.observations])
        constants = fit(base, share_of(replay, ~mask), start=start, rounds=REFIT_ROUNDS).constants
        test = share_of(replay, mask)
        results.append(Held(model, test, log_errors(test, test.predict(constants))))
    return results


def left_out_gpus(base: LatencyConstants, replay: Replay, start: Fit, slow: float) -> tuple[list[Held], list[Held]]:
    """Refit without each SKU that has enough points, and predict it from its class's other SKUs.

    Returns predictions by the class's mean, and by `slow` standard deviations to the slow side.
    """
    gpus = [one.gpu for one in replay.observations]
    central, biased = list[Held](), list[Held]()
    for gpu in sorted({name for name in gpus if gpus.count(name) >= LEAST_POINTS}):
        mask = np.array([name == gpu for name in gpus])
        others, test = share_of(replay, ~mask), share_of(replay, mask)
        rest = {name: value for name, value in base.gpus.items() if name != gpu}
        constants = fit(base.model_copy(update={"gpus": rest}), others, start=start, rounds=REFIT_ROUNDS).constants
        paths = {"paths": {name: PathFactor() for name in start.constants.gpus[gpu].paths}}
        for deviations, results in ((0.0, central), (slow, biased)):
            fallback = fallback_gpus(others, constants, UNKNOWN_CELL_SPREAD, slow=deviations)
            known = {name: value.model_copy(update=paths) for name, value in fallback.items()}
            predicted = test.predict(constants.model_copy(update={"fallback_gpus": known}))
            results.append(Held(gpu, test, log_errors(test, predicted)))
    return central, biased


def coverage_by_point(held: Held, constants: LatencyConstants, confidence: float = 0.9) -> dict[str, dict[str, float]]:
    """Share of unseen points inside the interval that the product shows for each; 2-fold.

    The spread inside cells comes from one half of the unseen configurations, the count from the other.
    """
    inside: dict[tuple[str, str], list[Numbers]] = defaultdict(list)
    first = np.array([sum(one.configuration.encode()) % 2 == 0 for one in held.replay.observations])
    metrics: tuple[Metric, ...] = ("tpot", "ttft", "throughput")
    for mask in (first, ~first):
        learned = spreads_by_gpu(share_of(held.replay, mask), {name: held.errors[name][mask] for name in METRICS})
        test = share_of(held.replay, ~mask)
        c = test.coefficients(with_cell_spreads(constants, learned), calibrated=True)
        controlled = np.array([one.source in CONTROLLED_SOURCES for one in test.observations])
        for metric in metrics:
            errors = held.errors[metric][~mask]
            hit = np.abs(errors) <= quantile_of((1 + confidence) / 2) * spread_for(c, metric)
            for name, rows in (("controlled sources", controlled), ("other sources", ~controlled)):
                inside[name, metric].append(hit[rows & np.isfinite(errors)])
    return {
        name: {metric: float(np.mean(np.concatenate(inside[name, metric]))) for metric in metrics}
        for name in ("controlled sources", "other sources")
    }


@dataclass(frozen=True)
class Choices:
    """Choosing tensor-parallel size and concurrency for most throughput per GPU under a TPOT limit."""

    count: int
    mean_regret: float
    broken: float


def choices(replay: Replay, constants: LatencyConstants) -> Choices:
    """Compare the model's choice with the measured best, over every series and limit that some point meets."""
    predicted = replay.predict(constants, calibrated=True)
    series: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, one in enumerate(replay.observations):
        if one.source in CONTROLLED_SOURCES and one.data_parallel_size == 1:
            key = (one.source, one.model, one.gpu, one.quantization, one.input_tokens, one.output_tokens)
            series[key].append(index)
    regrets, broken = [], []
    for rows in series.values():
        for limit in LIMITS_MS:
            outcome = one_choice([replay.observations[row] for row in rows], predicted, rows, limit)
            if outcome is not None:
                regrets.append(outcome[0])
                broken.append(outcome[1])
    return Choices(len(regrets), float(np.mean(regrets)), float(np.mean(broken)))


def one_choice(
    points: list[Observation], predicted: dict[str, Numbers], rows: list[int], limit: float
) -> tuple[float, bool] | None:
    """(regret, limit broken by more than 10 %), or None when there is nothing to choose.

    Repeats of one configuration count once, by their medians.
    """
    repeats: dict[str, list[int]] = defaultdict(list)
    for position, one in enumerate(points):
        repeats[one.configuration].append(position)
    kept = [positions[0] for positions in repeats.values()]
    gpus = np.array([points[position].tensor_parallel_size for position in kept])
    tpot, rate = (
        np.array([np.median([points[position].measured[name] for position in same]) for same in repeats.values()])
        for name in ("tpot", "throughput")
    )
    order = np.array(rows)[kept]
    allowed, believed = tpot <= limit, predicted["tpot"][order] <= limit
    if len(kept) < 3 or not allowed.any() or not believed.any():
        return None
    picked = int(np.argmax(np.where(believed, predicted["throughput"][order] / gpus, -np.inf)))
    best = (rate / gpus)[allowed].max()
    return max(0.0, 1 - rate[picked] / gpus[picked] / best), bool(tpot[picked] > 1.1 * limit)
