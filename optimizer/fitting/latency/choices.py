"""Decisions by the model against the measured best."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES, Observation
from vllm_opt.optimizer.fitting.latency.replay import Replay
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants

LIMITS_MS = (8.0, 12.0, 20.0, 30.0, 50.0, 80.0)


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
