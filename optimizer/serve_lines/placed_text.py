"""Text together with the place in the file that each of its characters comes from.

A script may stand in a string of a YAML list, its dollar signs doubled, its lines folded, a variable filled in. Places
let a finding name the right line and let a fix change exactly that text, or know that it cannot.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HOLE = "\ue000"
"""Stands for one character of a template (`{{ … }}`, `<model>`), so that positions stay those of the file."""
OPEN, CLOSE = "\ue001", "\ue002"
"""Around a variable that nothing in the file fills in."""
_TEMPLATE_OPENS = re.compile(r"\{\{|\{%")
_BRACES = re.compile(r"\{\{|\}\}")
_NOT_A_BREAK = re.compile(r"[^\n]")
_LONGEST_TEMPLATE = 4_000
_PRIVATE = {ord(mark): "?" for mark in (HOLE, OPEN, CLOSE)}


def clean(text: str) -> str:
    """Text of a user, without the marks that are used inside; its length stays."""
    return text.translate(_PRIVATE)


def without_templates(text: str) -> str:
    """The text with `{{ … }}` and `{% … %}` replaced by as many marks; line breaks stay, nested braces go together."""
    if "{{" not in text and "{%" not in text:
        return text
    parts: list[str] = []
    at = 0
    while (match := _TEMPLATE_OPENS.search(text, at)) is not None:
        end = _template_end(text, match.start())
        parts.append(text[at : match.start()])
        if end < 0:
            parts.append(match.group())
            at = match.end()
        else:
            parts.append(_NOT_A_BREAK.sub(HOLE, text[match.start() : end]))
            at = end
    return "".join([*parts, text[at:]])


def _template_end(text: str, start: int) -> int:
    """Where the template that begins here ends; -1 where it does not."""
    if text.startswith("{%", start):
        end = text.find("%}", start, start + _LONGEST_TEMPLATE)
        return end + 2 if end >= 0 else -1
    depth = 0
    for match in _BRACES.finditer(text, start, start + _LONGEST_TEMPLATE):
        depth += 1 if match.group() == "{{" else -1
        if depth == 0:
            return match.end()
    return -1


def unknown(raw: str) -> str:
    """Mark a piece of text as something that is not known here."""
    return f"{OPEN}{raw.translate(_PRIVATE)}{CLOSE}"


def unmarked(text: str) -> str:
    """The text with its unknown parts as they were spelled."""
    return text.replace(OPEN, "").replace(CLOSE, "")


class Lines:
    """The text of one file, and the line numbers of its positions."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0]
        at = text.find("\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = text.find("\n", at + 1)

    def line(self, position: int) -> int:
        """The line of a position, from 1."""
        return bisect_right(self._starts, max(0, position))

    def column(self, position: int) -> int:
        """The column of a position, from 1."""
        return position - self._starts[self.line(position) - 1] + 1


@dataclass(frozen=True)
class PlacedText:
    """Some text; `places[i]` is where its character i stands in the file, -1 where it does not stand there."""

    text: str
    file: Lines
    places: Sequence[int]
    first_line: int = 1
    """The line to name for characters that stand nowhere."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a part stands as one piece of the file; (-1, -1) where it does not."""
        if end <= start:
            return -1, -1
        first, last = self.places[start], self.places[end - 1]
        if first < 0 or last - first != end - 1 - start:
            return -1, -1
        if isinstance(self.places, range) or _same(self.file.text[first : last + 1], self.text[start:end]):
            return first, last + 1
        return -1, -1

    def line(self, position: int) -> int:
        """The line in the file of one of the characters, or of the nearest one before it that has a place."""
        at = min(position, len(self.places) - 1)
        while at >= 0 and self.places[at] < 0:
            at -= 1
        return self.file.line(self.places[at]) if at >= 0 else self.first_line

    def part(self, start: int, end: int) -> "PlacedText":
        """A slice."""
        return PlacedText(self.text[start:end], self.file, self.places[start:end], self.line(start))


def _same(written: str, read: str) -> bool:
    """Whether the file says what was read; a template stands for itself."""
    if HOLE not in read:
        return written == read
    return all(one in (other, HOLE) for one, other in zip(read, written, strict=True))


def whole(text: str) -> PlacedText:
    """A file's own text."""
    return PlacedText(text, Lines(text), range(len(text)))


def joined(pieces: Iterable[tuple[str, Sequence[int] | None]], file: Lines, first_line: int) -> PlacedText:
    """Pieces of text, each with its places or None."""
    texts: list[str] = []
    places: list[int] = []
    for text, where in pieces:
        texts.append(text)
        places.extend(where if where is not None else (-1,) * len(text))
    return PlacedText("".join(texts), file, places, first_line)
