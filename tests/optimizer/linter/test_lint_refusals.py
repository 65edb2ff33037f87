"""Every refusal that vLLM 0.33's own planning code gave is predicted by the linter: the rule, the text, the number.

The rows are those of `test_kv_cache_against_vllm.py`; the KV memory of each is given with --kv-cache-memory-bytes.
"""

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import vllm_opt.profiles
from vllm_opt.optimizer.linter.lint import lint_command
from vllm_opt.optimizer.linter.subject.report import CommandReport
from vllm_opt.profiles.catalogues.catalog import Catalog

DATA = Path(__file__).parents[2] / "data"
MODELS = Path(vllm_opt.profiles.__path__[0]) / "data" / "models"
SKUS = {"H100": "h100-sxm", "A100": "a100-sxm-80gb", "B200": "b200", "L40S": "l40s", "T4": "t4"}
NOT_DIVISIBLE = re.compile(
    r"not divisible|modulo by zero|must be divisible|must divide|not aligned|WNA16|AssertionError: *$|parallel"
)
CATALOG = Catalog()


def _rows() -> list[dict[str, Any]]:
    names = ("vllm_0_33_planning.jsonl", "vllm_0_33_planning_more.jsonl")
    rows = [json.loads(line) for name in names for line in (DATA / name).read_text().splitlines()]
    return [row for row in rows if row["inputs"]["dtype"] == "auto" and "quantization" not in row["inputs"]["extra"]]


ROWS = _rows()
SHORT_OF_MEMORY = [row for row in ROWS if row["status"] == "startup_error"]
WITHOUT_FLASHINFER = re.compile(r"FP8 KV cache is not supported by the Triton attention backend on NVIDIA A100")
"""The machine that made the rows lacked FlashInfer, which a real installation tries before Triton on an A100."""
_ALL_REFUSED = [row for row in ROWS if row["status"] == "exception" and not WITHOUT_FLASHINFER.search(row["exception"])]
REFUSED = [row for index, row in enumerate(_ALL_REFUSED) if index < 20 or index % 2]
"""All of the first file and every second one of the other, for time."""
PLANNED = [row for row in ROWS if row["status"] == "ok"][::12]


@cache
def _config(name: str) -> dict[str, Any]:
    if "--" in name:
        config: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text())["config"]
    else:
        config = json.loads((DATA / "vllm_reference_configs" / f"{name}.json").read_text())
    return config


def _command(row: dict[str, Any], folder: Path) -> str:
    given = row["inputs"]
    config = dict(_config(given["config"]))
    if (given["quant"] or "native") != "native":
        config["quantization_config"] = json.loads((DATA / "quantization_configs.json").read_text())[given["quant"]]
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    words = ["vllm", "serve", str(path), "-tp", str(given["tp"]), "-pp", str(given["pp"])]
    words += ["--kv-cache-dtype", given["kv_cache_dtype"], "-dcp", str(given["dcp"]), "--gpu-memory-utilization", "0.5"]
    words += [
        "--enforce-eager"
    ]  # planning precedes the capture of graphs, which wants a block per sequence with states
    if given["tp"] * given["pp"] > 8:
        words += ["--distributed-executor-backend", "ray"]
    if given.get("available_gib") is not None:
        words += ["--kv-cache-memory-bytes", str(max(1, int(given["available_gib"] * 2**30)))]
    if given["block_size"]:
        words += ["--block-size", str(given["block_size"])]
    if given["max_model_len"]:
        words += ["--max-model-len", str(given["max_model_len"])]
    if given["expert_parallel"]:
        words += ["--enable-expert-parallel"]
    for name, value in given["extra"].items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words += [f"--{flag}" if value else f"--no-{flag}"]
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def _lint(row: dict[str, Any], folder: Path) -> CommandReport:
    gpu = SKUS[row["inputs"]["gpu"]]
    return lint_command(_command(row, folder), gpu, "0.33", catalog=CATALOG, optimum=False).commands[0]


def _errors(report: CommandReport) -> list[str]:
    return [finding.rule for finding in report.findings if finding.level == "error"]


def _remedies(report: CommandReport) -> str:
    found = [finding for finding in report.findings if finding.rule == "memory_budget"]
    return " | ".join(words for each in found for words in (*(c.words for c in each.changes), *each.alternatives))


def _id(row: dict[str, Any]) -> str:
    return f"{row['id']}-{row['inputs']['config']}"


@pytest.mark.parametrize("row", SHORT_OF_MEMORY, ids=_id)
def test_short_memory_is_refused_in_vllms_words(row: dict[str, Any], tmp_path: Path) -> None:
    report = _lint(row, tmp_path)
    assert report.starts is False
    assert report.startup_log == (f"ValueError: {row['outputs']['error']}",)
    assert _errors(report) == ["memory_budget"]
    finding = next(finding for finding in report.findings if finding.rule == "memory_budget")
    estimated = re.search(r"estimated maximum model length is (\d+)", finding.message)
    weights_fit = report.memory is not None and report.memory.weights_bytes < report.memory.gpu_total_bytes // 2
    if estimated and weights_fit and not row["inputs"]["extra"].get("num_gpu_blocks_override"):
        # With several pipeline stages vLLM speaks of the first that is short, and another may be shorter still.
        proposed = [int(length) for length in re.findall(r"--max-model-len (\d+)", _remedies(report))]
        assert proposed
        assert proposed[0] <= int(estimated.group(1))
        assert proposed[0] == int(estimated.group(1)) or row["inputs"]["pp"] > 1


@pytest.mark.parametrize("row", REFUSED, ids=_id)
def test_refused_before_memory_is_counted(row: dict[str, Any], tmp_path: Path) -> None:
    report = _lint(row, tmp_path)
    if "greater than the derived max_model_len" in row["exception"]:
        rule = "context_length"
    else:
        rule = "divisibility" if NOT_DIVISIBLE.search(row["exception"]) else "compatibility"
    assert report.starts is False
    assert rule in _errors(report)
    assert report.startup_log[0].startswith("ValueError: ")


@pytest.mark.parametrize("row", PLANNED, ids=_id)
def test_what_vllm_plans_is_not_refused(row: dict[str, Any], tmp_path: Path) -> None:
    """Out of memory may still happen: the rows' pools were given to models that no such GPU holds."""
    report = _lint(row, tmp_path)
    refusals = [finding for finding in report.findings if finding.level == "error"]
    assert all(finding.message.startswith(("CUDA out of memory", "No available memory")) for finding in refusals)


def test_rows_of_every_outcome_are_present() -> None:
    assert len(SHORT_OF_MEMORY) > 50
    assert len(REFUSED) > 80
    assert len(PLANNED) > 40
