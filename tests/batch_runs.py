"""Batch runs that several test files make: small ones, in this process or as the command."""

import subprocess
import sys
from pathlib import Path
from typing import Any

MODELS = ("Qwen/Qwen3-0.6B", "Qwen/Qwen2.5-1.5B-Instruct", "meta-llama/Llama-3.1-8B-Instruct")


def command(folder: Path, *arguments: str) -> list[str]:
    """The command line of a small batch that writes a folder."""
    return [sys.executable, "-m", "vllm_opt.optimizer.cli.main", "batch", "--output", str(folder), *arguments]


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start the command."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command(folder, *arguments), stdout=pipe, stderr=pipe, text=True)


def written(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


def asked(folder: Path, **changes: Any) -> dict[str, Any]:
    """Fields of a small request."""
    fields = {"models": MODELS[:2], "gpu": ("l40s", "l4"), "workload": ("chat",), "output": str(folder), "jobs": 2}
    return {**fields, **changes}
