"""The pieces of the latency fit against numbers worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from vllm_opt.optimizer.fitting.latency.calibration import (
    blended,
    cells_of,
    fallback_gpus,
    robust_sigma,
    shrunk_median,
    slow_side,
    step_errors,
)
from vllm_opt.optimizer.fitting.latency.measurements import observation, observations, read_rows, why_skipped
from vllm_opt.optimizer.fitting.latency.regression import Regression
from vllm_opt.optimizer.fitting.latency.replay import Nouns, Replay, share_of, usable
from vllm_opt.optimizer.fitting.latency.sample import sample
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import Spread, default_latency_constants

SAMPLE = Path(__file__).parents[2] / "data" / "serving_sample.jsonl"


def part(gpus: tuple[str, ...], most: int) -> Replay:
    """A few observations of some SKUs."""
    found, _ = observations(read_rows(SAMPLE))
    whole, _ = usable(found, Nouns(Catalog()))
    chosen = [one.gpu in gpus for one in whole.observations]
    kept = share_of(whole, chosen)
    return Replay(kept.observations[:most], kept.catalog)


def row(**changes: object) -> dict[str, object]:
    """A controlled closed loop of 8 users."""
    base = {
        **{"source_id": "inferencex", "framework": "vllm", "model": "openai/gpt-oss-120b", "gpu": "H100-SXM"},
        **{"num_gpus": 2, "tp": 2, "dp": 1, "ep": 1, "weight_precision": "fp4", "kv_precision": None},
        **{"isl": 1000, "osl": 101, "request_rate": "inf", "max_concurrency": 8, "num_prompts": None},
        "notes": "closed loop",
        "measured": {
            **dict.fromkeys(("request_throughput", "output_tok_s", "e2e_ms", "mean_ttft_ms", "mean_tpot_ms")),
            **{"median_ttft_ms": 100.0, "median_tpot_ms": 7.0},
        },
    }
    return {**base, **changes}


def test_a_row_becomes_an_observation() -> None:
    one = observation(row())
    assert (one.model, one.gpu, one.quantization) == ("openai/gpt-oss-120b", "h100-sxm", "mxfp4")
    assert (one.kind, one.load, one.tensor_parallel_size) == ("closed", 8.0, 2)
    assert one.input_tokens == pytest.approx(900)  # this source draws lengths from [0.8, 1] of the nominal ones
    # Little's law: 8 users, 101 tokens in 100 ms + 100 x 7 ms.
    assert one.measured["throughput"] == pytest.approx(8 * 101 / 0.8)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"framework": "sglang"}, "other engine"),
        ({"model": "who/knows"}, "model not in the catalogue"),
        ({"gpu": "Gaudi3"}, "GPU not in the catalogue"),
        ({"max_concurrency": 512}, "known bad: capped server"),
        ({"osl": None}, "lengths not stated"),
    ],
)
def test_rows_that_cannot_be_used_say_why(changes: dict[str, object], reason: str) -> None:
    assert why_skipped(row()) is None
    assert why_skipped(row(**changes)) == reason


def test_kinds_of_load() -> None:
    assert observation(row(notes="offline batch", request_rate="offline")).kind == "offline"
    assert observation(row(source_id="x", num_prompts=8)).kind == "burst"
    assert observation(row(source_id="x", num_prompts=80)).kind == "closed"


def test_a_cell_moves_part_of_the_way() -> None:
    # three points: 3 / (3 + 1.5) of the median 0.3
    assert shrunk_median(np.array([0.1, 0.3, 0.9])) == pytest.approx(0.2)


def test_robust_spread_holds_ninety_percent() -> None:
    errors = np.append(np.linspace(-0.1, 0.1, 101), np.nan)
    assert robust_sigma(errors) == pytest.approx(0.09 / 1.6449, rel=0.03)


def test_step_errors_take_the_best_metric() -> None:
    nan = np.nan
    errors = {
        "tpot": np.array([0.1, nan, nan]),
        "e2e": np.array([0.5, 0.2, nan]),
        "throughput": np.array([-0.4, -0.4, -0.3]),
    }
    assert step_errors(errors).tolist() == [0.1, 0.2, 0.3]


def test_slow_side_and_blending() -> None:
    assert slow_side([0.5, 2.0], 0.0) == pytest.approx(1.0)
    assert slow_side([0.5, 2.0], -1.0) == pytest.approx(0.5)
    own, common = Spread(tpot=0.1, ttft=0.2, throughput=0.1), Spread(tpot=0.3, ttft=0.4, throughput=0.3)
    assert blended(own, common, 15).tpot == pytest.approx(0.15)


def test_grouped_differences_equal_single_ones() -> None:
    problem = Regression(default_latency_constants(), part(("h100-sxm", "b200"), 40))
    values = np.zeros(len(problem.chosen))
    grouped, start = problem.jacobian(values), problem.residuals(values)
    for index in range(0, len(values), 7):
        moved = values.copy()
        moved[index] = 1e-4
        np.testing.assert_allclose(grouped[:, index], (problem.residuals(moved) - start) / 1e-4, atol=1e-6)


def test_a_step_of_the_fit_finds_a_known_slowdown() -> None:
    replay = part(("rtx-a6000",), 30)
    base = default_latency_constants()
    predicted = replay.predict(base)
    slower = tuple(
        type(one)(**{**vars(one), "measured": {"e2e": predicted["e2e"][index] * 1.2}})
        for index, one in enumerate(replay.observations)
    )
    problem = Regression(base, Replay(slower, replay.catalog))
    start = np.zeros(len(problem.chosen))
    assert np.median(np.abs(problem.data_residuals(start))) > 0.05
    # One Gauss-Newton step by numpy: what scipy repeats.
    step = np.asarray(
        np.linalg.lstsq(problem.jacobian(start), -problem.residuals(start), rcond=None)[0], dtype=np.float64
    )
    before, after = (np.sum(problem.residuals(values) ** 2) for values in (start, step))
    assert after < 0.3 * before


def test_cells_and_fallbacks_of_the_sample() -> None:
    constants = default_latency_constants().model_copy(update={"cells": ()})
    replay = part(("h100-sxm", "h200-sxm", "b200", "b300"), 10_000)
    cells = cells_of(replay, constants, {})
    assert {cell.gpu for cell in cells} <= {"h100-sxm", "h200-sxm", "b200", "b300"}
    assert all(0.5 < cell.step_factor < 2 for cell in cells)
    spread = Spread(tpot=0.2, ttft=0.3, throughput=0.2)
    mean, slow = (fallback_gpus(replay, constants, spread, slow=by)["nvidia"] for by in (0.0, 1.0))
    assert slow.memory_efficiency < mean.memory_efficiency
    assert slow.compute_efficiency < mean.compute_efficiency


def test_the_sample_is_a_fixed_point_of_sampling() -> None:
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    assert len(sample(read_rows(SAMPLE))) == len(rows)
