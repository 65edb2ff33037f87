"""How far the closed forms of queueing are from the simulated scheduler, over a random design.

    python benchmarks/queueing.py [--points 60] [--seed 1] [--requests 1500] [--spread]
        [--patterns poisson clumped closed thinking burst] [--keep FILE] [--show]

Patterns: random arrivals, arrivals in clumps (burstiness 0.25 to 0.7), users in a closed loop, the same with think
time, and one burst. Every pattern gets the same share of the points. `--spread`: lengths follow gamma laws (coefficient
of variation 0.3 to 1 each). Each point is played with four seeds, longer and longer until the 95 % confidence interval
of every mean and 95th percentile is below 0.7 of its target or MOST_SECONDS have passed; no point is left out. Bursts
of different lengths are played with eight seeds and more in the same way. The first sixth of a run is not counted, of a
loop neither what drains at its end. Prints, per quantity and pattern, the share of points within the target (means
10 %, percentiles 15 %), median error and bias; `--show` every point outside, with ~ where the run itself is less sure
than the target. `--keep` adds runs to a file, or compares those that it holds.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.contract.simulation import PlayedRequest, SimulateRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.simulation.simulate import simulate
from vllm_opt.profiles.catalogues.catalog import Catalog

SERVERS: tuple[dict[str, Any], ...] = (
    {"model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "h100-sxm"},
    {"model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "l4"},
    {"model": "Qwen/Qwen3-30B-A3B", "gpu": "a100-sxm4-80gb"},
    {"model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": "h100-sxm", "tensor_parallel_size": 4},
    {"model": "google/gemma-3-27b-it", "gpu": "h100-sxm", "tensor_parallel_size": 2},
)
KEYS = ("mean", "p50", "p90", "p95", "p99")
TARGETS = {key: 0.10 if key == "mean" else 0.15 for key in KEYS}
TIMES = ("ttft_ms", "tpot_ms", "e2e_ms")
MOST_SECONDS = 4.0
SEEDS = 4
STUDENT = 3.18
"""97.5 % quantile of Student's law with three degrees of freedom."""
Fields = dict[str, Any]
Figures = dict[str, tuple[float, float]]
"""Quantity -> (value, half of its 95 % confidence interval)."""


def design(points: int, seed: int, requests: int, patterns: tuple[str, ...]) -> Iterator[tuple[str, Fields]]:
    """Servers, lengths, widths of a step, slots and loads at random; the rate is a share of the capacity."""
    random = np.random.default_rng(seed)
    catalog = Catalog()
    made = 0
    while made < points:
        pattern = patterns[made % len(patterns)]
        fields: dict[str, Any] = {
            **SERVERS[int(random.integers(len(SERVERS)))],
            "max_model_len": 16384,
            "input_tokens": int(np.exp(random.uniform(np.log(64), np.log(8000)))),
            "output_tokens": int(np.exp(random.uniform(np.log(32), np.log(600)))),
            "max_num_batched_tokens": int(random.choice([1024, 2048, 8192])),
            "max_num_seqs": int(random.choice([32, 64, 256])),
            "num_requests": requests,
            "seed": made,
        }
        load = float(random.uniform(0.1, 0.8))
        if pattern in ("poisson", "clumped"):
            probe = {key: value for key, value in fields.items() if key not in ("num_requests", "seed")}
            found = estimate(EstimateRequest(**probe, requests_per_s=1e-6), catalog)
            if not found.fits or found.performance is None:
                continue
            fields["requests_per_s"] = load * (found.performance.most_requests_per_s or 0.0)
            if pattern == "clumped":
                fields["burstiness"] = round(float(random.uniform(0.25, 0.7)), 2)
        else:
            name = "closed" if pattern == "thinking" else pattern
            fields |= {"arrivals": name, "concurrency": max(1, int(load * fields["max_num_seqs"]))}
        if pattern == "thinking":
            fields["think_time_s"] = round(float(np.exp(random.uniform(np.log(0.5), np.log(20.0)))), 2)
        if pattern == "burst":
            fields["num_requests"] = fields["concurrency"]
        made += 1
        yield pattern, fields


def with_spread(fields: Fields, seed: int) -> Fields:
    """The same request with a file of lengths in place of one length."""
    random = np.random.default_rng(seed)
    columns = []
    for name, most in (("input_tokens", 12000), ("output_tokens", 4000)):
        square = float(random.uniform(0.3, 1.0)) ** 2
        drawn = random.gamma(1.0 / square, fields[name] * square, 1000)
        columns.append(np.clip(drawn, 2, most).round().astype(int).tolist())
    path = Path(tempfile.gettempdir()) / f"queueing-lengths-{seed}.csv"
    rows = "".join(f"{first},{second}\n" for first, second in zip(*columns, strict=True))
    path.write_text("input_tokens,output_tokens\n" + rows, encoding="utf-8")
    kept = {key: value for key, value in fields.items() if key not in ("input_tokens", "output_tokens")}
    return kept | {"lengths": str(path)}


def played(pattern: str, fields: Fields, catalog: Catalog) -> Figures:
    """Every quantity from runs long enough to tell, or as long as time allows."""
    if pattern == "burst":
        return bursts(fields, catalog)
    users = int(fields.get("concurrency", 0))
    number, begin = max(int(fields["num_requests"]), 10 * users), time.monotonic()
    while True:
        logs = []
        for seed in range(SEEDS):
            log = simulate(SimulateRequest(**fields | {"num_requests": number, "seed": seed}), catalog).log
            logs.append(log[len(log) // 6 : len(log) - 2 * users])
        found = figures(logs)
        if not unsure(found) or time.monotonic() - begin > MOST_SECONDS or number > 60_000:
            return found
        number *= 2


def bursts(fields: Fields, catalog: Catalog) -> Figures:
    """One burst where all are alike, else as many as it takes: a run of few requests is a small sample."""
    if not fields.get("lengths"):
        return figures([simulate(SimulateRequest(**fields), catalog).log])
    logs: list[tuple[PlayedRequest, ...]] = []
    begin = time.monotonic()
    while True:
        more = range(len(logs), max(2 * SEEDS, 2 * len(logs)))
        logs += [simulate(SimulateRequest(**fields | {"seed": seed}), catalog).log for seed in more]
        found = figures(logs)
        if not unsure(found) or time.monotonic() - begin > MOST_SECONDS:
            return found


def unsure(found: Figures) -> bool:
    """Whether the interval of any mean or 95th percentile is wider than 0.7 of its target."""
    return any(
        half > 0.7 * TARGETS[name.split()[1]] * value
        for name, (value, half) in found.items()
        if name.split()[1] in ("mean", "p95")
    )


def figures(logs: list[tuple[PlayedRequest, ...]]) -> Figures:
    """Means over the runs of every quantity, with their confidence."""
    found = {}
    for name in TIMES:
        values = [[value for one in log if (value := getattr(one, name)) is not None] for log in logs]
        for key in KEYS:
            each = [np.mean(run) if key == "mean" else np.percentile(run, float(key[1:])) for run in values if run]
            if each:
                half = STUDENT * float(np.std(each, ddof=1)) / len(each) ** 0.5 if len(each) > 1 else 0.0
                found[f"{name} {key}"] = float(np.mean(each)), half
    return found


@dataclass(frozen=True)
class Point:
    """One point of the design: what was asked and found."""

    pattern: str
    asked: Fields
    runs: Figures
    utilization: float
    forms: dict[str, float]

    def error(self, name: str) -> float:
        """ln(closed form / played)."""
        return float(np.log(self.forms[name] / self.runs[name][0]))

    def inside(self, name: str) -> bool:
        """Whether the closed form is within the target."""
        return abs(self.error(name)) <= float(np.log1p(TARGETS[name.split()[1]]))

    def outside(self) -> dict[str, str]:
        """What is not; ~ where the run is less sure than that."""
        return {
            name: f"{np.expm1(self.error(name)):+.0%}" + "~" * (half > TARGETS[name.split()[1]] * value)
            for name, (value, half) in self.runs.items()
            if not self.inside(name)
        }


def compared(pattern: str, fields: Fields, runs: Figures, catalog: Catalog) -> Point | None:
    """The closed forms beside the runs; None where the configuration does not start."""
    asked = {key: value for key, value in fields.items() if key not in ("num_requests", "seed")}
    found = estimate(EstimateRequest(**asked), catalog).performance
    if found is None:
        return None
    forms = {
        f"{name} {key}": value
        for name in TIMES
        if name in found.percentiles
        for key, value in ({"mean": getattr(found, name)} | found.percentiles[name]).items()
    }
    return Point(pattern, asked, runs, found.utilization or 0.0, forms)


def table(points: list[Point]) -> str:
    """Shares within the target by quantity and pattern; median error and bias over all."""
    patterns = list(dict.fromkeys(point.pattern for point in points))
    lines = [f"| quantity | all | median | bias | {' | '.join(patterns)} |", "|---" * (4 + len(patterns)) + "|"]
    for name in points[0].runs:
        errors = np.array([point.error(name) for point in points])
        shares = [np.mean([one.inside(name) for one in points if one.pattern == each]) for each in patterns]
        row = [f"{np.mean([one.inside(name) for one in points]):.0%}", f"{np.median(np.abs(errors)):.1%}"]
        lines.append(
            "| " + " | ".join([name, *row, f"{errors.mean():+.1%}", *(f"{share:.0%}" for share in shares)]) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the design and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--patterns", nargs="+", default=["poisson", "clumped", "thinking", "burst"])
    parser.add_argument("--spread", action="store_true")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    catalog, points = Catalog(), []
    for pattern, fields, runs in _runs(given, catalog):
        point = compared(pattern, fields, runs, catalog)
        if point is not None:
            points.append(point)
    print(f"{len(points)} points\n\n{table(points)}")
    for point in points:
        if given.show and (outside := point.outside()):
            print(f"{point.pattern} {point.utilization:.2f} {outside} {point.asked}")


def _runs(given: argparse.Namespace, catalog: Catalog) -> Iterator[tuple[str, Fields, Figures]]:
    """Kept runs where there are any, else new ones."""
    if given.keep is not None and given.keep.exists():
        for line in given.keep.read_text(encoding="utf-8").splitlines():
            pattern, fields, runs = json.loads(line)
            yield pattern, fields, runs
        return
    for at, (pattern, fields) in enumerate(design(given.points, given.seed, given.requests, tuple(given.patterns))):
        asked = with_spread(fields, 1000 * given.seed + at) if given.spread else fields
        runs = played(pattern, asked, catalog)
        if given.keep is not None:
            with given.keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps([pattern, asked, runs]) + "\n")
        yield pattern, asked, runs


if __name__ == "__main__":
    main()
