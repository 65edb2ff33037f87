"""Time of `solve` against the number of SKUs: 1, 5, 15, 47 and 200.

    python benchmarks/scaling.py [--repeats 3]

Beyond the catalogue, SKUs are synthetic: copies of real ones with other ids, and memory and prices changed by a few per
cent. Prices of real SKUs without one are synthetic too. Neither is ever shipped.
"""

import argparse
import statistics
import time

from vllm_opt.optimizer import SolveRequest, solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.gpu import GpuProfile

COUNTS = (1, 5, 15, 47, 200)
SYNTHETIC_USD = 3.0


class WideCatalog(Catalog):
    """The catalogue with synthetic SKUs after the real ones."""

    def __init__(self, count: int) -> None:
        super().__init__()
        real = super().gpus
        copies = [synthetic(real[index % len(real)], index) for index in range(len(real), count)]
        self.__dict__["gpus"] = (*real, *copies)[:count]


def synthetic(gpu: GpuProfile, index: int) -> GpuProfile:
    """A SKU that does not exist: a real one with a little less memory."""
    memory = gpu.memory_bytes * (1000 - index % 40) // 1000
    return gpu.model_copy(
        update={"id": f"synthetic-{index}", "aliases": (), "name": f"synthetic {index}", "memory_bytes": memory}
    )


def main() -> None:
    """Run and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print("| SKUs | status | layouts | ms | ms per SKU |\n|---|---|---|---|---|")
    for count in COUNTS:
        catalog = WideCatalog(count)
        ids = [gpu.id for gpu in catalog.gpus]
        prices = {sku: SYNTHETIC_USD * (1 + position % 17 / 10) for position, sku in enumerate(ids)}
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            answer = solve(SolveRequest(gpu=ids, price=prices, concurrency=32), catalog)
            times.append((time.perf_counter() - started) * 1000)
        middle = statistics.median(times)
        print(
            f"| {count} | {answer.status} | {answer.solver.layouts_considered} | {middle:.0f} | {middle / count:.1f} |"
        )


if __name__ == "__main__":
    main()
