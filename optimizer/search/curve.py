"""What one layout at one width of a step serves at most, along the curve of its decoders.

In a closed loop everything follows from the decoders D that run at once, and D is at most what a pool holds. TPOT and
TTFT never fall when D grows, so on cells [d, d'] of D

    rate <= d' / ((O - 1) TPOT(d)),  and no D of the cell keeps a limit that TPOT(d) or TTFT(d) breaks

with the product's own step times, whatever the batch. That is far tighter than the closed form of `bounds.py`, which
knows no width, no graphs and no limit on TTFT, and costs a hundredth of evaluating the batches.
"""

from collections.abc import Sequence

import numpy as np

from vllm_opt.constraints.speed.first_token import ClosedWait, frontend
from vllm_opt.constraints.speed.latency import BLOCK
from vllm_opt.constraints.speed.spread import Metric, quantile_factor
from vllm_opt.constraints.speed.steady_state import step_mix
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, stack
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.optimizer.space.points import Unit
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.profiles.elementary import exp, log

CELLS = 48
ROUNDING = 1e-6
"""relative slack for rounding in both the bound and the prediction"""


def rate_ceilings(setting: SolveSetting, pieces: Sequence[tuple[Unit, int, int]]) -> list[float]:
    """Output tokens/s of all engines, at the confidence asked, that no max_num_seqs of (unit, width, most) exceeds.

    0 where not even a lone request keeps the limits on means of TTFT and TPOT.
    """
    found: list[float] = []
    for start in range(0, len(pieces), BLOCK // CELLS):
        found += _rates(setting, pieces[start : start + BLOCK // CELLS]).tolist()
    return found


def _rates(setting: SolveSetting, pieces: Sequence[tuple[Unit, int, int]]) -> Numbers:
    c = stack([unit.facts.coefficients for unit, _, _ in pieces])
    traffic = _traffic(setting, pieces)
    stages = np.asarray(c.pipeline_stages) + np.zeros(len(pieces))
    engines = np.array([unit.engines for unit, _, _ in pieces], dtype=np.float64)
    most = np.array([most for _, _, most in pieces], dtype=np.float64) / stages
    most = np.maximum(np.minimum(most, traffic.most_decoders), 1e-3)
    steps = np.linspace(0.0, 1.0, CELLS)[:, None]
    edges = np.minimum(1.0, most) * exp(steps * log(most / np.minimum(1.0, most)))
    lowest, highest = np.concatenate([edges[:1], edges[:-1]]), edges
    tpot, ttft = _times(c, traffic, lowest)
    kept = np.ones(lowest.shape, dtype=bool)
    limits: dict[Metric, tuple[float | None, Numbers]] = {
        "ttft": (setting.targets.max_ttft_ms, ttft), "tpot": (setting.targets.max_tpot_ms, tpot)
    }  # fmt: skip
    for metric, (limit, times) in limits.items():
        if limit is not None:
            kept &= times * quantile_factor(c, metric, setting.request.confidence) * 1000 * (1 - ROUNDING) <= limit
    rate = np.where(kept, highest / (traffic.decode_steps * tpot), 0.0).max(axis=0)
    factor = quantile_factor(c, "throughput", setting.request.confidence)
    return np.asarray(rate * stages * float(setting.lengths[1]) * engines * factor * (1 + ROUNDING))


def _times(c: LatencyCoefficients, traffic: Traffic, decoders: Numbers) -> tuple[Numbers, Numbers]:
    """(TPOT, the least TTFT) in seconds with so many decoders, a row each."""
    tpot, prefill = step_mix(c, traffic, decoders)
    return tpot, frontend(c, traffic) + prefill + ClosedWait.of(c, traffic).seconds(decoders, tpot)


def _traffic(setting: SolveSetting, pieces: Sequence[tuple[Unit, int, int]]) -> Traffic:
    layouts = [unit.facts.layout for unit, _, _ in pieces]
    inputs, outputs = (np.full(len(pieces), float(length)) for length in setting.lengths)
    share = setting.request.hit_share
    return Traffic.of(
        inputs,
        outputs,
        np.array([width for _, width, _ in pieces], dtype=np.float64),
        np.array([share if layout.enable_prefix_caching else 0.0 for layout in layouts]),
        np.array([layout.enable_chunked_prefill for layout in layouts], dtype=np.float64),
    )
