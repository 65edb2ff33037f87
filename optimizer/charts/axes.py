"""The frame of a chart with two axes: ticks, faint lines, what the axes are."""

from collections.abc import Callable
from dataclasses import dataclass

from vllm_opt.optimizer.charts.scale import Scale
from vllm_opt.optimizer.charts.svg import SMALL_TEXT, WIDTH, line, width_of, words

Shown = Callable[[float], str]
TOP, BOTTOM, RIGHT, LEAST_LEFT = 30, 46, 16, 34
LOGARITHMIC = " (logarithmic)"


@dataclass(frozen=True)
class Axis:
    """What an axis shows and how its numbers are written."""

    name: str
    shown: Shown


def left_of(values: tuple[float, ...], axis: Axis) -> float:
    """Room that the labels of a vertical axis need."""
    return max([LEAST_LEFT, *(width_of(axis.shown(value), SMALL_TEXT) + 12 for value in values)])


def frame(across: Scale, up: Scale, x: Axis, y: Axis) -> list[str]:
    """Axes with their ticks; the vertical one's name stands above it."""
    floor = up.start
    up_name, across_name = (
        f"{axis.name}{LOGARITHMIC if scale.logarithmic else ''}" for axis, scale in ((y, up), (x, across))
    )
    parts = [
        words(up_name, 2, 14, size=SMALL_TEXT),
        words(across_name, WIDTH - RIGHT, floor + 38, anchor="end", size=SMALL_TEXT),
    ]
    for value in up.ticks():
        at = up.at(value)
        parts += [
            line(across.start, at, across.end, at),
            words(y.shown(value), across.start - 6, at + 4, anchor="end", size=SMALL_TEXT),
        ]
    taken = -1.0
    for value in across.ticks():
        at, shown = across.at(value), x.shown(value)
        half = width_of(shown, SMALL_TEXT) / 2
        if at - half < taken + 4 or at + half > WIDTH:
            continue
        taken = at + half
        parts += [
            line(at, floor, at, floor + 4, "currentColor"),
            words(shown, at, floor + 18, anchor="middle", size=SMALL_TEXT),
        ]
    return [*parts, line(across.start, floor, across.end, floor, "currentColor")]
