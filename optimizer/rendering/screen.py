"""How wide and how colourful the reader's screen is, and text drawn for it."""

import os
import shutil
import sys
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH_WITHOUT_TERMINAL = 100
NARROWEST, WIDEST = 40, 140


@dataclass(frozen=True)
class Screen:
    """Where a table is drawn."""

    width: int = WIDTH_WITHOUT_TERMINAL
    colour: bool = False
    unicode: bool = True


def screen_of_standard_output(to_file: bool = False) -> Screen:
    """Return what standard output can show; a file or a pipe gets no colour.

    `NO_COLOR` (any value but the empty one) and `TERM=dumb` switch colour off; `COLUMNS` sets the width.
    """
    stream = None if to_file else sys.stdout
    terminal = stream is not None and stream.isatty()
    fallback = (80, 24) if terminal else (WIDTH_WITHOUT_TERMINAL, 24)
    width = shutil.get_terminal_size(fallback).columns if terminal or os.environ.get("COLUMNS") else fallback[0]
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Screen(min(max(width, NARROWEST), WIDEST), bool(colour), encoding.startswith("utf"))


def drawn(*renderables: "RenderableType", screen: Screen) -> str:
    """Draw rich renderables one after the other; strings are printed as they are, never read as markup."""
    from rich.console import Console

    console = Console(
        file=StringIO(),
        width=screen.width,
        color_system="standard" if screen.colour else None,
        force_terminal=screen.colour,
        no_color=not screen.colour,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    for renderable in renderables:
        console.print(renderable, soft_wrap=isinstance(renderable, str))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.split("\n")) if not screen.colour else text
