"""Settings: which place wins, what is named in the answer, and what a mistake costs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer import SolveRequest
from vllm_opt.optimizer.cli.main import main

Capture = pytest.CaptureFixture[str]
Complaint = Callable[[], str]
QUICK = ("estimate", "--gpu", "l40s", "--max-model-len", "4096", "--format", "json")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a user's folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def users_file(here: Path) -> Path:
    from platformdirs import user_config_path

    folder = user_config_path("vllm-opt", appauthor=False)
    assert here in folder.parents or sys.platform != "linux"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "vllm-opt.toml"


def answered(capsys: Capture, *arguments: str) -> Any:
    assert main([*arguments]) in (0, 1)
    return json.loads(capsys.readouterr().out)


def test_option_environment_folder_user_default(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(*arguments: str) -> Any:
        return answered(capsys, *QUICK, *arguments)["request"].get("max_ttft_ms")

    assert limit() is None
    users_file(here).write_text('max-ttft-ms = "4s"\n')
    assert limit() == 4000
    (here / "vllm-opt.toml").write_text("max_ttft_ms = 3000\n")
    assert limit() == 3000
    (here / "vllm-opt.toml").write_text("max_ttft_ms = 3000\n[estimate]\nmax-ttft-ms = 2500\n")
    assert limit() == 2500
    monkeypatch.setenv("VLLM_OPT_MAX_TTFT_MS", "2s")
    assert limit() == 2000
    assert limit("--max-ttft-ms", "1s") == 1000


def test_every_place_that_is_used_is_named(here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    file = users_file(here)
    file.write_text("confidence = 0.8\n")
    (here / "vllm-opt.toml").write_text('price = {l40s = 0.5}\nprovider = ["RunPod"]\nobjective = "cost"\n')
    monkeypatch.setenv("VLLM_OPT_MAX_TPOT_MS", "90ms")
    answer = answered(capsys, *QUICK, "--confidence", "0.7")
    notes = [note for note in answer["notes"] if note.startswith("settings used")]
    assert notes == ["settings used: VLLM_OPT_MAX_TPOT_MS; --price, --provider from ./vllm-opt.toml"]
    assert answer["cost"]["usd_per_hour"] == 0.5
    assert answer["request"]["confidence"] == 0.7
    assert str(file) in str(answered(capsys, *QUICK)["notes"])


def test_lists_and_switches_come_from_the_environment(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_OPT_GPU", "l4, l40s")
    monkeypatch.setenv("VLLM_OPT_EXPLAIN", "no")
    monkeypatch.setenv("VLLM_OPT_FORMAT", "json")
    request = answered(capsys, "solve", "--target-context", "4096")["request"]
    assert (request["gpu"], request["explain"]) == (["l4", "l40s"], False)


def test_settings_are_defaults_for_request_lines(here: Path, capsys: Capture) -> None:
    (here / "vllm-opt.toml").write_text('format = "table"\nmax-tpot-ms = 70\n')
    (here / "lines.jsonl").write_text('{"gpu": "l40s", "max_model_len": 4096}\n{"gpu": "l40s", "max_tpot_ms": 60}\n')
    assert main(["estimate", "--requests", "lines.jsonl"]) == 0
    limits = [json.loads(line)["request"]["max_tpot_ms"] for line in capsys.readouterr().out.splitlines()]
    assert limits == [70, 60]


def test_python_reads_no_settings(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "vllm-opt.toml").write_text("max-ttft-ms = 3000\n")
    monkeypatch.setenv("VLLM_OPT_MAX_TTFT_MS", "2s")
    assert SolveRequest().max_ttft_ms is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpuu = 3", "no option or command 'gpuu'; did you mean 'gpu'"),
        ("[solve]\nmodl = 3", "[solve] has no option 'modl'; did you mean 'model'"),
        ("[slove]\nmodel = 3", "no option or command 'slove'"),
        ("max-ttft-ms = '3 parsecs'", "(set in ./vllm-opt.toml)"),
        ("format = 'jsn'", "./vllm-opt.toml: format must be one of"),
        ("calibration = 3", "calibration must be true or false"),
        ("confidence = [0.8, 0.9]", "confidence must be one value"),
        ("confidence = true", "confidence must be a text, a number"),
        ("confidence = nan", "--confidence"),
        ("x = [", "not TOML"),
        ("\udcff", "not UTF-8"),
        ("a = 1\n" * 200_000, "larger than"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence(here: Path, text: str, said: str, complaint: Complaint) -> None:
    (here / "vllm-opt.toml").write_bytes(text.encode("utf-8", errors="surrogateescape"))
    assert main([*QUICK]) == 2
    assert said in complaint()


def test_a_file_that_cannot_be_read_is_one_sentence(here: Path, complaint: Complaint) -> None:
    (here / "vllm-opt.toml").mkdir()
    assert main([*QUICK]) == 2
    assert "cannot read the settings ./vllm-opt.toml" in complaint()


def test_a_variable_that_names_nothing_is_a_warning(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_OPT_GPPU", "l4")
    assert main([*QUICK]) == 0
    assert "warning: VLLM_OPT_GPPU names no option; did you mean 'VLLM_OPT_GPU'" in capsys.readouterr().err
    monkeypatch.setenv("VLLM_OPT_CALIBRATION", "perhaps")
    assert main([*QUICK]) == 2
    assert "VLLM_OPT_CALIBRATION must be true or false" in capsys.readouterr().err


def test_help_comes_even_beside_a_broken_file(here: Path, capsys: Capture) -> None:
    (here / "vllm-opt.toml").write_text("x = [")
    assert main(["solve", "--help"]) == 0
    assert "Usage" in capsys.readouterr().out
