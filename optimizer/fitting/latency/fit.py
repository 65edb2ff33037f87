"""Re-fit the latency constants: `python -m vllm_opt.optimizer.fitting.latency.fit MEASUREMENTS.jsonl … [--write]`.

Reads published measurements (one JSON object per line), starts from kernel tables (prior.py), fits, validates on
sources that were left out whole, prints the tables, and with --write replaces profiles/data/latency.json and
docs/latency-accuracy.md. Needs scipy (the dev extra). A second run gives the same constants.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from vllm_opt.optimizer.fitting.latency.calibration import known_only
from vllm_opt.optimizer.fitting.latency.cells import cells_of
from vllm_opt.optimizer.fitting.latency.choices import choices
from vllm_opt.optimizer.fitting.latency.measurements import observations, read_rows
from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES
from vllm_opt.optimizer.fitting.latency.prior import CONSTANTS, read_prior
from vllm_opt.optimizer.fitting.latency.regression import Fit, fit
from vllm_opt.optimizer.fitting.latency.replay import Nouns, Replay, usable
from vllm_opt.optimizer.fitting.latency.report import page
from vllm_opt.optimizer.fitting.latency.validation import (
    Held,
    Refits,
    Scales,
    coverage,
    masks_of,
    regimes,
    scales_of,
    spreads_of,
)
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants

PAGE = CONSTANTS.resolve().parent.parent.parent / "docs" / "latency-accuracy.md"
LEAST_MODEL_POINTS = 15
ROUNDS = 16
WRITTEN, NEXT = "## Decisions that public sources took\n", "## What others publish\n"


def finished(replay: Replay, fitted: Fit, strangers: Held, scales: Scales) -> LatencyConstants:
    """Fitted constants with cells, class means for SKUs never measured, and spreads that hold for left-out sources."""
    everything = np.ones(len(replay.observations), dtype=bool)
    constants = known_only(fitted.constants, replay, everything)
    return constants.model_copy(
        update={
            "cells": cells_of(replay, constants, everything),
            "spreads": spreads_of(strangers, scales=scales),
            "source": "kernel tables and published measurements, fitted by optimizer/fitting/latency/fit.py; "
            "docs/latency-accuracy.md",
        }
    )


def run(measurements: list[Path], *, write: bool) -> str:
    """Fit, validate and report; returns the page."""
    rows, skipped = observations([row for path in measurements for row in read_rows(path)])
    replay, unfit = usable(rows, Nouns(Catalog()))
    base = read_prior()
    fitted = fit(base, replay, rounds=ROUNDS)
    progress("fitted all points")
    refits = Refits(base, replay, fitted)
    seen = replay.observations
    strangers = refits.held("sources", masks_of(one.source for one in seen), cells=True)
    progress("left out each source")
    unseen = refits.held("kept back", [np.array([one.kept_back for one in seen])], cells=True)
    models = refits.held("models", masks_of((one.model for one in seen), LEAST_MODEL_POINTS), cells=False)
    gpus = refits.held("SKUs", masks_of((one.gpu for one in seen), LEAST_MODEL_POINTS), cells=False)
    progress("left out each model and each SKU")
    hidden = np.array([one.held_out and one.source in CONTROLLED_SOURCES for one in seen])
    inside = [refits.held("configurations", [hidden], cells=cells) for cells in (True, False)]
    scales = scales_of(strangers)
    constants = finished(replay, fitted, strangers, scales)
    decided = choices(replay, constants)
    covered = {**coverage(strangers, scales), **regimes(strangers, scales)}
    text = page(strangers, unseen, models, gpus, inside, covered, decided, skipped + Counter(unfit))
    if write:
        CONSTANTS.write_text(constants.model_dump_json(indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(with_written(text, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return text


def with_written(text: str, before: str) -> str:
    """The new page with the section that is written by hand (benchmarks/decisions.py) from the page before."""
    start, end = before.find(WRITTEN), before.find(NEXT)
    return text if start < 0 or end < start else text.replace(NEXT, before[start:end] + NEXT, 1)


def progress(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m vllm_opt.optimizer.fitting.latency.fit", description=__doc__)
    parser.add_argument("measurements", type=Path, nargs="+", help="measurements, one JSON object per line")
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
