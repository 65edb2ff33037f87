"""Re-fit the latency constants: `python -m vllm_opt.optimizer.fitting.latency.fit MEASUREMENTS.jsonl [--write]`.

Reads published measurements (one JSON object per line), fits, validates on what was held back, prints the tables, and
with --write replaces profiles/data/latency.json and docs/latency-accuracy.md. Needs scipy (the dev extra). The priors
are profiles/data/latency_prior.json, so that a second run gives the same constants.
"""

import argparse
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np

from vllm_opt.optimizer.fitting.latency.calibration import (
    blended,
    cells_of,
    fallback_gpus,
    robust_sigma,
    spread_from,
    spreads_by_gpu,
    step_errors,
    trusted_rows,
)
from vllm_opt.optimizer.fitting.latency.measurements import observations, read_rows
from vllm_opt.optimizer.fitting.latency.regression import Fit, fit
from vllm_opt.optimizer.fitting.latency.replay import METRICS, Nouns, Replay, log_errors, usable
from vllm_opt.optimizer.fitting.latency.report import INTRODUCTION, closing, left_out_tables, unseen_tables
from vllm_opt.optimizer.fitting.latency.validation import (
    Held,
    choices,
    coverage_by_point,
    left_out_gpus,
    left_out_models,
    unseen_configurations,
)
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants, Spread, read_latency_constants

DATA = files("vllm_opt.profiles").joinpath("data")
PRIOR, CONSTANTS = Path(str(DATA / "latency_prior.json")), Path(str(DATA / "latency.json"))
PAGE = CONSTANTS.resolve().parent.parent.parent / "docs" / "latency-accuracy.md"
SLOW_DEVIATIONS = 1.0
MOST_SLOWDOWN = 1.25


def joined(helds: list[Held]) -> dict[str, np.ndarray]:
    """Errors of several held-back parts as one."""
    return {metric: np.concatenate([held.errors[metric] for held in helds]) for metric in METRICS}


def finished(replay: Replay, fitted: Fit, unseen: Held, models: list[Held], gpus: list[Held]) -> LatencyConstants:
    """Fitted constants with cells, spreads by how well each SKU is known, and slow-side fallbacks.

    A SKU's spread is that of its own residuals without cells, enlarged by how much worse left-out models are than
    fitted ones; an unknown SKU takes the spread of left-out SKUs.
    """
    everything = slice(None)
    errors = log_errors(replay, replay.predict(fitted.constants))
    left_out = spread_from(joined(models), everything)
    seen = spread_from(errors, everything)
    growth = max(1.0, left_out.tpot / seen.tpot)
    unknown = spread_from(joined(gpus), everything)
    names = np.array([one.gpu for one in replay.observations])
    constants, table, counted = fitted.constants, {}, trusted_rows(replay)
    for gpu, own in constants.gpus.items():
        rows = (names == gpu) & counted
        if not rows.any():
            table[gpu] = own.model_copy(update={"spread": unknown})
            continue
        here = spread_from(errors, rows)
        grown = Spread(tpot=here.tpot * growth, ttft=here.ttft * growth, throughput=here.throughput * growth)
        table[gpu] = own.model_copy(update={"spread": blended(grown, left_out, int(rows.sum()))})
    slowdown = min(MOST_SLOWDOWN, float(np.exp(robust_sigma(step_errors(joined(gpus))))))
    return constants.model_copy(
        update={
            "gpus": table,
            "cells": cells_of(replay, constants, spreads_by_gpu(unseen.replay, unseen.errors)),
            "fallback_gpus": fallback_gpus(replay, constants, unknown, slow=SLOW_DEVIATIONS),
            "unseen_path_slowdown": round(slowdown, 3),
            "source": "fitted on published measurements by optimizer/fitting/latency/fit.py; docs/latency-accuracy.md",
        }
    )


def run(measurements: Path, *, write: bool) -> str:
    """Fit, validate and report; returns the page."""
    rows, skipped = observations(read_rows(measurements))
    replay, unfit = usable(rows, Nouns(Catalog()))
    base = read_latency_constants(PRIOR)
    fitted = fit(base, replay)
    progress("fitted all points")
    calibrated, plain, train = unseen_configurations(base, replay, fitted)
    progress("fitted two thirds of the configurations")
    models = left_out_models(base, replay, fitted)
    progress("left out each model")
    gpus, biased = left_out_gpus(base, replay, fitted, SLOW_DEVIATIONS)
    progress("left out each SKU")
    constants = finished(replay, fitted, calibrated, models, gpus)
    page = INTRODUCTION + unseen_tables(calibrated, plain) + left_out_tables(models, gpus, biased)
    with_spreads = train.model_copy(
        update={
            "gpus": {
                name: own.model_copy(update={"spread": constants.gpus[name].spread}) for name, own in train.gpus.items()
            }
        }
    )
    coverages = coverage_by_point(calibrated, with_spreads)
    decided = {
        "unseen configurations only": choices(calibrated.replay, train),
        "all configurations, fitted on two thirds": choices(replay, train),
    }
    page += closing(coverages, decided, skipped + Counter(unfit), len(replay.observations))
    if write:
        CONSTANTS.write_text(constants.model_dump_json(indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page, encoding="utf-8")
    return page


def progress(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m vllm_opt.optimizer.fitting.latency.fit", description=__doc__)
    parser.add_argument("measurements", type=Path, help="measurements, one JSON object per line")
    parser.add_argument("--write", action="store_true", help="replace the constants and the accuracy page")
    options = parser.parse_args()
    try:
        print(run(options.measurements, write=options.write))
    except VllmOptError as error:
        progress(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
