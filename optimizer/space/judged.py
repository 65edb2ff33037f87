"""Which points surely keep or break the latency limits, by bounds that cost a seventh of a prediction.

Most points that a search with a limit looks at break it by far; only what lies near a limit is predicted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.bracket import Bracket, closed_loop_bracket
from vllm_opt.constraints.speed.encoding import encodes
from vllm_opt.constraints.speed.spread import quantile_factor
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.space.points import Asked
from vllm_opt.optimizer.space.setting import SolveSetting

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """What bounds say of each point: which of the rules it surely keeps, and which it surely breaks."""

    kept: dict[str, Mask]
    broken: dict[str, Mask]

    @property
    def decided(self) -> Mask:
        """The points of which every rule is decided."""
        known: Mask = np.logical_and.reduce([kept | self.broken[rule] for rule, kept in self.kept.items()])
        return known

    @property
    def fails(self) -> Mask:
        """The points that surely break some rule."""
        some: Mask = np.logical_or.reduce(list(self.broken.values()))
        return some


def judged(
    setting: SolveSetting, c: LatencyCoefficients, points: Asked, active: frozenset[str], *, asked: bool
) -> Judged | None:
    """What `limits_kept` says of the speeds of points (`speeds_at`); None where bounds do not know.

    That is without a limit, for answers of one token, percentiles, random arrivals, and prompts that are encoded or
    loaded.
    """
    targets = setting.targets
    limits = {"ttft": targets.max_ttft_ms, "tpot": targets.max_tpot_ms, "throughput": targets.min_output_tokens_per_s}
    limits = {rule: limit for rule, limit in limits.items() if limit is not None and rule in active}
    if not limits or setting.lengths[1] <= 1 or setting.request.needs_queueing or encodes(c):
        return None
    average = setting.targets.concurrency / points.engines if asked else points.sequences.astype(np.float64)
    users = np.ceil(average)
    bracket = _bracket(setting, c, points, users)
    kept, broken = dict[str, Mask](), dict[str, Mask]()
    confidence = setting.request.confidence
    if (limit := limits.get("ttft")) is not None:
        factor = quantile_factor(c, "ttft", confidence) * 1e3
        kept["ttft"], broken["ttft"] = bracket.most_ttft_s * factor <= limit, bracket.least_ttft_s * factor > limit
    if (limit := limits.get("tpot")) is not None:
        factor = quantile_factor(c, "tpot", confidence) * 1e3
        kept["tpot"], broken["tpot"] = bracket.most_tpot_s * factor <= limit, bracket.least_tpot_s * factor > limit
    if (limit := limits.get("throughput")) is not None:
        most = bracket.most_requests_per_s.copy()
        uneven = np.flatnonzero(average != users)
        if len(uneven):
            apart = _bracket(setting, c.take(uneven), points.take(uneven), average[uneven])
            most[uneven] = apart.most_requests_per_s
        rate = most * float(setting.lengths[1]) * points.engines * quantile_factor(c, "throughput", confidence)
        kept["throughput"], broken["throughput"] = np.zeros(len(users), dtype=bool), rate < limit
    return Judged(kept, broken)


def _bracket(setting: SolveSetting, c: LatencyCoefficients, points: Asked, users: NDArray[np.float64]) -> Bracket:
    return closed_loop_bracket(
        c,
        users,
        points.sequences.astype(np.float64),
        points.tokens,
        setting.lengths,
        points.chunked.astype(np.float64),
        np.where(points.cached, setting.request.hit_share, 0.0),
    )
