"""Shell text in, servers out."""

import re

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.placed_text import CLOSE, HOLE, OPEN, PlacedText, whole, without_templates
from vllm_opt.optimizer.serve_lines.shell.reading import Reading
from vllm_opt.optimizer.serve_lines.shell.script import MOST_STEPS, Script
from vllm_opt.optimizer.serve_lines.shell.state import ShellState
from vllm_opt.optimizer.serve_lines.words import Word
from vllm_opt.profiles.errors import InvalidRequest

MAX_TEXT_CHARACTERS = 2 * 1024 * 1024
_CUT_LINE = re.compile(r"\\([ \t]+)(\r?\n)(?=[ \t]*-{1,2}[A-Za-z])")
_MARKS = {ord(OPEN): "?", ord(CLOSE): "?"}
_PLACEHOLDER = re.compile(r"(?<=[\s=:/\"'-])<[A-Za-z][\w ./|:-]{0,60}>(?!\()")


def serve_commands(text: str) -> list[ServeCommand]:
    """Return every vLLM server that the shell text starts, in order.

    Raises:
        InvalidRequest: a quote that is never closed, or text that is too long.
    """
    return read_shell(whole(text), strict=True).commands


def read_shell(source: PlacedText, state: ShellState | None = None, *, strict: bool = False) -> Reading:
    """Read shell text; `strict` raises where a part cannot be read, otherwise it is noted.

    Raises:
        InvalidRequest: text that is too long, takes too many steps, or (strict) cannot be read.
    """
    if len(source.text) > MAX_TEXT_CHARACTERS:
        raise InvalidRequest(f"the text is longer than {MAX_TEXT_CHARACTERS:,} characters; give the vLLM command alone")
    text = without_templates(source.text.translate(_MARKS))
    text = _PLACEHOLDER.sub(lambda match: HOLE * len(match.group()), text)
    text, cuts = _joined_lines(text, source)
    reading = Reading()
    prepared = PlacedText(text, source.file, source.places, source.first_line)
    budget = [min(MOST_STEPS, 2_000 + 4 * len(text))]
    Script(prepared, reading, budget, 0, strict=strict).run(state or ShellState())
    if cuts:
        reading.commands = [_with_cuts(command, cuts) for command in reading.commands]
    return reading


def _joined_lines(text: str, source: PlacedText) -> tuple[str, list[Word]]:
    """A backslash that a blank keeps from continuing its line is taken as it was meant, and remembered."""
    cuts: list[Word] = []

    def joined(match: re.Match[str]) -> str:
        start, end = source.span(match.start(), match.end(1))
        cuts.append(Word(source.text[match.start() : match.end(1)], start, end, source.line(match.start())))
        return match.group(1) + "\\" + match.group(2)

    return _CUT_LINE.sub(joined, text), cuts


def _with_cuts(command: ServeCommand, cuts: list[Word]) -> ServeCommand:
    from dataclasses import replace

    lines = [word.line for word in command.arguments] or [command.line]
    inside = tuple(cut for cut in cuts if min(lines) <= cut.line < max(lines))
    return replace(command, cut_lines=inside) if inside else command
