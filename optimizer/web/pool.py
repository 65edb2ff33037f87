"""Warm processes behind a bounded queue: whoever finds it full is told so at once, and nobody waits without end."""

import asyncio
import multiprocessing
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from vllm_opt.optimizer.web.settings import WebSettings
from vllm_opt.optimizer.web.worker import Reply, empty_folder, error_body, start

TOO_MANY, TOO_LONG, BROKEN = 429, 503, 500


class Full(Exception):  # noqa: N818 - a state, not a fault
    """Every process is busy and every place in the queue is taken."""


class Pool:
    """Runs functions of `worker` in processes of their own.

    A process that exceeds `killed_after_s` is ended and replaced; a caller who left gives its place in the queue back.
    """

    def __init__(self, settings: WebSettings) -> None:
        from pebble import ProcessPool

        self._settings, self._folder = settings, empty_folder()
        self._processes = ProcessPool(
            max_workers=settings.processes,
            context=multiprocessing.get_context("spawn"),
            initializer=start,
            initargs=(self._folder.name,),
        )
        self.inside = 0
        """Requests that run or wait."""

    async def run(self, function: Callable[..., Reply], *arguments: Any) -> Reply:
        """Run a function in a process.

        Raises:
            Full: there is no place.
        """
        if self.inside >= self._settings.processes + self._settings.queue:
            raise Full
        self.inside += 1
        loop = asyncio.get_running_loop()
        future = self._processes.schedule(function, args=arguments, timeout=self._settings.killed_after_s)
        future.add_done_callback(lambda _: self._leave(loop))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.running():
                future.cancel()  # type: ignore[no-untyped-call]
            raise
        except (TimeoutError, CancelledError):
            after = self._settings.killed_after_s
            return Reply(TOO_LONG, error_body(f"no answer after {after:g} seconds; ask for less, or for fewer SKUs"))
        except Exception as error:  # of whatever kind a worker died: the client gets an answer, the server lives
            name = type(error).__name__
            return Reply(BROKEN, error_body(f"sorry, the process of this request died ({name}); ask again"))

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """A place is free again; a loop that is closed counts no more."""
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._one_less)

    def _one_less(self) -> None:
        self.inside -= 1

    def close(self) -> None:
        """End every process, whatever it does."""
        self._processes.stop()  # type: ignore[no-untyped-call]
        with suppress(TimeoutError):
            self._processes.join(timeout=10)
        self._folder.cleanup()
