"""How the pieces of a word become words: text that stays together, text that is split at blanks, whole words."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.serve_lines.placed_text import CLOSE, OPEN, unknown
from vllm_opt.optimizer.serve_lines.words import Word

_FIELD = re.compile(f"(?:{OPEN}[^{CLOSE}]*{CLOSE}|[^\\s{OPEN}])+")
_ANSI = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "v": "\v"}
_ANSI_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|([0-7]{1,3})|(.))", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """A piece of a word: text that stays together, text that is split at blanks, or whole words."""

    text: str = ""
    splits: bool = False
    words: tuple[Word, ...] | None = None
    expanded: bool = False


def fields_of(parts: Sequence[Part]) -> Iterator[str | Word]:
    """Join the parts and split where an unquoted expansion holds blanks."""
    joining = _Joining(alone=len(parts) == 1)
    for part in parts:
        if part.words is not None:
            joining.words(part.words)
        elif part.splits:
            joining.split(part.text)
        else:
            joining.text(part.text)
    yield from joining.finished()


class _Joining:
    """The fields so far, and the one that is still growing."""

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone
        self.found: list[str | Word] = []
        self.current: str | None = None

    def text(self, text: str) -> None:
        self.current = (self.current or "") + text

    def end(self) -> None:
        if self.current is not None:
            self.found.append(self.current)
        self.current = None

    def split(self, text: str) -> None:
        if text[:1].isspace():
            self.end()
        for number, piece in enumerate(_FIELD.findall(text)):
            if number:
                self.end()
            self.text(piece)
        if text[-1:].isspace():
            self.end()

    def words(self, words: Sequence[Word]) -> None:
        for number, word in enumerate(words):
            if number or word.many:
                if self.current:
                    self.end()
                self.current = None
            inner = self.current is None and (number < len(words) - 1 or self.alone)
            if word.many or inner:
                self.found.append(word)
            else:
                self.text(marked(word))

    def finished(self) -> list[str | Word]:
        self.end()
        return self.found


def elsewhere(word: Word) -> Word:
    """A word of an array: it keeps its line, and no fix touches it where it is used."""
    return Word(word.text, -1, -1, word.line, word.unresolved, literal=False, many=word.many, raw=word.raw)


def marked(word: Word) -> str:
    if not word.unresolved:
        return word.text
    text = word.text
    for spelled in dict.fromkeys(word.unresolved):
        text = text.replace(spelled, unknown(spelled))
    return text


def unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return re.sub(r"\\(\r?\n|.)", lambda match: "" if match.group(1).endswith("\n") else match.group(1), text)


def ansi_decoded(text: str) -> str:
    """The text of `$'…'` with its escapes undone."""
    return _ANSI_ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    hexadecimal, unicode, octal, letter = match.groups()
    if letter is not None:
        return _ANSI.get(letter, letter)
    code = int(hexadecimal or unicode, 16) if octal is None else int(octal, 8)
    return chr(code) if code else ""
