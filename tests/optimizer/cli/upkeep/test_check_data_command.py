"""`vllm-opt check-data` as it is typed."""

import json
from pathlib import Path

import pytest

from vllm_opt.optimizer.cli.main import main

ROW = "- {id: my-card, base: l40s, name: Mine, memory_gib: 44, memory_gb_nominal: 48, sources: ['https://example.org/a']}\n"


def test_a_file_in_order_is_0_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gpus.yaml"
    file.write_text(ROW, encoding="utf-8")
    assert main(["check-data", "--gpu-file", str(file)]) == 0
    assert capsys.readouterr().out == "1 files, 1 rows: nothing wrong\n"


def test_a_fault_is_1_and_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gpus.yaml"
    file.write_text(ROW.replace("48", "400"), encoding="utf-8")
    assert main(["check-data", "--gpu-file", str(file), "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["ok"]) == ("vllm-opt/data-check/1", False)
    (fault,) = document["files"][0]["faults"]
    assert (fault["place"], fault["level"]) == ("my-card", "error")


@pytest.mark.parametrize("content", ["", "{", "- 1", "gpus: 3", "- {id: [1]}", "\x00", "- {id: a, base: nobody}"])
def test_hostile_files_are_faults_and_never_a_crash(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "any.yaml"
    file.write_text(content, encoding="utf-8")
    for option in ("--gpu-file", "--prices", "--model-file"):
        assert main(["check-data", option, str(file)]) == 1, option
        assert "1 error" in capsys.readouterr().out
