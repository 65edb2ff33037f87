"""Plain tables for the terminal: cells that no width can break, columns that share what is left."""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.profiles.printable import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

LONGEST_UNBROKEN_NAME, LONGEST_UNBROKEN_CELL, NARROWEST_SHARED = 40, 18, 10


def table_of(
    headings: Sequence[tuple[str, str]],
    rows: Sequence[Sequence["str | Text"]],
    screen: Screen,
    leaving: Sequence[str] = (),
) -> "Table":
    """Build a table with a line under its head; every string is plain text, whatever it holds.

    A column of short cells keeps its width and breaks its heading instead; columns of sentences share what is left.
    Where the screen is too narrow, the columns in `leaving` go, in that order, before any cell is broken.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    frame = box.SIMPLE_HEAD if screen.unicode else box.ASCII2
    table = Table(box=frame, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    lines: list[list[Text]] = [
        [Text(printable(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows
    ]
    longest = [
        max([*map(len, heading.split()), *(_length(line[index]) for line in lines)], default=0)
        for index, (heading, _) in enumerate(headings)
    ]
    kept = kept_columns([heading for heading, _ in headings], longest, leaving, screen.width)
    headings, longest = [headings[index] for index in kept], [longest[index] for index in kept]
    lines = [[line[index] for index in kept] for line in lines]
    whole = whole_columns(longest, screen.width, [side == "right" for _, side in headings])
    for index, (heading, side) in enumerate(headings):
        words = broken(heading, longest[index]) if index in whole else heading
        justify: Literal["left", "right"] = "right" if side == "right" else "left"
        table.add_column(Text(words), justify=justify, overflow="fold", no_wrap=index in whole)
    for line in lines:
        table.add_row(*line)
    return table


def _length(cell: "Text") -> int:
    return max(map(len, cell.plain.split("\n")), default=0)


def kept_columns(headings: Sequence[str], longest: Sequence[int], leaving: Sequence[str], width: int) -> list[int]:
    """The columns that stay so that the rest fit, with a blank or two between them."""
    kept = list(range(len(headings)))
    for name in leaving:
        if sum(longest[index] + 2 for index in kept) - 2 <= width:
            break
        kept = [index for index in kept if headings[index] != name]
    return kept


def whole_columns(longest: Sequence[int], width: int, numbers: Sequence[bool] = ()) -> set[int]:
    """Choose the columns whose cells stay on one line: the short ones, as many as leave the others some room.

    Columns of numbers give way last.
    """
    limits = [LONGEST_UNBROKEN_NAME, *[LONGEST_UNBROKEN_CELL] * len(longest)]
    whole = {index for index, length in enumerate(longest) if length <= limits[index]}
    room = width - 2 * (len(longest) - 1)
    while sum(longest[at] if at in whole else min(longest[at], NARROWEST_SHARED) for at in range(len(longest))) > room:
        wide = {index for index in whole if longest[index] > NARROWEST_SHARED}
        words = {index for index in wide if index >= len(numbers) or not numbers[index]} or wide
        if not words:
            break
        whole.remove(max(words, key=longest.__getitem__))
    return whole


def broken(heading: str, width: int) -> str:
    """Break a heading between words so that it is no wider than its column."""
    return "\n".join(wrap(heading, max(width, 1), break_on_hyphens=False))
