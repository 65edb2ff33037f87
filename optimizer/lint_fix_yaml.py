"""Edits of commands that stand in YAML: lists of words, and files of `flag: value` lines. Comments stay."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.serve_command import ServeCommand
from vllm_opt.optimizer.shell_words import Word

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
    """Edits of a YAML list of words: items are rewritten, removed with their line, or added after the last one."""
    text, found = command.text, list[Edit]()
    for word, replacement in placed:
        line_start = text.rfind("\n", 0, word.start) + 1
        marker = text[line_start : word.start]
        in_block = marker.strip() == "-"
        if replacement:
            between = "\n" + marker if in_block else ", "
            found.append(Edit(word.start, word.end, between.join(map(yaml_scalar, replacement))))
        elif in_block:
            line_end = text.find("\n", word.end)
            found.append(Edit(max(0, line_start - 1), len(text) if line_end < 0 else line_end, ""))
        else:
            found.append(Edit(*_with_comma(text, word), ""))
    last = command.arguments[-1] if command.arguments else None
    if last is not None and last.end > 0:
        marker = text[text.rfind("\n", 0, last.start) + 1 : last.start]
        between = "\n" + marker if marker.strip() == "-" else ", "
        place = last.end
        if marker.strip() == "-":
            line_end = text.find("\n", last.end)
            place = len(text) if line_end < 0 else line_end
        items = [item for words in added for item in words]
        found += [Edit(place, place, between + yaml_scalar(item)) for item in items]
    return found


def _with_comma(text: str, word: Word) -> tuple[int, int]:
    """An item of a [flow, list] with the comma before it, or, for the first one, after it."""
    before = word.start
    while before > 0 and text[before - 1] in " \t\r\n":
        before -= 1
    if before > 0 and text[before - 1] == ",":
        return before - 1, word.end
    after = word.end
    while after < len(text) and text[after] in " \t\r\n,":
        after += 1
    return word.start, after


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
