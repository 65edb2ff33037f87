"""The same request gives the same bytes, times excepted: whatever the process, hash seed, locale and threads."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

REQUESTS: tuple[tuple[str, ...], ...] = (
    ("solve", "Qwen/Qwen3-8B", "--gpu", "l4", "--gpu", "h100", "--max-gpus", "4", "--top", "2"),
    ("solve", "Qwen/Qwen3-30B-A3B", "--gpu", "h100", "--max-gpus", "1", "--second-opinion"),
    ("estimate", "Qwen/Qwen3-4B", "--gpu", "h100", "--equations"),
)
TIMES = {"wall_ms", "workers"}


def output(arguments: tuple[str, ...], seed: str, locale: str = "C.UTF-8") -> bytes:
    """What a fresh process prints."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": "1790000000", "LC_ALL": locale}
    command = [sys.executable, "-m", "vllm_opt", *arguments, "--format", "json"]
    return subprocess.run(command, capture_output=True, check=True, env=environment).stdout


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def canonical(text: bytes) -> str:
    return json.dumps(without_times(json.loads(text)))


@pytest.mark.parametrize("arguments", REQUESTS, ids=lambda arguments: arguments[1].rsplit("/", 1)[-1])
def test_hash_seeds_locales_and_threads_change_nothing(arguments: tuple[str, ...]) -> None:
    first = canonical(output(arguments, "0"))
    more = ("--workers", "2") if arguments[0] == "solve" else ()
    assert canonical(output((*arguments, *more), "4242", "C")) == first


def test_a_plain_locale_keeps_every_character_in_json() -> None:
    """LC_ALL=C: JSON is ASCII-safe or UTF-8, never question marks."""
    text = output(REQUESTS[2], "1", "C")
    json.loads(text.decode("utf-8"))
    assert b"??" not in text
