"""How many are there and what is ahead: cuts, few requests and prompts in a row, against laws worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.constraints.queueing.test_thinking_and_bursts import BARE, C
from vllm_opt.constraints.queueing.crossings import LEVELS, Levels, level_law
from vllm_opt.constraints.queueing.demand import ALIKE, Lengths, Stream
from vllm_opt.constraints.queueing.engine import Demand, outcome
from vllm_opt.constraints.queueing.finite_runs import percentile_of_all, percentile_of_runs
from vllm_opt.constraints.queueing.lattice import lattice
from vllm_opt.constraints.queueing.mixed_step import step_law
from vllm_opt.constraints.queueing.prompts_ahead import of_clumps, work_ahead
from vllm_opt.constraints.queueing.slots import Slots
from vllm_opt.constraints.speed.traffic import Traffic

ONE = np.ones(1)
EVERY = Levels(np.zeros(1), ONE)


def moments(density: np.ndarray) -> tuple[float, float]:
    """Mean and variance of a law over the levels of EVERY."""
    share, number = density[:, 0] / density.sum(), np.arange(float(LEVELS))
    mean = float((share * number).sum())
    return mean, float((share * (number - mean) ** 2).sum())


def test_many_servers_hold_a_poisson_number() -> None:
    mu = np.arange(float(LEVELS))[:, None]
    mean, variance = moments(level_law(EVERY, np.full_like(mu, 20.0), np.maximum(mu, 1e-300), 1.0, ONE))
    assert mean == pytest.approx(20.0)
    assert variance == pytest.approx(20.0)


def test_batches_and_clumps_keep_the_mean_and_widen_the_law() -> None:
    """M^X/M/infinity with geometric batches is negative binomial; both laws have the peakedness asked."""
    mu = np.maximum(np.arange(float(LEVELS))[:, None], 1e-300)
    comes = np.full_like(mu, 30.0)
    mean, variance = moments(level_law(EVERY, comes, mu, 1.0, 2.5 * ONE))
    assert mean == pytest.approx(30.0, rel=1e-6)
    assert variance == pytest.approx(75.0, rel=1e-6)
    mean, variance = moments(level_law(EVERY, comes, mu, 2.5, ONE))
    assert mean == pytest.approx(30.0, rel=0.03)
    assert variance == pytest.approx(75.0, rel=0.06)


def test_levels_far_apart_tell_the_same_law() -> None:
    levels = Levels(np.full(1, 400.0), np.full(1, 8.0))
    density = level_law(levels, np.full((LEVELS, 1), 1000.0), levels.numbers, 1.0, 2.0 * ONE)
    share, number = density[:, 0] / density.sum(), levels.numbers[:, 0]
    mean = float((share * number).sum())
    assert mean == pytest.approx(1000.0, rel=0.01)
    assert float((share * (number - mean) ** 2).sum()) == pytest.approx(2000.0, rel=0.03)


def test_users_of_one_repairman() -> None:
    """N users, one server: p(n) = N! / (N - n)! (service / think)^n p(0)."""
    number = np.arange(float(LEVELS))[:, None]
    density = level_law(EVERY, np.maximum(6.0 - number, 0.0) / 5.0, np.full_like(number, 1.0 / 2.0), 1.0, ONE)
    expected = [math.factorial(6) / math.factorial(6 - n) * 0.4**n for n in range(7)]
    np.testing.assert_allclose(density[:7, 0], expected, rtol=1e-12)
    assert (density[7:] == 0).all()


def test_one_slot_is_an_m_d_1_queue() -> None:
    """101 steps of 10 ms for whoever has the slot: rho s / (2 (1 - rho)), and no wait where all is even (D/D/1)."""
    engine, service, load = type(C)(**{**vars(BARE), "fixed_s": 0.01}), 1.01, 0.6
    random = outcome(engine, Demand("poisson"), load / service, 1, 8192, 1, 101)
    assert random.ttft_ms(None)[0] == pytest.approx(1e3 * (0.01 + service * load / (2 * (1 - load))), rel=0.1)
    even = outcome(engine, Demand("poisson", burstiness=400.0), load / service, 1, 8192, 1, 101)
    assert even.ttft_ms(None)[0] < 30.0


def test_steps_settle_where_prompts_nearly_fill_them() -> None:
    """A prompt adds 0.1 s and ten come a second, less one in twenty: T = 0.01 + 0.95 T."""
    engine = type(C)(**{**vars(BARE), "token_s": 1e-4, "fixed_s": 0.01 - 1e-4})
    traffic = Traffic.of(1000 * ONE, 100 * ONE, 1e6 * ONE, 0 * ONE, ONE)
    law = step_law(engine, traffic, ONE, 9.5 * ONE)
    assert law.mean_s[0] == pytest.approx(0.2, rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_work_ahead_is_that_of_an_m_d_1_queue(load: float) -> None:
    """Steps of one prompt: given that somebody is there, on average 1 / (2 (1 - rho)) services are ahead."""
    traffic = Traffic.of(1000 * ONE, 2 * ONE, 1000 * ONE, 0 * ONE, ONE)
    ahead = work_ahead(traffic, load * ONE, ONE, 1000 * ONE, 0 * ONE, Stream(), lattice()[:, :, None])
    assert float(ahead.mean()) / 1000 == pytest.approx(1 / (2 * (1 - load)), rel=0.03)
    assert float(np.percentile(ahead, 95)) / 1000 == pytest.approx(  # its tail falls by the root of rho (e^x - 1) = x
        {0.3: 1.56, 0.6: 3.1, 0.85: 9.0}[load], rel=0.12
    )


@pytest.mark.parametrize("shape", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("load", [0.2, 0.5, 0.8])
def test_clumps_at_one_server_wait_as_lindley_has_it(shape: float, load: float) -> None:
    random = np.random.default_rng(3)
    walk = np.concatenate([[0.0], np.cumsum(1.0 - random.gamma(shape, 1.0 / shape, 300_000) / load)])
    wait = walk - np.minimum.accumulate(walk)
    busy, ratio = (float(item[0]) for item in of_clumps(load * ONE, Stream(shape)))
    assert busy == pytest.approx((wait > 0).mean(), rel=0.12)
    assert busy * ratio / (2 * (1 - load)) == pytest.approx(wait.mean(), rel=0.12)


def test_percentiles_of_a_run_lie_between_its_times() -> None:
    """Ten requests, each with a tenth of the points: p95 is 0.55 of the way from the 9th to the 10th."""
    points = np.repeat(np.arange(10.0), 10)[:, None]
    assert percentile_of_runs(points, 95, 10 * ONE, drawn=False)[0] == pytest.approx(np.percentile(np.arange(10.0), 95))
    uniform = ((np.arange(1000) + 0.5) / 1000)[:, None]
    for number in (2, 5, 40):  # the largest of n uniform times is n / (n + 1) on average
        found = percentile_of_runs(uniform, 100, number * ONE, drawn=True)[0]
        assert found == pytest.approx(number / (number + 1), rel=1e-3)
    assert percentile_of_all(np.full((384, 1), 0.1), 99)[0] == 0.1
    assert percentile_of_all(uniform[:384], 50)[0] == pytest.approx(0.192, rel=1e-3)


def test_a_pool_holds_fewer_than_its_tokens_while_answers_grow() -> None:
    traffic = Traffic.of(1000 * ONE, 201 * ONE, 2048 * ONE, 0 * ONE, ONE)
    shared = Slots.of(traffic, 64 * ONE, 20 * ONE)
    assert shared.by_pool[0]
    assert shared.number[0] == pytest.approx(20 * (0.98 - 0.06 * 0.2 * (1 - math.exp(-5))))
    assert Slots.of(traffic, 16 * ONE, np.full(1, math.inf)).number[0] == 16


def test_what_is_left_of_a_prompt_is_spread_as_renewal_theory_has_it() -> None:
    lengths = Lengths(np.array([[0.5, 1.5]]), np.ones((1, 2)))
    uniform = (np.arange(4000) + 0.5) / 4000
    left = lengths.residual(uniform)
    assert left.mean() == pytest.approx(lengths.input_square / 2, rel=1e-3)
    assert (left**2).mean() == pytest.approx(lengths.input_cube / 3, rel=1e-3)
    assert ALIKE.residual(uniform).mean() == pytest.approx(0.5)


@given(
    inputs=st.integers(16, 8000), outputs=st.integers(8, 600), budget=st.sampled_from((1024, 2048, 8192)),
    slots=st.sampled_from((8, 32, 256)), burstiness=st.sampled_from((1.0, 0.4)), low=st.floats(0.02, 1.05),
    more=st.floats(1.02, 1.6),
)  # fmt: skip
@settings(max_examples=60, deadline=None, derandomize=True)
def test_more_requests_never_shorten_any_percentile(
    inputs: int, outputs: int, budget: int, slots: int, burstiness: float, low: float, more: float
) -> None:
    """Within 2 % (p99: 5 %), what 384 lattice points can tell."""
    demand = Demand("poisson", burstiness=burstiness)
    most = outcome(C, demand, 1e-6, slots, budget, inputs, outputs).capacity_per_s[0]
    found = outcome(C, demand, most * low * np.array([1.0, more]), slots, budget, inputs, outputs)
    for percent in (None, 50, 90, 95, 99):
        slack = 1.05 if percent == 99 else 1.02
        for times in (found.ttft_ms(percent), found.e2e_ms(percent), found.tpot_ms(percent)):
            assert times[0] <= times[1] * slack
