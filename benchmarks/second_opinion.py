"""The second opinion on a random sample of catalogue x SKU x release x objective x workload.

    nice -n 10 python benchmarks/second_opinion.py --requests 300 --seed 1

Prints every plan on which the two disagree, with the request that gave it, what was not judged, and how many there
were. Exit code 1 when any plan disagrees. Each request is one line of JSON, so that it can be asked again.
"""

import json
import random
import time
from collections import Counter
from typing import Any

import click

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.second_opinion.opinion import opinion_of_answer
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError

OBJECTIVES = (
    ("cost", "throughput"), ("throughput", "cost"), ("gpus",), ("latency",), ("efficiency",), ("concurrency", "cost"),
)  # fmt: skip
WORKLOADS: tuple[dict[str, Any], ...] = (
    {}, {"workload": "chat"}, {"input_tokens": 1000, "output_tokens": 200}, {"input_tokens": 200, "output_tokens": 1},
    {"input_tokens": 3000, "output_tokens": 500, "kv_sizing": "full"}, {"prefix_hit_share": 0.5},
    {"mean_context": 3000}, {"concurrency": "max"}, {"requests_per_s": 2.0}, {"think_time_s": 3.0},
    {"ttft_percentile": 95.0, "max_ttft_ms": 8000},
)  # fmt: skip


def drawn(chance: random.Random, catalog: Catalog) -> dict[str, Any]:
    """One request: everything but the model may be left at its default."""
    fields: dict[str, Any] = {"model": chance.choice(catalog.model_ids), "explain": False, "time_limit": 20}
    fields |= chance.choice(WORKLOADS)
    if chance.random() < 0.8:
        fields["gpu"] = chance.sample([gpu.id for gpu in catalog.gpus], chance.randint(1, 3))
    fields["objective"] = chance.choice(OBJECTIVES)
    fields["target_context"] = chance.choice((4096, 8192, 16384, 32768))
    if "requests_per_s" not in fields:
        fields.setdefault("concurrency", chance.choice((1, 7, 32, 100, 500)))
    if chance.random() < 0.4:
        fields["vllm_version"] = chance.choice([engine.version for engine in catalog.engines])
    for name, values in (
        ("confidence", (0.5, 0.8, 0.99)), ("max_gpu_memory_utilization", (0.8, 0.9)), ("max_gpus", (2, 8, 32)),
        ("kv_cache_dtype", ("auto", "fp8")), ("tolerance", (0.0, 0.2)), ("max_num_batched_tokens", (2048, 8192)),
        ("tensor_parallel_size", (1, 2, 4)), ("pipeline_parallel_size", (1, 2)), ("replicas", (1, 3)),
        ("billing", ("spot", "reserved-1y")), ("quantization", ("native", "fp8", "bf16", "awq", "nvfp4")),
        ("hypothetical_checkpoints", (True,)), ("max_tpot_ms", (30, 100)), ("internode_gbps", (400,)),
    ):  # fmt: skip
        if chance.random() < 0.15:
            fields[name] = chance.choice(values)
    return fields


@click.command()
@click.option("--requests", "count", default=200, help="How many to draw.")
@click.option("--seconds", default=1e9, help="Stop after so long.")
@click.option("--seed", default=0)
def main(count: int, seconds: float, seed: int) -> None:
    """Draw requests, solve them, and count every plan again."""
    chance, catalog, started = random.Random(seed), Catalog(), time.monotonic()
    tally: Counter[str] = Counter()
    for _ in range(count):
        if time.monotonic() - started > seconds:
            break
        fields = drawn(chance, catalog)
        try:
            answer = solve(SolveRequest(**fields), catalog)
        except VllmOptError:
            tally["refused"] += 1
            continue
        tally[answer.status] += 1
        opinion = opinion_of_answer(answer, catalog)
        for plan in opinion.plans:
            tally["plans"] += 1
            tally["checks"] += len(plan.checks)
            tally.update(f"not judged: {reason}" for reason in plan.not_judged)
            tally["disagreements"] += not plan.agrees
        if not opinion.agrees:
            print(json.dumps(fields))
            for text in opinion.disagreements[:12]:
                print("   ", text)
    for name, number in sorted(tally.items()):
        print(f"{number:6} {name}")
    raise SystemExit(bool(tally["disagreements"]))


if __name__ == "__main__":
    main()
