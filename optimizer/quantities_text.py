"""Numbers as a person reads them: GiB, milliseconds, tokens per second, dollars; and plain tables of them."""

from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Literal, TypeVar

from vllm_opt.profiles.printable import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from vllm_opt.optimizer.screen import Screen

Value = TypeVar("Value")
UNKNOWN = "-"
LONGEST_UNBROKEN_NAME, LONGEST_UNBROKEN_CELL, NARROWEST_SHARED = 40, 18, 10


def optional(value: Value | None, shown: Callable[[Value], str]) -> str:
    """Return the value as text, or a dash when it is not known."""
    return UNKNOWN if value is None else shown(value)


def gib(size_bytes: float, unit: str = " GiB") -> str:
    """Return bytes in GiB (2**30) with two decimals."""
    return f"{size_bytes / 2**30:,.2f}{unit}"


def size(size_bytes: float) -> str:
    """Return bytes in the largest unit of which there are at least a tenth: GiB, MiB or KiB."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB")):
        if abs(size_bytes) >= factor / 10:
            return f"{size_bytes / factor:,.2f} {unit}"
    return f"{size_bytes / 2**10:,.2f} KiB"


def count(number: float) -> str:
    """Return a whole number with thousands separators."""
    return f"{int(number):,}"


def billions(number: float) -> str:
    """Return a parameter count as millions or billions."""
    return f"{number / 1e9:,.1f} B" if number >= 1e9 else f"{number / 1e6:,.0f} M"


def dollars(usd: float) -> str:
    """Return US dollars: two decimals, four below a dime."""
    return f"${usd:,.2f}" if usd >= 0.1 or usd == 0 else f"${usd:.4f}"


def milliseconds(time_ms: float) -> str:
    """Return a time: ms below ten seconds, seconds above; a decimal where it matters."""
    if time_ms >= 10_000:
        return f"{time_ms / 1000:,.1f} s"
    return f"{time_ms:,.0f} ms" if time_ms >= 100 else f"{time_ms:.1f} ms"


def rate(per_s: float) -> str:
    """Return a rate per second: a whole number, or two decimals below ten."""
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.2f}"


def percent(share: float) -> str:
    """Return a share of one in percent."""
    return f"{share * 100:.1f} %"


def quantity(value: float, unit: str) -> str:
    """Return a number with its unit, bytes in GiB, MiB or KiB."""
    if unit == "bytes":
        return size(value)
    if unit == "ms":
        return milliseconds(value)
    if unit.lower().startswith("usd"):
        return f"{dollars(value)}{unit[3:]}"
    if value == 1 and unit.endswith("s") and "/" not in unit:
        unit = unit.removesuffix("s")
    shown = count(value) if float(value).is_integer() else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{shown} {unit}".rstrip()


def table_of(headings: Sequence[tuple[str, str]], rows: Sequence[Sequence["str | Text"]], screen: "Screen") -> "Table":
    """Build a table with a line under its head; every string is plain text, whatever it holds.

    A column of short cells keeps its width and breaks its heading instead; columns of sentences share what is left.
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
        max([*map(len, heading.split()), *(len(line[index]) for line in lines)], default=0)
        for index, (heading, _) in enumerate(headings)
    ]
    whole = whole_columns(longest, screen.width)
    for index, (heading, side) in enumerate(headings):
        words = broken(heading, longest[index]) if index in whole else heading
        justify: Literal["left", "right"] = "right" if side == "right" else "left"
        table.add_column(Text(words), justify=justify, overflow="fold", no_wrap=index in whole)
    for line in lines:
        table.add_row(*line)
    return table


def whole_columns(longest: Sequence[int], width: int) -> set[int]:
    """Choose the columns whose cells stay on one line: the short ones, as many as leave the others some room."""
    limits = [LONGEST_UNBROKEN_NAME, *[LONGEST_UNBROKEN_CELL] * len(longest)]
    whole = {index for index, length in enumerate(longest) if length <= limits[index]}
    room = width - 2 * (len(longest) - 1)
    while whole and sum(longest[index] for index in whole) + NARROWEST_SHARED * (len(longest) - len(whole)) > room:
        whole.remove(max(whole, key=longest.__getitem__))
    return whole


def broken(heading: str, width: int) -> str:
    """Break a heading between words so that it is no wider than its column."""
    return "\n".join(wrap(heading, max(width, 1), break_on_hyphens=False))
