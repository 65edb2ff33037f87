"""The documents keep their word: links lead somewhere, commands can be typed, both READMEs agree."""

import re
import shlex
from pathlib import Path

import click
import pytest

from vllm_opt.optimizer.cli.main import COMMANDS, root

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def code_blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)


def typed_commands(document: Path) -> list[list[str]]:
    """Every `vllm-opt …` of the shell blocks, as words."""
    found = []
    for block in code_blocks(document, "bash"):
        lines = block.replace("\\\n", " ").splitlines()
        pieces = [piece for line in lines if not line.startswith("#") for piece in re.split(r"&&|;", line)]
        words = [shlex.split(piece) for piece in pieces]
        found += [line[1:] for line in words if line and line[0].endswith("vllm-opt")]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize(
    "arguments", typed_commands(ROOT / "README.md"), ids=lambda arguments: " ".join(arguments)[:60]
)
def test_commands_of_the_readme_can_be_typed(arguments: list[str]) -> None:
    arguments = arguments[: arguments.index(">")] if ">" in arguments else arguments
    context = click.Context(root)
    command = root.get_command(context, arguments[0])
    assert command is not None
    assert command.make_context(arguments[0], list(arguments[1:])).params


def test_the_readme_shows_commands_of_every_kind() -> None:
    shown = {arguments[0] for arguments in typed_commands(ROOT / "README.md")}
    assert {"solve", "estimate", "explain", "gpus", "models", "prices"} <= shown <= set(COMMANDS)


def test_both_readmes_give_the_same_two_commands() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh-TW.md"
    assert code_blocks(english, "bash")[:2] == code_blocks(chinese, "bash")
    marks = re.findall(r"<!-- ci: (\w+) -->", english.read_text(encoding="utf-8"))
    assert marks == ["solve", "test"]


def test_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = code_blocks(ROOT / "README.md", "python")
    exec(compile(program, "README.md", "exec"), {})  # our own document
    shown = capsys.readouterr().out
    assert "optimal vllm serve " in shown
    assert shown.endswith("True\n")
