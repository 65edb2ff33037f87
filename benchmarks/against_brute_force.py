"""Random problems decided twice: by the program, and by brute force that asks only the rules' `check`.

    python benchmarks/against_brute_force.py --examples 850 --seed 7            # of every kind
    python benchmarks/against_brute_force.py --kind fleets --examples 5000

The problems and the brute force are those of the tests (`tests/strategies.py`, `tests/oracle.py`,
`tests/fleet_oracle.py`): dense models, checkpoints that say how their KV cache is kept, experts and latent attention,
sliding windows, hybrids, and fleets at three magnitudes of units (plain ones, ones of which replicas and nodes may be
lost, and workloads that share replicas). Single plans are drawn small enough for a fraction of
a second each (`--whole` draws them as the tests do), a third of them with prices a thousand times as high or as low.
Each is asked

- without the search's pick, which must change nothing;
- of the second opinion, which must agree wherever it counts;
- of random points around the plan, none of which may be better (`--shots`; answers without tolerance, priced, at the
  load asked);
- again, two times in three, under a limit on TTFT, TPOT or throughput, or all three, that its optimum just meets or
  just misses.

What differs is printed with the problem, and the run ends with exit code 1.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "optimizer" / "solver")]

import fleet_oracle  # noqa: E402
from agreement import compared  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from oracle import Best, Known  # noqa: E402
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
from test_solver import Attack, _assert_no_better, values  # noqa: E402
from test_solver_oracle import EDGES, limits_at  # noqa: E402

from vllm_opt.optimizer.contract.answer import Answer  # noqa: E402
from vllm_opt.optimizer.contract.request import SolveRequest  # noqa: E402
from vllm_opt.optimizer.fleet import solver  # noqa: E402
from vllm_opt.optimizer.fleet.problem import FleetProblem  # noqa: E402
from vllm_opt.optimizer.second_opinion.opinion import opinion_of_answer  # noqa: E402
from vllm_opt.optimizer.solver.solve import solve  # noqa: E402
from vllm_opt.profiles.catalogues.catalog import Catalog  # noqa: E402

KINDS: dict[str, tuple[Any, int]] = {
    "dense": (decoders(), 4),
    "stored": (stored(PLAIN), 2),
    "experts": (with_experts(), 2),
    "latent": (latent(), 2),
    "windows": (windowed(), 4),
    "hybrids": (hybrids(), 4),
}
FLEETS = "fleets"
SCALES = (1, 1_000, 1_000_000)
PINS = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "replicas", "max_num_seqs")


class Tally:
    """What was compared, and what differed."""

    def __init__(self, kind: str, deadline: float) -> None:
        self.kind, self.deadline = kind, deadline
        self.compared = 0
        self.seen: Counter[str] = Counter()
        """How much of what was looked at: feasible answers, answers under limits, opinions, points tried."""
        self.faults: list[str] = []

    def judge(self, problem: object, ask: Callable[[], object]) -> None:
        """Ask one problem both ways, unless time is up; what goes wrong is kept and shown."""
        if time.monotonic() > self.deadline:
            return
        self.compared += 1
        try:
            ask()
        except Exception:  # a sweep goes on: every kind of fault is what it looks for
            self.faults.append(f"{traceback.format_exc(limit=-4)}\n{problem!r}")
            print(f"{self.kind}: {self.faults[-1]}", flush=True)


def priced(problem: Problem, scale: float) -> Problem:
    """The same problem with other prices."""
    prices = tuple((sku, usd * scale) for sku, usd in problem.prices)
    machines = tuple({**row, "usd_per_hour": row["usd_per_hour"] * scale} for row in problem.machines)
    fields = dict(problem.fields)
    if "max_hourly_cost" in fields:
        fields["max_hourly_cost"] *= scale
    return replace(problem, prices=prices, machines=machines, fields=fields)


def solves(kind: str, examples: int, start: int, deadline: float, *, whole: bool, shots: int) -> Tally:
    """Single plans of one kind of model, their prices at three magnitudes."""
    tally = Tally(kind, deadline)
    configs, most = KINDS[kind]

    @seed(start)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(
        problem=problems(configs, most_gpus=most, quick=not whole),
        edge=EDGES,
        scale=st.sampled_from((1e-3, 1.0, 1e3)),
        at=st.integers(0, 3),
    )
    def each(problem: Problem, edge: str, scale: float, at: int) -> None:
        asked = priced(problem, scale)
        tally.judge((edge, at, asked), lambda: one(tally, asked, edge, at, shots))

    each()
    return tally


def one(tally: Tally, problem: Problem, edge: str, at: int, shots: int) -> None:
    """Everything that is asked of one problem."""
    with tempfile.TemporaryDirectory() as name:
        folder, known = Path(name), Known()
        best = every_way(tally, request_of(problem, folder), known, shots)
        if best is None or edge == "none":
            return
        limits = limits_at(best.points[0], edge)
        kept = limits if at >= len(limits) else dict([list(limits.items())[at]])
        tally.seen["under limits"] += 1
        every_way(tally, request_of(problem, folder, **kept), known, shots)


def every_way(tally: Tally, request: SolveRequest, known: Known, shots: int) -> Best | None:
    """The program, brute force, CP-SAT alone, the second opinion, and an attack."""
    answer, times = solve(request), {"solver": {"wall_ms"}}
    best = compared(request, answer, known)
    # CP-SAT alone, over what the bounds leave, gives the answer that it gives with the search's pick beside it.
    alone = solve(request, without="pick")
    assert alone.model_dump(exclude=times) == answer.model_dump(exclude=times)
    if best is None:
        return None
    tally.seen["feasible"] += 1
    catalog = Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    opinion = opinion_of_answer(answer, catalog)
    assert opinion.agrees, opinion.disagreements
    tally.seen["opinions on whole plans"] += not opinion.plans[0].not_judged
    tally.seen["points tried"] += attacked(request, answer, catalog, shots)
    return best


class Nearby(Attack):
    """Points of the decision space: widths of a step on its grid."""

    def other_widths(self) -> tuple[int, ...]:
        return ()


def attacked(request: SolveRequest, answer: Answer, catalog: Catalog, shots: int) -> int:
    """How many random points the rules let pass; none is better."""
    order = tuple(request.objective)
    pinned = any(getattr(request, name) is not None for name in PINS) or request.gpus is not None
    unpriced = any(objective.unit in ("GPUs", "tokens/s per GPU", "tokens/GPU-hour") for objective in answer.objectives)
    if request.tolerance or pinned or unpriced or "concurrency" in order or request.concurrency == "max":
        return 0
    assert answer.plan is not None
    if answer.plan.cost is None or answer.plan.cost.usd_per_hour is None:
        return 0
    attack = Nearby(request, answer.plan, catalog)
    found = [point for point in (attack.shot() for _ in range(shots)) if point is not None]
    for point in found:
        _assert_no_better(order, values(answer), point)
    return len(found)


def drawn_fleet(number: int) -> tuple[str, FleetProblem]:
    """What kind it is, and the fleet: at each of three magnitudes, half of the plain ones by what is served."""
    scale, kind = SCALES[number % 3], number // 3 % 4
    if kind == 2:
        return "of which replicas and nodes may be lost", fleet_oracle.resilient_fleet(number, scale)
    if kind == 3:
        return "pools", fleet_oracle.small_pool(number, scale)
    return "plain", fleet_oracle.small_fleet(number, scale, served=kind == 1, wide=number % 5 == 0)


def fleets(examples: int, start: int, deadline: float) -> Tally:
    """Fleets of all kinds; every other one is narrowed before it is decided, as large ones are."""
    tally, large = Tally(FLEETS, deadline), solver.LARGE
    for number in range(start, start + examples):
        kind, problem = drawn_fleet(number)
        solver.LARGE = large if number % 2 else 0
        tally.seen[kind] += 1
        tally.judge((number, problem), lambda asked=problem: fleet_oracle.agree(asked))  # type: ignore[misc]
    solver.LARGE = large
    return tally


def main() -> None:
    """Compare, and print a line per kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", choices=[*KINDS, FLEETS], help="default: every kind")
    parser.add_argument("--examples", type=int, default=100, help="problems of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="single plans as large as those of the tests")
    parser.add_argument("--shots", type=int, default=25, help="random points around each plan")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each kind, at most")
    asked = parser.parse_args()
    faults = 0
    for kind in asked.kind or [*KINDS, FLEETS]:
        started = time.monotonic()
        end = started + asked.seconds
        if kind == FLEETS:
            tally = fleets(asked.examples, asked.seed, end)
        else:
            tally = solves(kind, asked.examples, asked.seed, end, whole=asked.whole, shots=asked.shots)
        faults += len(tally.faults)
        print(
            f"{kind}: {tally.compared} problems, {len(tally.faults)} differ, {time.monotonic() - started:.0f} s;",
            ", ".join(f"{count} {what}" for what, count in sorted(tally.seen.items())),
            flush=True,
        )
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
