"""SVG elements as text: words escaped, colours from the page where it names them, a title and words for who listens."""

from collections.abc import Sequence
from html import escape

from vllm_opt.profiles.printable import printable

WIDTH = 540
"""Units across every drawing: wide enough for a label, narrow enough that a telephone keeps its letters readable."""
TEXT_SIZE, SMALL_TEXT = 13, 12
CHARACTER = 0.6
"""Width of an average character as a share of the text size: drawings are made without the fonts that show them."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Okabe and Ito's palette, https://jfly.uni-koeln.de/color/: told apart with every common kind of colour-blindness."""
LIMIT, FAINT = "var(--chart-limit, #b3261e)", "var(--chart-faint, #8886)"


def safe(text: object) -> str:
    """Text that no markup can hide in."""
    return escape(printable(str(text)), quote=True)


def colour(index: int) -> str:
    """The colour of a series: the page's variable where it sets one, for dark backgrounds."""
    at = index % len(COLOURS)
    return f"var(--chart-{at + 1}, {COLOURS[at]})"


def number(value: float) -> str:
    """A coordinate with a decimal."""
    return f"{value:.1f}".removesuffix(".0")


def width_of(words: str, size: float = TEXT_SIZE) -> float:
    """Roughly how wide words are drawn; wide characters count twice."""
    return sum(2 if ord(character) > 0x2E7F else 1 for character in words) * CHARACTER * size


def shortened(words: str, room: float, size: float = TEXT_SIZE) -> str:
    """Words cut so that they fit a room."""
    words = printable(words)
    most = max(1, int(room / (CHARACTER * size)))
    return words if width_of(words, size) <= room else words[: most - 1] + "…"


def element(name: str, *children: str, **attributes: object) -> str:
    """An element; `text_anchor` is written 'text-anchor'. Children are markup, attributes are escaped."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(number(value) if isinstance(value, float) else value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{''.join(children)}</{name}>" if children else f"<{name}{written}/>"


def words(text: str, x: float, y: float, *, anchor: str = "start", size: int = TEXT_SIZE, **more: object) -> str:
    """One line of text."""
    shown: dict[str, object] = {"fill": "currentColor", **more}
    return element(
        "text", safe(text), x=float(x), y=float(y), text_anchor=anchor, font_size=size, **shown
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, stroke: str = FAINT, **more: object) -> str:
    """A straight line."""
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), stroke=stroke, **more)


def title(text: str) -> str:
    """What a pointer shows and a screen reader says of the element around it."""
    return element("title", safe(text))


def drawing(height: float, name: str, description: str, parts: Sequence[str]) -> str:
    """The whole drawing; `name` and `description` are what a screen reader says instead of it."""
    return element(
        "svg", title(name), element("desc", safe(description)), *parts,
        viewBox=f"0 0 {WIDTH} {number(height)}", role="img", aria_label=f"{name}. {description}",
        font_family="system-ui, sans-serif", class_="chart",
    )  # fmt: skip
