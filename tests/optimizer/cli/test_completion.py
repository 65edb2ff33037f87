"""What the shell offers, and that it loads nothing heavy for it."""

import os
import subprocess
import sys

import pytest

from vllm_opt.optimizer.cli import completion

HEAVY = ("pydantic", "numpy", "rich", "yaml", "ortools")


def offered(words: str) -> tuple[list[str], str]:
    """The completions of the last word, and what the interpreter imported."""
    environment = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "vllm_opt"],
        env={**environment, "_VLLM_OPT_COMPLETE": "bash_complete"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [line.partition(",")[2] for line in run.stdout.splitlines()], run.stderr


@pytest.mark.parametrize(
    ("words", "among"),
    [
        ("vllm-opt sol", "solve"),
        ("vllm-opt solve Qwen3-32", "Qwen/Qwen3-32B"),
        ("vllm-opt solve --model meta-llama/Llama-3.1-8", "meta-llama/Llama-3.1-8B-Instruct"),
        ("vllm-opt estimate --gpu h1", "h100-sxm"),
        ("vllm-opt solve --quantization w4", "w4a16"),
        ("vllm-opt solve --kv-cache-dtype fp", "fp8"),
        ("vllm-opt solve --workload off", "offline-batch"),
        ("vllm-opt solve --format kub", "kubernetes"),
        ("vllm-opt solve --vllm-version 0.1", "0.11"),
    ],
)
def test_names_are_offered_without_loading_the_catalogue(words: str, among: str) -> None:
    names, imported = offered(words)
    assert among in names
    assert not [line for line in imported.splitlines() if line.rpartition("|")[2].strip().startswith(HEAVY)]


def test_a_damaged_installation_offers_nothing_and_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(completion, "DATA", tmp_path)
    assert completion.gpus(None, None, "h") == []  # type: ignore[arg-type]
