"""The pages of docs/ that the program writes itself: every command with its options, and every rule.

`python -m vllm_opt.optimizer.cli.upkeep.reference_pages docs` writes them again, docs/lint included; a test compares.
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from vllm_opt.constraints.rules import RULES
from vllm_opt.optimizer.cli.main import COMMANDS, PROGRAM, root
from vllm_opt.optimizer.linter.rules import documentation
from vllm_opt.profiles.whole_file import replace_file

_WRITTEN_BY = "<!-- written by optimizer/cli/upkeep/reference_pages.py; change the program, not this page -->"
_OTHER = ("Other options", "")


def reference_pages() -> dict[str, str]:
    """Path below docs/ -> text, for every page that is written from the program."""
    return {
        "commands.md": commands_page(),
        "rules.md": rules_page(),
        **{f"lint/{name}": page for name, page in documentation().items()},
    }


def commands_page() -> str:
    """Every command with its options, from click."""
    context = click.Context(root, info_name=PROGRAM)
    parts = [
        "# Every command and option",
        _WRITTEN_BY,
        f"`{PROGRAM} COMMAND --help` prints the same. Words, units and settings: [the command line](command-line.md).",
        "\n".join(["| command | what it does |", "|---|---|", *_list_of_commands()]),
    ]
    for name in COMMANDS:
        command = root.get_command(context, name)
        if command is not None:
            parts += _command_parts(name, command, context)
    return "\n\n".join(parts) + "\n"


def rules_page() -> str:
    """Every constraint, from the docstring of its file and of its class."""
    parts = [
        "# Every rule of a plan",
        _WRITTEN_BY,
        "A plan satisfies all of these. Answers name them under `binding` and in the conflicts of `vllm-opt explain`. "
        "S is max_num_seqs, T max_num_batched_tokens, N the KV blocks of the pool, u gpu_memory_utilization, and "
        "q(confidence) the factor that takes a predicted mean to the end of its interval. The codes of "
        "`vllm-opt lint` have [pages of their own](lint/README.md).",
    ]
    for rule in RULES:
        module = inspect.getmodule(type(rule))
        text = inspect.cleandoc(module.__doc__ or "") if module else ""
        parts += [f"## {rule.name}", _as_markdown(text.removeprefix(f"{rule.name}: "))]
        parts.append(f"Held: {inspect.cleandoc(type(rule).__doc__ or '')}")
    return "\n\n".join(parts) + "\n"


def _as_markdown(docstring: str) -> str:
    """Start with a capital, and fence what is set in."""
    paragraphs = docstring.split("\n\n")
    if "_" not in paragraphs[0].split()[0]:
        paragraphs[0] = paragraphs[0][:1].upper() + paragraphs[0][1:]
    return "\n\n".join(
        f"```text\n{inspect.cleandoc(each)}\n```" if each.startswith("    ") else each for each in paragraphs
    )


def _list_of_commands() -> list[str]:
    return [f"| [{name}](#{name}) | {_cell(line)} |" for name, (_, line) in COMMANDS.items()]


def _command_parts(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    yield f"## {name}"
    yield f"```text\n{PROGRAM} {name} {' '.join(command.collect_usage_pieces(context))}\n```"
    yield _help_text(command.help or "")
    groups: dict[tuple[str, str], list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            row = f"| {_code(record[0])} | {_cell(record[1])} |"
            groups.setdefault(getattr(parameter, "help_group", _OTHER), []).append(row)
    for (title, example), rows in sorted(groups.items(), key=lambda item: item[0][0] in ("Other", _OTHER[0])):
        if title != _OTHER[0] or len(groups) > 1:
            yield f"**{title}**" + (f": `{PROGRAM} {example}`" if example else "")
        yield "\n".join(["| option | meaning |", "|---|---|", *rows])


def _help_text(docstring: str) -> str:
    """The words of `--help`; a paragraph that click must not wrap is an example."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(
        "```text\n" + each.removeprefix("\b\n") + "\n```" if each.startswith("\b") else each.replace("<", "\\<")
        for each in paragraphs
    )


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<").replace("*", "\\*").replace("_", "\\_")


def main(folder: str) -> None:
    """Write the pages below a folder; one that no rule stands behind any more is named."""
    docs = Path(folder)
    pages = reference_pages()
    for name, text in pages.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        replace_file(docs / name, text)
    for path in sorted((docs / "lint").glob("*.md")):
        if f"lint/{path.name}" not in pages:
            sys.stderr.write(f"{path}: no rule has this code any more\n")


if __name__ == "__main__":
    main(*sys.argv[1:2] or ("docs",))
