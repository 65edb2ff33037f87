"""A line on the terminal's standard error while something takes over two seconds; gone after, and nowhere else."""

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

SILENT_SECONDS, REDRAWN_SECONDS = 2.0, 0.5
ERASE = "\r\x1b[K"


class ProgressLine:
    """Says while it is entered how long the work has taken and how long it takes at most."""

    def __init__(self, words: str, time_limit_s: float | None = None, stream: TextIO | None = None) -> None:
        self._words, self._limit = words, time_limit_s
        self._stream = sys.stderr if stream is None else stream
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._stream is not None and self._stream.isatty():
            self._thread = threading.Thread(target=self._draw, args=(time.monotonic(),), daemon=True)
            self._thread.start()
        return self

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
                self._write(f"{ERASE}{line_of(self._words, time.monotonic() - started, self._limit)}")
                if self._over.wait(REDRAWN_SECONDS):
                    break
            self._write(ERASE)
        except (OSError, ValueError):
            return  # the terminal is gone; the work goes on

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def line_of(words: str, passed_s: float, time_limit_s: float | None) -> str:
    """'front: 12 s, at most 18 s left'; past the limit only what is being finished."""
    if time_limit_s is None:
        return f"{words}: {passed_s:.0f} s"
    left = time_limit_s - passed_s
    return f"{words}: {passed_s:.0f} s, " + (f"at most {left:.0f} s left" if left >= 1 else "finishing")
