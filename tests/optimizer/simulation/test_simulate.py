"""A played load beside the closed forms, traces, and the command."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer import SimulateRequest, simulate
from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.rendering.simulation import simulation_csv, simulation_table
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
SERVER: dict[str, Any] = {"gpu": "h100-sxm", "max_model_len": 8192, "input_tokens": 1000, "output_tokens": 100}
MEAN, TAIL = 0.10, 0.15
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    "asked",
    [
        {"requests_per_s": 4.0},
        {"requests_per_s": 20.0},
        {"requests_per_s": 3.0, "input_tokens": 3000, "output_tokens": 200},
        {"requests_per_s": 6.0, "input_tokens": 3000, "max_num_batched_tokens": 1024},
        {"requests_per_s": 2.0, "gpu": "l4", "max_num_seqs": 64, "input_tokens": 300},
        {"requests_per_s": 12.0, "max_num_batched_tokens": 2048, "input_tokens": 300, "prefix_hit_share": 0.5},
    ],
    ids=str,
)
def test_closed_forms_stay_near_the_played_load(asked: dict[str, Any]) -> None:
    answer = simulate(SimulateRequest(**{**SERVER, **asked}, num_requests=2500), CATALOG)
    assert answer.played is not None
    assert answer.closed_form is not None
    for name in ("ttft_ms", "tpot_ms", "e2e_ms"):
        values = answer.played.times[name]
        assert getattr(answer.closed_form, name) == pytest.approx(values["mean"], rel=MEAN), name
        assert answer.closed_form.percentiles[name]["p95"] == pytest.approx(values["p95"], rel=TAIL), name


def test_the_same_seed_plays_the_same_and_another_does_not() -> None:
    asked = SimulateRequest(**SERVER, requests_per_s=5.0, num_requests=200)
    first, again = simulate(asked, CATALOG), simulate(asked, CATALOG)
    assert first == again
    assert first.log == again.log
    other = simulate(asked.replaced(seed=1), CATALOG)
    assert other.played != first.played


def test_a_trace_is_replayed_as_it_was_recorded(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    rows = [{"arrival_s": at, "input_tokens": 100 + at, "output_tokens": 5} for at in (0, 10, 30)]
    trace.write_text("\n".join(map(json.dumps, rows)))
    answer = simulate(SimulateRequest(gpu="h100", max_model_len=4096, lengths=str(trace)), CATALOG)
    assert [(one.arrival_s, one.input_tokens) for one in answer.log] == [(0, 100), (10, 110), (30, 130)]
    twice = simulate(
        SimulateRequest(gpu="h100", max_model_len=4096, lengths=str(trace), requests_per_s=2 / 15), CATALOG
    )
    assert [round(one.arrival_s, 6) for one in twice.log] == [0, 5, 15]


def test_a_pool_that_is_too_small_preempts() -> None:
    answer = simulate(
        SimulateRequest(
            gpu="h100", max_model_len=4096, input_tokens=1000, output_tokens=1000, num_gpu_blocks_override=400,
            arrivals="burst", concurrency=6,
        ), CATALOG,
    )  # fmt: skip
    assert answer.played is not None
    assert answer.played.preemptions > 0
    assert answer.played.requests == 6


def test_what_does_not_start_is_not_played() -> None:
    answer = simulate(SimulateRequest(model="meta-llama/Llama-3.1-70B-Instruct", gpu="l4"), CATALOG)
    assert not answer.fits
    assert answer.played is None
    assert "does not start" in simulation_table(answer, Screen())


def test_the_picture_has_an_ascii_form_and_the_csv_every_request() -> None:
    answer = simulate(SimulateRequest(**SERVER, concurrency=8, num_requests=80), CATALOG)
    plain = simulation_table(answer, Screen(width=80, unicode=False))
    assert plain.startswith(f"{answer.request['model']} on 1 x {answer.request['gpu']}, vLLM ")
    assert plain.isascii()
    assert "#" in plain
    lines = simulation_csv(answer.log).splitlines()
    assert lines[0].startswith("number,engine,arrival_s,input_tokens")
    assert len(lines) == 81


def test_the_command_answers_in_json_and_writes_the_requests(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "requests.csv"
    flags = ["--gpu", "h100", "--max-model-len", "4096", "--concurrency", "3", "--num-requests", "30"]
    assert main(["simulate", *flags, "--format", "json", "--csv", str(out)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == "vllm-opt/simulation/1"
    assert set(answer["played"]["times"]["ttft_ms"]) == {"mean", "p50", "p90", "p95", "p99"}
    assert len(out.read_text().splitlines()) == 31


@pytest.mark.parametrize(
    "typed",
    [("--num-requests", "0"), ("--seed", "-1"), ("--arrivals", "poisson"), ("--lengths", "nowhere.csv")],
    ids=" ".join,
)
def test_bad_input_is_one_sentence(typed: tuple[str, str], capsys: Capture) -> None:
    assert main(["simulate", "--gpu", "h100", *typed]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
