"""One word of a command: its text after quotes and variables, where it stands, and what of it is not known."""

import re
from dataclasses import dataclass, field

from vllm_opt.optimizer.serve_lines.placed_text import CLOSE, HOLE, OPEN

_UNKNOWN = re.compile(f"{OPEN}([^{CLOSE}]*){CLOSE}|{HOLE}+")
TEMPLATE = "{{ … }}"


@dataclass(frozen=True)
class Word:
    """One word of a command: its text after quotes and variables, and where it stands in the source."""

    text: str
    start: int
    end: int
    line: int
    unresolved: tuple[str, ...] = field(default=())
    """What only a running shell, a cluster or a template could fill in."""
    source: str = ""
    """Where the word comes from when not from the command itself, e.g. the name of a --config file."""
    literal: bool = True
    """Every character stands in the file at these positions as the word has it, quotes aside. Only such a word may be
    edited: whatever was filled in is written elsewhere, or is not known at all."""
    many: bool = False
    """It may become any number of words, none included: `"$@"`, `"${ARRAY[@]}"`, `$EXTRA_ARGS`."""
    conditional: bool = False
    """A template decides whether it is there at all."""
    raw: str = ""
    """As it is spelled in shell text, where that differs from the text with quotes put on."""

    @property
    def editable(self) -> bool:
        """Whether a fix may touch it."""
        certain = self.literal and not self.unresolved and not self.many and not self.conditional
        return certain and self.start >= 0 and not self.source


def finished(
    marked: str, start: int, end: int, line: int, *, literal: bool = True, many: bool = False, raw: str = ""
) -> Word:
    """A word from text in which what is unknown is marked (`placed_text.unknown`)."""
    if OPEN not in marked and HOLE not in marked:
        return Word(marked, start, end, line, literal=literal, many=many, raw=raw)
    unresolved = tuple(match.group(1) or TEMPLATE for match in _UNKNOWN.finditer(marked))
    text = _UNKNOWN.sub(lambda match: match.group(1) or TEMPLATE, marked)
    return Word(text, start, end, line, unresolved, literal=False, many=many, raw=raw)


def assignment(word: Word) -> tuple[str, str] | None:
    """Return the name and value of `NAME=value`, or None."""
    name, separator, value = word.text.partition("=")
    return (name, value) if separator and re.fullmatch(r"[A-Za-z_]\w{0,200}", name) else None
