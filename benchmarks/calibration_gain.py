"""Does half of a source's points improve the other half? Every source is left out of the fit first.

    python benchmarks/calibration_gain.py serving.jsonl … [--least 6]

Each source with enough points plays the user: the shipped constants are fitted without any of its rows, half of its
configurations (by hash) are calibrated with, and the error |ln(measured / predicted)| of the other half is compared
before and after; then the halves change places. Needs scipy (the dev extra); about two minutes.
"""

import argparse
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.calibration.learn import learned_speed
from vllm_opt.optimizer.fitting.latency.fit import ROUNDS
from vllm_opt.optimizer.fitting.latency.measurements import observations, read_rows
from vllm_opt.optimizer.fitting.latency.observation import Observation
from vllm_opt.optimizer.fitting.latency.prior import read_prior
from vllm_opt.optimizer.fitting.latency.regression import fit
from vllm_opt.optimizer.fitting.latency.replay import METRICS, Nouns, Replay, log_errors, share_of, usable
from vllm_opt.optimizer.fitting.latency.validation import Refits
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants
from vllm_opt.profiles.nouns.own_calibration import GpuCalibration, SpeedTerm


@dataclass(frozen=True)
class Gain:
    """Median and mean |ln error| of held-back halves, before and after."""

    source: str
    points: int
    median_before: float
    median_after: float
    mean_before: float
    mean_after: float


def in_first_half(one: Observation) -> bool:
    """By a hash of the configuration, so that repeats of one measurement stay together."""
    return int(hashlib.sha256(f"{one.configuration}|{one.release}".encode()).hexdigest()[:8], 16) % 2 == 0


def calibrated(part: Replay, terms: dict[str, tuple[SpeedTerm, ...]], catalog: Catalog) -> Replay:
    """The same observations on GPUs that carry what was learned."""
    nouns = Nouns(catalog)
    plain = nouns.gpu
    nouns.gpu = lambda name: plain(name).model_copy(update={"own": GpuCalibration(gpu=name, speed=terms.get(name, ()))})
    return Replay(part.observations, nouns)


def errors_of(part: Replay, constants: LatencyConstants) -> NDArray[np.float64]:
    """|ln(measured / predicted)| of every measured number."""
    found = log_errors(part, part.predict(constants, calibrated=True))
    together = np.concatenate([found[metric] for metric in METRICS])
    return np.abs(together[np.isfinite(together)])


def gain_of(source: str, part: Replay, constants: LatencyConstants, catalog: Catalog) -> Gain:
    """Calibrate with one half, judge on the other, and the other way round."""
    first = np.array([in_first_half(one) for one in part.observations])
    before, after = [], []
    for mine in (first, ~first):
        if not mine.any() or mine.all():
            continue
        held = share_of(part, ~mine)
        terms = learned_speed(share_of(part, mine), constants)
        before.append(errors_of(held, constants))
        after.append(errors_of(calibrated(held, terms, catalog), constants))
    one, other = np.concatenate(before), np.concatenate(after)
    return Gain(
        source, len(part.observations), float(np.median(one)), float(np.median(other)), float(one.mean()),
        float(other.mean()),
    )  # fmt: skip


def main() -> int:
    """Print one line per source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurements", type=Path, nargs="+")
    parser.add_argument("--least", type=int, default=6, help="points that a source must have")
    options = parser.parse_args()
    catalog = Catalog()
    rows, _ = observations([row for path in options.measurements for row in read_rows(path)])
    replay, _ = usable(rows, Nouns(catalog))
    base = read_prior()
    print("fitting all points", file=sys.stderr, flush=True)
    refits = Refits(base, replay, fit(base, replay, rounds=ROUNDS))
    sources = np.array([one.source for one in replay.observations])
    better, found = 0, []
    for source in sorted(set(sources.tolist())):
        rows_of_it = sources == source
        if rows_of_it.sum() < options.least:
            continue
        gain = gain_of(source, share_of(replay, rows_of_it), refits.without(rows_of_it), catalog)
        found.append(gain)
        better += gain.median_after < gain.median_before
        print(
            f"{gain.source:28} {gain.points:5} points   median {gain.median_before:6.1%} -> {gain.median_after:6.1%}   "
            f"mean {gain.mean_before:6.1%} -> {gain.mean_after:6.1%}",
            flush=True,
        )
    print(f"better on {better} of {len(found)} sources that the constants had never seen")
    return 0


if __name__ == "__main__":
    sys.exit(main())
