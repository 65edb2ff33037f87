"""Every reader of text gives an answer or one sentence, for the corpus and for changes of it; and limits are told."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_opt.optimizer.cli.settings import LARGEST_FILE_BYTES as LARGEST_SETTINGS_BYTES
from vllm_opt.optimizer.contract.length_file import LARGEST_FILE_BYTES as LARGEST_LENGTHS_BYTES
from vllm_opt.optimizer.serve_lines.files.paths import MOST_FILES
from vllm_opt.optimizer.serve_lines.files.yaml_tree import MOST_EXPANDED_NODES
from vllm_opt.optimizer.serve_lines.shell.script import MOST_STEPS
from vllm_opt.profiles.configs.reader import MAX_CONFIG_BYTES, parse_config
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.user_files import MAX_USER_FILE_BYTES, parse_user_text, read_user_file

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("config", "yaml", "log", "lengths", "requests", "shell")


def fuzzing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_script", ROOT / "benchmarks" / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FUZZ = fuzzing()
CORPUS = sorted((ROOT / "tests" / "data" / "fuzz_corpus").glob("*/*"))


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_the_corpus_is_read(file: Path, tmp_path: Path) -> None:
    wrong, _ = FUZZ.fault(file.parent.name, file.read_bytes(), tmp_path, 60.0)
    assert wrong is None


@pytest.mark.parametrize("kind", QUICK)
def test_changes_of_it_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    pool = [file.read_bytes() for file in CORPUS if file.parent.name == kind]

    @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def read(chance: object) -> None:
        data = FUZZ.mutated(chance, pool[0], pool)
        wrong, _ = FUZZ.fault(kind, data, tmp_path, 60.0)
        assert wrong is None, data

    read()


def test_the_fuzzer_sees_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUZZ.READERS, "log", lambda _data, _folder: 1 // 0)
    wrong, _ = FUZZ.fault("log", b"", tmp_path, 60.0)
    assert "ZeroDivisionError" in wrong


def test_the_table_of_limits_is_the_code_s() -> None:
    """docs/trust.md states every limit; a number that moves in the code must move there."""
    text = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    for number in (
        f"{MAX_CONFIG_BYTES >> 20} MiB", f"{MAX_USER_FILE_BYTES >> 20} MiB", f"{LARGEST_SETTINGS_BYTES >> 20} MiB",
        f"{LARGEST_LENGTHS_BYTES >> 20} MiB", f"{MOST_FILES:,} files", f"{MOST_EXPANDED_NODES:,} nodes",
        f"{MOST_STEPS:,} steps",
    ):  # fmt: skip
        assert number in text, number


def test_a_file_above_the_limit_is_refused_by_its_size(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    with file.open("wb") as stream:
        stream.truncate(MAX_USER_FILE_BYTES + 1)
    with pytest.raises(InvalidRequest, match=r"MiB|MB|large|bytes"):
        read_user_file(file)


@pytest.mark.parametrize("depth", [300, 100_000])
def test_nesting_is_limited(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    with pytest.raises(InvalidRequest):
        parse_user_text(deep, "deep.json")
    with pytest.raises(InvalidRequest):
        parse_config(('{"a":' + deep + "}").encode(), "config.json")
    assert json.loads("[]") == []
