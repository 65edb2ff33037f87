"""What nobody should type, and what happens then: one sentence and exit code 2, never a fault of the program."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.fitting.startup.logs import read_logs
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.huggingface import model_from_config
from vllm_opt.profiles.configs.reader import BRACKETS_AND_STRINGS, parse_config
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.user_files import SHAPE_OF_JSON, parse_user_text

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 4096,
    "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 4, "vocab_size": 32000,
    "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
}  # fmt: skip


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command with bad input says."""
    assert main(arguments) == 2, arguments
    said = capsys.readouterr().err.strip()
    assert said.startswith("vllm-opt: error: ")
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    "arguments",
    [
        ("solve", "--model", "~no-such-user-x/m"), ("estimate", "--model", "~no-such-user-x/m"),
        ("lint", "--file", "~no-such-user-x/run.sh", "--gpu", "l4"), ("batch", "--models", "~no-such-user-x/m"),
    ],
)  # fmt: skip
def test_a_home_folder_that_nobody_has(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "home folder" in sentence(capsys, *arguments)


@pytest.mark.parametrize("key", ["self", "cls", "data", "request_type", "__class__"])
def test_a_key_that_python_uses_itself(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidRequest, match="unknown key"):
        SolveRequest(**{key: 1})
    lines = tmp_path / "requests.jsonl"
    lines.write_text(json.dumps({key: 1}))
    assert main(["solve", "--requests", str(lines)]) == 2
    assert "unknown key" in json.loads(capsys.readouterr().out)["error"]
    for name, content in (("batch", {key: 1}), ("procure", {key: 1, "workloads": [{"name": "a", "model": "gpt2"}]})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        assert "unknown key" in sentence(capsys, name, str(tmp_path / f"{name}.yaml"))


def test_a_request_line_names_a_key_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "requests.jsonl"
    lines.write_text('{"gpu": "l4", "gpu": "h100"}\n{"gpu": }\n')
    assert main(["estimate", "--requests", str(lines)]) == 2
    first, second = [json.loads(line)["error"] for line in capsys.readouterr().out.splitlines()]
    assert first == "the key 'gpu' is given twice; keep one"
    assert second == "the line is not JSON: Expecting value at column 9"


@pytest.mark.parametrize("limit", [1e13, 1e15])
def test_a_budget_without_end(limit: float) -> None:
    asked = {"gpu": "l4", "concurrency": 1_000_000, "max_hourly_cost": limit}
    assert solve(SolveRequest(**asked)).status == "infeasible"
    assert solve(SolveRequest(gpu="l4", max_hourly_cost=limit)).status == "optimal"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": ["HunYuanMoEV1ForCausalLM"], "num_experts": 8, "moe_intermediate_size": 512,
          "moe_topk": [0, 0, 0, 0]}, "moe_topk"),
        ({"hidden_size": 150_000, "intermediate_size": 150_000, "num_hidden_layers": 9_000}, "TiB of weights"),
    ],
)  # fmt: skip
def test_sizes_that_no_model_has(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | changes))
    with pytest.raises(InvalidRequest, match=said):
        solve(SolveRequest(model=str(tmp_path)))


@pytest.mark.parametrize("ratio", [5e-324, 1e-200, 1e-9, 2, 1e9])
def test_a_shuffle_ratio_that_divides_by_nothing(ratio: float) -> None:
    vision = {
        "hidden_size": 64, "intermediate_size": 128, "image_size": 28, "patch_size": 14, "projector_input_dim": 64,
        "projector_output_dim": 64, "vision_output_dim": 64, "num_hidden_layers": 2, "pixel_shuffle_ratio": ratio,
    }  # fmt: skip
    text = LLAMA | {"num_local_experts": 2, "intermediate_size_mlp": 4096, "num_experts_per_tok": 1}
    config = {
        "architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4", "text_config": text,
        "vision_config": vision,
    }  # fmt: skip
    with pytest.raises(InvalidRequest, match="pixel_shuffle_ratio"):
        model_from_config(config, "test")


@pytest.mark.parametrize("field", [
    "tp", "pp", "max_model_len", "block_size", "max_num_seqs", "max_num_batched_tokens", "gpu_total_gib",
    "gpu_memory_utilization", "measured",
])  # fmt: skip
@pytest.mark.parametrize("value", ["x", [1], {"a": "b"}, True, -1, 1e30])
def test_a_start_up_row_with_a_figure_that_is_none(field: str, value: object, tmp_path: Path) -> None:
    row = {
        "model": "Qwen/Qwen2.5-7B-Instruct", "gpu": "H100", "gpu_total_gib": 79.1, "vllm_version": "0.8.5", "tp": 1,
        "measured": {"activation_peak_gib": 1.2},
    }  # fmt: skip
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n" + json.dumps(row | {field: value}) + "\n")
    with pytest.raises(InvalidRequest, match=rf"line 2: {field}"):
        read_logs(file, Catalog())


@pytest.mark.parametrize("pattern", [BRACKETS_AND_STRINGS, SHAPE_OF_JSON])
@pytest.mark.parametrize("text", ['{"' + '\\"' * 1000, '"' + "a" * 999, '"' + "\\\\" * 999, '["a", "' + '\\"x' * 999])
def test_every_character_of_a_file_is_looked_at_once(pattern: re.Pattern[str], text: str) -> None:
    """The tokens lie side by side, none is tried again from a later quote: their lengths add up to the text's."""
    tokens = [match.span() for match in pattern.finditer(text)]
    assert tokens[-1][1] == len(text)
    for start in (at for at, character in enumerate(text) if character == '"'):
        found = pattern.match(text, start)
        assert found is not None  # a quote that no token begins at would be scanned to the end in vain


@pytest.mark.parametrize(
    "text",
    ['{"' + '\\"' * 200_000, '{"a": "' + '\\"' * 200_000 + '"}', '{"a": "' + "[" * 300_000],
    ids=["open", "whole", "brackets"],
)
def test_large_strings_are_read_or_refused(text: str) -> None:
    whole = text.endswith("}")
    for parse in (lambda: parse_config(text.encode(), "config.json"), lambda: parse_user_text(text, "x.json")):
        if whole:
            assert parse() == {"a": '"' * 200_000}
            continue
        with pytest.raises(InvalidRequest, match="not valid JSON"):
            parse()


def test_confidence_never_takes_bytes_off() -> None:
    memory = estimate(EstimateRequest(model="llama-3.1-8b", gpu="h100", confidence=0.5)).memory
    assert memory is not None
    assert memory.confidence_bytes >= 0


def test_a_reader_that_leaves_early_is_no_failure(tmp_path: Path) -> None:
    lines = tmp_path / "requests.jsonl"
    lines.write_text('{"gpu": "l4"}\n' * 400)
    program = [sys.executable, "-c", "import sys; from vllm_opt.optimizer.cli.main import main; sys.exit(main())"]
    child = subprocess.Popen(
        [*program, "estimate", "--requests", str(lines)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline().startswith(b"{")
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=60) == 0, said


def test_too_many_workloads_are_counted_in_plain_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "demand.yaml"
    file.write_text(
        yaml.safe_dump({"workloads": [{"name": f"w{n}", "model": "gpt2", "concurrency": 1} for n in range(201)]})
    )
    said = sentence(capsys, "procure", str(file))
    assert "must hold at most 200 entries" in said
    assert "validation" not in said
