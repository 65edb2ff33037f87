"""`solve --dump-model FILE`: the file is whole or untouched, and the answer is the same."""

import json
from pathlib import Path

import pytest
from ortools.sat.python import cp_model

from vllm_opt.optimizer.cli.main import main

Capture = pytest.CaptureFixture[str]
SMALL = ("solve", "Qwen/Qwen3-8B", "--gpu", "l40s", "--max-gpus", "2", "--quantization", "fp8")


def answered(capsys: Capture, *arguments: str) -> dict[str, object]:
    assert main([*SMALL, *arguments, "--format", "json"]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    answer.pop("solver")
    return answer


def test_the_file_is_written_and_the_answer_is_the_same(tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "model.txt"
    place.write_text("an older model")
    assert answered(capsys, "--dump-model", str(place)) == answered(capsys)
    text = place.read_text(encoding="utf-8")
    assert text.startswith("# The CP-SAT model of vllm-opt solve: Qwen/Qwen3-8B on vLLM ")
    assert "#   [memory_budget: stage 0: " in text
    assert cp_model.CpModel().proto.parse_text_format(text)
    assert list(tmp_path.iterdir()) == [place]


def test_the_same_request_writes_the_same_file(tmp_path: Path, capsys: Capture) -> None:
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        answered(capsys, "--dump-model", str(place))
    assert places[0].read_bytes() == places[1].read_bytes()


def test_infeasible_says_that_there_is_no_model(tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "model.txt"
    place.write_text("kept")
    assert main(["solve", "meta-llama/Meta-Llama-3.1-405B", "--gpu", "l4", "--max-gpus", "1", "--no-explain",
                 "--dump-model", str(place)]) == 1  # fmt: skip
    out, err = capsys.readouterr()
    assert out
    assert err == f"vllm-opt: no model was written to '{place}': no layout is left to decide between\n"
    assert place.read_text() == "kept"


def complaint(capsys: Capture, *arguments: str) -> str:
    """What is said of bad input: exit code 2, nothing on standard output, one line."""
    assert main([*SMALL, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_a_file_that_cannot_be_written_is_bad_input(tmp_path: Path, capsys: Capture) -> None:
    assert "Is a directory" in complaint(capsys, "--dump-model", str(tmp_path))
    assert "No such file or directory" in complaint(capsys, "--dump-model", str(tmp_path / "missing" / "model.txt"))
    assert "Not a directory" in complaint(capsys, "--dump-model", str(Path(__file__) / "model.txt"))
    assert "No space left on device" in complaint(capsys, "--dump-model", "/dev/full")
    assert "not a usable path" in complaint(capsys, "--dump-model", "a\0b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "-"])
def test_standard_output_is_for_the_answer(name: str, capsys: Capture) -> None:
    assert "needs the name of a file" in complaint(capsys, "--dump-model", name)


def test_it_is_not_the_file_of_the_answer(tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "one"
    said = complaint(capsys, "--dump-model", str(place), "--output", str(tmp_path / "." / "one"))
    assert "--dump-model and --output name the same file" in said
    assert not place.exists()


def test_many_requests_have_no_one_model(tmp_path: Path, capsys: Capture) -> None:
    requests = tmp_path / "requests.jsonl"
    requests.write_text("{}\n")
    said = complaint(capsys, "--requests", str(requests), "--dump-model", str(tmp_path / "model.txt"))
    assert "--dump-model writes the model of one request" in said


def test_bad_input_writes_nothing(tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "model.txt"
    assert main(["solve", "--gpu", "h1000", "--dump-model", str(place)]) == 2
    assert capsys.readouterr().out == ""
    assert not place.exists()
