"""What a row does not say but its source does: flags of scripts, replicas of a batch, bursts sent at a rate."""

from dataclasses import replace

import pytest

from tests.optimizer.fitting.test_patterns_of_rows import CONSTANTS, MEANS, measured, replay_of, row
from vllm_opt.optimizer.fitting.latency.measurements import observation, prompts_at_once
from vllm_opt.optimizer.fitting.latency.prior import read_prior
from vllm_opt.optimizer.fitting.latency.replay import predict_all
from vllm_opt.optimizer.fitting.latency.scripts import SCRIPTS, script_of

MINIMAX = {
    **{"source_id": "inferencex", "model": "MiniMaxAI/MiniMax-M2.5", "gpu": "B200-SXM", "weight_precision": "fp4"},
    **{"isl": 1024, "osl": 1024, "tp": 4, "num_gpus": 4, "notes": "closed loop; silicon_concurrency=8"},
}


@pytest.mark.parametrize(
    ("day", "capture", "tokens", "cache"),
    [("2026-04-03", 512, 8192, "auto"), ("2026-04-08", 2048, 2048, "fp8"), ("2026-04-22", 2048, 2048, "fp8")],
)
def test_a_script_passed_its_flags_from_one_day_on(day: str, capture: int, tokens: int, cache: str) -> None:
    found = observation(row(**MINIMAX, date=day))
    assert (found.largest_capture, found.max_num_batched_tokens, found.kv_cache_dtype) == (capture, tokens, cache)


def test_scripts_speak_of_their_own_rows_only() -> None:
    assert observation(row(**{**MINIMAX, "source_id": "somebody"}, date="2026-04-22")).largest_capture == 512
    assert observation(row(**{**MINIMAX, "gpu": "H200-SXM"}, date="2026-04-22")).largest_capture == 512
    undated = script_of(row(**{**MINIMAX, "model": "openai/gpt-oss-120b", "gpu": "H100-SXM"}, date=None))
    assert undated.largest_capture == 2048
    assert undated.asynchronous
    assert not undated.narrow_cache
    assert all(one.gpus and one.formats for one in SCRIPTS)


def test_a_batch_of_each_replica_is_no_batch_over_all() -> None:
    # Two replicas, 4 requests at once, 94.2 s, 0.0849 requests/s: eight were served, so each replica had four.
    notes = "offline batch (benchmark_throughput, 4 requests at once, elapsed 94.2s); two independent replicas"
    served = measured(request_throughput=0.084949)
    both = row(dp=2, num_prompts=4, max_concurrency=None, notes=notes, measured=served)
    assert prompts_at_once(both) == 8
    assert observation(both).load == 4
    shared = row(dp=2, num_prompts=8, max_concurrency=None, notes=notes, measured=served)
    assert observation(shared).load == 4
    alone = row(num_prompts=4, max_concurrency=None, notes=notes, measured=measured(request_throughput=0.042475))
    assert observation(alone).load == 4


def test_a_burst_at_a_rate_waits_less_than_one_at_once() -> None:
    sent = observation(row(num_prompts=50, max_concurrency=50, notes="burst: all prompts at once", measured=MEANS))
    runs = [replace(sent, arrival_s=seconds) for seconds in (0.0, 1.0, 5.0, 60.0)]
    replay = replay_of(*runs)
    found = predict_all(replay.coefficients(CONSTANTS, calibrated=False), replay)
    at_once, second, five, minute = found["ttft"]
    assert second == pytest.approx(at_once - 500, rel=0.02)
    assert five < second
    # Prompts of 4,000 tokens a minute long apart meet nobody's prefill.
    assert minute == pytest.approx(five, rel=0.3)
    assert minute < at_once / 4
    assert found["throughput"][3] < found["throughput"][0] / 4


def test_prompts_of_spread_lengths_attend_to_more() -> None:
    # Median 3,500 and 90th percentile 10,000: their mean square is 1.45 times the square of their mean.
    plain = observation(row())
    runs = [replace(plain, squared_lengths=value) for value in (1.0, 1.45)]
    replay = replay_of(*runs)
    found = replay.coefficients(CONSTANTS, calibrated=False)
    spans = [float(value) for value in found.prefill_s_per_span_token]
    assert spans[1] == pytest.approx(1.45 * spans[0])
    first = predict_all(found, replay)["ttft"]
    assert first[0] < first[1] < 1.2 * first[0]


def test_half_the_rate_of_a_die_is_reached_almost_whole() -> None:
    prior = read_prior()
    card, timed = prior.gpus["rtx-5090"], prior.gpus["rtx-pro-6000-server"]
    assert card.compute_efficiency > timed.compute_efficiency
    for path in ("fp8", "nvfp4"):
        reached = [one.compute_efficiency * one.paths[path].compute for one in (card, timed)]
        assert reached[0] == pytest.approx(reached[1], rel=1e-3)
