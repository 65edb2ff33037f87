"""The examples run as they are, are short, and say what they promise."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_opt.optimizer.cli.main import main

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
PROMISES = {
    "check_in_ci.py": ("1 command, 0 errors; room for ",),
    "learn_from_measurements.py": ("measured TPOT 33.0 ms", "predicted before "),
    "best_deployment.py": ("status: optimal", "vllm serve ", "instead: "),
    "does_it_start.py": ("rtx-4090: does not start", "h100-sxm: starts", "largest context that starts"),
    "latency_limit.py": ("TPOT <= None ms: max-num-seqs ", "TPOT <= 15 ms: "),
    "recommended_configs.py": ("4 cells: {'optimal': 4}", "l40s.yaml: "),
    "why_not.py": ("status: infeasible", "conflict: "),
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_an_example_runs_and_is_short(script: Path, tmp_path: Path) -> None:
    assert len(script.read_text(encoding="utf-8").splitlines()) < 60
    run = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (run.returncode, run.stderr) == (0, "")
    for promise in PROMISES.get(script.name, ()):
        assert promise in run.stdout


def test_every_promise_has_its_example() -> None:
    assert set(PROMISES) <= {script.name for script in SCRIPTS}
    assert [notebook.stem for notebook in NOTEBOOKS] == ["configure", "order", "place"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_a_notebook_runs_from_top_to_bottom_and_shows_what_it_says(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cell by cell in one namespace, which needs no kernel; `.ci/notebooks` runs them in one."""
    monkeypatch.chdir(tmp_path)
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    namespace: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), notebook.name, "exec"), namespace)  # our own notebook
        shown = "".join("".join(output["text"]) for output in cell["outputs"])
        assert capsys.readouterr().out.split(":")[0].split("\n")[0] == shown.split(":")[0].split("\n")[0] != ""
    assert len(cells) >= 3


def test_the_request_file_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "--requests", str(EXAMPLES / "requests.jsonl")]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["status"] for answer in answers] == ["optimal", "optimal", "infeasible"]
