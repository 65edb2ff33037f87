"""The simulated scheduler against schedules written by hand."""

from collections.abc import Iterable
from dataclasses import fields, replace

import pytest

from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.simulation.scheduler import Engine, EngineLimits
from vllm_opt.optimizer.simulation.sequence import Arrival, Sequence
from vllm_opt.optimizer.simulation.step_clock import StepClock

STEP_S = 0.01
EVEN = replace(
    LatencyCoefficients(**{item.name: 0.0 for item in fields(LatencyCoefficients)}),
    expert_miss_log=-50.0, expert_shape=1.0, window_tokens=1.0, prefill_factor=1.0, pipeline_stages=1.0, fixed_s=STEP_S,
)  # fmt: skip
"""Every step lasts 10 ms, whatever it carries."""


def played(arrivals: Iterable[Arrival], *, delay_s: float = 0.0, **limits: object) -> dict[int, Sequence]:
    """What became of each request."""
    done: dict[int, Sequence] = {}
    known: dict[str, object] = {
        "max_num_seqs": 8, "max_num_batched_tokens": 100, "pool_blocks": 10**6, "blocks_of": lambda tokens: tokens
    }  # fmt: skip
    engine = Engine(
        StepClock(EVEN), EngineLimits(**{**known, **limits}), lambda *_: delay_s,  # type: ignore[arg-type]
        lambda one, _now: done.update({one.number: one}),
    )  # fmt: skip
    for arrival in arrivals:
        engine.send(arrival)
    engine.run()
    return done


def steps(one: Sequence) -> tuple[float, float]:
    """Steps from the arrival to the first token, and from there to the end."""
    first = (one.first_token_s - one.arrival.at_s) / STEP_S
    return pytest.approx(first), pytest.approx((one.finished_s - one.first_token_s) / STEP_S)


def test_one_request_takes_a_step_for_its_prompt_and_one_per_further_token() -> None:
    assert steps(played([Arrival(0.0, 50, 6)])[0]) == (1, 5)


def test_a_long_prompt_is_computed_in_chunks() -> None:
    assert steps(played([Arrival(0.0, 250, 3)])[0]) == (3, 2)


def test_who_comes_during_a_step_waits_for_its_end() -> None:
    done = played([Arrival(0.0, 50, 6), Arrival(0.015, 50, 2)])
    assert steps(done[1]) == (1.5, 1)


def test_who_comes_during_a_step_rides_in_the_one_after_the_next_where_that_is_planned_ahead() -> None:
    done = played([Arrival(0.0, 50, 8), Arrival(0.015, 50, 2), Arrival(0.5, 50, 2)], planned_ahead=True)
    assert steps(done[0]) == (1, 7)
    assert steps(done[1]) == (2.5, 1)
    assert steps(done[2]) == (1, 1)


def test_a_prompt_that_comes_during_a_chunk_is_planned_after_the_next_chunk() -> None:
    arrivals = [Arrival(0.0, 150, 3), Arrival(0.005, 50, 2)]
    assert steps(played(arrivals)[1]) == (1.5, 1)
    done = played(arrivals, planned_ahead=True)
    assert steps(done[0]) == (2, 2)
    assert steps(done[1]) == (2.5, 1)


def test_the_front_end_delays_before_the_engine_sees_anything() -> None:
    assert played([Arrival(0.0, 50, 2)], delay_s=0.5)[0].first_token_s == pytest.approx(0.51)


def test_prompts_share_a_step_in_order_and_the_next_waits_for_tokens() -> None:
    done = played([Arrival(0.0, 60, 2), Arrival(0.0, 60, 2), Arrival(0.0, 60, 2)])
    assert [steps(done[number])[0] for number in range(3)] == [1, 2, 2]


def test_a_decoder_takes_its_token_before_prompts_do() -> None:
    done = played([Arrival(0.0, 10, 10), Arrival(0.015, 100, 2)])
    assert steps(done[1])[0] == 2.5
    assert steps(done[0]) == (1, 9)


def test_who_finds_all_slots_taken_waits_until_one_is_finished() -> None:
    done = played([Arrival(0.0, 10, 5), Arrival(0.0, 10, 5)], max_num_seqs=1)
    assert steps(done[0]) == (1, 4)
    assert steps(done[1]) == (6, 4)


def test_a_prompt_that_the_pool_does_not_hold_waits() -> None:
    done = played([Arrival(0.0, 40, 5), Arrival(0.0, 40, 5)], pool_blocks=60)
    assert steps(done[1]) == (6, 4)
    assert done[1].preemptions == 0


def test_the_last_admitted_is_preempted_when_the_pool_runs_out_and_computed_again() -> None:
    done = played([Arrival(0.0, 20, 30), Arrival(0.0, 20, 30)], pool_blocks=60)
    assert done[0].preemptions == 0
    assert done[1].preemptions == 1
    assert steps(done[0]) == (1, 29)
    assert done[1].first_token_s == pytest.approx(STEP_S)
    assert done[1].finished_s > done[0].finished_s


def test_cached_prompt_tokens_are_not_computed() -> None:
    assert steps(played([Arrival(0.0, 200, 2)], hit_share=0.5)[0])[0] == 1


def test_without_chunked_prefill_decoders_stand_still_beside_prompts() -> None:
    done = played([Arrival(0.0, 10, 10), Arrival(0.015, 100, 2)], chunked_prefill=False)
    assert steps(done[1])[0] == 1.5
    assert steps(done[0]) == (1, 10)


def test_the_clock_adds_attention_and_pads_as_the_step_time_does() -> None:
    engine = replace(EVEN, decode_s_per_context_token=1e-6, token_s=1e-5)
    seconds = StepClock(engine).decode_law(3)(3000.0, 0.0)
    assert seconds == pytest.approx(STEP_S + 3e-3 + 4 * 1e-5)
