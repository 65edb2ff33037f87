"""Lines of plain text that fit a screen: prose that wraps between words, columns that leave before anything breaks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.profiles.printable import printable

GAP = "  "
UNBROKEN = "\N{NO-BREAK SPACE}"
_TOGETHER = re.compile(r"(?<!\S)(--[\w-]+|\(?\$?[\d,.]+|[x%]) (?=[^\s-])")
"""An option and its value, a number and its unit: no line ends between them."""


@dataclass(frozen=True)
class Column:
    """One column. `keep` says how long it stays when the screen is narrow; the smallest leaves first."""

    heading: str
    keep: int
    right: bool = True


def prose(words: str, screen: Screen, first: str = "", rest: str | None = None) -> list[str]:
    """Wrap a sentence between words only: ids, numbers with their units and options with their values stay whole."""
    rest = " " * len(first) if rest is None else rest
    text = _TOGETHER.sub(r"\1" + UNBROKEN, plain(words, screen))
    lines = wrap(
        text, screen.width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(UNBROKEN, " ") for line in lines] or [first.rstrip()]


def plain(words: str, screen: Screen) -> str:
    """Text that the screen can show and that cannot command it."""
    text = printable(words)
    return text if screen.unicode else text.encode("ascii", errors="replace").decode()


def columns(headings: Sequence[Column], rows: Sequence[Sequence[str]], screen: Screen) -> list[str]:
    """Lay cells out below each other; columns leave by priority until a line fits, and no cell is ever broken."""
    kept = list(range(len(headings)))
    cells = [[plain(cell, screen) for cell in row] for row in rows]
    widths = [
        max(len(heading.heading), *(len(row[index]) for row in cells), 0) for index, heading in enumerate(headings)
    ]
    while len(kept) > 2 and sum(widths[index] + len(GAP) for index in kept) > screen.width:
        kept.remove(min(kept, key=lambda index: headings[index].keep))
    return [
        _line([row[index] for index in kept], [widths[index] for index in kept], [headings[index] for index in kept])
        for row in ([heading.heading for heading in headings], *cells)
    ]


def _line(cells: list[str], widths: list[int], headings: list[Column]) -> str:
    placed = [
        cell.rjust(width) if heading.right else cell.ljust(width)
        for cell, width, heading in zip(cells, widths, headings, strict=True)
    ]
    return (GAP + GAP.join(placed)).rstrip()
