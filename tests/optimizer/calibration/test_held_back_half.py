"""A sample of published sources: half of a source's points improves the other half (all: benchmarks/)."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vllm_opt.optimizer.fitting.latency.measurements import observations, read_rows
from vllm_opt.optimizer.fitting.latency.replay import Nouns, Replay, share_of, usable
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

ROOT = Path(__file__).resolve().parents[3]
MOST_POINTS = 27


@cache
def benchmark() -> ModuleType:
    """The script that judges every source."""
    spec = importlib.util.spec_from_file_location("calibration_gain", ROOT / "benchmarks" / "calibration_gain.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def sample() -> Replay:
    """Published measurements in the tests' sample."""
    rows, _ = observations(read_rows(ROOT / "tests" / "data" / "serving_sample.jsonl"))
    return usable(rows, Nouns(Catalog()))[0]


@pytest.mark.parametrize("source", ["dennislee22-a100", "io-net-bench", "amd-rocm"])
def test_the_half_that_was_not_calibrated_with_comes_nearer(source: str) -> None:
    replay = sample()
    mine = np.array([one.source == source for one in replay.observations])
    kept = np.cumsum(mine) <= MOST_POINTS
    constants = default_latency_constants().model_copy(update={"cells": ()})
    gain = benchmark().gain_of(source, share_of(replay, mine & kept), constants, Catalog())
    assert gain.points >= 6
    assert gain.median_after < gain.median_before
    assert gain.mean_after < gain.mean_before
