"""The shipped constants against a sample of published measurements: the bounds that the product promises."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from vllm_opt.constraints.speed.spread import Metric, interval_factors
from vllm_opt.optimizer.fitting.latency.calibration import calibrated_sigma, step_errors
from vllm_opt.optimizer.fitting.latency.choices import choices
from vllm_opt.optimizer.fitting.latency.measurements import observations, read_rows
from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES
from vllm_opt.optimizer.fitting.latency.replay import Nouns, Replay, log_errors, usable
from vllm_opt.optimizer.fitting.latency.validation import relative
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

SAMPLE = Path(__file__).parents[2] / "data" / "serving_sample.jsonl"
LEAST_POINTS = 4


@cache
def replay() -> Replay:
    """The sample as observations."""
    found, _ = observations(read_rows(SAMPLE))
    return usable(found, Nouns(Catalog()))[0]


@cache
def errors(*, calibrated: bool) -> dict[str, np.ndarray]:
    """ln(measured / predicted) of every metric."""
    return log_errors(replay(), replay().predict(default_latency_constants(), calibrated=calibrated))


def controlled() -> np.ndarray:
    """Which observations come from controlled sources."""
    return np.array([one.source in CONTROLLED_SOURCES for one in replay().observations])


def finite(values: np.ndarray) -> np.ndarray:
    """Measured points only."""
    kept: np.ndarray = values[np.isfinite(values)]
    return kept


def test_the_sample_is_large_enough_to_mean_something() -> None:
    assert len(replay().observations) > 500
    assert controlled().sum() > 200
    assert len({one.gpu for one in replay().observations}) >= 18


@pytest.mark.parametrize(
    ("metric", "median", "tail"), [("tpot", 0.08, 0.20), ("throughput", 0.08, 0.21), ("ttft", 0.16, 0.41)]
)
@pytest.mark.parametrize("calibrated", [True, False])
def test_controlled_sources(metric: str, median: float, tail: float, calibrated: bool) -> None:
    off = relative(finite(errors(calibrated=calibrated)[metric][controlled()]))
    assert np.median(off) <= median
    assert np.quantile(off, 0.9) <= tail


def test_other_skus_are_within_18_percent_in_the_median() -> None:
    modern = {one.gpu for one, known in zip(replay().observations, controlled(), strict=True) if known}
    others = np.array([one.gpu not in modern for one in replay().observations])
    assert np.median(relative(finite(step_errors(errors(calibrated=True))[others]))) <= 0.18


def test_no_sku_is_optimistic_by_more_than_20_percent() -> None:
    names = np.array([one.gpu for one in replay().observations])
    step = step_errors(errors(calibrated=True))
    slower = {gpu: np.expm1(np.median(finite(step[names == gpu]))) for gpu in set(names) if (names == gpu).sum() >= 8}
    assert len(slower) >= 15
    assert max(slower.values()) <= 0.20, slower


@pytest.mark.parametrize("metric", ["tpot", "ttft", "throughput"])
def test_ninety_percent_intervals_hold(metric: Metric) -> None:
    # The sample was fitted, so more than 90 % may lie inside; unseen points are in docs/latency-accuracy.md.
    c = replay().coefficients(default_latency_constants(), calibrated=True)
    low, high = interval_factors(c, metric, 0.9)
    ratio = np.exp(errors(calibrated=True)[metric])
    known = np.isfinite(ratio)
    inside = ((ratio >= low) & (ratio <= high))[known]
    assert inside.mean() >= 0.85


def test_intervals_are_the_quantile_of_strangers_errors() -> None:
    # Ten equal errors of 0.1 to 1.0 and one more beyond all of them: 90 % of eleven are within the tenth.
    found = np.arange(1, 11) / 10
    assert calibrated_sigma(found, np.ones(10)) == pytest.approx(1.0 / 1.6449)
    assert calibrated_sigma(-found, np.ones(10), 0.5) == pytest.approx(0.6 / 1.6449)
    # A source that counts more moves it.
    weights = np.where(found <= 0.3, 100.0, 1.0)
    assert calibrated_sigma(found, weights, 0.5) < 0.3
    assert np.isnan(calibrated_sigma(np.array([np.nan]), np.ones(1)))


def test_choices_by_the_model_are_nearly_the_best() -> None:
    found = choices(replay(), default_latency_constants())
    assert found.count > 50
    assert found.mean_regret <= 0.02
    assert found.broken <= 0.05


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a measurement"),
        ('{"measured": 3}', "is not a measurement"),
        ('{"measured": {}}', "lacks 'source_id'"),
    ],
)
def test_damaged_measurements_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InvalidRequest, match=message):
        read_rows(path)


def test_missing_measurements_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Cannot read"):
        read_rows(tmp_path / "absent.jsonl")
