"""The examples run as they are, are short, and say what they promise."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_opt.optimizer.cli.main import main

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
PROMISES = {
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


def test_the_request_file_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "--requests", str(EXAMPLES / "requests.jsonl")]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["status"] for answer in answers] == ["optimal", "optimal", "infeasible"]
