"""Units of systemd: ExecStart with its continuation lines, and Environment.

Source: https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html, command lines.
"""

import re
from dataclasses import replace

from vllm_opt.optimizer.serve_lines.placed_text import PlacedText, whole
from vllm_opt.optimizer.serve_lines.shell.plain_words import placed_words
from vllm_opt.optimizer.serve_lines.shell.reading import Reading
from vllm_opt.optimizer.serve_lines.shell.shell import read_shell
from vllm_opt.optimizer.serve_lines.shell.state import ShellState

_SETTING = re.compile(r"^[ \t]*(?P<name>[A-Za-z]+)[ \t]*=(?P<value>(?:[^\n\\]|\\[^\n]|\\\n)*)", re.MULTILINE)
_STARTS = ("ExecStart", "ExecStartPre", "ExecStartPost", "Exec")
_PREFIXES = "@-:+!|"


def unit_servers(text: str) -> Reading:
    """Return the servers that a unit starts."""
    source = whole(text)
    environment: dict[str, str] = {}
    starts: list[PlacedText] = []
    for match in _SETTING.finditer(text):
        name, start, end = match.group("name"), match.start("value"), match.end("value")
        if name == "Environment":
            words = placed_words(source.part(start, end), {})
            environment.update(
                {key: value for key, _, value in (word.text.partition("=") for word in words if not word.unresolved)}
            )
        elif name in _STARTS:
            while start < end and text[start] in _PREFIXES:
                start += 1
            starts.append(source.part(start, end))
    reading = Reading()
    for part in starts:
        found = read_shell(part, ShellState(dict(environment), set(environment), ()))
        reading.commands += [replace(command, place="unit") for command in found.commands]
        reading.unread += found.unread
    return reading
