"""Where answers go: standard output or a file, whole or not at all, and quiet when nobody reads on."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vllm_opt.optimizer.cli.main import main

Capture = pytest.CaptureFixture[str]
Complaint = Callable[[], str]


def test_output_goes_whole_into_the_file(tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "gpus.json"
    target.write_text("old")
    assert main(["gpus", "--format", "json", "--output", str(target)]) == 0
    assert json.loads(target.read_text())["schema"] == "vllm-opt/gpus/1"
    assert capsys.readouterr().out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["gpus.json"]


@pytest.mark.parametrize("place", ["missing/folder/answer.json", "."])
def test_an_unwritable_output_is_one_sentence(place: str, tmp_path: Path, complaint: Complaint) -> None:
    assert main(["gpus", "--output", str(tmp_path / place)]) == 2
    assert "cannot write" in complaint()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence(complaint: Complaint) -> None:
    assert main(["gpus", "--output", "/dev/full"]) == 2
    assert "No space left" in complaint()


def test_a_full_standard_output_is_one_sentence() -> None:
    command = f"{sys.executable} -m vllm_opt.optimizer.cli.main gpus > /dev/full"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == "vllm-opt: error: cannot read or write: No space left on device\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"set -o pipefail; {sys.executable} -m vllm_opt.optimizer.cli.main engines --format json | head -c 10"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
