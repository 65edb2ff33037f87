"""A plan is checked against results and against a server: passed or missed, by how much, and which term was wrong."""

import json
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from stub_server import Mode, stub_server

from vllm_opt.optimizer import VerifyRequest, estimate, verify
from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.errors import InvalidRequest


@cache
def answered() -> dict[str, Any]:
    """A small plan, as `solve --format json` writes it."""
    request = SolveRequest(
        model="Qwen/Qwen3-8B", gpu="l40s", gpus=1, concurrency=4, input_tokens=512, output_tokens=32,
        target_context=2048, max_ttft_ms=1000, vllm_version="0.19",
    )  # fmt: skip
    return solve(request).model_dump(mode="json")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """The plan as a file."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(answered()))
    return file


def result_of(tpot: float = 1.0, ttft: float = 1.0, throughput: float = 1.0, **more: Any) -> dict[str, Any]:
    """A result at the plan's load, its figures so many times the predicted ones."""
    speed = answered()["plan"]["performance"]
    return {
        "model_id": "Qwen/Qwen3-8B", "max_concurrency": 4, "completed": 40, "num_prompts": 40, "request_rate": "inf",
        "total_input_tokens": 40 * 512, "total_output_tokens": 40 * 32, "median_ttft_ms": ttft * speed["ttft_ms"],
        "median_tpot_ms": tpot * speed["tpot_ms"], "output_throughput": throughput * speed["output_tokens_per_s"],
        **more,
    }  # fmt: skip


def saved(folder: Path, result: dict[str, Any]) -> str:
    """A result as a file."""
    (folder / "result.json").write_text(json.dumps(result))
    return str(folder / "result.json")


def test_without_results_it_prints_what_to_run(plan: Path) -> None:
    answer = verify(VerifyRequest(plan=str(plan)))
    (service,) = answer.services
    assert answer.status == "to_run"
    words = shlex.split(service.benchmark.command)
    assert words[:3] == ["vllm", "bench", "serve"]
    assert words[words.index("--max-concurrency") + 1] == "4"
    assert words[words.index("--random-input-len") + 1] == "512"
    assert words[words.index("--random-output-len") + 1] == "32"
    assert {"gpu=l40s", "tensor_parallel_size=1", "replicas=1"} <= set(words)
    assert shlex.split(service.benchmark.guidellm_command)[:2] == ["guidellm", "benchmark"]
    speed = answered()["plan"]["performance"]
    limits = {check.term: check.limit for check in service.checks}
    assert limits["ttft_ms"] == 1000
    assert limits["tpot_ms"] == answered()["request"].get("max_tpot_ms") or speed["interval"]["tpot_ms"][1]
    assert limits["output_tokens_per_s"] == speed["interval"]["output_tokens_per_s"][0]


def test_as_predicted_passes_and_nothing_is_blamed(plan: Path, tmp_path: Path) -> None:
    answer = verify(VerifyRequest(plan=str(plan), results=saved(tmp_path, result_of())))
    assert answer.status == "passed"
    assert answer.services[0].blame is not None
    assert answer.services[0].blame.term == "none"
    assert [check.off for check in answer.services[0].checks] == [0.0, 0.0, 0.0]


def test_too_slow_is_missed_by_how_much(plan: Path, tmp_path: Path) -> None:
    answer = verify(VerifyRequest(plan=str(plan), results=saved(tmp_path, result_of(tpot=2.5, throughput=0.4))))
    assert answer.status == "missed"
    checks = {check.term: check for check in answer.services[0].checks}
    assert checks["tpot_ms"].passed is False
    assert checks["tpot_ms"].off == pytest.approx(1.5)
    assert checks["ttft_ms"].passed is True
    blame = answer.services[0].blame
    assert blame is not None
    assert blame.term == "memory"
    assert blame.factor > 2


def test_a_slow_first_token_alone_is_the_front_ends_or_the_clients(plan: Path, tmp_path: Path) -> None:
    blame = verify(VerifyRequest(plan=str(plan), results=saved(tmp_path, result_of(ttft=4)))).services[0].blame
    assert blame is not None
    assert blame.term in ("frontend", "load")
    assert blame.factor > 1.5


def test_requests_without_an_answer_are_a_miss(plan: Path, tmp_path: Path) -> None:
    answer = verify(VerifyRequest(plan=str(plan), results=saved(tmp_path, result_of(failed=3))))
    assert answer.status == "missed"
    assert answer.services[0].failed_requests == 3


def test_folders_fleets_and_estimates_are_read(tmp_path: Path) -> None:
    content, folder = answered(), tmp_path / "deploy"
    folder.mkdir()
    service = {"name": "chat", "lengths": [512, 32], "plan": content["plan"]}
    (folder / "expected.json").write_text(
        json.dumps({"schema": "vllm-opt/expected/1", "request": content["request"],
                    "services": [service, {"name": "bare", "plan": None}]})
    )  # fmt: skip
    assert [one.name for one in verify(VerifyRequest(plan=str(folder))).services] == ["chat"]
    fleet = {
        "schema": "vllm-opt/fleet/1",
        "request": {"workloads": [{"name": "a", "input_tokens": 700, "output_tokens": 70, "max_ttft_ms": 123}]},
        "assignments": [{"workload": "a", "plan": content["plan"]}, {"workload": "b", "plan": content["plan"]}],
    }
    (tmp_path / "fleet.json").write_text(json.dumps(fleet))
    first, second = verify(VerifyRequest(plan=str(tmp_path / "fleet.json"))).services
    assert (first.benchmark.input_tokens, first.benchmark.output_tokens) == (700, 70)
    assert next(check.limit for check in first.checks if check.term == "ttft_ms") == 123
    assert second.name == "b"
    found = estimate(EstimateRequest(model="Qwen/Qwen3-8B", gpu="l40s", max_model_len=4096, concurrency=4))
    (tmp_path / "estimate.json").write_text(json.dumps(found.model_dump(mode="json")))
    assert verify(VerifyRequest(plan=str(tmp_path / "estimate.json"))).services[0].benchmark.users == 4


def test_a_run_measures_a_real_server(plan: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    with stub_server(ttft_s=0.02, tpot_s=0.002) as stub:
        answer = verify(
            VerifyRequest(plan=str(plan), run=True, base_url=stub.url, client="own", requests=16, save_result=str(kept))
        )
    assert len(stub.asked) == 16
    assert 2 <= stub.most_in_flight <= 4
    assert {one["path"] for one in stub.asked} == {"/v1/completions"}
    assert {len(one["prompt"]) for one in stub.asked} == {512}
    assert {(one["max_tokens"], one["ignore_eos"], one["stream"]) for one in stub.asked} == {(32, True, True)}
    assert len({tuple(one["prompt"]) for one in stub.asked}) == 16
    checks = {check.term: check for check in answer.services[0].checks}
    assert checks["ttft_ms"].measured is not None
    assert checks["ttft_ms"].measured >= 20
    assert checks["tpot_ms"].measured is not None
    assert checks["tpot_ms"].measured > 0  # a busy machine reads several tokens at once
    result = json.loads(kept.read_text())
    assert (result["completed"], result["failed"], result["total_output_tokens"]) == (16, 0, 512)
    assert result["gpu"] == "l40s"
    again = verify(VerifyRequest(plan=str(plan), results=str(kept)))
    assert again.status == answer.status
    assert main(["calibrate", str(kept), "--calibration-file", str(tmp_path / "own.json"), "-o", "/dev/null"]) == 0


def test_a_missed_run_exits_with_one(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stub_server(ttft_s=1.1, tpot_s=0.0) as stub:
        words = ["--run", "--base-url", stub.url, "--client", "own", "--requests", "4"]
        assert main(["verify", str(plan), *words]) == 1
    out = capsys.readouterr().out
    assert out.startswith("MISSED")
    assert "which term was wrong" in out


@pytest.mark.parametrize("mode", ["error", "cut", "html", "garbage", "stream-error"])
def test_a_server_that_answers_badly_is_one_sentence(mode: Mode, plan: Path, complaint: Callable[[], str]) -> None:
    with stub_server(mode=mode, ttft_s=0.0, tpot_s=0.0) as stub:
        words = ["--run", "--base-url", stub.url, "--client", "own", "--requests", "8"]
        assert main(["verify", str(plan), *words]) == 2
    sentence = complaint()
    assert "answered none of" in sentence
    assert "\x1b" not in sentence


def test_nobody_at_the_address(plan: Path, complaint: Callable[[], str]) -> None:
    for address in ("http://127.0.0.1:9", "ftp://x", "localhost:8000", "http://", "http://a b", "http://x:99999999"):
        assert main(["verify", str(plan), "--run", "--base-url", address, "--client", "own", "--requests", "2"]) == 2
        complaint()


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", "{}", '{"schema": "vllm-opt/plan/1"}', '{"schema": "vllm-opt/plan/1", "plan": null}',
        '{"schema": "vllm-opt/plan/1", "plan": {}, "request": {}}', '{"schema": "vllm-opt/lint/1"}',
        '{"schema": "vllm-opt/expected/1", "request": {}, "services": [{"plan": 3}]}', "[" * 100_000,
        '{"schema": "vllm-opt/fleet/1", "assignments": {"a": 1}}',
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused_in_one_sentence(content: str, tmp_path: Path, complaint: Callable[[], str]) -> None:
    (tmp_path / "plan.json").write_text(content)
    assert main(["verify", str(tmp_path / "plan.json")]) == 2
    assert "plan.json" in complaint()


def test_results_of_another_load_or_no_results(plan: Path, tmp_path: Path, complaint: Callable[[], str]) -> None:
    other = saved(tmp_path, result_of(max_concurrency=64, num_prompts=640))
    assert main(["verify", str(plan), "--results", other]) == 2
    assert "no result was measured at the load" in complaint()
    (tmp_path / "cut.json").write_text('{"median_tpot_ms": ')
    assert main(["verify", str(plan), "--results", str(tmp_path / "cut.json")]) == 2
    assert "cut off" in complaint()
    with pytest.raises(InvalidRequest, match="give one of them"):
        verify(VerifyRequest(plan=str(plan), run=True, results=other))
    assert main(["verify", str(tmp_path / "nowhere")]) == 2
    complaint()
