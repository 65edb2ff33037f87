"""How far the closed forms of queueing are from the simulated scheduler, over a random design.

    python benchmarks/queueing.py [--points 60] [--seed 1] [--requests 6000]
        [--patterns poisson clumped closed thinking burst]

Patterns: random arrivals, arrivals in clumps (burstiness 0.25 to 0.7), users in a closed loop, the same with think
time, and one burst. Every pattern gets the same share of the points. Prints, per quantity, the median error, the bias
and the share of points within the target (means 10 %, 95th percentile 15 %), and every point outside it. Where a figure
of a simulated run is itself unsure (its halves differ by more than the target), the point counts as noise.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
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
TARGETS = {"mean": 0.10, "p95": 0.15}
TIMES = ("ttft_ms", "tpot_ms", "e2e_ms")


@dataclass(frozen=True)
class Point:
    """One point of the design: what was asked, and ln(closed form / played) of each quantity."""

    asked: dict[str, Any]
    errors: dict[str, float]
    utilization: float


def design(points: int, seed: int, requests: int, patterns: tuple[str, ...]) -> Iterator[SimulateRequest]:
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
        yield SimulateRequest(**fields)


def compared(request: SimulateRequest, catalog: Catalog) -> tuple[Point, dict[str, bool]] | None:
    """The point, and which of its quantities the run itself is unsure of."""
    answer = simulate(request, catalog)
    if answer.played is None or answer.closed_form is None:
        return None
    errors, unsure = {}, {}
    for name in TIMES:
        values = answer.played.times.get(name)
        if not values:
            continue
        form = {"mean": getattr(answer.closed_form, name)} | answer.closed_form.percentiles[name]
        for key, target in TARGETS.items():
            errors[f"{name} {key}"] = float(np.log(form[key] / values[key]))
            unsure[f"{name} {key}"] = _unsure(answer.log, name, key, target)
    asked = {key: answer.request[key] for key in SHOWN if key in answer.request}
    return Point(asked, errors, answer.closed_form.utilization or 0.0), unsure


SHOWN = (
    "model", "gpu", "input_tokens", "output_tokens", "max_num_batched_tokens", "max_num_seqs", "requests_per_s",
    "arrivals", "burstiness", "think_time_s", "concurrency",
)  # fmt: skip


def _unsure(log: tuple[PlayedRequest, ...], name: str, key: str, target: float) -> bool:
    """Whether two halves of the run differ by more than the target."""
    rest = log[len(log) // 10 :]
    halves = []
    if rest and all(one.arrival_s == rest[0].arrival_s for one in rest):
        return False  # one burst has no halves: its order is no chance
    for part in (rest[: len(rest) // 2], rest[len(rest) // 2 :]):
        values = [value for one in part if (value := getattr(one, name)) is not None]
        if not values:
            return True
        halves.append(float(np.mean(values) if key == "mean" else np.percentile(values, 95)))
    return abs(float(np.log(halves[0] / halves[1]))) > target


def main() -> None:
    """Run the design and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--patterns", nargs="+", default=["poisson"])
    given = parser.parse_args()
    catalog, found = Catalog(), []
    for request in design(given.points, given.seed, given.requests, tuple(given.patterns)):
        point = compared(request, catalog)
        if point is not None:
            found.append(point)
    print(f"{len(found)} points\n\n| quantity | median | bias | within | sure points within |\n|---|---|---|---|---|")
    for name in found[0][0].errors:
        errors = np.array([point.errors.get(name, np.nan) for point, _ in found])
        sure = np.array([not unsure.get(name, True) for _, unsure in found])
        target = np.log1p(TARGETS[name.split()[1]])
        inside = np.abs(errors) <= target
        row = (np.nanmedian(np.abs(errors)), np.nanmean(errors), inside.mean(), inside[sure].mean())
        print(f"| {name} | {row[0]:.1%} | {row[1]:+.1%} | {row[2]:.0%} | {row[3]:.0%} of {sure.sum()} |")
    for point, unsure in found:
        bad = {
            name: f"{np.expm1(error):+.0%}"
            for name, error in point.errors.items()
            if abs(error) > np.log1p(TARGETS[name.split()[1]]) and not unsure[name]
        }
        if bad:
            print(f"{point.utilization:.2f} {bad} {point.asked}")


if __name__ == "__main__":
    main()
