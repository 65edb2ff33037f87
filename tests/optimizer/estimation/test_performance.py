"""From coefficients to the speed of an answer: intervals, bounds, uneven users, replicas and the prefix cache."""

import math
from dataclasses import replace
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.latency import closed_loop
from vllm_opt.optimizer import EstimateRequest, estimate
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.estimation.performance import Engines, bound_at, predict
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

CATALOG = Catalog()
GPU = CATALOG.gpu("h100")
FITTED = latency_coefficients(
    CATALOG.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOG.quantization("bf16"), Layout(gpu=GPU.id), GPU,
    default_latency_constants(), calibrated=True,
)  # fmt: skip
COEFFICIENTS = replace(FITTED, ttft_spread=0.3, tpot_spread=0.1, throughput_spread=0.2)
"""Spreads in round numbers: a new fit moves no expectation here."""
TWO_SIDED = NormalDist().inv_cdf(0.95)


def speed(**changes: object) -> Performance:
    """32 users on one engine that runs 64 sequences at most: 1,000 tokens in, 200 out."""
    known: dict[str, Any] = {
        "engines": 1, "users": 32, "max_num_seqs": 64, "max_num_batched_tokens": 8192, "lengths": (1000, 200),
        "chunked_prefill": True, "prefix_hit_share": 0.0,
    }  # fmt: skip
    asked = {**known, **changes}
    users = asked.pop("users")
    return predict(Engines(COEFFICIENTS, **asked), users)


def test_intervals_hold_the_prediction_and_are_symmetric_in_the_logarithm() -> None:
    found = speed()
    for value, sigma, (low, high) in (
        (found.ttft_ms, 0.3, found.interval["ttft_ms"]),
        (found.tpot_ms, 0.1, found.interval["tpot_ms"]),
        (found.output_tokens_per_s, 0.2, found.interval["output_tokens_per_s"]),
    ):
        assert low < value < high
        assert math.log(high / value) == pytest.approx(TWO_SIDED * sigma)
        assert math.log(value / low) == pytest.approx(TWO_SIDED * sigma)


def test_the_rates_of_one_answer_agree() -> None:
    found = speed()
    assert found.output_tokens_per_s == pytest.approx(200 * found.requests_per_s)
    assert found.total_tokens_per_s == pytest.approx(1200 * found.requests_per_s)
    assert found.e2e_ms == pytest.approx(found.ttft_ms + 199 * found.tpot_ms, rel=0.01)
    assert (found.concurrency, found.saturated) == (32, False)


def test_bounds_move_to_the_slow_side() -> None:
    found = speed()
    bound = bound_at(COEFFICIENTS, found, 0.95)
    assert bound.ttft_ms == pytest.approx(found.ttft_ms * math.exp(TWO_SIDED * 0.3))
    assert bound.tpot_ms == pytest.approx(found.tpot_ms * math.exp(TWO_SIDED * 0.1))
    assert bound.output_tokens_per_s == pytest.approx(found.output_tokens_per_s * math.exp(-TWO_SIDED * 0.2))
    assert bound.ttft_ms == pytest.approx(found.interval["ttft_ms"][1])
    assert bound.output_tokens_per_s == pytest.approx(found.interval["output_tokens_per_s"][0])


@pytest.mark.parametrize("confidence", [None, 0.5, 0.2])
def test_no_confidence_or_at_most_a_half_keeps_the_prediction(confidence: float | None) -> None:
    found = speed()
    bound = bound_at(COEFFICIENTS, found, confidence)
    assert (bound.ttft_ms, bound.tpot_ms, bound.output_tokens_per_s) == (
        found.ttft_ms, found.tpot_ms, found.output_tokens_per_s
    )  # fmt: skip


def test_bounds_only_get_stricter_with_confidence() -> None:
    found = speed()
    bounds = [bound_at(COEFFICIENTS, found, confidence) for confidence in (0.5, 0.8, 0.9, 0.95, 0.99)]
    for looser, stricter in pairwise(bounds):
        assert looser.ttft_ms < stricter.ttft_ms
        assert looser.tpot_ms < stricter.tpot_ms
        assert looser.output_tokens_per_s > stricter.output_tokens_per_s


def test_one_output_token_has_neither_tpot_nor_a_bound_of_it() -> None:
    found = speed(lengths=(1000, 1))
    assert found.tpot_ms is None
    assert set(found.interval) == {"ttft_ms", "output_tokens_per_s"}
    assert bound_at(COEFFICIENTS, found, 0.9).tpot_ms is None


def test_even_users_make_engines_alike() -> None:
    one, three = speed(users=32), speed(users=96, engines=3)
    assert (three.ttft_ms, three.tpot_ms, three.e2e_ms) == (one.ttft_ms, one.tpot_ms, one.e2e_ms)
    assert three.output_tokens_per_s == pytest.approx(3 * one.output_tokens_per_s)
    assert three.concurrency == 96


def test_uneven_users_take_times_of_the_fullest_engine_and_rates_of_the_average() -> None:
    """10 users on 4 engines: 3, 3, 2 and 2."""
    found, fullest, emptiest = speed(users=10, engines=4), speed(users=3), speed(users=2)
    assert (found.ttft_ms, found.tpot_ms, found.e2e_ms) == (fullest.ttft_ms, fullest.tpot_ms, fullest.e2e_ms)
    assert 4 * emptiest.output_tokens_per_s < found.output_tokens_per_s < 4 * fullest.output_tokens_per_s
    average = closed_loop(COEFFICIENTS, np.array([2.5]), 64, 8192, 1000, 200)
    assert found.output_tokens_per_s == pytest.approx(4 * float(average.output_tokens_per_s[0]))


def test_fewer_users_than_engines_leave_some_idle() -> None:
    found, alone = speed(users=2, engines=4), speed(users=1)
    assert found.ttft_ms == alone.ttft_ms
    assert found.output_tokens_per_s <= 2.001 * alone.output_tokens_per_s


def test_the_fullest_engine_says_whether_users_wait() -> None:
    assert not speed(users=128, engines=2).saturated
    waiting = speed(users=200, engines=2)
    assert waiting.saturated
    assert waiting.tpot_ms == pytest.approx(speed(users=128, engines=2).tpot_ms)
    assert waiting.output_tokens_per_s == pytest.approx(speed(users=128, engines=2).output_tokens_per_s, rel=0.02)


def test_cached_prefixes_are_not_computed_again() -> None:
    cold, warm = speed(), speed(prefix_hit_share=0.8)
    assert warm.ttft_ms < cold.ttft_ms
    assert warm.output_tokens_per_s > cold.output_tokens_per_s


def test_without_a_prefix_cache_nothing_is_found_in_it() -> None:
    def run(share: float, *, caching: bool) -> Performance | None:
        return estimate(
            EstimateRequest(gpu="h100", max_model_len=8192, prefix_hit_share=share, enable_prefix_caching=caching),
            CATALOG,
        ).performance

    cold, warm, switched_off = run(0.0, caching=True), run(0.8, caching=True), run(0.8, caching=False)
    assert cold is not None
    assert warm is not None
    assert switched_off == run(0.0, caching=False)
    assert switched_off is not None
    assert switched_off.ttft_ms == cold.ttft_ms > warm.ttft_ms
