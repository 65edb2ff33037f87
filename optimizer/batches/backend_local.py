"""The local backend: worker processes of this machine that speak JSON lines."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable
from typing import Any

from vllm_opt.optimizer.batches.tasks import Finished, Task, after_death

POLL_S = 0.2
"""How soon the waiting main thread notices an interruption on platforms where waiting blocks it."""


def available_cpus() -> int:
    """CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class LocalBackend:
    """Runs tasks in `jobs` processes; a worker that dies is replaced and its task tried again."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs or available_cpus()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._stopping = False

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Process ids of the workers that are running."""
        return tuple(process.pid for process in self._processes.values())

    def run(self, tasks: Iterable[Task]) -> Generator[Finished, None, None]:
        """Yield every task with its records as they finish."""
        waiting: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[Task, list[dict[str, Any]] | str]] = queue.SimpleQueue()
        remaining = 0
        for task in tasks:
            waiting.put(task)
            remaining += 1
        threads = [
            threading.Thread(target=self._serve, args=(number, waiting, done), daemon=True)
            for number in range(min(self.jobs, remaining))
        ]
        try:
            for thread in threads:
                thread.start()
            while remaining:
                try:
                    task, answer = done.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                remaining -= 1
                if not isinstance(answer, str):
                    yield task, answer
                    continue
                again, failed = after_death(task, answer)
                for retry in again:
                    waiting.put(retry)
                    remaining += 1
                if failed:
                    yield failed
        finally:
            self._stop(waiting, threads)

    def _stop(self, waiting: "queue.SimpleQueue[Task | None]", threads: list[threading.Thread]) -> None:
        self._stopping = True
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.get_nowait()
        for _ in threads:
            waiting.put(None)
        for process in list(self._processes.values()):
            process.kill()
        for thread in threads:
            thread.join()
        self._stopping = False

    def _serve(
        self,
        number: int,
        waiting: "queue.SimpleQueue[Task | None]",
        done: "queue.SimpleQueue[tuple[Task, list[dict[str, Any]] | str]]",
    ) -> None:
        """One thread per worker: hand it one task after the other, and start a new process when it died."""
        try:
            while (task := waiting.get()) is not None and not self._stopping:
                done.put((task, self._ask(number, task)))
        finally:
            self._end(number)

    def _ask(self, number: int, task: Task) -> list[dict[str, Any]] | str:
        """The records of a task, or why there are none."""
        try:
            process = self._worker(number)
            if process.stdin is None or process.stdout is None:
                raise BrokenPipeError
            process.stdin.write(json.dumps(task.requests) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if line.endswith("\n"):
                records: list[dict[str, Any]] = json.loads(line)
                return records
        except (OSError, ValueError):
            pass
        return self._end(number)

    def _worker(self, number: int) -> "subprocess.Popen[str]":
        process = self._processes.get(number)
        if self._stopping:
            raise BrokenPipeError
        if process is None or process.poll() is not None:
            # A process group of its own: Ctrl-C reaches the main process alone, which then stops the workers.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "vllm_opt.optimizer.batches.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                process_group=0 if os.name == "posix" else None,
            )
            self._processes[number] = process
        return process

    def _end(self, number: int) -> str:
        """End one worker and say how it ended."""
        process = self._processes.pop(number, None)
        if process is None:
            return "it did not start"
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"
