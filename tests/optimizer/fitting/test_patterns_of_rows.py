"""Rows are compared as they were measured: first waves, random arrivals with their burstiness and lengths, spreads."""

from dataclasses import replace

import numpy as np
import pytest

from vllm_opt.constraints.speed.step_time import step_time
from vllm_opt.optimizer.fitting.latency.measurements import observation
from vllm_opt.optimizer.fitting.latency.observation import Observation
from vllm_opt.optimizer.fitting.latency.regression import queueing_factors
from vllm_opt.optimizer.fitting.latency.replay import METRICS, Nouns, Replay, evenly_drawn, predict_all, usable
from vllm_opt.optimizer.fitting.latency.validation import fitting_both
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

NOUNS = Nouns(Catalog())
CONSTANTS = default_latency_constants()


def row(**changes: object) -> dict[str, object]:
    """Eight users of Llama 3.1 8B on an H100, 4,000 tokens in."""
    base = {
        **{"source_id": "somebody", "framework": "vllm", "model": "meta-llama/Meta-Llama-3.1-8B-Instruct"},
        **{"gpu": "H100-SXM", "num_gpus": 1, "tp": 1, "dp": 1, "ep": 1, "weight_precision": "bf16"},
        **{"kv_precision": None, "isl": 4000, "osl": 201, "request_rate": "inf", "max_concurrency": 8},
        **{"num_prompts": None, "notes": "closed loop", "version": "0.19.0", "measured": measured()},
    }
    return {**base, **changes}


def measured(**values: float) -> dict[str, float | None]:
    """Median TTFT and TPOT, or what is named instead."""
    names = ("request_throughput", "output_tok_s", "e2e_ms", "mean_ttft_ms", "mean_tpot_ms")
    known = values or {"median_ttft_ms": 100.0, "median_tpot_ms": 7.0}
    return {**dict.fromkeys((*names, "median_ttft_ms", "median_tpot_ms")), **known}


FOUR = {"max_concurrency": 4, "osl": 4001}
"""Four users with long answers: later prompts rarely meet."""
MEANS = measured(mean_ttft_ms=100.0, mean_tpot_ms=7.0)


def replay_of(*runs: Observation) -> Replay:
    """All of them."""
    replay, unfit = usable(runs, NOUNS)
    assert not unfit
    return replay


def test_the_first_wave_counts_in_a_mean_and_in_a_median_from_half_of_the_requests_on() -> None:
    runs = [
        observation(one)
        for one in (
            row(**FOUR, num_prompts=10**6),
            row(**FOUR, num_prompts=8, measured=MEANS),
            row(**FOUR, num_prompts=10**6, measured=MEANS),
            row(**FOUR, num_prompts=12),
            row(**FOUR, num_prompts=8),
            row(**FOUR, num_prompts=4, notes="burst: all prompts at once"),
        )
    ]
    assert [one.prompts_per_user for one in runs[1:5]] == [2.0, 250_000.0, 3.0, 2.0]
    later, mean, long, thirds, halves, burst = replay_of(*runs).predict(CONSTANTS)["ttft"]
    # Two requests per user: the first of them met all others at once.
    assert mean == pytest.approx((later + burst) / 2)
    assert long == pytest.approx(later, rel=1e-3)
    # The median of three is a later request; that of two, the fastest of the burst: two prompts share the first step.
    assert thirds == later
    c = replay_of(runs[0]).coefficients(CONSTANTS, calibrated=False)
    full = c.frontend_s + 4000 * c.frontend_token_s + step_time(c, 0.0, 0.0, 8192.0, 2000.0)
    assert later < halves == pytest.approx(1e3 * float(full[0]))
    assert halves < burst


def test_random_arrivals_have_the_burstiness_and_the_lengths_that_their_row_states() -> None:
    notes = "request rate 4 rps (burstiness 0.7); vllm bench serve random, range ratio 0.9 (lengths vary +-90%)"
    rate = {"request_rate": 4.0, "max_concurrency": None, "measured": {**measured(), "request_throughput": 4.0}}
    stated, plain = observation(row(notes=notes, **rate)), observation(row(notes="request rate 4 rps", **rate))
    assert (stated.kind, stated.burstiness, stated.length_range) == ("open", 0.7, 0.9)
    assert (plain.burstiness, plain.length_range) == (1.0, 0.0)
    replay = replay_of(stated, plain)
    assert {shape: rows.tolist() for shape, rows in replay.streams.items()} == {(0.7, 0.9): [0], (1.0, 0.0): [1]}
    tpot = replay.predict(CONSTANTS)["tpot"]
    assert tpot[0] > tpot[1]  # clumps meet more others
    spread = observation(row(notes=notes))
    assert (spread.kind, spread.burstiness, spread.length_range) == ("closed", 1.0, 0.0)


def test_evenly_drawn_lengths_have_the_moments_of_an_even_law() -> None:
    lengths = evenly_drawn(0.9)
    assert lengths.input_square == pytest.approx(1 + 0.9**2 / 3, rel=2e-3)
    assert lengths.held_input == pytest.approx(1.0)
    assert not evenly_drawn(0.0).spread


def test_the_regression_starts_from_what_queueing_answers() -> None:
    rate = {"request_rate": 4.0, "max_concurrency": None, "measured": {**measured(), "request_throughput": 4.0}}
    replay = replay_of(observation(row(notes="request rate 4 rps (burstiness 0.5)", **rate)), observation(row()))
    factors = queueing_factors(replay, CONSTANTS)
    c = replay.coefficients(CONSTANTS, calibrated=False)
    smooth, queued = predict_all(c, replay, queued=False), predict_all(c, replay)
    for metric in METRICS:
        assert factors[metric][1] == 1.0
        product, known = smooth[metric] * factors[metric], np.isfinite(queued[metric])
        assert product[known] == pytest.approx(queued[metric][known])
    assert factors["ttft"][0] != 1.0


def test_a_spread_of_two_bases_moves_to_where_it_holds_85_to_95_percent_of_each() -> None:
    narrow, wide = np.linspace(0.0, 0.2, 1001), np.linspace(0.0, 0.21, 1001)
    most, least = 0.95 * 0.2 / 1.6449, 0.85 * 0.21 / 1.6449
    assert fitting_both(0.5, [narrow, wide]) == pytest.approx(most)
    assert fitting_both(0.01, [narrow, wide]) == pytest.approx(least)
    assert fitting_both(0.11, [narrow, wide]) == 0.11
    assert fitting_both(0.5, [narrow, 10 * wide]) == 0.5
    assert fitting_both(0.5, [np.zeros(30), np.zeros(30)]) == 0.04


def test_more_requests_a_user_make_a_first_wave_count_less() -> None:
    one = observation(row(num_prompts=16, measured=MEANS))
    runs = [replace(one, prompts_per_user=each) for each in (1.0, 2.0, 4.0, 50.0)]
    found = replay_of(*runs).predict(CONSTANTS)["ttft"]
    assert (np.diff(found) < 0).all()
