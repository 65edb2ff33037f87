"""Edits of commands that stand in YAML: lists of words, and files of `flag: value` lines. Comments stay."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.words import Word

PLAIN_SCALAR = re.compile(r"--?[A-Za-z][\w.-]*|[A-Za-z][\w.-]*(?:/[\w.-]+)?")
NOT_TEXT = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
"""Words that YAML reads as something else than text."""

Placed = Sequence[tuple[Word, tuple[str, ...]]]
Added = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Edit:
    """Replace the text between two positions."""

    start: int
    end: int
    text: str


def list_edits(command: ServeCommand, placed: Placed, added: Added) -> list[Edit]:
    """Edits of a YAML list of words: items are rewritten, removed, or added after the last one."""
    text = command.text
    instead = {word.start: replacement for word, replacement in placed}
    found: list[Edit] = []
    words = [word for word in (*command.repeated_entry, *command.arguments) if word.start >= 0 and not word.source]
    groups = list(_lists(text, words))
    for index, group in enumerate(groups):
        new = [item for words in added for item in words] if index == len(groups) - 1 else []
        marker = text[text.rfind("\n", 0, group[0].start) + 1 : group[0].start]
        if marker.strip() == "-":
            found += _block_edits(text, group, instead, new, marker)
        elif new or any(word.start in instead for word in group):
            found.append(_flow_edit(text, group, instead, new))
    return found


def _lists(text: str, words: list[Word]) -> Iterator[list[Word]]:
    """Words of one list each: the entry point's and the arguments' may be two."""
    group: list[Word] = []
    for word in words:
        between = text[group[-1].end : word.start] if group else ""
        same_line = between.strip() == ","
        if group and not same_line and not _next_item(text, group[-1], word):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _next_item(text: str, before: Word, word: Word) -> bool:
    """Whether two words are items of one block list: both behind a dash in the same column."""
    columns = []
    for each in (before, word):
        line_start = text.rfind("\n", 0, each.start) + 1
        marker = text[line_start : each.start]
        columns.append(marker if marker.strip() == "-" else None)
    return columns[0] is not None and columns[0] == columns[1]


def _block_edits(
    text: str, group: list[Word], instead: dict[int, tuple[str, ...]], new: list[str], marker: str
) -> Iterator[Edit]:
    for word in group:
        replacement = instead.get(word.start)
        if replacement:
            yield Edit(word.start, word.end, ("\n" + marker).join(map(yaml_scalar, replacement)))
        elif replacement is not None:
            yield Edit(max(0, text.rfind("\n", 0, word.start)), _line_end(text, word.end), "")
    place = _line_end(text, group[-1].end)
    for item in new:
        yield Edit(place, place, "\n" + marker + yaml_scalar(item))


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _flow_edit(text: str, group: list[Word], instead: dict[int, tuple[str, ...]], new: list[str]) -> Edit:
    """The items of a [flow, list] written again; what is not changed keeps its quotes."""
    written: list[str] = []
    for word in group:
        replacement = instead.get(word.start)
        if replacement is None:
            written.append(text[word.start : word.end])
        else:
            written += [json.dumps(item, ensure_ascii=False) for item in replacement]
    written += [json.dumps(item, ensure_ascii=False) for item in new]
    return Edit(group[0].start, group[-1].end, ", ".join(written))


def config_edits(command: ServeCommand, placed: Placed, added: Added) -> list[Edit]:
    """Edits of a file of `flag: value` lines."""
    text, found = command.text, list[Edit]()
    for word, replacement in placed:
        if replacement:
            found.append(Edit(word.start, word.end, _config_line(replacement)))
        else:
            start = text.rfind("\n", 0, word.start)
            line_end = text.find("\n", word.end)
            found.append(Edit(max(0, start), len(text) if line_end < 0 else line_end, ""))
    end = command.arguments_end
    found += [Edit(end, end, "\n" + _config_line(words)) for words in added]
    return found


def _config_line(words: Sequence[str]) -> str:
    name = words[0].removeprefix("--")
    if len(words) > 1:
        return f"{name}: {yaml_scalar(words[1])}"
    return f"{name.removeprefix('no-')}: false" if name.startswith("no-") else f"{name}: true"


def yaml_scalar(word: str) -> str:
    """A word as a YAML string."""
    plain = PLAIN_SCALAR.fullmatch(word) and word.lower() not in NOT_TEXT
    return word if plain else json.dumps(word, ensure_ascii=False)
