"""Predictions with their intervals against the limits that they must meet: each row in shares of its own limit."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.charts.scale import Scale, finite, scale_from_zero
from vllm_opt.optimizer.charts.svg import (
    LIMIT,
    SMALL_TEXT,
    TEXT_SIZE,
    WIDTH,
    colour,
    drawing,
    element,
    line,
    shortened,
    title,
    width_of,
    words,
)

ROW, TOP, MOST = 48, 24, 2.5
"""MOST: shares of a limit that the axis shows; what lies beyond runs off the edge."""


@dataclass(frozen=True)
class Held:
    """One prediction and its limit, in one unit; `at_least` where more is better."""

    name: str
    value: float
    interval: tuple[float, float]
    limit: float
    words: str
    at_least: bool = False


def interval_chart(name: str, rows: Sequence[Held]) -> str:
    """Draw a dot and a whisker a row, and the limit as one line for all of them; nothing without rows."""
    rows = [row for row in rows if row.limit > 0 and len(finite((row.value, *row.interval, row.limit))) == 4]
    if not rows:
        return ""
    shares = [min(share / row.limit, MOST) for row in rows for share in (row.value, *row.interval)]
    scale = scale_from_zero([1.15, *shares], 2, WIDTH - 8)
    floor = TOP + ROW * len(rows)
    limit = scale.at(1)
    pieces = [words("limit", limit, 14, anchor="middle", size=SMALL_TEXT, fill=LIMIT)]
    for index, row in enumerate(rows):
        top = TOP + index * ROW
        pieces += [line(limit, top + 21, limit, top + 43, LIMIT, stroke_width=2), *_row(row, top, scale)]
    return drawing(floor + 4, name, "; ".join(f"{row.name}: {row.words}" for row in rows) + ".", pieces)


def _row(row: Held, top: float, scale: Scale) -> list[str]:
    low, high, middle = (scale.at(min(share / row.limit, MOST)) for share in (*row.interval, row.value))
    y = top + 32
    tone = colour(0 if (row.value >= row.limit if row.at_least else row.value <= row.limit) else 1)
    room = WIDTH - width_of(row.words, SMALL_TEXT) - 12
    return [
        words(shortened(row.name, room), 0, top + 16, size=TEXT_SIZE, font_weight="600"),
        words(row.words, WIDTH, top + 16, anchor="end", size=SMALL_TEXT),
        line(low, y, high, y, tone, stroke_width=4, opacity=0.45),
        *(line(end, y - 6, end, y + 6, tone, stroke_width=2) for end in (low, high)),
        element("circle", title(f"{row.name}: {row.words}"), cx=float(middle), cy=y, r=6.0, fill=tone),
    ]
