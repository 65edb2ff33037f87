"""Doubt: rivals, regret, the run that would tell; and after that run the answer tightens."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer import DoubtAnswer, calibrate, doubt, solve
from vllm_opt.optimizer.calibration.request import CalibrateRequest
from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.doubts.candidates import unique
from vllm_opt.optimizer.doubts.page import doubt_page
from vllm_opt.optimizer.doubts.separation import Separation, best_group

ASKED: dict[str, Any] = {
    "model": "Qwen/Qwen3-32B", "gpu": ("gh200-96gb", "rtx-pro-6000-ws"), "concurrency": 64, "target_context": 16384,
    "input_tokens": 2000, "output_tokens": 500, "max_ttft_ms": 2000, "max_tpot_ms": 50, "max_gpus": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def doubted() -> DoubtAnswer:
    """One question on two SKUs whose prices are near each other."""
    return doubt(SolveRequest(**ASKED))


def test_the_plan_is_that_of_solve_and_the_rest_fits_together(doubted: DoubtAnswer) -> None:
    answer = solve(SolveRequest(**ASKED))
    assert doubted.plan == answer.plan
    assert doubted.regret is not None
    assert doubted.regret >= 0
    assert all(rival.gain <= doubted.regret + 1e-3 for rival in doubted.rivals)
    assert doubted.rivals == tuple(sorted(doubted.rivals, key=lambda rival: -rival.gain))
    assert doubted.considered > len(doubted.rivals)
    plans = [doubted.plan, *(rival.plan for rival in doubted.rivals)]
    assert len(unique(plan for plan in plans if plan is not None)) == len(plans)
    json.dumps(doubted.model_dump(mode="json"), allow_nan=False)


def test_the_report_holds_the_order_and_the_limits_of_the_plan_in_doubt(doubted: DoubtAnswer) -> None:
    page = doubt_page(doubted)
    assert doubted.plan is not None
    assert doubted.plan.cost is not None
    assert f"{doubted.plan.cost.usd_per_hour * 730:,.0f}" in page
    for part in (
        "Plans that could be the best",
        "what to order",
        "Predictions against limits",
        "1 year",
    ):
        assert part in page
    assert "<script" not in page


def test_rivals_come_with_a_run_that_leaves_less_regret(doubted: DoubtAnswer) -> None:
    if not doubted.rivals:
        assert doubted.benchmark is None
        return
    run = doubted.benchmark
    assert run is not None
    words = shlex.split(run.command)
    assert words[:3] == ["vllm", "bench", "serve"]
    assert f"gpu={run.gpu}" in words
    assert run.minutes > 0
    assert run.gpus >= 1
    assert run.regret_after <= run.regret_after_at_worst
    assert doubted.regret is not None
    assert run.regret_after < doubted.regret
    assert {rival.plan.gpu for rival in doubted.rivals} | {doubted.plan.gpu if doubted.plan else ""} >= {run.gpu}


def result_of(doubted: DoubtAnswer, slower: float) -> dict[str, Any]:
    """What the run would give on a machine so many times slower than predicted, as `vllm bench serve` writes it."""
    run = doubted.benchmark
    assert run is not None
    words = shlex.split(run.command)
    plans = [plan for plan in (doubted.plan, *(one.plan for one in doubted.rivals)) if plan is not None]
    plan = next(one for one in plans if (one.gpu, one.quantization) == (run.gpu, run.quantization))
    users = int(words[words.index("--max-concurrency") + 1])
    metadata = dict(word.split("=", 1) for word in words[words.index("--metadata") + 1 :])
    speed = plan.performance
    assert speed.tpot_ms is not None
    return {
        "model_id": words[words.index("--model") + 1], "max_concurrency": users, "completed": run.requests,
        "num_prompts": run.requests, "request_rate": "inf", "total_input_tokens": 2000 * run.requests,
        "total_output_tokens": 500 * run.requests, "median_ttft_ms": slower * speed.ttft_ms,
        "median_tpot_ms": slower * speed.tpot_ms,
        "output_throughput": speed.output_tokens_per_s / plan.replicas / slower, **metadata,
    }  # fmt: skip


def test_after_the_run_the_answer_tightens(doubted: DoubtAnswer, tmp_path: Path) -> None:
    assert doubted.benchmark is not None
    assert doubted.regret_of_that is not None
    place, run = tmp_path / "own.json", tmp_path / "verify-doubt.json"
    run.write_text(json.dumps(result_of(doubted, 1.0)))
    assert calibrate(CalibrateRequest(files=str(run), calibration_file=str(place))).written
    again = doubt(SolveRequest(**ASKED, calibration_file=str(place)))
    assert again.regret_of_that is not None
    assert again.regret_of_that < 0.85 * doubted.regret_of_that
    assert any(str(place) in note for note in again.notes)


def test_no_plan_no_doubt() -> None:
    answer = doubt(SolveRequest(model="Qwen/Qwen3-32B", gpu="t4", gpus=1, concurrency=64))
    assert (answer.plan, answer.regret, answer.benchmark, answer.rivals) == (None, None, None, ())


def test_every_answer_says_what_its_place_rests_on() -> None:
    answer = solve(SolveRequest(**ASKED))
    assert answer.doubt is not None
    assert answer.doubt.regret >= 0
    single = solve(SolveRequest(**{**ASKED, "explain": False, "gpu": "h100-sxm"}))
    assert single.doubt is None or single.doubt.message


def test_the_command(capsys: pytest.CaptureFixture[str], complaint: Callable[[], str]) -> None:
    words = [
        "--gpu",
        "gh200-96gb",
        "--gpu",
        "rtx-pro-6000-ws",
        "--users",
        "8",
        "--max-gpus",
        "2",
        "--target-context",
        "4K",
    ]
    assert main(["doubt", "Qwen/Qwen3-8B", *words, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["schema"] == "vllm-opt/doubt/1"
    assert {"plan", "rivals", "regret", "benchmark"} <= set(content)
    assert main(["doubt", "Qwen/Qwen3-8B", *words]) == 0
    assert capsys.readouterr().out.startswith("Plan: ")
    for wrong in (["--users", "-1"], ["--gpu", "no-such"], ["--confidence", "nan"], ["--calibration-file", "/none"]):
        assert main(["doubt", "Qwen/Qwen3-8B", *wrong]) == 2
        complaint()


def test_of_equal_runs_the_shorter_is_taken() -> None:
    found = [Separation(("a", "x"), 0.05, 0.2), Separation(("b", "x"), 0.06, 0.2), Separation(("c", "x"), 0.2, 0.2)]
    minutes = {("a", "x"): 8.0, ("b", "x"): 2.0, ("c", "x"): 0.1}
    assert best_group(found, minutes).group == ("b", "x")
