"""Plans with several services or a rate, vLLM's own client as a program, and what is told of each."""

import json
import os
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from stub_server import stub_server

from vllm_opt.optimizer import VerifyRequest, verify
from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.verification.promises import LARGEST_PLAN_BYTES
from vllm_opt.profiles.errors import InvalidRequest

LOG = """INFO 05-01 10:00:00 [api_server.py:1] vLLM API server version 0.19.0
INFO [utils.py:1] non-default args: {'model_tag': 'Qwen/Qwen3-8B', 'model': 'Qwen/Qwen3-8B', 'max_model_len': 2048}
INFO [model.py:1] Model loading took 15.2683 GiB and 3.1 seconds
INFO [gpu_worker.py:298] Available KV cache memory: 20.50 GiB
INFO [kv_cache_utils.py:1087] GPU KV cache size: 149,000 tokens
"""


@cache
def answered(**more: Any) -> dict[str, Any]:
    request = SolveRequest(
        model="Qwen/Qwen3-8B", gpu="l40s", gpus=1, input_tokens=512, output_tokens=32, target_context=2048,
        vllm_version="0.19", **more,
    )  # fmt: skip
    return solve(request).model_dump(mode="json")


def written(folder: Path, content: dict[str, Any], name: str = "plan.json") -> str:
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def fleet(folder: Path) -> str:
    plan = answered(concurrency=4)["plan"]
    services = [{"workload": name, "plan": plan} for name in ("chat", "code")]
    return written(folder, {"schema": "vllm-opt/fleet/1", "request": {}, "assignments": services}, "fleet.json")


def test_one_service_of_several_is_named(tmp_path: Path, complaint: Callable[[], str]) -> None:
    assert [one.name for one in verify(VerifyRequest(plan=fleet(tmp_path), service="code")).services] == ["code"]
    assert main(["verify", fleet(tmp_path), "--service", "cod"]) == 2
    assert complaint() == "the plan has no service 'cod'; did you mean 'code'?"
    assert main(["verify", fleet(tmp_path), "--run"]) == 2
    assert complaint() == "the plan has 2 services; say which stands at --base-url with --service: chat, code"


def test_a_rate_is_asked_for_as_a_rate(tmp_path: Path) -> None:
    content = answered(requests_per_s=2.0)
    plan = written(tmp_path, content)
    (service,) = verify(VerifyRequest(plan=plan)).services
    words = shlex.split(service.benchmark.command)
    assert words[words.index("--request-rate") + 1] == "2"
    assert "--max-concurrency" not in words
    guide = shlex.split(service.benchmark.guidellm_command)
    assert guide[guide.index("--rate-type") + 1 : guide.index("--rate-type") + 4] == ["poisson", "--rate", "2"]
    assert service.benchmark.users is None
    assert service.benchmark.requests == 2 * 120
    seconds = (
        240 / 2 + (content["plan"]["performance"]["ttft_ms"] + 31 * content["plan"]["performance"]["tpot_ms"]) / 1e3
    )
    assert service.benchmark.minutes == round(seconds / 60, 1)


def test_our_client_spreads_requests_over_time_at_a_rate(tmp_path: Path) -> None:
    content = json.loads(json.dumps(answered(requests_per_s=2.0)))
    content["plan"]["performance"]["load"]["requests_per_s"] = 50.0
    plan = written(tmp_path, content)
    with stub_server(ttft_s=0.0, tpot_s=0.0) as stub:
        answer = verify(VerifyRequest(plan=plan, run=True, base_url=stub.url, client="own", requests=20))
        limited = VerifyRequest(plan=plan, run=True, base_url=stub.url, client="own", requests=20, time_limit=1e-9)
        with pytest.raises(InvalidRequest, match="answered none of 20 requests: time ran out"):
            verify(limited)
    assert len(stub.asked) == 20
    rate = next(check.measured for check in answer.services[0].checks if check.term == "output_tokens_per_s")
    assert rate is not None
    assert rate < 20 * 32 / 0.1  # 19 gaps of 20 ms on average, drawn with a fixed seed, take longer than 100 ms


def vllm_program(folder: Path, lines: str) -> None:
    """A program called `vllm`, first in PATH."""
    place = folder / "bin"
    place.mkdir(exist_ok=True)
    (place / "vllm").write_text(f"#!/bin/sh\n{lines}\n")
    (place / "vllm").chmod(0o755)


@pytest.fixture
def with_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def install(lines: str) -> None:
        vllm_program(tmp_path, lines)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    return install


def test_vllms_own_client_is_used_where_it_is(tmp_path: Path, with_vllm: Callable[[str], None]) -> None:
    content = answered(concurrency=4)
    plan, speed = written(tmp_path, content), content["plan"]["performance"]
    result = {
        "model_id": "Qwen/Qwen3-8B", "max_concurrency": 4, "completed": 8, "num_prompts": 8, "request_rate": "inf",
        "total_input_tokens": 8 * 512, "total_output_tokens": 8 * 32, "median_ttft_ms": speed["ttft_ms"],
        "median_tpot_ms": speed["tpot_ms"], "output_throughput": speed["output_tokens_per_s"],
    }  # fmt: skip
    written(tmp_path, result, "measured.json")
    with_vllm(f'echo "$@" > {tmp_path}/words; for last; do :; done; cp {tmp_path}/measured.json "$last/result.json"')
    answer = verify(VerifyRequest(plan=plan, run=True, requests=8))
    assert answer.status == "passed"
    assert [check.off for check in answer.services[0].checks] == [0.0, 0.0, 0.0]
    assert answer.notes == (
        "keep the measured result with --save-result FILE: `vllm-opt calibrate FILE` learns from it",
    )
    words = (tmp_path / "words").read_text().split()
    assert words[:2] == ["bench", "serve"]
    assert words[words.index("--num-prompts") + 1] == "8"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("echo 'ValueError: no such model' >&2; exit 3", "vllm bench serve failed with 3: ValueError: no such model"),
        ("exit 0", "vllm bench serve failed with 0: "),
        ("exec sleep 30", "vllm bench serve took longer than 0.2 s; see --time-limit"),
    ],
)
def test_vllms_own_client_that_fails_is_one_sentence(
    lines: str, said: str, tmp_path: Path, with_vllm: Callable[[str], None], complaint: Callable[[], str]
) -> None:
    with_vllm(lines)
    words = ["verify", written(tmp_path, answered(concurrency=4)), "--run", "--time-limit", "0.2"]
    assert main(words) == 2
    assert complaint() == said.rstrip()


def test_a_client_that_is_not_there_or_cannot_start(
    tmp_path: Path, with_vllm: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, complaint: Callable[[], str]
) -> None:
    words = ["verify", written(tmp_path, answered(concurrency=4)), "--run", "--client", "vllm"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(words) == 2
    assert complaint() == "vLLM is not installed here; leave --client out for the client of our own"
    with_vllm("")
    (tmp_path / "bin" / "vllm").write_text("#!/nowhere/at/all\n")
    assert main(words) == 2
    assert complaint() == "vllm bench serve cannot be started: No such file or directory"


def test_more_users_than_our_client_holds(tmp_path: Path, complaint: Callable[[], str]) -> None:
    content = json.loads(json.dumps(answered(concurrency=4)))
    content["plan"]["performance"]["load"]["users"] = 100_000
    assert main(["verify", written(tmp_path, content), "--run", "--client", "own"]) == 2
    assert complaint().startswith("100000 users are more than the ")


def test_the_table_says_what_to_run_and_what_a_log_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = written(tmp_path, answered(concurrency=4))
    assert main(["verify", plan]) == 0
    out = capsys.readouterr().out
    assert "plan: Qwen/Qwen3-8B on 1 GPU (l40s): to be measured" in out
    assert "  or with GuideLLM:\n    guidellm benchmark --target http://localhost:8000 " in out
    (tmp_path / "server.log").write_text(LOG)
    assert main(["verify", plan, "--results", str(tmp_path / "server.log")]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("  log, weights_bytes")]
    assert "measured 1.639e+10" in line  # 15.2683 GiB
    answer = verify(VerifyRequest(plan=plan, results=str(tmp_path / "server.log")))
    weights = next(term for term in answer.services[0].memory if term.term == "weights_bytes")
    assert weights.measured == pytest.approx(15.2683 * 2**30)
    assert weights.off == round(weights.predicted / weights.measured - 1, 4)


def test_a_term_that_was_not_measured_is_said(tmp_path: Path) -> None:
    content = answered(concurrency=4)
    result = {
        "model_id": "Qwen/Qwen3-8B", "max_concurrency": 4, "completed": 8, "num_prompts": 8, "request_rate": "inf",
        "total_input_tokens": 8 * 512, "total_output_tokens": 8 * 32,
        "median_ttft_ms": content["plan"]["performance"]["ttft_ms"],
    }  # fmt: skip
    results = written(tmp_path, result, "result.json")
    (service,) = verify(VerifyRequest(plan=written(tmp_path, content), results=results)).services
    assert "not every term was measured: those without a figure are not judged" in service.notes
    assert {check.term: check.passed for check in service.checks} == {
        "ttft_ms": True, "tpot_ms": None, "output_tokens_per_s": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["folder", "pl\0an", "huge.json", "estimate.json", "\N{SNOWMAN}" * 3000])
def test_what_cannot_be_read_as_a_plan(name: str, tmp_path: Path, complaint: Callable[[], str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "huge.json").write_bytes(b" " * (LARGEST_PLAN_BYTES + 1))
    written(tmp_path, {"schema": "vllm-opt/estimate/1", "request": {}, "performance": None}, "estimate.json")
    assert main(["verify", str(tmp_path / name)]) == 2
    expected = {
        "folder": "holds no expected.json; give one that --save-dir wrote",
        "pl\0an": "there is no plan",
        "huge.json": "MiB, which no plan is",
        "estimate.json": "holds no plan with a prediction of speed, so there is nothing to verify",
    }
    assert expected.get(name, "is not a usable path") in complaint()
