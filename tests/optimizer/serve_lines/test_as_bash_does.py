"""What is read from a script is what bash hands to `vllm`; what only the moment of running decides is marked."""

import subprocess
from pathlib import Path

import pytest

from vllm_opt.optimizer.serve_lines.files.sources import read_text
from vllm_opt.optimizer.serve_lines.shell.shell import serve_commands

SCRIPTS = (
    'A=(a \'b c\' d); vllm serve m ${A[1]} "${A[1]}" "${A[7]}" ${A[7]} $A',
    'A=(a b); vllm serve m "${A[*]+x}" "${A[@]:+y}"',
    "P=; vllm serve m --x=${P:-d} ${P-e} ${P+g} ${P:+h} end",
    "vllm serve m ${Q+f} end",
    "vllm serve m ${P:=9} $P",
    "P=1; vllm serve m ${P:-2} ${P-3} ${P:+4} ${P:?no}",
    'vllm serve m "${P:-"a b"}" ${P:-\'x  y\'} "${P:-\'q\'}"',
    "Q='s t'; vllm serve m ${P:-\"$Q\"} ${P:-$Q}",
    "vllm serve m ${P:-${Q:-${R:-deep}}}",
    "export X=1 Y=2; declare Z=3; readonly W=4; vllm serve m $X $Y $Z $W",
    'X=1; unset X; vllm serve m "$X" end',
    'f() { local n=$1; shift; vllm serve "$n" "$@"; }; f m --a \'b c\'',
    'set -- a b c; vllm serve m $2 "$*" $# end',
    'set -- one; vllm serve m "$3" end',
    "(P=1; vllm serve m $P)",
    "{ P=1; vllm serve m $P; }",
    "P=1; (P=2); vllm serve m $P",
    "P=1; P+=2; vllm serve m $P",
    "A=(1); A+=(2 '3 4'); vllm serve m \"${A[@]}\"",
    "E=(a '' b); vllm serve m \"${E[@]}\" ${E[@]}",
    "for p in 8; do vllm serve m --port $p; done",
    "true && vllm serve m --a || vllm other",
    "P='a\\b'; vllm serve m \"$P\" $P a\\ b \"c\\$d\" 'e\\f'",
    'vllm serve m --j \'{"a": [1, 2]}\' --k "{\\"b\\": 1}"',
    "if true; then :; fi; vllm serve m --end",
    "vllm serve m --a \\\n  --b \\\n  --c",
    "vllm serve m $'tab\\there' $'\\x41' \"\"",
    'N=VALUE; vllm serve m "${N,,}" end',
)

BY_THE_MOMENT = ("$#", ",,", "${Q+", ":=")
"""What is not followed: counts, changes of case, and variables that the environment may hold."""


def as_bash(text: str) -> list[str]:
    """The arguments that bash hands over."""
    head = 'vllm() { [ "$1" = serve ] && printf "%s\\0" "${@:2}"; }\n'
    ran = subprocess.run(["bash", "-c", head + text], capture_output=True, text=True, check=False, timeout=20)
    return ran.stdout.split("\0")[:-1]


@pytest.mark.parametrize("text", SCRIPTS)
def test_what_is_read_is_what_bash_runs(text: str) -> None:
    (command,) = serve_commands(text)
    expected = as_bash(text)
    read = [word.text for word in command.arguments]
    if not any(word.unresolved or word.many for word in command.arguments):
        assert read == expected
    else:
        assert any(mark in text for mark in BY_THE_MOMENT)


@pytest.mark.parametrize("text", [text for text in SCRIPTS if not any(mark in text for mark in BY_THE_MOMENT)])
def test_most_of_it_is_followed_to_the_end(text: str) -> None:
    (command,) = serve_commands(text)
    assert [word.text for word in command.arguments if word.unresolved or word.many] == []


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("vllm serve m --port $PORT", [("$PORT",)]),
        ("P+=1; vllm serve m $P", [("$P",)]),
        ('A+=(--b); vllm serve m "${A[@]}"', [("${A[@]}",)]),
        ("A=(1); A+=2; vllm serve m $A", [("$A",)]),
        ("A=(1 2); vllm serve m ${A[i]}", [("${A[i]}",)]),
        ("vllm serve m $(date)", [("$(date)",)]),
        ("vllm serve m ${P:-$(date)}", [("$(date)",)]),
        ("for p in 1 2; do vllm serve m --port $p; done", [("$p",)]),
        ('if [ -n "$1" ]; then P=1; else P=2; fi; vllm serve m $P', [("$P",)]),
        ("case $1 in a) P=1;; *) P=2;; esac; vllm serve m $P", [("$P",)]),
        ('vllm serve m "$@"', [("$@",)]),
    ],
)
def test_what_the_moment_decides_is_marked(text: str, marks: list[tuple[str, ...]]) -> None:
    (command,) = serve_commands(text)
    found = [word.unresolved for word in command.arguments if word.unresolved or word.many]
    assert [tuple(mark.strip('"') for mark in marked) for marked in found] == marks


PYTHON = """
import os, subprocess
MODEL = "org/m"
LENGTH = 4096
subprocess.run(["vllm", "serve", MODEL, "--port", str(80), f"--max-model-len={LENGTH}", "--api-key", os.environ["KEY"]])
more = ["vllm", "serve", "org/n", "--seed", "1", *extra]
more += ["--enforce-eager"]
subprocess.Popen(more)
subprocess.run(["bash", "-c", "vllm serve org/o --port 1"])
os.system(f"vllm serve {MODEL} --port 2")
text = "vllm serve org/p --port 3"
subprocess.run(text, shell=True)
subprocess.run("vllm serve 'org/q", shell=True)
print("vllm serve is what you want")
subprocess.run(["docker", "run", "--gpus", "2", "vllm/vllm-openai:v0.33.0", "--model", "org/r"])
"""


def test_python_that_starts_servers(tmp_path: Path) -> None:
    found = read_text(PYTHON, "start.py", tmp_path).commands
    of = {command.arguments[0].text: command for command in found if command.arguments}
    first = [command for command in found if command.line == 5]
    assert [word.text for word in first[0].arguments][:5] == [
        "org/m",
        "--port",
        "80",
        "--max-model-len=4096",
        "--api-key",
    ]
    assert first[0].arguments[5].unresolved == ("os.environ['KEY']",)
    assert [word.many for word in of["org/n"].arguments] == [False, False, False, True, True]
    assert [word.text for word in of["org/o"].arguments] == ["org/o", "--port", "1"]
    assert [word.text for word in of["org/p"].arguments] == ["org/p", "--port", "3"]


def test_python_that_cannot_be_read_says_where(tmp_path: Path) -> None:
    found = read_text("a = 1\nb = (\n", "start.py", tmp_path)
    assert found.commands == ()
    assert found.unread == ((1, "'start.py', line 2: not readable as Python"),)
