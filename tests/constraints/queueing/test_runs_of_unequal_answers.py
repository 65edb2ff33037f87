"""Prompts sent at once whose answers differ: the batch shrinks, and the last answer ends the run."""

from dataclasses import fields, replace

import numpy as np
import pytest

from vllm_opt.constraints.queueing.demand import Lengths
from vllm_opt.constraints.queueing.engine import Demand, outcome
from vllm_opt.constraints.speed.step_time import LatencyCoefficients

BARE = replace(
    LatencyCoefficients(**{item.name: 0.0 for item in fields(LatencyCoefficients)}),
    expert_miss_log=-50.0, expert_shape=1.0, window_tokens=1.0, prefill_factor=1.0, pipeline_stages=1.0,
)  # fmt: skip
SHORT_AND_LONG = Lengths.of_pairs(np.full(4, 100), np.array([50, 50, 150, 150]))


def rate(engine: LatencyCoefficients, lengths: Lengths, prompts: int, slots: int) -> float:
    """Requests per second of a run of answers of 101 tokens on average, 100 steps after the first token."""
    return float(outcome(engine, Demand("offline", lengths=lengths), prompts, slots, 10**6, 100, 101).requests_per_s[0])


def test_steps_that_cost_the_same_however_full_last_until_the_longest_answer() -> None:
    engine = replace(BARE, fixed_s=0.01)
    alike = rate(engine, Lengths.of_pairs(np.array([100]), np.array([100])), 1000, 1000)
    assert alike == pytest.approx(1000 / (0.01 + 100 * 0.01), rel=1e-9)
    assert rate(engine, SHORT_AND_LONG, 1000, 1000) == pytest.approx(1000 / (0.01 + 150 * 0.01), rel=1e-9)


def test_steps_that_cost_as_much_as_they_are_full_take_what_all_tokens_take() -> None:
    engine = replace(BARE, sequence_s=1e-4, token_s=1e-12)
    for slots in (1000, 250):
        assert rate(engine, SHORT_AND_LONG, 1000, slots) == pytest.approx(1 / (100 * 1e-4), rel=1e-6)


def test_few_prompts_may_all_be_short() -> None:
    """Of two prompts one is long with probability 3/4: 0.25 x 50 + 0.75 x 150 steps."""
    engine = replace(BARE, fixed_s=0.01)
    assert rate(engine, SHORT_AND_LONG, 2, 64) == pytest.approx(2 / (0.01 + 125 * 0.01), rel=1e-9)


def test_a_queue_keeps_the_batch_full_until_it_is_empty() -> None:
    """1,000 prompts on 100 slots: 1,000 steps of work; residual lives of 62.5 steps on average last up to 150 steps."""
    engine = replace(BARE, fixed_s=0.01)
    run_s = 1000 / rate(engine, SHORT_AND_LONG, 1000, 100)
    assert run_s == pytest.approx(10 * 0.01 + 0.01 * (1000 - 62.5 + 150), rel=1e-6)


def test_an_answer_is_faster_while_few_others_are_left() -> None:
    engine = replace(BARE, sequence_s=1e-4, token_s=1e-12)
    found = outcome(engine, Demand("burst", lengths=SHORT_AND_LONG), 1000, 1000, 10**6, 100, 101)
    short, long = found.tpot_ms(99)[0], found.tpot_ms(5)[0]
    assert short == pytest.approx(100.0, rel=1e-3)
    assert long == pytest.approx((50 * 1000 + 100 * 500) / 150 * 0.1, rel=0.03)
