"""Fenced code blocks of Markdown: shell, console sessions, YAML and Python."""

import re
from collections.abc import Sequence

from vllm_opt.optimizer.serve_lines.placed_text import PlacedText, joined
from vllm_opt.optimizer.serve_lines.shell.reading import Embedded, Reading
from vllm_opt.optimizer.serve_lines.shell.shell import read_shell
from vllm_opt.profiles.errors import InvalidRequest

_FENCE = re.compile(r"^(?P<indent>[ \t>]*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^\n`]*)$", re.MULTILINE)
_SHELLS = frozenset(("", "bash", "sh", "shell", "zsh", "console", "text", "shell-session", "shellsession", "terminal"))
_FILES = {"yaml": "block.yaml", "yml": "block.yaml", "json": "block.json", "python": "block.py", "py": "block.py",
          "dockerfile": "Dockerfile", "docker": "Dockerfile", "ini": "block.service",
          "systemd": "block.service"}  # fmt: skip
_PROMPT = re.compile(r"^(?:\$|%|>|#(?= (?:vllm|docker|python)))[ \t]+")


def markdown_servers(source: PlacedText) -> Reading:
    """Read every fenced block on its own; one that cannot be read is noted and passed over."""
    reading = Reading()
    for info, block in _blocks(source):
        language = re.split(r"[ ,{:]", info.strip().lower().lstrip("{."), maxsplit=1)[0].rstrip("}")
        if language in _FILES:
            reading.embedded.append(Embedded(_FILES[language], block))
        elif language in _SHELLS and "vllm" in block.text:
            _take(reading, block)
    return reading


def _take(reading: Reading, block: PlacedText) -> None:
    try:
        found = read_shell(block)
    except InvalidRequest as fault:
        reading.unread.append((block.line(0), str(fault)))
        return
    reading.commands += found.commands
    reading.unread += found.unread
    reading.embedded += found.embedded


def _blocks(source: PlacedText) -> list[tuple[str, PlacedText]]:
    found: list[tuple[str, PlacedText]] = []
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(source.text):
        if opened is None:
            opened = match
        elif match.group("mark").startswith(opened.group("mark")) and not match.group("info").strip():
            found.append((opened.group("info"), _body(source, opened, opened.end() + 1, match.start())))
            opened = None
    return found


def _body(source: PlacedText, fence: re.Match[str], start: int, end: int) -> PlacedText:
    """The block's lines without the fence's indent, and without the prompts of a console session."""
    indent = len(fence.group("indent"))
    pieces: list[tuple[str, Sequence[int] | None]] = []
    lines = source.text[start:end].splitlines(keepends=True)
    prompted = any(_PROMPT.match(line.lstrip()) for line in lines)
    at = start
    for line in lines:
        skip = min(indent, len(line) - len(line.lstrip(" \t>")))
        if prompted:
            prompt = _PROMPT.match(line[skip:])
            skip += prompt.end() if prompt else 0
        pieces.append((line[skip:], source.places[at + skip : at + len(line)]))
        at += len(line)
    return joined(pieces, source.file, source.line(start))
