"""The `vllm serve` line: as one line, wrapped for reading, and as environment variables."""

import shlex
from collections.abc import Mapping


def command_line(command: str, env: Mapping[str, str]) -> str:
    """Return one line that a shell runs, environment first."""
    assignments = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    return " ".join([*assignments, command])


def wrapped_command(command: str, env: Mapping[str, str], width: int) -> str:
    """Return the same line broken between flags with backslashes, so that it can be read and pasted."""
    lines: list[str] = []
    for piece in _pieces(command, env):
        if lines and len(lines[-1]) + len(piece) + 3 <= width:
            lines[-1] += " " + piece
        else:
            lines.append(piece if not lines else "    " + piece)
    return " \\\n".join(lines)


def _pieces(command: str, env: Mapping[str, str]) -> list[str]:
    """The words of the command, each flag together with its value."""
    pieces = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    words = shlex.split(command)
    for position, word in enumerate(words):
        quoted = shlex.quote(word)
        follows_flag = position > 0 and words[position - 1].startswith("--") and not word.startswith("--")
        starts_command = position in (1, 2) and words[:2] == ["vllm", "serve"]
        if pieces and (follows_flag or starts_command):
            pieces[-1] += " " + quoted
        else:
            pieces.append(quoted)
    return pieces
