"""Scripts, compose and Kubernetes files and --config files: what is found in them, and how they are corrected."""

from pathlib import Path

import pytest
import yaml

from vllm_opt.optimizer.linter.lint import lint
from vllm_opt.optimizer.linter.subject.report import LintReport
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.optimizer.serve_lines.files.sources import read_source
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()
COMPOSE = """\
services:
  chat:
    image: vllm/vllm-openai:v0.19.0
    command: >
      --model meta-llama/Llama-3.1-8B-Instruct
      --max-model-len 200000
      --swap-space 4
      --tensor-parallel-size 2
    environment:
      - HF_TOKEN=x
    deploy:
      resources:
        reservations:
          devices:
            - {driver: nvidia, count: 2, capabilities: [gpu]}
  json:
    image: vllm/vllm-openai:latest
    command: ["--swap-space", "4", "--model", "Qwen/Qwen3-8B", "--max-num-seqs", "512"]
    ipc: host
  database:
    image: postgres
    command: postgres -c foo=1
"""
DEPLOYMENT = """\
apiVersion: v1
kind: Service
metadata: {name: x}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: llama
spec:
  template:
    spec:
      nodeSelector:
        nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3
      containers:
      - name: vllm
        image: vllm/vllm-openai:v0.33.0
        command: ["vllm", "serve", "meta-llama/Llama-3.1-70B-Instruct"]
        args:
          - --tensor-parallel-size
          - "3"
          # this comment stays
          - --swap-space=8
          - --max-model-len
          - "8192"
        resources:
          limits:
            nvidia.com/gpu: "4"
      - name: script
        image: vllm/vllm-openai:v0.33.0
        command: ["/bin/sh", "-c"]
        args:
        - |
          export X=1
          vllm serve Qwen/Qwen3-8B \\
            --swap-space 4 \\
            --max-num-seqs 64
"""


def checked(tmp_path: Path, name: str, text: str, gpu: str | None = "h100-sxm", fix: str = "errors") -> LintReport:
    path = tmp_path / name
    path.write_text(text)
    return lint(LintRequest(file=str(path), gpu=gpu, fix=fix, optimum=False), CATALOG)


def test_compose_services(tmp_path: Path) -> None:
    report = checked(tmp_path, "compose.yaml", COMPOSE)
    chat, other = report.commands
    assert (chat.place, chat.vllm_version, chat.gpu_count, chat.line) == ("service 'chat'", "0.19", 2, 5)
    assert (other.place, other.model, other.vllm_version) == ("service 'json'", "Qwen/Qwen3-8B", "0.33")
    rules = {finding.rule for finding in chat.findings}
    assert {"removed_flag", "context_length", "shared_memory"} <= rules
    assert "gpu_count" not in rules
    assert "shared_memory" not in {finding.rule for finding in other.findings}


def test_compose_corrected(tmp_path: Path) -> None:
    fixed = checked(tmp_path, "compose.yaml", COMPOSE).fixed_text
    services = yaml.safe_load(fixed)["services"]
    assert services["chat"]["command"].split() == [
        "--model", "meta-llama/Llama-3.1-8B-Instruct", "--max-model-len", "131072", "--tensor-parallel-size", "2",
    ]  # fmt: skip
    assert services["json"]["command"] == ["--model", "Qwen/Qwen3-8B", "--max-num-seqs", "512"]
    assert services["database"] == yaml.safe_load(COMPOSE)["services"]["database"]
    assert checked(tmp_path, "again.yaml", fixed).errors == 0


def test_kubernetes_containers(tmp_path: Path) -> None:
    report = checked(tmp_path, "deployment.yaml", DEPLOYMENT, gpu=None)
    first, second = report.commands
    assert (first.gpu, first.place) == ("h100-sxm", "container 'vllm' of 'llama'")
    by_rule = {finding.rule: finding for finding in first.findings}
    assert by_rule["divisibility"].to == 4
    assert by_rule["divisibility"].line == 19
    assert by_rule["removed_flag"].line == 22
    assert second.place == "container 'script' of 'llama'"
    assert second.findings[0].line == 35


def test_kubernetes_corrected(tmp_path: Path) -> None:
    fixed = checked(tmp_path, "deployment.yaml", DEPLOYMENT, gpu=None).fixed_text
    assert "# this comment stays" in fixed
    containers = list(yaml.safe_load_all(fixed))[1]["spec"]["template"]["spec"]["containers"]
    assert containers[0]["args"] == ["--tensor-parallel-size", "4", "--max-model-len", "8192"]
    assert containers[1]["args"] == ["export X=1\nvllm serve Qwen/Qwen3-8B \\\n  --max-num-seqs 64\n"]


@pytest.mark.parametrize(("name", "text"), [("c.yaml", COMPOSE), ("d.yaml", DEPLOYMENT)])
def test_everything_corrected_is_still_yaml_without_errors(tmp_path: Path, name: str, text: str) -> None:
    fixed = checked(tmp_path, name, text, fix="all").fixed_text
    assert list(yaml.safe_load_all(fixed))
    assert checked(tmp_path, name, fixed).errors == 0


def test_script(tmp_path: Path) -> None:
    text = (
        "#!/bin/sh\nMODEL=meta-llama/Llama-3.1-8B-Instruct  # the model\n"
        'vllm serve "$MODEL" \\\n    --num-scheduler-steps 8 \\\n    --max-model-len 8192 2>&1 | tee log\n'
    )
    report = checked(tmp_path, "run.sh", text)
    assert report.commands[0].model == "meta-llama/Llama-3.1-8B-Instruct"
    assert report.fixed_text == text.replace("    --num-scheduler-steps 8 \\\n", "")


def test_config_file_of_flags(tmp_path: Path) -> None:
    text = "model: meta-llama/Llama-3.1-8B-Instruct\n# why\nmax-model-len: 8192\nswap-space: 4\nenforce-eager: true\n"
    report = checked(tmp_path, "config.yaml", text)
    assert [finding.rule for finding in report.findings if finding.level == "error"] == ["removed_flag"]
    assert report.fixed_text == text.replace("swap-space: 4\n", "")


def test_config_file_named_in_a_script(tmp_path: Path) -> None:
    (tmp_path / "flags.yaml").write_text("max-model-len: 200000\nenforce_eager: false\nmax-num-seqs: 8\n")
    report = checked(tmp_path, "run.sh", "vllm serve meta-llama/Llama-3.1-8B-Instruct --config flags.yaml\n")
    finding = next(finding for finding in report.findings if finding.rule == "context_length")
    assert (finding.from_value, finding.to) == (200000, 131072)
    # The command line has the last word, so the fix goes there and the config file stays as it is.
    assert report.fixed_text == (
        "vllm serve meta-llama/Llama-3.1-8B-Instruct --config flags.yaml --max-model-len 131072\n"
    )


def test_config_with_an_equals_sign_is_ignored_by_vllm(tmp_path: Path) -> None:
    report = checked(tmp_path, "run.sh", "vllm serve meta-llama/Llama-3.1-8B-Instruct --config=flags.yaml\n")
    assert report.findings[0].rule == "config_ignored"
    assert "--config flags.yaml" in report.fixed_text


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.yaml", "services: {a: &x {image: vllm/vllm-openai}}\n", "no command that starts a vLLM server"),
        ("a.yaml", "services: !!python/object:os.system {}\n", "no command that starts a vLLM server"),
        ("a.yaml", "a: &x [*x]\n", "stands for nothing that is complete"),
        ("a.yaml", "[" * 100, "nested deeper"),
        ("a.yaml", "services: {a: {command: 'vllm serve \"x'}}\n", "never closed"),
        ("a.yaml", "services: {a: {image: postgres}}\n", "no command that starts a vLLM server"),
        ("a.yaml", "a: 1\na: 2\n", "given twice"),
        ("a.yaml", "services: [\n", "not valid YAML"),
        ("a.yaml", "kind: Pod\n---\nkind: [\n", "line"),
        ("a.yaml", "", "no command"),
        ("a.json", '{"services": {"a": ', "not valid"),
        ("a.sh", "echo hello\n", "no command that starts a vLLM server"),
        ("a.sh", "vllm serve 'x\n", "never closed"),
        ("a.sh", "\n".join(["vllm serve Qwen/Qwen3-8B"] * 101), "too many"),
    ],
)
def test_hostile_or_empty_files_get_one_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence) as caught:
        checked(tmp_path, name, text)
    assert "\n" not in str(caught.value)


def test_missing_file_and_missing_gpu(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read 'none\.yaml'"):
        read_source(str(tmp_path / "none.yaml"))
    with pytest.raises(InvalidRequest, match="no GPU is named: add --gpu SKU"):
        checked(tmp_path, "compose.yaml", COMPOSE, gpu=None)


def test_odd_shapes_are_passed_over(tmp_path: Path) -> None:
    odd = "services:\n  a: [1, 2]\n  b: {command: [1, [2], {x: 3}]}\n  c: null\n"
    text = f"{odd}  d: {{command: vllm serve Qwen/Qwen3-8B}}\n"
    assert [command.place for command in checked(tmp_path, "c.yaml", text).commands] == ["service 'd'"]
