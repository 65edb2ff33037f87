"""A line on the terminal's standard error while something takes over two seconds; gone after, and nowhere else."""

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

SILENT_SECONDS, REDRAWN_SECONDS = 2.0, 0.5
ERASE = "\r\x1b[K"
LEAST_SHARE = 0.02
"""Of the work, from which on it tells how long the rest takes."""


class ProgressLine:
    """Says while it is entered how long the work has taken, and how long it takes at most or about."""

    def __init__(self, words: str, time_limit_s: float | None = None, stream: TextIO | None = None) -> None:
        self._words, self._limit = words, time_limit_s
        self._stream = sys.stderr if stream is None else stream
        self._share: float | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._stream is not None and self._stream.isatty():
            self._thread = threading.Thread(target=self._draw, args=(time.monotonic(),), daemon=True)
            self._thread.start()
        return self

    def reached(self, share: float) -> None:
        """So much of the work is done, from 0 to 1: the time left follows from it where there is no limit."""
        self._share = share

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _draw(self, started: float) -> None:
        if self._over.wait(SILENT_SECONDS):
            return
        try:
            while True:
                self._write(f"{ERASE}{self._line(time.monotonic() - started)}")
                if self._over.wait(REDRAWN_SECONDS):
                    break
            self._write(ERASE)
        except (OSError, ValueError):
            return  # the terminal is gone; the work goes on

    def _line(self, passed_s: float) -> str:
        return line_of(self._words, passed_s, self._limit, self._share)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def line_of(words: str, passed_s: float, time_limit_s: float | None, share: float | None = None) -> str:
    """'front: 12 s, at most 18 s left'; past the limit only what is being finished.

    Without a limit the time left is passed x (1 - share) / share, once a fiftieth of the work is done.
    """
    if time_limit_s is None and share is not None and share >= LEAST_SHARE:
        left = passed_s * (1 - share) / share
        return f"{words}: {passed_s:.0f} s, " + (f"about {left:.0f} s left" if left >= 1 else "finishing")
    if time_limit_s is None:
        return f"{words}: {passed_s:.0f} s"
    left = time_limit_s - passed_s
    return f"{words}: {passed_s:.0f} s, " + (f"at most {left:.0f} s left" if left >= 1 else "finishing")
