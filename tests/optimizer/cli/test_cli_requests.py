"""`--requests`: one JSON answer per JSON request, in order; a bad line says where and spoils no other."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vllm_opt.optimizer.cli.main import main

Capture = pytest.CaptureFixture[str]
Complaint = Callable[[], str]


@pytest.fixture
def request_file(tmp_path: Path) -> Callable[[bytes], str]:
    def write(content: bytes) -> str:
        path = tmp_path / "requests.jsonl"
        path.write_bytes(content)
        return str(path)

    return write


def test_each_line_is_answered_in_order_and_errors_say_where(
    request_file: Callable[[bytes], str], capsys: Capture
) -> None:
    lines = [
        b'{"gpu": "t4", "max_model_len": 8192}',
        b'{"gpu": ["h100-sxm"], "max_model_len": "8k"}',
        b'{"gpu": "h100-sxm", "max_modl_len": 1}',
        b"",
        b"not json",
        b'{"max_num_seqs": NaN}',
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"gpu": "h1000"}',
        b'{"concurrency": ' + b"9" * 5000 + b"}",
    ]
    assert main(["estimate", "--gpu", "l4", "--requests", request_file(b"\n".join(lines))]) == 2
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [answer["schema"] for answer in answers] == ["vllm-opt/estimate/1"] * 2 + ["vllm-opt/error/1"] * 8
    assert [answer["request"]["gpu"] for answer in answers[:2]] == ["t4", "h100-sxm"]
    assert answers[1]["request"]["max_model_len"] == 8000
    assert [answer["line"] for answer in answers[2:]] == [3, 5, 6, 7, 8, 9, 10, 11]
    assert "did you mean 'max_model_len'" in answers[2]["error"]
    assert all("\n" not in answer["error"] for answer in answers[2:])


def test_lines_that_do_not_fit_leave_exit_code_0(request_file: Callable[[bytes], str], capsys: Capture) -> None:
    assert main(["estimate", "--requests", request_file(b'{"gpu": "t4", "max_model_len": 8192}\n')]) == 0
    assert json.loads(capsys.readouterr().out)["fits"] is False


def test_the_command_line_gives_the_defaults_of_every_line(
    request_file: Callable[[bytes], str], capsys: Capture
) -> None:
    path = request_file(b'{"max_model_len": 4096}\n{"max_model_len": 4096, "gpu": "l4"}\n')
    assert main(["estimate", "--gpu", "h100-sxm", "--requests", path]) == 0
    gpus = [json.loads(line)["request"]["gpu"] for line in capsys.readouterr().out.splitlines()]
    assert gpus == ["h100-sxm", "l4"]


def test_a_line_and_a_single_command_give_the_same_answer(
    request_file: Callable[[bytes], str], capsys: Capture
) -> None:
    main(["estimate", "--requests", request_file(b'{"gpu": "h100-sxm", "max_model_len": 8192}\n')])
    line = json.loads(capsys.readouterr().out)
    main(["estimate", "--gpu", "h100-sxm", "--max-model-len", "8192", "--format", "json"])
    assert json.loads(capsys.readouterr().out) == line


def test_requests_answer_in_json_only(request_file: Callable[[bytes], str], complaint: Complaint) -> None:
    assert main(["estimate", "--format", "yaml", "--requests", request_file(b"{}")]) == 2
    assert "leave --format out" in complaint()


def test_requests_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b'{"gpu": "l4", "max_model_len": 4096}\n'))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["estimate", "--requests", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["request"]["gpu"] == "l4"


def test_an_interruption_while_waiting_is_one_line_and_130() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "vllm_opt.optimizer.cli.main", "estimate", "--requests", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"gpu": "l4", "max_model_len": 4096}\n')
        process.stdin.flush()
        answered = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate()
    assert answered["request"]["gpu"] == "l4"
    assert (process.returncode, complaint) == (130, b"vllm-opt: interrupted\n")
