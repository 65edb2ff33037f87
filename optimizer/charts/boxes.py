"""Containers as boxes that are filled from below: GPUs of a node with the servers on them."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.charts.bars import Part
from vllm_opt.optimizer.charts.scale import finite
from vllm_opt.optimizer.charts.svg import (
    FAINT,
    SMALL_TEXT,
    WIDTH,
    colour,
    drawing,
    element,
    line,
    shortened,
    title,
    words,
)

GAP, HIGH, HEAD, LEAST_WIDE, MOST_WIDE = 6, 84, 18, 60, 127
EDGE = 1
"""left free around the boxes: half of a frame's line lies outside it"""


@dataclass(frozen=True)
class Box:
    """One container: what it is, and its contents as shares of its room; a faint part is one that sleeps."""

    name: str
    parts: tuple[Part, ...]
    faint: tuple[bool, ...] = ()


def boxes(name: str, rows: Sequence[Sequence[Box]]) -> str:
    """Draw one row a group of boxes (an island of GPUs), wrapped where it is too long for the paper."""
    pieces, top = list[str](), 0.0
    for row in rows:
        room = WIDTH - 2 * EDGE
        per_line = max(1, min(len(row), (room + GAP) // (LEAST_WIDE + GAP)))
        wide = min(MOST_WIDE, (room - GAP * (per_line - 1)) / per_line)
        for index, box in enumerate(row):
            at, down = index % per_line, index // per_line
            pieces += _box(box, EDGE + at * (wide + GAP), top + down * (HIGH + HEAD + GAP), wide)
        top += -(-len(row) // per_line) * (HIGH + HEAD + GAP)
        pieces.append(line(0, top - 2, WIDTH, top - 2, FAINT, stroke_dasharray="2 4") if len(rows) > 1 else "")
        top += GAP if len(rows) > 1 else 0
    listed = "; ".join(
        f"{box.name}: {', '.join(part.name for part in box.parts) or 'free'}" for row in rows for box in row
    )
    return drawing(top, name, f"{listed}.", [piece for piece in pieces if piece]) if rows else ""


def _box(box: Box, left: float, top: float, wide: float) -> list[str]:
    floor = top + HEAD + HIGH
    pieces = [
        words(shortened(box.name, wide, SMALL_TEXT), left, top + 13, size=SMALL_TEXT, font_weight="600"),
        element(
            "rect", title(box.name), x=left, y=top + HEAD, width=wide, height=HIGH, rx=3, fill="none",
            stroke="currentColor", class_="gpu",
        ),
    ]  # fmt: skip
    for index, part in enumerate(box.parts):
        if not finite((part.value,)):
            continue
        high = max(1.0, min(1.0, part.value) * HIGH)
        high = min(high, floor - top - HEAD)
        floor -= high
        asleep = index < len(box.faint) and box.faint[index]
        fill = FAINT if part.tone is None else colour(part.tone)
        said = title(f"{part.name}: {part.value:.0%}")
        pieces.append(
            element(
                "rect",
                said,
                x=left + 1,
                y=floor,
                width=wide - 2,
                height=high,
                fill=fill,
                opacity=0.3 if asleep else 0.55,
            )
        )
        if high >= SMALL_TEXT + 2:
            pieces.append(words(shortened(part.name, wide - 8, SMALL_TEXT), left + 4, floor + 13, size=SMALL_TEXT))
    return pieces
