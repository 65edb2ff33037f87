"""Pictures of characters, and the line that tells how long something still takes."""

import io
import time

import pytest

from vllm_opt.optimizer.rendering import progress
from vllm_opt.optimizer.rendering.plot import HEIGHT, Mark, plot
from vllm_opt.optimizer.rendering.progress import ProgressLine, line_of
from vllm_opt.optimizer.rendering.screen import Screen

MARKS = [Mark(0, 0), Mark(10, 50, "fünf", chosen=True), Mark(20, 100, "1 x h100")]


def drawn(screen: Screen, **options: object) -> list[str]:
    return plot(MARKS, "USD", "tokens/s", "{:g}".format, "{:g}".format, screen, **options)  # type: ignore[arg-type]


def test_points_stand_where_their_values_are() -> None:
    title, *rows = drawn(Screen(60))
    assert title == "tokens/s over USD"
    assert "●" in rows[0]
    assert rows[0].startswith("100")
    middle = next(row for row in rows if "◉" in row)
    assert HEIGHT // 2 - 1 <= rows.index(middle) <= HEIGHT // 2 + 1
    assert "fünf" in middle
    assert all(len(row) <= 60 for row in rows)


def test_a_screen_without_unicode_gets_ascii() -> None:
    text = "\n".join(drawn(Screen(60, unicode=False), limit=("höchstens", 80.0), joined=True))
    assert text.isascii()
    assert "@" in text
    assert "h?chstens" in text


def test_one_point_is_no_picture_and_a_narrow_screen_is_kept_to() -> None:
    assert plot(MARKS[:1], "x", "y", str, str, Screen(80)) == []
    assert all(len(row) <= 44 for row in drawn(Screen(40)))


class Terminal(io.StringIO):
    """A terminal that keeps what it was sent."""

    def isatty(self) -> bool:
        return True


def test_a_long_run_says_how_long_it_takes_at_most_and_clears_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(progress, "REDRAWN_SECONDS", 0.01)
    terminal = Terminal()
    with ProgressLine("front", 30, terminal):
        while "at most" not in terminal.getvalue():
            time.sleep(0.005)
    assert "front: 0 s, at most 30 s left" in terminal.getvalue()
    assert terminal.getvalue().endswith(progress.ERASE)


def test_a_short_run_or_a_pipe_says_nothing() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    with ProgressLine("front", 30, terminal), ProgressLine("front", 30, pipe):
        pass
    assert terminal.getvalue() == pipe.getvalue() == ""


def test_the_line_is_true_past_the_limit_and_without_one() -> None:
    assert line_of("fleet", 12.4, 30) == "fleet: 12 s, at most 18 s left"
    assert line_of("fleet", 31, 30) == "fleet: 31 s, finishing"
    assert line_of("doubt", 3, None) == "doubt: 3 s"
    assert line_of("calibrating", 6, None, 0.25) == "calibrating: 6 s, about 18 s left"
    assert line_of("calibrating", 6, None, 0.01) == "calibrating: 6 s"
    assert line_of("calibrating", 6, None, 0.99) == "calibrating: 6 s, finishing"
