"""Commands from the words that are typed to what is printed and written, where no other test goes that way."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vllm_opt.optimizer.cli.main import main

DEMAND = """workloads:
  - {name: chat, model: Qwen/Qwen3-8B, concurrency: 8, target_context: 4096, input_tokens: 512, output_tokens: 128}
inventory: {gpu: [l40s]}
time_limit: 60
comparisons: false
"""
SITE = """nodes:
  - {name: a, gpu: l40s, gpus: 2}
  - {name: b, gpu: l40s, gpus: 2}
services:
  - {name: chat, model: Qwen/Qwen3-8B, concurrency: 8, target_context: 4096, input_tokens: 512, output_tokens: 128}
time_limit: 60
"""


@pytest.fixture
def demand(tmp_path: Path) -> str:
    (tmp_path / "demand.yaml").write_text(DEMAND)
    return str(tmp_path / "demand.yaml")


@pytest.fixture
def site(tmp_path: Path) -> str:
    (tmp_path / "site.yaml").write_text(SITE)
    return str(tmp_path / "site.yaml")


def test_quality_as_a_document_and_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quality", "Qwen/Qwen3-8B", "--format", "json", "--min-quality", "0.99", "--confidence", "0.8"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["schema"], content["parameters"]) == ("vllm-opt/quality/1", 8_190_735_360)
    assert (content["confidence"], content["min_quality"]) == (0.8, 0.99)
    rows = {row["checkpoint"]: row for row in content["weights"]}
    native = rows["Qwen/Qwen3-8B"]
    assert (native["recovery"], native["at_least"], native["benchmarks"]) == (1.0, 1.0, [])
    for row in content["weights"]:
        assert row["meets_floor"] is (row["at_least"] is not None and row["at_least"] >= 0.99)
        if row["at_least"] is not None:
            assert row["interval"][0] <= row["at_least"] <= row["recovery"] <= row["interval"][1]
    published = rows["RedHatAI/Qwen3-8B-NVFP4"]["benchmarks"]
    assert sum("note" not in row for row in published) == 7  # as the evidence says: 7 published benchmarks
    assert "7 published benchmarks" in rows["RedHatAI/Qwen3-8B-NVFP4"]["evidence"]
    assert {(row["card"], row["context"]) for row in content["kv_cache"]} == {
        (card, context)
        for card in ("compute capability 9.0", "other cards")
        for context in ("up to 65536 tokens", "above 65536 tokens")
    }
    assert main(["quality", "Qwen/Qwen3-8B"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Qwen/Qwen3-8B: share of the score of the model as published, low end at confidence 0.9")
    line = next(line for line in out.splitlines() if line.startswith("w4a16"))
    shares = [row["recovery"] for row in rows["RedHatAI/Qwen3-8B-quantized.w4a16"]["benchmarks"]
              if row["class"] == "reasoning" and "note" not in row]  # fmt: skip
    assert f"{100 * sum(shares) / len(shares):.1f} %" in line
    assert "- 16-bit weights are the reference" in out


def test_an_order_is_printed_written_and_made_into_files(
    demand: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["procure", demand, "--seed", "3", "--second-opinion", "--format", "json"]
    files = ["--deploy", "command", "--deploy-dir", str(tmp_path / "out")]
    assert main([*words, *files]) == 0
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    assert (content["status"], content["request"]["seed"]) == ("optimal", 3)
    assert "2 files written to " in captured.err
    assert "second opinion: " in captured.err
    written = [file.read_text() for file in (tmp_path / "out").iterdir()]
    assert len(written) == 2
    assert any(f"vllm serve {content['assignments'][0]['plan']['checkpoint']}" in text for text in written)
    assert main(["procure", demand, "--format", "xlsx", "-o", str(tmp_path / "order.xlsx")]) == 0
    assert (tmp_path / "order.xlsx").read_bytes()[:2] == b"PK"


def test_what_procure_refuses_before_it_thinks(
    demand: str, tmp_path: Path, complaint: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["procure", demand, "--format", "xlsx"]) == 2
    assert complaint() == "--format xlsx writes a file: give --output FILE.xlsx"
    assert main(["procure"]) == 2
    assert "name a demand file" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["procure", demand, "--deploy", "command", "--deploy-dir", str(tmp_path / "file" / "below")]) == 2
    assert complaint().startswith(f"cannot make the folder '{tmp_path / 'file' / 'below'}'")


def test_place_begins_with_an_example_and_a_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["place", "--init"]) == 0
    example = yaml.safe_load(capsys.readouterr().out)
    assert {"nodes", "services"} <= set(example)
    assert main(["place", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(example) <= set(schema["properties"])
    assert main(["place"]) == 2
    assert "name a site file" in capsys.readouterr().err


def test_place_takes_words_of_the_command_and_what_kubectl_says(
    site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = {"items": [
        {"metadata": {"name": name, "labels": {"nvidia.com/gpu.product": "NVIDIA-L40S"}},
         "status": {"allocatable": {"nvidia.com/gpu": "1"}}}
        for name in ("k1", "k2")
    ]}  # fmt: skip
    pod = {"spec": {"nodeName": "k2", "containers": [{"image": "vllm/vllm-openai:v0.33.0",
           "args": ["--model", "Qwen/Qwen3-8B"]}]}, "status": {"phase": "Running"}}  # fmt: skip
    (tmp_path / "nodes.json").write_text(json.dumps(nodes))
    (tmp_path / "pods.json").write_text(json.dumps({"items": [pod]}))
    words = ["--from-kubectl", str(tmp_path / "nodes.json"), "--from-pods", str(tmp_path / "pods.json")]
    assert main(["place", site, *words, "--objective", "gpus", "--second-opinion", "--format", "json"]) == 0
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    assert [node["name"] for node in content["request"]["nodes"]] == ["k1", "k2"]
    assert content["request"]["objective"] == ["gpus"]
    assert content["request"]["placement"] == [{"service": "chat", "node": "k2", "gpus": [0]}]
    assert [row["parts"] for row in content["servers"]] == [
        [{"node": "k2", "gpus": [0]}]
    ]  # what runs already stays where it is
    assert "second opinion: " in captured.err


def test_a_plan_that_does_not_exist_is_not_doubted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doubt", "Qwen/Qwen3-32B", "--gpu", "t4", "--gpus", "1", "--users", "64"]) == 1
    first, *rules = capsys.readouterr().out.splitlines()
    assert first == "Qwen/Qwen3-32B: infeasible, so there is no plan to doubt"
    assert rules
    assert all(rule.startswith("  ") and ": " in rule for rule in rules)
