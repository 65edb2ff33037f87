"""Points of two quantities that were weighed against each other, named, the chosen one ringed."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.charts.axes import BOTTOM, RIGHT, TOP, Axis, frame, left_of
from vllm_opt.optimizer.charts.scale import finite, scale_from_zero, scale_of
from vllm_opt.optimizer.charts.svg import SMALL_TEXT, WIDTH, colour, drawing, element, line, title, width_of, words

HEIGHT = 300
NEAR = 15
"""Labels nearer than this to one another are moved apart."""


@dataclass(frozen=True)
class Point:
    """One plan: what it is, and its two figures."""

    name: str
    x: float
    y: float
    words: str = ""
    chosen: bool = False


def front_chart(name: str, points: Sequence[Point], x: Axis, y: Axis) -> str:
    """Draw one dot a point with its label; nothing below two points."""
    drawn = [point for point in points if len(finite((point.x, point.y))) == 2]
    if len(drawn) < 2:
        return ""
    up = scale_from_zero([point.y for point in drawn], HEIGHT - BOTTOM, TOP)
    across = scale_of([point.x for point in drawn], left_of(up.ticks(), y), WIDTH - RIGHT, spread=True)
    parts = frame(across, up, x, y)
    taken = [(across.at(one.x) - 7, across.at(one.x) + 7, up.at(one.y) + 4) for one in drawn]
    for point in sorted(drawn, key=lambda one: (one.y, one.x)):
        at, height = across.at(point.x), up.at(point.y)
        said = title(f"{point.name}: {point.words or f'{x.shown(point.x)}, {y.shown(point.y)}'}")
        if point.chosen:
            parts.append(element("circle", cx=at, cy=height, r=10.0, fill="none", stroke=colour(1), stroke_width=2.5))
        parts.append(element("circle", said, cx=at, cy=height, r=5.0, fill=colour(1 if point.chosen else 0)))
        parts += _label(point.name, at, height, taken)
    listed = "; ".join(f"{point.name}: {x.shown(point.x)}, {y.shown(point.y)}" for point in drawn)
    return drawing(HEIGHT, name, f"{y.name} over {x.name}. {listed}.", parts)


def _label(name: str, at: float, height: float, taken: list[tuple[float, float, float]]) -> list[str]:
    """The name beside its dot, raised until it touches no other; a hair leads back where it had to move."""
    wide = width_of(name, SMALL_TEXT)
    left = at + 13 if at + 13 + wide < WIDTH - 4 else max(0.0, at - 13 - wide)
    place = height + 4
    while place > TOP and any(
        abs(place - other) < NEAR and left < end and begin < left + wide for begin, end, other in taken
    ):
        place -= 4
    taken.append((left, left + wide, place))
    leader = [line(at, height, left if left > at else left + wide, place - 4)] if height + 4 - place > NEAR else []
    return [*leader, words(name, left, place, size=SMALL_TEXT)]
