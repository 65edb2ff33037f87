"""The Ray backend on a real Ray of this machine: two worker processes, one of them killed in the middle."""

import os
import signal
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
from batch_runs import MODELS, asked, written

from vllm_opt.optimizer import BatchRequest, batch
from vllm_opt.optimizer.batches import batch as batches
from vllm_opt.optimizer.batches.backend_ray import RayBackend
from vllm_opt.optimizer.batches.tasks import Finished, Task
from vllm_opt.profiles.errors import InvalidRequest

pytest.importorskip("ray", reason="the extra 'ray' has no wheel for this Python")


class RayWithALoss:
    """The Ray backend on a cluster that loses a worker when two tasks are finished."""

    def __init__(self) -> None:
        self.processes: tuple[int, ...] = ()
        self.attempts = 0

    def run(self, tasks: Iterable[Task]) -> Generator[Finished, None, None]:
        """Kill one of the two workers in the middle."""
        backend = RayBackend(2)
        for number, (task, records) in enumerate(backend.run(tasks)):
            if number == 0:
                self.processes = backend.process_ids()
            elif number == 1:
                os.kill(self.processes[0], signal.SIGKILL)
            self.attempts = max(self.attempts, task.attempts)
            yield task, records


def test_a_killed_ray_worker_loses_nothing_and_the_folder_has_the_bytes_of_a_local_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"models": MODELS, "gpu": ("l40s", "l4", "h100")}
    batch(BatchRequest(**asked(tmp_path / "local", **fields)))
    ray = RayWithALoss()
    monkeypatch.setattr(batches, "backend_of", lambda _: ray)
    report = batch(BatchRequest(**asked(tmp_path / "ray", **fields)))
    assert report.counts == {"optimal": 9}
    assert len(set(ray.processes)) == 2
    assert ray.attempts == 1
    assert written(tmp_path / "ray") == written(tmp_path / "local")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path, address: str) -> None:
    with pytest.raises(InvalidRequest, match=f"cannot reach a Ray cluster at '{address}'"):
        batch(BatchRequest(**asked(tmp_path / "out", backend="ray", address=address)))
