"""The reference pages are what the program would write today, and name everything that there is."""

from pathlib import Path

import click
import pytest

from vllm_opt.constraints.rules import RULE_NAMES
from vllm_opt.optimizer.cli.main import COMMANDS, root
from vllm_opt.optimizer.cli.upkeep.reference_pages import main, reference_pages

DOCS = Path(__file__).resolve().parents[1] / "docs"
AGAIN = "write it again: python -m vllm_opt.optimizer.cli.upkeep.reference_pages docs"
PAGES = reference_pages()


@pytest.mark.parametrize("name", ["commands.md", "rules.md"])
def test_the_page_is_in_step(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name], AGAIN


def test_every_option_of_every_command_is_in_the_page() -> None:
    context = click.Context(root)
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        section = PAGES["commands.md"].split(f"\n## {name}\n")[1].split("\n## ")[0]
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        assert [option for option in options if option not in section] == []


def test_every_rule_has_a_section() -> None:
    assert [line[3:] for line in PAGES["rules.md"].splitlines() if line.startswith("## ")] == list(RULE_NAMES)
    assert "{" not in PAGES["rules.md"]


def test_the_script_writes_them_all_and_names_what_is_left_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lint").mkdir()
    (tmp_path / "lint" / "gone.md").write_text("", encoding="utf-8")
    main(str(tmp_path))
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")} == {*PAGES, "lint/gone.md"}
    assert "gone.md: no rule has this code any more" in capsys.readouterr().err
