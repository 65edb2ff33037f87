"""Plots of characters for the terminal: points, lines and limits on a grid, plain ASCII where nothing else is shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vllm_opt.optimizer.charts.scale import Scale, finite, scale_from_zero, scale_of
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.profiles.printable import printable

HEIGHT, LEAST_COLUMNS, MOST_COLUMNS = 12, 24, 76
DOTS, LINES, LIMIT_MARK, CHOSEN = ("●", "o"), ("•", "*"), ("┄", "-"), ("◉", "@")
CORNER, SIDE, FLOOR = ("└", "+"), ("┤", "|"), ("─", "-")
Shown = Callable[[float], str]


@dataclass(frozen=True)
class Mark:
    """A point, with words beside it where there is room."""

    x: float
    y: float
    words: str = ""
    chosen: bool = False


class _Grid:
    """A field of characters, filled from the most important mark to the least."""

    def __init__(self, columns: int) -> None:
        self.cells = [[" "] * columns for _ in range(HEIGHT)]
        self.columns = columns

    def put(self, column: int, row: int, mark: str) -> None:
        if 0 <= row < HEIGHT and 0 <= column < self.columns and self.cells[row][column] == " ":
            self.cells[row][column] = mark

    def write(self, column: int, row: int, words: str) -> None:
        """Words beside a mark, right of it or left of it, where the cells are free."""
        for start in (column + 2, column - 1 - len(words)):
            taken = self.cells[row][max(0, start - 1) : start + len(words) + 1] if 0 <= row < HEIGHT else ["x"]
            if (
                start >= 0
                and start + len(words) <= self.columns
                and set(taken) <= {" "} | ({self.cells[row][column]} if abs(start - column) <= 2 else set())
            ):
                for offset, character in enumerate(words):
                    self.cells[row][start + offset] = character
                return


def plot(
    marks: Sequence[Mark], x_name: str, y_name: str, x_shown: Shown, y_shown: Shown, screen: Screen, *,
    limit: tuple[str, float] | None = None, joined: bool = False, steep: bool = False,
) -> list[str]:  # fmt: skip
    """Draw points as lines of text; nothing below two of them. A limit is a line across with its words."""
    marks = [mark for mark in marks if len(finite((mark.x, mark.y))) == 2]
    if len(marks) < 2:
        return []
    pick = 0 if screen.unicode else 1
    values = [mark.y for mark in marks]
    seen = limit is not None and limit[1] <= 4 * max(values)
    up = scale_of([*values, *([limit[1]] if seen and limit else [])], HEIGHT - 1, 0, spread=steep)
    ticks = {round(up.at(value)): y_shown(value) for value in up.ticks()}
    left = max([len(shown) for shown in ticks.values()], default=1)
    columns = max(LEAST_COLUMNS, min(MOST_COLUMNS, screen.width - left - 3))
    across = (
        scale_of([mark.x for mark in marks], 0, columns - 1, spread=True)
        if joined
        else scale_from_zero([mark.x for mark in marks], 0, columns - 1)
    )
    grid = _Grid(columns)
    places = [(round(across.at(mark.x)), round(up.at(mark.y)), mark) for mark in marks]
    for column, row, mark in sorted(places, key=lambda place: not place[2].chosen):
        grid.put(column, row, CHOSEN[pick] if mark.chosen else DOTS[pick])
    if joined:
        _join(grid, [(column, row) for column, row, _ in places], LINES[pick])
    for column, row, mark in sorted(places, key=lambda place: (not place[2].chosen, place[1])):
        if mark.words:
            grid.write(column, row, _plain(mark.words, screen))
    if seen and limit is not None:
        _across(grid, round(up.at(limit[1])), f" {_plain(limit[0], screen)} ", LIMIT_MARK[pick])
    lines = [
        f"{ticks.get(row, ''):>{left}} {SIDE[pick]}{''.join(cells).rstrip()}" for row, cells in enumerate(grid.cells)
    ]
    lines.append(f"{'':>{left}} {CORNER[pick]}{FLOOR[pick] * columns}")
    lines.append(f"{'':>{left}}  {_ticks_across(across, x_shown, columns)}")
    return [f"{_plain(y_name, screen)} over {_plain(x_name, screen)}", *(line.rstrip() for line in lines)]


def _plain(words: str, screen: Screen) -> str:
    words = printable(words)
    return words if screen.unicode else words.encode("ascii", "replace").decode()


def _join(grid: _Grid, places: Sequence[tuple[int, int]], mark: str) -> None:
    for (column, row), (later, lower) in pairwise(places):
        steps = max(abs(later - column), abs(lower - row), 1)
        for step in range(1, steps):
            grid.put(round(column + (later - column) * step / steps), round(row + (lower - row) * step / steps), mark)


def _across(grid: _Grid, row: int, words: str, mark: str) -> None:
    for column in range(grid.columns):
        grid.put(column, row, words[column - 2] if 2 <= column < 2 + len(words) and words[column - 2] != " " else mark)


def _ticks_across(across: Scale, shown: Shown, columns: int) -> str:
    line = ""
    for value in across.ticks():
        words = shown(value)
        start = min(max(0, round(across.at(value)) - len(words) // 2), columns - len(words))
        if start >= len(line) + (2 if line else 0):
            line = line.ljust(start) + words
    return line
