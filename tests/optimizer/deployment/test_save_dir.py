"""`--save-dir`, as a user types it: folders of solve, procure and batch, and what a check says."""

import json
from pathlib import Path

import pytest
import yaml

from vllm_opt.optimizer.cli.main import main

SOLVE = ("solve", "Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--concurrency", "16", "--target-context", "2048")
DEMAND = {
    "name": "two teams",
    "workloads": [
        {"name": "chat", "model": "Qwen/Qwen3-8B", "requests_per_s": 20, "input_tokens": 500, "output_tokens": 200,
         "target_context": 2048},
        {"name": "tags", "model": "Qwen/Qwen3-0.6B", "requests_per_s": 1, "input_tokens": 200, "output_tokens": 20,
         "target_context": 2048},
    ],
    "inventory": {"gpu": ["h100-sxm"]},
    "comparisons": False,
}  # fmt: skip


def test_a_plan_is_saved_checked_and_found_stale_when_it_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main([*SOLVE, "--replicas", "2", "--save-dir", out, "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    expected = json.loads((tmp_path / "out" / "expected.json").read_text())
    assert expected["schema"] == "vllm-opt/expected/1"
    (service,) = expected["services"]
    assert service["plan"]["performance"] == plan["performance"]
    assert service["command"] == plan["command"]
    assert [each["port"] for each in service["endpoints"]] == [8000, 8001]
    compose = yaml.safe_load((tmp_path / "out" / "compose" / "node-1.yaml").read_text())["services"]
    assert set(compose) == {f"{service['name']}-0", f"{service['name']}-1", "router"}
    assert main([*SOLVE, "--replicas", "2", "--save-dir", out, "--check"]) == 0
    assert capsys.readouterr().out == ""
    assert main([*SOLVE, "--replicas", "2", "--save-dir", out, "--check", "--price", "rtx-4090=0.01"]) == 1
    diff = capsys.readouterr().out
    assert [line for line in diff.splitlines() if line.startswith("+++")] == ["+++ b/expected.json"]
    assert main([*SOLVE, "--replicas", "1", "--save-dir", out, "--check"]) == 1
    assert "--- a/scripts/node-1.sh" in capsys.readouterr().out


def test_a_fleet_has_one_script_a_node_and_its_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demand, out = tmp_path / "demand.yaml", tmp_path / "out"
    demand.write_text(yaml.safe_dump(DEMAND))
    assert main(["procure", str(demand), "--save-dir", str(out), "--emit", "all", "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    expected = json.loads((out / "expected.json").read_text())
    hosts = sum(host["hosts"] for order in answer["nodes"] for host in order["hosts"])
    assert len(expected["hosts"]) == hosts
    assert sum(host["gpus"] for host in expected["hosts"]) == answer["totals"]["gpus"]
    placed = sum(process["role"] != "worker" for host in expected["hosts"] for process in host["processes"])
    assert placed == sum(item["replicas"] for item in answer["assignments"])
    busy = [host for host in expected["hosts"] if host["processes"]]
    assert len(list((out / "scripts").glob("*.sh"))) == len(busy)
    assert main(["procure", str(demand), "--save-dir", str(out), "--emit", "all", "--check"]) == 0


def test_batch_has_a_folder_for_each_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["batch", "--models", "Qwen/Qwen3-0.6B", "--gpu", "l4", "--workload", "chat", "--output", "out", "-j", "1"]
    assert main([*asked, "--save-dir", "deploy", "--emit", "scripts"]) == 0
    (config,) = Path("out").rglob("configs/**/*.yaml")
    folder = Path("deploy", *config.parts[2:-1], config.stem)
    assert (folder / "scripts" / "node-1.sh").is_file()
    assert main([*asked, "--resume", "--save-dir", "deploy", "--emit", "scripts", "--check"]) == 0
    assert "up to date" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        (*SOLVE, "--check"),
        (*SOLVE, "--emit", "helm"),
        (*SOLVE, "--save-dir", "x", "--emit", "helms"),
        (*SOLVE, "--save-dir", "x", "--pareto"),
        (*SOLVE, "--save-dir", "x", "--requests", "lines.jsonl"),
        ("procure", "none.yaml", "--save-dir", "x"),
        ("batch", "--emit", "scripts"),
    ],
)
def test_what_cannot_be_meant_is_bad_input(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(list(arguments)) == 2
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_no_plan_writes_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["solve", "Qwen/Qwen3-8B", "--gpu", "l4", "--max-hourly-cost", "0.0001", "--no-explain"]
    assert main([*asked, "--save-dir", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().out
