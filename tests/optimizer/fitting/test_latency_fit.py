"""The pieces of the latency fit against numbers worked out by hand."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vllm_opt.optimizer.fitting.latency.calibration import fallback_gpus, known_only, spread_of_rows
from vllm_opt.optimizer.fitting.latency.cells import cells_of, shrunk_median, slope_of, step_errors
from vllm_opt.optimizer.fitting.latency.choices import Choices
from vllm_opt.optimizer.fitting.latency.measurements import observation, observations, read_rows, why_skipped
from vllm_opt.optimizer.fitting.latency.observation import Observation
from vllm_opt.optimizer.fitting.latency.prior import read_prior
from vllm_opt.optimizer.fitting.latency.regression import Fit, Regression
from vllm_opt.optimizer.fitting.latency.replay import METRICS, Nouns, Replay, log_errors, share_of, usable
from vllm_opt.optimizer.fitting.latency.report import (
    cell_of,
    concurrency_band,
    equal_sources,
    grouped,
    page,
    source_class,
)
from vllm_opt.optimizer.fitting.latency.sample import sample
from vllm_opt.optimizer.fitting.latency.validation import (
    Held,
    Refits,
    coverage,
    in_order,
    masks_of,
    scales_of,
    spreads_of,
)
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


def test_what_a_source_passes_without_saying_so_is_known() -> None:
    # InferenceX' scripts: an 8-bit cache for Llama-70B everywhere and for gpt-oss on B200; asynchronous scheduling.
    llama = observation(row(model="meta-llama/Llama-3.1-70B", weight_precision="fp8", version="0.11.0"))
    assert (llama.kv_cache_dtype, llama.release, llama.host_release) == ("fp8", "0.11", "0.15")
    assert observation(row()).kv_cache_dtype == "auto"
    assert observation(row(gpu="B200-SXM")).kv_cache_dtype == "fp8"
    assert observation(row(source_id="io-net-bench", gpu="B200-SXM")).host_release == ""


def test_checkpoints_are_read_as_published() -> None:
    gemma = row(source_id="djangodevreng-dgx-spark", model="nvidia/Gemma-4-26B-A4B-NVFP4", gpu="GB10", tp=1, num_gpus=1)
    one = observation({**gemma, "weight_precision": "nvfp4"})
    assert (one.model, one.checkpoint) == ("google/gemma-4-26B-A4B", "nvidia/Gemma-4-26B-A4B-NVFP4")
    assert observation(row()).checkpoint in ("", "openai/gpt-oss-120b")


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
    assert shrunk_median(np.array([0.1, 0.3, 0.9]), 1.5) == pytest.approx(0.2)


def test_step_errors_take_the_best_metric() -> None:
    nan = np.nan
    errors = {
        "tpot": np.array([0.1, nan, nan]),
        "e2e": np.array([0.5, 0.2, nan]),
        "throughput": np.array([-0.4, -0.4, -0.3]),
    }
    assert step_errors(errors).tolist() == [0.1, 0.2, 0.3]


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
    assert np.median(np.abs(problem.data_residuals(start))) > 0.02
    # One Gauss-Newton step by numpy: what scipy repeats.
    step = np.asarray(
        np.linalg.lstsq(problem.jacobian(start), -problem.residuals(start), rcond=None)[0], dtype=np.float64
    )
    before, after = (np.sum(problem.residuals(values) ** 2) for values in (start, step))
    # Narrow priors on what kernels measured keep the rest: they are held as left-out sources ask for.
    assert after < 0.75 * before


def test_cells_hold_at_one_size_and_only_of_trusted_rows() -> None:
    constants = default_latency_constants().model_copy(update={"cells": ()})
    replay = part(("h100-sxm", "h200-sxm", "b200", "b300"), 10_000)
    everything = np.ones(len(replay.observations), dtype=bool)
    cells = cells_of(replay, constants, everything)
    assert {cell.gpu for cell in cells} <= {"h100-sxm", "h200-sxm", "b200", "b300"}
    assert all(0.5 < cell.step_factor < 2 for cell in cells)
    assert len(
        {(cell.shape, cell.gpu, cell.path, cell.tensor_parallel_size, cell.data_parallel_size) for cell in cells}
    ) == len(cells)
    trusted = sum(one.trust >= 0.9 for one in replay.observations)
    assert sum(cell.points for cell in cells) <= trusted
    assert not cells_of(replay, constants, ~everything)


def test_a_cell_follows_how_residuals_grow_with_the_load() -> None:
    shares = np.array([0.2, 0.4, 0.6])
    # sum of squares 0.08 of 0.1 with the shrinkage: four fifths of the true slope of 0.5
    assert slope_of(shares, 0.1 + 0.5 * shares) == pytest.approx(0.5 * 0.08 / 0.1)
    assert slope_of(np.array([0.4, 0.4]), np.array([0.1, 0.3])) == 0.0
    assert slope_of(np.array([0.0, 1.0]), np.array([0.0, 9.0])) == 0.7


def test_a_cell_leaves_its_own_rows_with_smaller_residuals() -> None:
    constants = default_latency_constants().model_copy(update={"cells": ()})
    replay = part(("h100-sxm", "h200-sxm", "b200", "b300"), 10_000)
    trusted = np.array([one.trust >= 0.9 for one in replay.observations])
    cells = cells_of(replay, constants, trusted)
    assert any(abs(cell.load_factor - 1) > 0.05 for cell in cells)
    known = constants.model_copy(update={"cells": cells})
    before, after = (
        np.nanmedian(np.abs(log_errors(replay, replay.predict(known, calibrated=used))["tpot"][trusted]))
        for used in (False, True)
    )
    assert after < 0.8 * before


def test_what_no_row_measured_falls_back_to_the_mean_of_its_class() -> None:
    replay = part(("rtx-a6000", "rtx-3090", "h100-sxm"), 10_000)
    constants = default_latency_constants()
    seen = np.array([one.gpu != "rtx-a6000" for one in replay.observations])
    known = known_only(constants, replay, seen)
    assert "rtx-a6000" not in known.gpus
    assert "h100-sxm" in known.gpus
    gpu = replay.catalog.gpu("rtx-a6000")
    # The only measured member of class and generation is what stands for it: no slow side.
    assert known.gpu_constants(gpu).memory_efficiency == pytest.approx(
        constants.gpus["rtx-3090"].memory_efficiency, abs=1e-4
    )
    both = fallback_gpus(replay, constants, {"rtx-a6000", "rtx-3090"})["nvidia_pcie"]
    pair = [constants.gpus[name].compute_efficiency for name in ("rtx-a6000", "rtx-3090")]
    assert both.compute_efficiency == pytest.approx((pair[0] * pair[1]) ** 0.5, abs=1e-4)


def test_a_generation_of_cards_stands_for_its_unknown_members() -> None:
    replay, constants = part(("rtx-a6000", "rtx-3090", "h100-sxm"), 10_000), default_latency_constants()
    found = fallback_gpus(replay, constants, {"rtx-3090", "t4", "rtx-a6000"})
    own = [constants.gpus[name].memory_efficiency for name in ("rtx-3090", "rtx-a6000")]
    mean = found["nvidia_pcie"].memory_efficiency
    # Its two members and the class's mean as a third.
    assert found["nvidia_pcie 8.6"].memory_efficiency == pytest.approx((own[0] * own[1] * mean) ** (1 / 3), abs=2e-4)
    unknown = replay.catalog.gpu("a10")
    known = constants.model_copy(update={"fallback_gpus": found})
    assert known.gpu_constants(unknown) == found["nvidia_pcie 8.6"]


def held_of_sample() -> tuple[Refits, np.ndarray]:
    """Refits of a few sources around the prior, without a full fit."""
    replay = part(("h100-sxm", "b200", "rtx-a6000"), 150)
    base = read_prior()
    values = {parameter.path: 0.0 for parameter in Regression(base, replay).chosen}
    sources = np.array([one.source for one in replay.observations])
    return Refits(base, replay, Fit(base, values, 0.0)), sources


def test_a_source_that_is_left_out_does_not_move_its_own_prediction() -> None:
    refits, sources = held_of_sample()
    hidden = sources == sources[0]
    changed = tuple(
        type(one)(**{**vars(one), "measured": {name: 3.0 * value for name, value in one.measured.items()}})
        if gone
        else one
        for one, gone in zip(refits.replay.observations, hidden, strict=True)
    )
    other = Refits(refits.base, Replay(changed, refits.replay.catalog), refits.full)
    before, after = (one.replay.predict(one.without(hidden))["tpot"][hidden] for one in (refits, other))
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_left_out_sources_are_all_predicted_and_their_intervals_counted() -> None:
    refits, sources = held_of_sample()
    held = refits.held("sources", masks_of(sources.tolist()), cells=True)
    assert np.isfinite(held.basis).all()
    for metric in METRICS:
        measured = np.isfinite(refits.replay.measured(metric))
        assert (np.isfinite(held.errors[metric]) == measured).all()
    spreads = spreads_of(held)
    assert set(spreads) == {"measured", "fitted", "datasheet"}
    assert all(spread.tpot >= 0.04 for spread in spreads.values())
    scales = scales_of(held)
    assert all(scale > 0 for found in scales.values() for scale in found.values())
    covered, plain = coverage(held, scales), coverage(held, {})
    for basis, found in plain.items():
        for metric, (share, _) in found.items():
            assert (metric in scales.get(basis, {})) == (not 0.86 <= share <= 0.94) or basis == "datasheet"
    assert all(0 <= share <= 1 and count > 0 for found in covered.values() for share, count in found.values())
    none = spread_of_rows(held.replay, held.errors, held.basis > 5, spreads["fitted"])
    assert none.tpot == spreads["fitted"].tpot
    # Too few rows of the measured basis for a spread of their own: they have the fitted one, and count there.
    few = sum(np.isfinite(held.errors["ttft"][held.basis == 0])) < 20
    assert ("ttft" not in covered["measured"]) == few


def test_a_basis_that_rows_know_better_shares_the_spread_of_the_one_above() -> None:
    """Pool adjacent violators: 0.1 and 0.4 of equally many rows become 0.2, 0.1 of three times as many 0.1414."""
    refits, _ = held_of_sample()
    held = refits.held("sources", masks_of(["all"] * len(refits.replay.observations)), cells=False)
    rows = np.arange(len(held.basis))
    better, worse = Spread(tpot=0.1, ttft=0.4, throughput=0.4), Spread(tpot=0.3, ttft=0.1, throughput=0.4)
    for share, pooled in ((2, 0.2), (4, 0.4**0.25 * 0.1**0.75)):
        basis = np.where(rows % share == 0, 1.0, 2.0)
        errors = {**held.errors, "ttft": np.zeros(len(rows))}
        found = replace(held, basis=basis, errors=errors)
        first, second = in_order(found, np.ones(len(rows), dtype=bool), better, worse)
        assert first.ttft == second.ttft == pytest.approx(pooled, rel=0.02)
        assert (first.tpot, second.tpot, first.throughput, second.throughput) == (0.1, 0.3, 0.4, 0.4)


def test_rows_that_state_their_request() -> None:
    stated = {
        **row(source_id="somebody", model="ignored", gpu="ignored"),
        **{"load": "burst", "confidence": "medium", "expressible": True, "exclude": ["ttft"], "version": "0.16.0"},
        "estimate_request": {
            **{"model": "openai/gpt-oss-120b", "gpu": "h100-sxm", "tensor_parallel_size": 2, "concurrency": 8},
            **{"input_tokens": 1000, "output_tokens": 100, "prefix_hit_share": 0.5, "quantization": "mxfp4"},
        },
    }
    assert why_skipped(stated) is None
    one = observation(stated)
    assert (one.model, one.gpu, one.kind, one.pattern) == ("openai/gpt-oss-120b", "h100-sxm", "burst", "burst")
    assert (one.release, one.trust, one.prefix_hit_share) == ("0.16", 0.7, 0.5)
    assert "ttft" not in one.measured
    assert one.measured["tpot"] == 7.0
    for changes, reason in (
        ({"expressible": False, "inexpressible_why": "forked"}, "not expressible: forked"),
        ({"load": "decode-window"}, "load 'decode-window' of vllm is not modelled"),
        ({"load": "open", "request_rate": "ramp"}, "request rate not stated"),
    ):
        assert why_skipped({**stated, **changes}) == reason
    unknown = {**stated, "estimate_request": {**stated["estimate_request"], "gpu": "abacus"}}
    assert "abacus" in str(why_skipped(unknown))


def test_the_sample_is_a_fixed_point_of_sampling() -> None:
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    assert len(sample(read_rows(SAMPLE))) == len(rows)


def held(rows: list[Observation], errors: dict[str, list[float]], basis: list[float]) -> Held:
    whole = {metric: np.array(errors.get(metric, [np.nan] * len(rows))) for metric in METRICS}
    return Held("left out", Replay(tuple(rows), Catalog()), whole, np.array(basis))


def three_rows() -> list[Observation]:
    one = observation(row())
    return [one, replace(one, source="someone", load=70.0), replace(one, source="someone", kind="open", load=3.0)]


def test_a_cell_of_the_page_by_hand() -> None:
    """ln(measured / predicted) of 0, ln 2 and -ln 2: predicted is right, half, and twice what was measured."""
    errors = np.array([0.0, np.log(2), -np.log(2), np.nan])
    assert cell_of(errors) == "50.0% / 90% / 50% (3, +0%)"
    assert cell_of(np.array([np.log(2)])) == "50.0% / 50% / 50% (1, -50%)"
    assert cell_of(np.array([np.nan])) == ""


def test_rows_are_grouped_by_load_and_source_and_each_source_counts_once() -> None:
    rows = three_rows()
    assert [concurrency_band(one) for one in rows] == ["   4 to 15 users", "  64 to 255 users", "open loop"]
    assert [source_class(one) for one in rows] == ["controlled sources", "other sources", "other sources"]
    found = held(rows, {"tpot": [0.0, -np.log(2), -np.log(2)]}, [0, 1, np.nan])
    lines = grouped(found, lambda one: one.source)
    assert lines == [
        "| inferencex | 0.0% / 0% / 0% (1, +0%) |  |  |  |",
        "| someone | 100.0% / 100% / 100% (1, +100%) |  |  |  |",
    ]
    assert grouped(found, lambda one: one.source, least=2) == []
    assert (
        equal_sources(held(rows, {metric: [0.0, np.log(2), -np.log(2)] for metric in METRICS}, [0, 0, 0]))
        == "| mean of the sources' medians | " + " | ".join(["37.5% (2 sources)"] * 4) + " |"
    )


def test_the_page_holds_every_table_and_says_what_was_left_out() -> None:
    found = held(three_rows(), {metric: [0.0, np.log(2), -np.log(2)] for metric in METRICS}, [0, 1, 2])
    text = page(
        found, found, found, found, [found, found], {"measured": {"TPOT": (0.9, 20)}}, Choices(12, 0.031, 0.25),
        Counter({"other engine": 3, "lengths not stated": 5}),
    )  # fmt: skip
    assert text.startswith("# How accurate the latency predictions are\n")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        "Sources kept back", "Sources left out whole", "Sources left out whole, by basis",
        "Sources left out whole, by the clients' pattern", "Sources left out whole, by weight format",
        "Sources left out whole, by concurrency", "Sources left out whole, by vLLM release",
        "Sources left out whole, by SKU", "Sources left out whole, one by one", "Intervals",
        "Models left out, each in turn, without cells", "SKUs left out, each in turn, without cells",
        "Unseen configurations of known sources", "What others publish", "Choices", "Rows that were left out",
    ]  # fmt: skip
    assert "- measured: TPOT 90% (20)\n" in text
    assert "- controlled sources: 12 choices, mean regret 3.1%, limit broken by more than 10 % in 25.0%\n" in text
    assert text.endswith("3 rows were used; not used were:\n\n- 5 x lengths not stated\n- 3 x other engine\n")
    assert "| open loop | 100.0% / 100% / 100% (1, +100%) |" in text
