"""Horizontal bars: one stacked of parts with its legend, or several with marks that they should reach or stay below."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.charts.axes import Shown
from vllm_opt.optimizer.charts.scale import Scale, finite, scale_from_zero
from vllm_opt.optimizer.charts.svg import (
    FAINT,
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

BAR, ROW, LEGEND_ROW = 30, 46, 20
FREE = "free"
"""A part of this kind is nothing: it is drawn faint."""


@dataclass(frozen=True)
class Part:
    """One part of a stacked bar. `tone` picks the colour; None is what is left."""

    name: str
    value: float
    tone: int | None


@dataclass(frozen=True)
class Bar:
    """One bar of several: parts from the left, and marks across it."""

    name: str
    parts: tuple[Part, ...]
    words: str = ""
    marks: tuple[tuple[str, float], ...] = ()


def _fill(tone: int | None) -> str:
    return FAINT if tone is None else colour(tone)


def stacked_bar(name: str, parts: Sequence[Part], shown: Shown, *, mark: tuple[str, float] | None = None) -> str:
    """Draw one bar as wide as the drawing, its parts labelled below; `mark` is a place in it, from the left."""
    drawn = [part for part in parts if part.value > 0 and finite((part.value,))]
    total = sum(part.value for part in drawn)
    if not total:
        return ""
    pieces, at = list[str](), 0.0
    top = 22 if mark else 4
    for part in drawn:
        wide = part.value / total * WIDTH
        said = title(f"{part.name}: {shown(part.value)}")
        pieces.append(
            element(
                "rect",
                said,
                x=at,
                y=top,
                width=wide,
                height=BAR,
                fill=_fill(part.tone),
                stroke="var(--chart-paper, #fff)",
            )
        )
        at += wide
    if mark and 0 < mark[1] <= total:
        place = mark[1] / total * WIDTH
        late = place > WIDTH / 2
        pieces += [line(place, top - 4, place, top + BAR + 4, LIMIT, stroke_width=2)]
        pieces += [
            words(
                f"{mark[0]} {shown(mark[1])}",
                place - 4 if late else place + 4,
                14,
                anchor="end" if late else "start",
                size=SMALL_TEXT,
                fill=LIMIT,
            )
        ]
    row, left = top + BAR + 20, 0.0
    for part in drawn:
        label = f"{part.name} {shown(part.value)}"
        wide = 18 + width_of(label, SMALL_TEXT) + 16
        if left and left + wide > WIDTH:
            row, left = row + LEGEND_ROW, 0.0
        pieces += [
            element("rect", x=left, y=row - 10, width=12, height=12, fill=_fill(part.tone)),
            words(label, left + 17, row, size=SMALL_TEXT),
        ]
        left += wide
    listed = ", ".join(f"{part.name} {shown(part.value)}" for part in drawn)
    marked = f" {mark[0]}: {shown(mark[1])}." if mark else ""
    return drawing(row + 8, name, f"{listed}.{marked}", pieces)


def _drawable(bar: Bar) -> bool:
    values = [*(part.value for part in bar.parts), *(value for _, value in bar.marks)]
    return len(finite(values)) == len(values)


def bar_chart(name: str, bars: Sequence[Bar], shown: Shown) -> str:
    """Draw one bar a row on one scale, its words above it; a mark is a line across its own bar."""
    bars = [bar for bar in bars if _drawable(bar)]
    if not bars:
        return ""
    sums = [sum(part.value for part in bar.parts) for bar in bars]
    scale = scale_from_zero([*sums, *(value for bar in bars for _, value in bar.marks)], 2, WIDTH - 4)
    pieces, top = list[str](), 0.0
    for bar in bars:
        pieces += _row(bar, top, scale, shown)
        top += ROW + (14 if bar.marks else 0)
    names = dict.fromkeys((part.name, part.tone) for bar in bars for part in bar.parts if part.value > 0)
    left = 0.0
    for part_name, tone in names:
        pieces += [
            element("rect", x=left, y=top + 6, width=12, height=12, fill=_fill(tone)),
            words(part_name, left + 17, top + 16, size=SMALL_TEXT),
        ]
        left += 33 + width_of(part_name, SMALL_TEXT)
    listed = "; ".join(
        f"{bar.name}: {bar.words or ', '.join(f'{part.name} {shown(part.value)}' for part in bar.parts)}"
        for bar in bars
    )
    return drawing(top + 24, name, f"{listed}.", pieces)


def _row(bar: Bar, top: float, scale: Scale, shown: Shown) -> list[str]:
    room = WIDTH - width_of(bar.words, SMALL_TEXT) - 16
    pieces = [
        words(shortened(bar.name, room), 0, top + 15, size=TEXT_SIZE, font_weight="600"),
        words(bar.words, WIDTH, top + 15, anchor="end", size=SMALL_TEXT),
    ]
    so_far = 0.0
    for part in bar.parts:
        if part.value <= 0:
            continue
        left, right = scale.at(so_far), scale.at(so_far + part.value)
        said = title(f"{bar.name}, {part.name}: {shown(part.value)}")
        pieces.append(
            element(
                "rect",
                said,
                x=float(left),
                y=top + 21,
                width=float(max(right - left, 1)),
                height=18,
                fill=_fill(part.tone),
            )
        )
        so_far += part.value
    for name, value in bar.marks:
        x = scale.at(value)
        late = x > WIDTH / 2
        pieces += [line(x, top + 17, x, top + 43, LIMIT, stroke_width=2)]
        pieces += [
            words(
                name, x + (-4 if late else 4), top + 54, anchor="end" if late else "start", size=SMALL_TEXT, fill=LIMIT
            )
        ]
    return pieces
