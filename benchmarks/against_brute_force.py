"""Random problems decided twice: by the program, and by brute force that asks only the rules' `check`.

    python benchmarks/against_brute_force.py --examples 1000 --seed 7            # of every kind
    python benchmarks/against_brute_force.py --kind fleets --examples 5000

The problems and the brute force are those of the tests (`tests/strategies.py`, `tests/oracle.py`,
`tests/fleet_oracle.py`): dense models, checkpoints that say how their KV cache is kept, experts and latent attention,
sliding windows, hybrids, and fleets at three magnitudes of units. Every problem is also asked with limits that its
optimum just meets or just misses, and without the search's pick, which must change nothing. `--scale` multiplies the
prices, so that objectives are counted in numbers a thousand times smaller or larger. What differs is printed with the
problem, and the run ends with exit code 1.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "optimizer" / "solver")]

from fleet_oracle import agree, small_fleet  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from strategies import (  # noqa: E402
    PLAIN,
    Problem,
    decoders,
    hybrids,
    latent,
    problems,
    request_of,
    stored,
    windowed,
    with_experts,
)
from test_solver_oracle import EDGES, compare  # noqa: E402

from vllm_opt.optimizer.solver.solve import solve  # noqa: E402

SOLVES: dict[str, Any] = {
    "dense": problems(decoders()),
    "stored": problems(stored(PLAIN), most_gpus=2),
    "experts": problems(with_experts(), most_gpus=2),
    "latent": problems(latent(), most_gpus=2),
    "windows": problems(windowed()),
    "hybrids": problems(hybrids()),
}
FLEETS = "fleets"
SCALES = (1, 1_000, 1_000_000)


class Tally:
    """What was compared, and what differed."""

    def __init__(self, kind: str, deadline: float) -> None:
        self.kind, self.deadline = kind, deadline
        self.compared = 0
        self.faults: list[str] = []

    def judge(self, problem: object, ask: Callable[[], object]) -> None:
        """Ask one problem both ways, unless time is up; what goes wrong is kept and shown."""
        if time.monotonic() > self.deadline:
            return
        self.compared += 1
        try:
            ask()
        except Exception:  # a sweep goes on: every kind of fault is what it looks for
            self.faults.append(f"{traceback.format_exc(limit=-2)}\n{problem!r}")
            print(f"{self.kind}: {self.faults[-1]}", flush=True)


def priced(problem: Problem, scale: float) -> Problem:
    """The same problem with other prices."""
    prices = tuple((sku, usd * scale) for sku, usd in problem.prices)
    machines = tuple({**row, "usd_per_hour": row["usd_per_hour"] * scale} for row in problem.machines)
    fields = dict(problem.fields)
    if "max_hourly_cost" in fields:
        fields["max_hourly_cost"] *= scale
    return replace(problem, prices=prices, machines=machines, fields=fields)


def solves(kind: str, examples: int, start: int, scale: float, deadline: float) -> Tally:
    """Single plans of one kind of model."""
    tally = Tally(kind, deadline)

    @seed(start)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(problem=SOLVES[kind], edge=EDGES)
    def each(problem: Problem, edge: str) -> None:
        asked = priced(problem, scale)
        tally.judge((edge, asked), lambda: (compare(asked, edge), pick_changes_nothing(asked)))

    each()
    return tally


def pick_changes_nothing(problem: Problem) -> None:
    """CP-SAT alone, over what the bounds leave, gives the answer that it gives with the search's pick beside it."""
    with tempfile.TemporaryDirectory() as name:
        request = request_of(problem, Path(name))
        whole, alone = solve(request), solve(request, without="pick")
        times = {"solver": {"wall_ms"}}
        assert alone.model_dump(exclude=times) == whole.model_dump(exclude=times)


def fleets(examples: int, start: int, deadline: float) -> Tally:
    """Fleets, a third of each magnitude, half of them by what is served, a fifth with replicas on two nodes."""
    tally = Tally(FLEETS, deadline)
    for number in range(start, start + examples):
        problem = small_fleet(number, SCALES[number % 3], served=number % 2 == 1, wide=number % 5 == 0)
        tally.judge((number, problem), lambda asked=problem: agree(asked))  # type: ignore[misc]
    return tally


def main() -> None:
    """Compare, and print a line per kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", choices=[*SOLVES, FLEETS], help="default: every kind")
    parser.add_argument("--examples", type=int, default=100, help="problems of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the prices of single plans")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each kind, at most")
    asked = parser.parse_args()
    faults = 0
    for kind in asked.kind or [*SOLVES, FLEETS]:
        started = time.monotonic()
        end = started + asked.seconds
        if kind == FLEETS:
            tally = fleets(asked.examples, asked.seed, end)
        else:
            tally = solves(kind, asked.examples, asked.seed, asked.scale, end)
        faults += len(tally.faults)
        print(
            f"{kind}: {tally.compared} problems, {len(tally.faults)} differ, {time.monotonic() - started:.0f} s",
            flush=True,
        )
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
