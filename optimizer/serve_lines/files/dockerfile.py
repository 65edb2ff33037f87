"""Dockerfiles: the release in FROM, ENV and ARG, and what ENTRYPOINT and CMD start together.

Source: https://docs.docker.com/reference/dockerfile/
"""

import json
import re
import shlex
from dataclasses import replace

from vllm_opt.optimizer.serve_lines.commands import InnerScript, ServeCommand
from vllm_opt.optimizer.serve_lines.containers import server_in_image
from vllm_opt.optimizer.serve_lines.images import image_hardware, image_version
from vllm_opt.optimizer.serve_lines.placed_text import PlacedText, clean, whole
from vllm_opt.optimizer.serve_lines.shell.plain_words import placed_words
from vllm_opt.optimizer.serve_lines.shell.reading import Reading
from vllm_opt.optimizer.serve_lines.shell.shell import read_shell
from vllm_opt.optimizer.serve_lines.shell.state import ShellState
from vllm_opt.optimizer.serve_lines.words import Word

_INSTRUCTION = re.compile(
    r"^[ \t]*(?P<name>[A-Za-z]+)[ \t]+(?P<rest>(?:[^\n\\]|\\[^\n]|\\\r?\n(?:[ \t]*#[^\n]*\n)*)*)", re.MULTILINE
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def dockerfile_servers(text: str) -> Reading:
    """Return the server that the last stage starts, and those of scripts in it."""
    source = whole(clean(text))
    image, entry, command = "", None, None
    environment: dict[str, str] = {}
    entry_at = command_at = None
    for match in _INSTRUCTION.finditer(source.text):
        name = match.group("name").upper()
        rest = match.group("rest")
        if name == "FROM":
            image = _filled(next((each for each in rest.split() if not each.startswith("--")), ""), environment)
            entry = command = entry_at = command_at = None
        elif name in ("ENV", "ARG"):
            environment.update(_pairs(rest))
        elif name == "ENTRYPOINT":
            entry, entry_at = _words(source, match), match
        elif name == "CMD":
            command, command_at = _words(source, match), match
    if entry is None and command is None:
        return Reading()
    last = command_at or entry_at
    return _started(source, image, entry, command or [], environment, in_list=last is not None and _exec_form(last))


def _exec_form(match: re.Match[str]) -> bool:
    return match.group("rest").lstrip().startswith("[")


def _words(source: PlacedText, match: re.Match[str]) -> list[Word]:
    """The exec form is a JSON list; the shell form is a script for `sh -c`."""
    start = match.start("rest")
    if not _exec_form(match):
        part = source.part(start, match.end("rest"))
        shell = [Word(text, -1, -1, part.line(0), literal=False) for text in ("/bin/sh", "-c")]
        return [*shell, Word(part.text, start, match.end("rest"), part.line(0))]
    found = []
    for item in _STRING.finditer(source.text, start, match.end("rest")):
        try:
            text = str(json.loads(item.group(), strict=False))
        except ValueError:
            text = item.group()[1:-1]
        found.append(Word(text, item.start(), item.end(), source.line(item.start())))
    return found


def _pairs(rest: str) -> dict[str, str]:
    try:
        words = shlex.split(rest.replace("\\\n", " "))
    except ValueError:
        return {}
    if words and "=" not in words[0]:
        return {words[0]: " ".join(words[1:])} if len(words) > 1 else {}
    return {name: value for name, separator, value in (word.partition("=") for word in words) if separator}


def _filled(text: str, environment: dict[str, str]) -> str:
    words = placed_words(whole(text), environment)
    return words[0].text if words else text


def _started(
    source: PlacedText, image: str, entry: list[Word] | None, command: list[Word], environment: dict[str, str], *,
    in_list: bool,
) -> Reading:  # fmt: skip
    found = server_in_image(image, entry, command, source.text, environment)
    reading = Reading()
    if isinstance(found, ServeCommand):
        reading.commands = [replace(found, in_list=in_list, leading=found.leading or ("vllm", "serve"))]
    elif isinstance(found, InnerScript):
        script = found.script
        literal = script.end - script.start == len(script.text)
        inner = source.part(script.start, script.end) if literal else source.part(script.start + 1, script.end - 1)
        reading = read_shell(inner, ShellState(dict(environment), set(environment), found.parameters[1:]))
    reading.commands = [
        replace(
            each, place="image", environment={**environment, **each.environment}, image_version=image_version(image),
            hardware=image_hardware(image), in_container=True,
        )
        for each in reading.commands
    ]  # fmt: skip
    return reading
