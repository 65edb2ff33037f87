"""Which term of the model was wrong: the one factor that alone explains best what was measured.

Each group of the step-time model (memory reads, compute, host, front end) is multiplied by a factor in turn; the factor
and group with the least sum of squared ln errors, each over its usual scale, is blamed. `load` stands for the clients:
all of TTFT off and nothing else.
"""

import math
from dataclasses import replace

import numpy as np

from vllm_opt.constraints.speed.own_factors import scaled
from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.optimizer.calibration.learn import METRIC_SCALES
from vllm_opt.optimizer.fitting.latency.observation import Observation
from vllm_opt.optimizer.fitting.latency.replay import METRICS, Nouns, Replay, log_errors, predict_all
from vllm_opt.optimizer.verification.report import Blame
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.elementary import exp
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

STEPS = 81
FARTHEST = math.log(4.0)
LEAST_ERROR = 1.0
"""Below one scale of error in all there is nothing to blame."""
WORDS = {
    "memory": "reading weights and KV cache takes {factor:.2g} times what is predicted: memory bandwidth reached",
    "compute": "matrix products take {factor:.2g} times what is predicted: compute rate reached, prefill above all",
    "host": "each step's fixed part takes {factor:.2g} times what is predicted: launches, scheduler, the host's CPU",
    "frontend": "the front end takes {factor:.2g} times what is predicted: HTTP, tokenising, network",
    "load": "only the wait before the first token differs, by {factor:.2g} times: how the clients send, or a queue",
}


def blame_of(point: Observation, catalog: Catalog) -> Blame:
    """The term that explains one measured point best."""
    replay = Replay((point,), Nouns(catalog))
    base = replay.coefficients(default_latency_constants(), calibrated=True)
    start = weighted(log_errors(replay, predict_all(base, replay)))
    total = float(np.sum(start**2))
    if not start.size or total < LEAST_ERROR:
        return Blame(term="none", factor=1.0, explained=0.0, message="the prediction is as near as it claims to be")
    grid = exp(np.linspace(-FARTHEST, FARTHEST, STEPS))
    many = Replay(tuple(replace(point) for _ in grid), Nouns(catalog))
    stacked, costs = many.coefficients(default_latency_constants(), calibrated=True), {}
    for group in ("memory", "compute", "host", "frontend"):
        errors = log_errors(many, predict_all(scaled(stacked, {group: grid}), many))
        cost = np.sum(np.nan_to_num(weighted_rows(errors)) ** 2, axis=0)
        costs[group] = (float(cost.min()), float(grid[int(cost.argmin())]))
    costs["load"] = waiting_alone(start, replay)
    term = min(costs, key=lambda name: costs[name][0])
    left, factor = costs[term]
    explained = max(0.0, min(1.0, 1.0 - left / total))
    return Blame(
        term=term, factor=round(factor, 3), explained=round(explained, 3),
        message=WORDS[term].format(factor=factor) + f" (explains {explained:.0%} of the difference)",
    )  # fmt: skip


def weighted(errors: dict[str, Numbers]) -> Numbers:
    """Every finite ln error of one point over its scale."""
    rows = weighted_rows(errors)[:, 0]
    return np.asarray(rows[np.isfinite(rows)])


def weighted_rows(errors: dict[str, Numbers]) -> Numbers:
    """ln errors over their scales: one row per metric."""
    return np.stack([errors[metric] / METRIC_SCALES[metric] for metric in METRICS])


def waiting_alone(start: Numbers, replay: Replay) -> tuple[float, float]:
    """Cost and factor where nothing but TTFT may move."""
    measured = [metric for metric in METRICS if np.isfinite(replay.measured(metric)[0])]
    if "ttft" not in measured:
        return math.inf, 1.0
    at = measured.index("ttft")
    # A free factor of TTFT explains all of its error, so it is charged one scale for being free.
    return float(np.sum(np.delete(start, at) ** 2)) + LEAST_ERROR, float(math.exp(start[at] * METRIC_SCALES["ttft"]))
