"""How fast `batch` answers cells, with one worker and with two, on the same cells in the same run.

    python benchmarks/batch.py [--models 'Qwen/*'] [--jobs 1 2] [--repeat 1]

Prints cells per second of wall time and, because machines are shared, CPU seconds per cell: doubling the workers
should bring at least 1.8 times the rate while there are cores, and leave the CPU time of a cell as it was.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import dataclass

from vllm_opt.optimizer import BatchRequest, batch
from vllm_opt.optimizer.batches.backend_local import available_cpus

DEFAULT_MODELS = ("Qwen/Qwen3-*", "meta-llama/Llama-3*", "openai/*")


@dataclass(frozen=True)
class Measured:
    """One run."""

    jobs: int
    cells: int
    wall_s: float
    cpu_s: float
    largest_worker_mib: float

    @property
    def rate(self) -> float:
        """Cells per second."""
        return self.cells / self.wall_s


def measure(models: tuple[str, ...], jobs: int) -> Measured:
    """Run one batch into a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        before = _cpu_s()
        started = time.perf_counter()
        report = batch(BatchRequest(models=models, output=f"{folder}/out", jobs=jobs))
        wall = time.perf_counter() - started
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return Measured(jobs, report.cells, wall, _cpu_s() - before, largest)


def _cpu_s() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(DEFAULT_MODELS))
    parser.add_argument("--jobs", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeat", type=int, default=1)
    asked = parser.parse_args()
    print(f"{available_cpus()} CPUs")
    print("workers  cells  wall s  cells/s  CPU s per cell  largest process MiB  rate over the first")
    first: float | None = None
    for _ in range(asked.repeat):
        for jobs in asked.jobs:
            found = measure(tuple(asked.models), jobs)
            first = first or found.rate
            print(
                f"{found.jobs:7}  {found.cells:5}  {found.wall_s:6.1f}  {found.rate:7.2f}"
                f"  {found.cpu_s / found.cells:14.3f}  {found.largest_worker_mib:19.0f}  {found.rate / first:.2f}"
            )


if __name__ == "__main__":
    main()
