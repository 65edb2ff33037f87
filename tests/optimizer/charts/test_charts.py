"""Charts as SVG: values where they belong, every word escaped, nothing drawn of nothing."""

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_opt.optimizer.charts.axes import Axis
from vllm_opt.optimizer.charts.bars import Bar, Part, bar_chart, stacked_bar
from vllm_opt.optimizer.charts.boxes import Box, boxes
from vllm_opt.optimizer.charts.crossing import crossing_chart
from vllm_opt.optimizer.charts.front import Point, front_chart
from vllm_opt.optimizer.charts.intervals import Held, interval_chart
from vllm_opt.optimizer.charts.lines import Chosen, Limit, Series, line_chart
from vllm_opt.optimizer.charts.scale import Scale, scale_from_zero, scale_of
from vllm_opt.optimizer.charts.svg import WIDTH
from vllm_opt.optimizer.charts.tornado import Swing, tornado_chart

HOSTILE = '"><script>alert(1)</script>&\x1b[31m\u0000'
X, Y = Axis("users", "{:g}".format), Axis("ms", "{:g}".format)


def every_chart(name: str, numbers: list[float]) -> list[str]:
    """One of each kind, all of whose words are `name`."""
    axis = Axis(name, lambda value: f"{value}{name}")
    points = tuple(enumerate(numbers))
    first, last = numbers[0], numbers[-1]
    return [
        line_chart(
            name, [Series(name, points, tuple((n, n) for n in numbers)), Series(name, points)], axis, axis,
            limits=[Limit(name, first)], chosen=Chosen(name, 1), steep=True,
        ),
        front_chart(name, [Point(name, n, n, name, chosen=not i) for i, n in points], axis, axis),
        stacked_bar(name, [Part(name, n, None) for n in numbers], axis.shown, mark=(name, first)),
        bar_chart(name, [Bar(name, (Part(name, n, 1),), name, ((name, n),)) for n in numbers], axis.shown),
        tornado_chart(name, first, [Swing(name, first, last, name, name)], axis.shown),
        interval_chart(name, [Held(name, first, (first, last), last, name)]),
        crossing_chart(name, first, last, first, last, axis.shown),
        boxes(name, [[Box(name, tuple(Part(name, n, 0) for n in numbers), (True,))]]),
    ]  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.text(max_size=30), st.lists(st.floats(0, 1e9), min_size=2, max_size=5))
def test_whatever_the_words_and_numbers_a_chart_is_well_formed_and_inside_its_paper(
    name: str, numbers: list[float]
) -> None:
    for chart in every_chart(name, numbers):
        if not chart:
            continue
        tree = ET.fromstring(chart)
        assert {node.tag for node in tree.iter()} <= {
            "svg", "title", "desc", "text", "line", "rect", "circle", "polyline", "polygon",
        }  # fmt: skip
        for node in tree.iter("circle"):
            assert -1 <= float(node.attrib["cx"]) <= WIDTH + 1
        for node in tree.iter("rect"):
            assert float(node.attrib["width"]) >= 0


def test_a_name_of_markup_stays_text_in_every_chart() -> None:
    for chart in every_chart(HOSTILE, [1.0, 2.0, 30.0]):
        assert "<script" not in chart
        assert "\x1b" not in chart
        assert "alert(1)" in ET.fromstring(chart).attrib["aria-label"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_not_drawn(bad: float) -> None:
    for chart in every_chart("x", [bad, bad]):
        assert "nan" not in chart.lower()
        assert "inf" not in chart.lower()


def test_nothing_is_drawn_of_nothing() -> None:
    assert line_chart("x", [Series("s", ((1, 1),))], X, Y) == ""
    assert front_chart("x", [Point("p", 1, 1)], X, Y) == ""
    assert stacked_bar("x", [Part("p", 0, 0)], X.shown) == ""
    assert bar_chart("x", [], X.shown) == ""
    assert tornado_chart("x", 1, [Swing("s", None, None)], X.shown) == ""
    assert interval_chart("x", []) == ""
    assert boxes("x", []) == ""


def test_scales_put_values_where_they_belong() -> None:
    assert scale_from_zero([95.0], 0, 100).at(50) == 50
    assert scale_from_zero([95.0], 0, 100).ticks() == (0, 20, 40, 60, 80, 100)
    assert Scale(1, 100, 0, 200, logarithmic=True).at(10) == pytest.approx(100)
    assert scale_of([1, 1000], 0, 1, spread=True).logarithmic
    assert not scale_of([0, 1000], 0, 1, spread=True).logarithmic


def test_a_front_has_a_dot_a_plan_and_a_ring_around_the_chosen_one() -> None:
    chart = front_chart("front", [Point("4 x l4", 1, 100), Point("1 x h100", 3, 400, chosen=True)], X, Y)
    circles = list(ET.fromstring(chart).iter("circle"))
    assert len(circles) == 3
    assert [node.attrib["r"] for node in circles].count("10") == 1
    assert "4 x l4: 1, 100; 1 x h100: 3, 400" in chart


def test_the_parts_of_a_bar_share_its_width_in_proportion() -> None:
    chart = ET.fromstring(stacked_bar("memory", [Part("weights", 30, 0), Part("free", 10, None)], "{:g}".format))
    bars = [float(node.attrib["width"]) for node in chart.iter("rect") if node.attrib["height"] == "30"]
    assert bars == [pytest.approx(WIDTH * 0.75), pytest.approx(WIDTH * 0.25)]


def test_the_crossing_is_marked_where_the_sums_meet() -> None:
    assert "7 months" in crossing_chart("c", 1000, 100, 6300, 7.0, "{:g}".format)
    assert "months</text>" not in crossing_chart("c", 100, 200, 6300, None, "{:g}".format)


@pytest.mark.parametrize("count", [1, 4, 8, 9, 16])
def test_the_frames_of_boxes_lie_inside_the_paper(count: int) -> None:
    root = ET.fromstring(boxes("node", [[Box(f"GPU {i}", (Part("a", 0.5, 0),)) for i in range(count)]]))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    frames = [node.attrib for node in root.iter() if node.attrib.get("class") == "gpu"]
    assert len(frames) == count
    for frame in frames:
        assert float(frame["x"]) >= 0.5
        assert float(frame["x"]) + float(frame["width"]) <= width - 0.5
        assert float(frame["y"]) + float(frame["height"]) <= height - 0.5
