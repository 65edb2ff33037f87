"""The Ray backend (extra `ray`): the same workers as actors of a cluster on whose nodes vllm-opt is installed."""

import contextlib
import os
import socket
from collections import deque
from collections.abc import Generator, Iterable
from typing import Any

from vllm_opt.optimizer.batches.tasks import Finished, Task, after_death
from vllm_opt.optimizer.batches.worker import BatchWorker
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable

POLL_S = 1.0
KNOCK_S = 10.0


def _ray() -> Any:
    """Import Ray.

    Raises:
        InvalidRequest: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without it Ray announces a change of its own defaults on every start of a CPU-only actor.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise InvalidRequest(
            "backend ray needs the extra 'ray'; install it with: pip install 'vllm-opt[ray]'"
        ) from None
    return ray


def _knock(address: str) -> None:
    """See whether anybody listens at HOST:PORT; Ray itself would try for minutes.

    Raises:
        InvalidRequest: nobody does.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"cannot reach a Ray cluster at {printable(repr(address))}: {reason}") from None


class RayBackend:
    """Runs tasks on actors, `jobs` of them or one per CPU of the cluster; an actor that dies is replaced.

    Without an address the cluster is the one of RAY_ADDRESS, else a Ray of this machine that ends with the run.
    """

    def __init__(self, jobs: int | None = None, address: str | None = None) -> None:
        self.jobs = jobs
        self.address = address
        self._actors: list[Any] = []

    def process_ids(self) -> tuple[int, ...]:
        """Process ids of the actors, wherever they run."""
        ray = _ray()
        return tuple(ray.get([actor.process_id.remote() for actor in self._actors]))

    def run(self, tasks: Iterable[Task]) -> Generator[Finished, None, None]:
        """Yield every task with its records as they finish.

        Raises:
            InvalidRequest: Ray is not installed or the cluster cannot be reached.
        """
        waiting = deque(tasks)
        if not waiting:
            return
        ray = _ray()
        started_here = self._connect(ray)
        try:
            worker = ray.remote(num_cpus=1)(BatchWorker)
            count = self.jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))
            self._actors = [worker.remote() for _ in range(min(count, len(waiting)))]
            yield from self._drain(ray, worker, waiting)
        finally:
            for actor in self._actors:
                with contextlib.suppress(Exception):
                    ray.kill(actor)
            self._actors = []
            if started_here:
                ray.shutdown()

    def _connect(self, ray: Any) -> bool:
        """Reach or start the cluster; tell whether it has to be ended here."""
        if ray.is_initialized():
            return False
        where: dict[str, Any] = {"address": self.address} if self.address else {}
        if not self.address and not os.environ.get("RAY_ADDRESS"):
            where = {"num_cpus": self.jobs, "include_dashboard": False}
        if self.address:
            _knock(self.address)
        try:
            ray.init(logging_level="error", log_to_driver=False, configure_logging=False, **where)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            place = f"at '{self.address}'" if self.address else "on this machine"
            raise InvalidRequest(f"cannot reach a Ray cluster {place}: {reason}") from None
        return True

    def _drain(self, ray: Any, worker: Any, waiting: "deque[Task]") -> Generator[Finished, None, None]:
        running: dict[Any, tuple[int, Task]] = {}
        idle = list(range(len(self._actors)))
        while waiting or running:
            while waiting and idle:
                number, task = idle.pop(), waiting.popleft()
                running[self._actors[number].answer.remote(task.requests)] = number, task
            ready, _ = ray.wait(list(running), num_returns=1, timeout=POLL_S)
            for reference in ready:
                number, task = running.pop(reference)
                idle.append(number)
                try:
                    records = ray.get(reference)
                except ray.exceptions.RayError as error:
                    self._actors[number] = worker.remote()
                    again, failed = after_death(task, type(error).__name__)
                    waiting.extend(again)
                    if failed:
                        yield failed
                    continue
                yield task, records
