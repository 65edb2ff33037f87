"""The documents keep their word: links lead somewhere, commands can be typed, both READMEs agree."""

import json
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from vllm_opt.optimizer.cli.main import COMMANDS, main, root

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


def test_the_picture_of_the_rooms_is_true() -> None:
    """Every arrow is in the door of the room that it leads to, and the SVG is what the script draws."""
    names = runpy.run_path(str(ROOT / "docs" / "pictures" / "house.py"))
    for start, end in names["ARROWS"]:
        (door,) = ROOT.glob(f"*/{end}/__init__.py")
        allowed = re.search(r"May import:(.*?)\.\n", door.read_text(encoding="utf-8") + "\n", flags=re.DOTALL)
        assert allowed is None or start in re.findall(r"[\w/]+", allowed[1]), f"{start} -> {end}"
    drawn = (ROOT / "docs" / "pictures" / "house.svg").read_text(encoding="utf-8")
    assert drawn == names["drawn"]()


def test_no_page_needs_a_script_from_elsewhere() -> None:
    """Material fetches mermaid from a CDN wherever a page draws with it."""
    assert [page.name for page in DOCUMENTS if "```mermaid" in page.read_text(encoding="utf-8")] == []


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


def headings(document: Path) -> list[str]:
    prose = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"^## (.+)$", prose, flags=re.MULTILINE)


SECTIONS = {
    "Two commands": "兩個指令",
    "What to ask": "可以問什麼",
    "From Python": "從 Python 使用",
    "How it knows": "依據",
    "Words": "名詞",
    "What it does not know": "它不知道什麼",
}


def test_both_readmes_have_the_same_sections() -> None:
    assert headings(ROOT / "README.md") == list(SECTIONS)
    assert headings(ROOT / "README.zh-TW.md") == list(SECTIONS.values())


def test_both_readmes_show_the_same_answer_and_program() -> None:
    for language in ("text", "python"):
        english, chinese = (code_blocks(ROOT / name, language) for name in ("README.md", "README.zh-TW.md"))
        assert len(english) == 1
        assert english == chinese


def test_both_readmes_link_the_same_pages() -> None:
    pages = [
        set(re.findall(r"\]\((docs/[^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")))
        for name in ("README.md", "README.zh-TW.md")
    ]
    assert pages[0] >= pages[1] >= {page for page in pages[0] if "tutorial" in page or "accuracy" in page}


def test_a_command_of_one_readme_is_in_the_other() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-TW.md"))
    assert [command for command in COMMANDS if (command in english) != (command in chinese)] == []
    assert {"simulate", "verify", "check-data", "engines"} <= {command for command in COMMANDS if command in english}


def test_chinese_prose_has_full_width_punctuation() -> None:
    text = (ROOT / "README.zh-TW.md").read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|<!--.*?-->|`[^`\n]*`|\]\([^)\n]*\)|!(?=\[)", "", text, flags=re.DOTALL)
    lines = [line for line in prose.splitlines() if re.search("[\u4e00-\u9fff]", line)]
    assert len(lines) > 50
    assert [line for line in lines if re.search(r"[,;:?!()](?!\d)", line)] == []


def test_the_answer_in_the_readme_is_what_the_program_says_today(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = [words for words in typed_commands(ROOT / "README.md") if words[:2] == ["solve", "--target-context"]]
    assert main([*command, "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (shown,) = code_blocks(ROOT / "README.md", "text")
    assert " ".join(shown.replace("\\\n", " ").split()).count(answer["plan"]["command"]) == 1


def test_the_table_of_contents_and_the_pages_agree() -> None:
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^ +- ([\w/-]+\.md)$", contents, flags=re.MULTILINE)
    assert len(named) == len(set(named)) > 20
    assert [page for page in named if not (ROOT / "docs" / page).exists()] == []


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["authors"]


def test_forms_for_issues_can_be_read() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) >= 4
    for form in forms:
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        assert form.name == "config.yml" or {"name", "description", "body"} <= set(content)
