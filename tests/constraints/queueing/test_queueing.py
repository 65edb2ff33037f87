"""Queueing against what can be computed by hand, and what any queue must obey."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammainc

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.queueing.demand import Lengths
from vllm_opt.constraints.queueing.engine import Demand, outcome
from vllm_opt.constraints.queueing.lattice import lattice, percentile_of, poisson_quantile
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.prompts_ahead import gamma_of_one_more, seen_from_one
from vllm_opt.constraints.queueing.queue_bound import queue_bound
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.latency import closed_loop
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, step_time
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

CATALOG = Catalog()
C = latency_coefficients(
    CATALOG.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOG.quantization("bf16"), Layout(gpu="h100-sxm"),
    CATALOG.gpu("h100"), default_latency_constants(), calibrated=True,
)  # fmt: skip
BARE = replace(
    LatencyCoefficients(**{item.name: 0.0 for item in fields(LatencyCoefficients)}),
    expert_miss_log=-50.0, expert_shape=1.0, window_tokens=1.0, prefill_factor=1.0, pipeline_stages=1.0,
)  # fmt: skip
"""An engine whose steps take no time: tests add the one cost that they are about."""
POISSON = Demand("poisson")


def at(rate: float, **changes: object) -> Outcome:
    """1,000 tokens in and 200 out on one engine of 64 slots."""
    given: dict[str, object] = {
        "c": C, "demand": POISSON, "load": rate, "max_num_seqs": 64, "max_num_batched_tokens": 2048,
        "input_tokens": 1000, "output_tokens": 200,
    }  # fmt: skip
    return outcome(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("mean", [0.05, 0.7, 3.0, 8.9, 40.0])
def test_the_lattice_reproduces_a_poisson_law(mean: float) -> None:
    drawn = poisson_quantile(lattice()[0][:, None], np.full(1, mean))[:, 0]
    assert drawn.mean() == pytest.approx(mean, rel=0.04, abs=0.01)
    assert drawn.var() == pytest.approx(mean, rel=0.15, abs=0.02)
    assert (drawn == np.round(drawn)).all()


def test_percentiles_interpolate_between_equally_likely_points() -> None:
    samples = np.arange(100.0)[:, None]
    assert percentile_of(samples, 50)[0] == pytest.approx(49.5)
    assert percentile_of(samples, 95)[0] == pytest.approx(94.5)


def test_a_lone_request_waits_for_nobody() -> None:
    found = at(1e-6)
    step = float(step_time(C, 0.0, 0.0, 1000.0, 500.0) * C.prefill_factor)
    lone = float(C.frontend_s) + 1000 * float(C.frontend_token_s) + step
    assert found.ttft_ms(50)[0] == pytest.approx(lone * 1e3, rel=1e-6)
    assert found.ttft_ms(99)[0] == pytest.approx(lone * 1e3, rel=1e-6)
    alone = float(step_time(C, 1.0, 1100.0, 0.0, 0.0))
    assert found.tpot_ms(50)[0] == pytest.approx(alone * 1e3, rel=0.01)


@pytest.mark.parametrize("load", [0.2, 0.5, 0.7])
def test_prompts_of_one_full_step_wait_as_in_an_m_d_1_queue(load: float) -> None:
    engine = replace(BARE, token_s=1e-4)
    service = 1000 * 1e-4
    found = outcome(engine, POISSON, load / service, 64, 1000, 1000, 1)
    expected = service + service * load / (2 * (1 - load))
    assert found.ttft_ms(None)[0] == pytest.approx(expected * 1e3, rel=0.12)
    assert found.utilization[0] == pytest.approx(load)


def test_steps_without_cost_per_prompt_make_tpot_the_step_and_ttft_a_residual_and_a_step() -> None:
    engine = replace(BARE, fixed_s=0.02)
    found = outcome(engine, POISSON, 2.0, 64, 2048, 100, 500)
    assert found.tpot_ms(None)[0] == pytest.approx(20.0, rel=1e-6)
    assert found.ttft_ms(None)[0] == pytest.approx(30.0, rel=0.03)
    assert found.ttft_ms(95)[0] == pytest.approx(39.0, rel=0.03)


def test_whoever_finds_others_waits_for_the_step_that_is_already_planned_too() -> None:
    found = outcome(replace(BARE, fixed_s=0.02, ahead_steps=1.0), POISSON, 2.0, 64, 2048, 100, 500)
    assert found.ttft_ms(None)[0] == pytest.approx(50.0, rel=0.03)
    assert found.ttft_ms(95)[0] == pytest.approx(59.0, rel=0.03)
    lone = outcome(replace(BARE, fixed_s=0.02, ahead_steps=1.0), POISSON, 1e-6, 64, 2048, 100, 500)
    assert lone.ttft_ms(None)[0] == pytest.approx(20.0, rel=0.01)
    pause = outcome(replace(BARE, fixed_s=0.02, ahead_steps=1.0), Demand("closed", think_s=0.1), 20, 64, 2048, 100, 500)
    assert pause.ttft_ms(None)[0] == pytest.approx(50.0, rel=0.03)


@given(
    rate=st.floats(0.01, 60), slots=st.integers(1, 600), budget=st.integers(256, 32768), inputs=st.integers(1, 60_000),
    outputs=st.integers(1, 3000), pattern=st.sampled_from(("poisson", "closed", "burst", "offline")),
    burstiness=st.sampled_from((0.1, 1.0, 20.0)), hit=st.sampled_from((0.0, 0.9)),
)  # fmt: skip
@settings(max_examples=40, deadline=None, derandomize=True)
def test_times_are_finite_ordered_and_never_below_a_lone_step(
    rate: float, slots: int, budget: int, inputs: int, outputs: int, pattern: str, burstiness: float, hit: float
) -> None:
    demand = Demand(pattern, rate if pattern == "poisson" else None, burstiness)  # type: ignore[arg-type]
    load = rate if pattern == "poisson" else math.ceil(rate)
    found = outcome(C, demand, load, slots, budget, inputs, outputs, prefix_hit_share=hit)
    for times in (found.ttft_ms, found.e2e_ms, *((found.tpot_ms,) if outputs > 1 else ())):
        values = [float(times(percent)[0]) for percent in (50, 90, 95, 99)]
        assert all(map(math.isfinite, values))
        assert values == sorted(values)
        assert values[0] > 0
    assert 0 < found.utilization[0] <= 1
    assert found.requests_per_s[0] <= found.capacity_per_s[0] * (1 + 1e-9)
    if outputs > 1:
        assert found.tpot_ms(50)[0] >= float(step_time(C, 1.0, 0.0, 0.0, 0.0)) * 1e3 * 0.999


def test_a_higher_rate_means_longer_times_and_more_utilisation() -> None:
    low, high = at(4.0), at(16.0)
    assert high.ttft_ms(95)[0] > low.ttft_ms(95)[0]
    assert high.tpot_ms(50)[0] > low.tpot_ms(50)[0]
    assert high.utilization[0] == pytest.approx(4 * low.utilization[0])


def test_clumps_lengthen_the_tail_and_even_arrivals_shorten_it() -> None:
    clumped, even = (at(10.0, demand=Demand("poisson", burstiness=shape)).ttft_ms(95)[0] for shape in (0.3, 10.0))
    assert even < at(10.0).ttft_ms(95)[0] < clumped


def test_beyond_the_capacity_what_is_served_is_the_capacity() -> None:
    found = at(1e4)
    assert found.requests_per_s[0] == pytest.approx(found.capacity_per_s[0])
    assert found.utilization[0] == 1


def test_a_closed_loop_keeps_its_fitted_means() -> None:
    found = at(0, demand=Demand("closed"), load=32)
    mean = closed_loop(C, 32, 64, 2048, 1000, 200)
    assert found.ttft_ms(None)[0] == pytest.approx(float(mean.ttft_ms), rel=1e-6)
    assert found.tpot_ms(None)[0] == pytest.approx(float(mean.tpot_ms), rel=1e-6)


def test_users_who_pause_are_fewer_in_flight() -> None:
    found = at(0, demand=Demand("closed", think_s=10.0), load=32)
    in_flight = found.requests_per_s[0] * found.e2e_ms(None)[0] / 1e3
    assert in_flight + found.requests_per_s[0] * 10 == pytest.approx(32, rel=0.02)


@pytest.mark.parametrize(
    ("shape", "off"), [(0.25, 0.12), (0.3, 0.09), (0.5, 0.05), (0.7, 0.09), (0.9, 0.09), (1.0, 1e-9)]
)
def test_who_arrives_in_a_clump_has_others_just_before(shape: float, off: float) -> None:
    """The renewal function of gamma intervals is the sum over n of P(n k, k r t), the regularised incomplete gamma."""
    time = np.array([0.01, 0.1, 0.5, 1.0, 3.0])
    exact = sum(gammainc(number * shape, shape * time) for number in range(1, 60))
    np.testing.assert_allclose(seen_from_one(np.ones(5), time, 1.0 / shape), exact, rtol=off)
    for x in (shape, 2.0 * shape):
        assert gamma_of_one_more(x) == pytest.approx(math.gamma(1.0 + x), abs=1e-4)


def test_users_who_pause_meet_now_more_now_fewer_others() -> None:
    """Machine repairman: an engine that serves at one speed has Poisson many users who think, none without pauses."""
    engine = replace(BARE, sequence_s=1e-3, token_s=1e-9)

    def spread(think_s: float) -> float:
        found = outcome(engine, Demand("closed", think_s=think_s), 40, 64, 8192, 1, 100)
        return float(found.tpot_ms(95)[0] / found.tpot_ms(5)[0])

    assert spread(0.0) < 1.02
    # One millisecond per user there: 10 answers a second, so of 40 users 20 pause for 2 s, and sqrt(20) more or fewer.
    assert 1.6 < spread(2.0) < 2.1


def test_short_answers_of_a_burst_last_no_longer_than_full_steps() -> None:
    engine = replace(BARE, token_s=1e-4)
    found = outcome(engine, Demand("burst"), 40, 64, 1000, 1000, 5)
    decode = float(step_time(engine, 40.0, 1000.0, 0.0, 0.0))
    assert found.tpot_ms(95)[0] <= 1e3 * (0.1 + decode) * 1.01
    assert found.tpot_ms(5)[0] < 0.6 * found.tpot_ms(95)[0]


def test_the_last_of_a_burst_waits_for_all_the_others() -> None:
    engine = replace(BARE, token_s=1e-4)
    found = outcome(engine, Demand("burst"), 40, 64, 1000, 1000, 2)
    assert found.ttft_ms(99)[0] == pytest.approx(4000, rel=0.03)
    # Whoever decodes takes a token of each step, so the last token of every later prompt falls into one step more.
    assert found.ttft_ms(50)[0] == pytest.approx(2150, rel=0.01)


def test_pairs_of_lengths_have_mean_one_and_keep_their_tail() -> None:
    random = np.random.default_rng(0)
    lengths = Lengths.of_pairs(random.gamma(2, 500, 900), random.gamma(1, 100, 900))
    assert lengths.inputs.mean() == pytest.approx(1)
    assert lengths.outputs.mean() == pytest.approx(1)
    assert lengths.output_square == pytest.approx(2, rel=0.15)
    spread = at(5.0, demand=Demand("poisson", lengths=lengths))
    assert spread.e2e_ms(95)[0] > 2 * at(5.0).e2e_ms(95)[0]
    with pytest.raises(ValueError, match="as many inputs"):
        Lengths.of_pairs(np.ones(3), np.ones(2))


def test_many_engines_at_once_are_each_as_alone() -> None:
    rates = np.linspace(0.5, 20, 700)
    together = at(0, load=rates).ttft_ms(95)
    for index in (0, 350, 699):
        assert together[index] == pytest.approx(at(float(rates[index])).ttft_ms(95)[0], rel=1e-9)


def test_a_bounded_queue_grows_with_the_limit_and_never_refuses_what_has_a_slot() -> None:
    tight, loose = (queue_bound(C, (1000, 200), 64, 2048, 0.0, limit) for limit in (0.01, 2.0))
    assert tight.requests == 64
    assert tight.tokens == 2048
    assert loose.requests > 64
    assert loose.tokens > 10_000
