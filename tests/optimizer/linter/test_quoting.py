"""What lint prints means to a shell what the source meant: nothing that was quoted comes alive, nothing alive dies."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vllm_opt.optimizer.linter.lint import lint, lint_command
from vllm_opt.optimizer.linter.subject.request import LintRequest

TEXTS = st.text("ab$`'\"\\;&|<>(){}*?!#~ =-", min_size=1, max_size=10).filter(
    lambda text: not text.startswith("-") and text.strip() == text
)


def words_of_bash(line: str) -> list[str]:
    """The words that bash makes of a line, where two variables have a value."""
    script = f"SECRET=filled; PORT=9; set -- {line}\nprintf '%s\\0' \"$@\""
    found = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=20)
    return found.stdout.decode().split("\0")[:-1]


def value_of(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(secret=TEXTS)
@example(secret="pa$w0rd;id")
@example(secret="a$(id)b")
@example(secret='{"a":"$x"}')
@example(secret="$SECRET")
@example(secret="`id`")
def test_what_was_quoted_stays_quoted(secret: str) -> None:
    line = f"vllm serve Qwen/Qwen3-8B --swap-space 8 --api-key {shlex.quote(secret)} --port $PORT"
    for command in lint_command(line, gpu="h100-sxm", vllm_version="0.33").commands:
        for printed in (command.command, command.fixed_command):
            assert printed is not None
            assert value_of(words_of_bash(printed), "--api-key") == secret


@pytest.mark.parametrize(
    ("spelled", "means"),
    [
        ("$SECRET", "filled"), ('"$SECRET"', "filled"), ("a-${SECRET}-b", "a-filled-b"), ("$(printf 'x y')z", None),
        ('"$(printf x y)"', "x"),
    ],
)  # fmt: skip
def test_what_the_shell_fills_in_is_still_filled_in(spelled: str, means: str | None) -> None:
    line = f"vllm serve Qwen/Qwen3-8B --swap-space 8 --api-key {spelled}"
    (command,) = lint_command(line, gpu="h100-sxm", vllm_version="0.33").commands
    assert command.fixed_command is not None
    source, printed = words_of_bash(line), words_of_bash(command.fixed_command)
    assert value_of(printed, "--api-key") == value_of(source, "--api-key")
    assert means is None or value_of(printed, "--api-key") == means


@pytest.mark.parametrize("value", ["${X};$(id)", "$(id)", "`id`", "a $SECRET b;id", "{{ .Values.key }};id"])
def test_what_a_list_holds_is_never_run(value: str, tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    arguments = ["--model", "Qwen/Qwen3-8B", "--api-key", value, "--swap-space", "8"]
    container = {"name": "a", "image": "vllm/vllm-openai:v0.33.0", "args": arguments}
    file.write_text(json.dumps({"kind": "Pod", "spec": {"containers": [container]}}), encoding="utf-8")
    (command,) = lint(LintRequest(file=str(file), gpu="h100-sxm", optimum=False)).commands
    for printed in (command.command, command.fixed_command):
        assert printed is not None
        assert words_of_bash(printed) == shlex.split(printed)
