"""A progress bar on standard error: how far, how fast, how long still; nothing where no terminal is."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import Progress, Task


class CellProgress(Protocol):
    """Hears of every finished cell."""

    def advance(self, cells: int) -> None:
        """So many more cells are finished."""


class ProgressBar:
    """Draws the bar while it is entered."""

    def __init__(self, total: int, finished: int = 0) -> None:
        self._total, self._finished = total, finished
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if sys.stderr is not None and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("cells", total=self._total, completed=self._finished)
            self._bar.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, cells: int) -> None:
        """Move on."""
        if self._bar is not None:
            self._bar.advance(self._task, cells)


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """Cells per second."""

        def render(self, task: "Task") -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.1f} cells/s")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
