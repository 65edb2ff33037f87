"""Lines over one quantity, each with the band of its uncertainty, limits across, and the point that was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.charts.axes import BOTTOM, RIGHT, TOP, Axis, frame, left_of
from vllm_opt.optimizer.charts.scale import Scale, finite, scale_of
from vllm_opt.optimizer.charts.svg import (
    LIMIT,
    SMALL_TEXT,
    WIDTH,
    colour,
    drawing,
    element,
    line,
    number,
    title,
    width_of,
    words,
)

HEIGHT, LEGEND_LINE = 250, 18
DASHES = (None, "7 4", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Series:
    """One line: points by ascending x, and the ends of the interval of each where it is known."""

    name: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Limit:
    """A value that lines should stay below, or above."""

    name: str
    value: float


@dataclass(frozen=True)
class Chosen:
    """Where on the horizontal axis the plan stands."""

    name: str
    x: float


def line_chart(
    name: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    limits: Sequence[Limit] = (),
    chosen: Chosen | None = None,
    steep: bool = False,
) -> str:
    """Draw the lines; nothing where there are not two points to join. `steep`: decades upwards."""
    drawn = [one for one in series if len(_points(one)) > 1]
    if not drawn:
        return ""
    limits = [limit for limit in limits if finite((limit.value,))]
    chosen = chosen if chosen is not None and finite((chosen.x,)) else None
    values = [value for one in drawn for _, value in _points(one)]
    values += finite(end for one in drawn for ends in one.band for end in ends)
    values += finite(limit.value for limit in limits if limit.value <= 4 * max([*values, 1e-12]))
    legend = LEGEND_LINE if len(drawn) > 1 else 0
    floor = HEIGHT - BOTTOM + legend
    up = scale_of(values, floor, TOP + legend, spread=steep)
    places = [place for one in drawn for place, _ in _points(one)] + ([chosen.x] if chosen else [])
    across = scale_of(places, left_of(up.ticks(), y), WIDTH - RIGHT, spread=True)
    parts = frame(across, up, x, y)
    for index, one in enumerate(drawn):
        parts += _line(one, index, across, up, x, y)
    parts += [part for limit in limits if limit.value <= up.high for part in _limit(limit, across, up, y)]
    if chosen is not None:
        parts += _chosen(chosen, across, up)
    if legend:
        parts += _legend([one.name for one in drawn])
    return drawing(floor + BOTTOM, name, _description(drawn, limits, x, y), parts)


def _points(one: Series) -> list[tuple[float, float]]:
    return [(place, value) for place, value in one.points if len(finite((place, value))) == 2]


def _line(one: Series, index: int, across: Scale, up: Scale, x: Axis, y: Axis) -> list[str]:
    points = _points(one)
    path = " ".join(f"{number(across.at(place))},{number(up.at(value))}" for place, value in points)
    parts = []
    if len(one.band) == len(one.points) == len(points):
        ends = [
            (across.at(place), up.at(low), up.at(high))
            for (place, _), (low, high) in zip(points, one.band, strict=True)
        ]
        outline = [f"{number(at)},{number(high)}" for at, _, high in ends]
        outline += [f"{number(at)},{number(low)}" for at, low, _ in reversed(ends)]
        parts.append(element("polygon", points=" ".join(outline), fill=colour(index), opacity=0.18))
    parts.append(
        element(
            "polyline", points=path, fill="none", stroke=colour(index), stroke_width=2.5,
            stroke_dasharray=DASHES[index % len(DASHES)], stroke_linejoin="round",
        )
    )  # fmt: skip
    for place, value in points:
        said = title(f"{one.name}: {y.shown(value)} at {x.shown(place)}")
        parts.append(element("circle", said, cx=across.at(place), cy=up.at(value), r=3.5, fill=colour(index)))
    return parts


def _limit(limit: Limit, across: Scale, up: Scale, y: Axis) -> list[str]:
    at = up.at(limit.value)
    shown = f"{limit.name} {y.shown(limit.value)}"
    return [
        line(across.start, at, across.end, at, LIMIT, stroke_width=1.5, stroke_dasharray="6 3"),
        words(shown, across.start + 6, at - 5 if at > up.end + 16 else at + 15, size=SMALL_TEXT, fill=LIMIT),
    ]


def _chosen(chosen: Chosen, across: Scale, up: Scale) -> list[str]:
    at = across.at(chosen.x)
    late = at > (across.start + across.end) / 2
    return [
        line(at, up.end, at, up.start, "currentColor", stroke_dasharray="2 3"),
        words(chosen.name, at - 5 if late else at + 5, up.end - 3, anchor="end" if late else "start", size=SMALL_TEXT),
    ]


def _legend(names: Sequence[str]) -> list[str]:
    parts, at = list[str](), 4.0
    for index, name in enumerate(names):
        dash = DASHES[index % len(DASHES)]
        parts += [line(at, 28, at + 24, 28, colour(index), stroke_width=2.5, stroke_dasharray=dash)]
        parts += [words(name, at + 29, 32, size=SMALL_TEXT)]
        at += 46 + width_of(name, SMALL_TEXT)
    return parts


def _description(series: Sequence[Series], limits: Sequence[Limit], x: Axis, y: Axis) -> str:
    sentences = []
    for one in series:
        (first, least), (last, most) = _points(one)[0], _points(one)[-1]
        sentences.append(f"{one.name}: {y.shown(least)} at {x.shown(first)}, {y.shown(most)} at {x.shown(last)}.")
    sentences += [f"{limit.name}: {y.shown(limit.value)}." for limit in limits]
    return f"{y.name} over {x.name}. " + " ".join(sentences)
