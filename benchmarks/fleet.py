"""How fast a fleet is decided: 20 workloads x every SKU of the catalogue, and 400 length buckets x 10 SKUs.

python benchmarks/fleet.py            # both; times are wall-clock, of one process
Prices that the catalogue lacks are synthetic and marked so; nothing here is a statement about what GPUs cost.
"""

import argparse
import random
import time

from vllm_opt.optimizer.procurement.answer import FleetAnswer
from vllm_opt.optimizer.procurement.procure import procure
from vllm_opt.optimizer.procurement.request import FleetRequest
from vllm_opt.profiles.catalogues.catalog import Catalog

MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-14B-Instruct",
    "Qwen/Qwen2.5-32B-Instruct", "meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen2.5-72B-Instruct",
    "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "Qwen/Qwen3-30B-A3B",
)  # fmt: skip
TEN_SKUS = (
    "l4", "a10", "rtx-4090", "l40s", "a100-pcie-80gb", "a100-sxm4-80gb", "h100-pcie", "h100-sxm", "h200-sxm", "b200"
)  # fmt: skip


def many_workloads(count: int, seed: int) -> FleetRequest:
    """Draw workloads over popular models with differing lengths, limits and rates; every SKU takes part."""
    draw = random.Random(seed)
    workloads = []
    for number in range(count):
        context = draw.choice((4096, 8192, 16384))
        output = draw.choice((100, 250, 500))
        workloads.append(
            {
                "name": f"w{number:02d}", "model": MODELS[number % len(MODELS)], "target_context": context,
                "input_tokens": draw.randint(context // 8, context // 2), "output_tokens": output,
                "requests_per_s": round(10 ** draw.uniform(-0.5, 1.3), 2), "peak_factor": 1.5,
                "max_ttft_ms": draw.choice((2000, 4000, None)), "max_tpot_ms": draw.choice((50, 80, None)),
            }
        )  # fmt: skip
    every = [gpu.id for gpu in Catalog().gpus]
    return FleetRequest(
        name=f"{count} workloads", workloads=workloads, inventory={"gpu": every},
        money={"synthetic_prices": True}, comparisons=False, time_limit=15,
    )  # fmt: skip


def long_histogram(buckets: int, seed: int, rate: float) -> FleetRequest:
    """Draw one workload with a log-normal histogram of lengths, on ten SKUs."""
    draw = random.Random(seed)
    lengths = []
    for _ in range(buckets):
        prompt = min(14000, max(20, int(draw.lognormvariate(6.3, 1.2))))
        lengths.append(
            {
                "input_tokens": prompt, "output_tokens": min(1500, max(10, int(draw.lognormvariate(5, 0.8)))),
                "share": draw.lognormvariate(0, 1),
            }
        )  # fmt: skip
    workload = {
        "name": "chat", "model": "meta-llama/Llama-3.1-8B-Instruct", "requests_per_s": rate, "target_context": 16384,
        "max_tpot_ms": 80, "lengths": lengths,
    }  # fmt: skip
    return FleetRequest(
        name=f"{buckets} buckets at {rate:g}/s", workloads=[workload], inventory={"gpu": TEN_SKUS},
        money={"synthetic_prices": True}, comparisons=False, time_limit=15,
    )  # fmt: skip


def report(request: FleetRequest) -> None:
    """Solve one request and print one line."""
    started = time.perf_counter()
    answer: FleetAnswer = procure(request)
    seconds = time.perf_counter() - started
    goals = ", ".join(
        f"{goal.name} {goal.value:,.0f} {goal.unit} gap {100 * goal.gap:.3f} %" for goal in answer.objectives
    )
    gpus = answer.totals.gpus if answer.totals else 0
    print(
        f"{request.name}: {answer.status}, {goals}, {gpus} GPUs, {answer.solver.columns} plans, "
        f"{answer.solver.routing_cuts} cuts, {seconds:.1f} s",
        flush=True,
    )


def main() -> None:
    """Run both claims with several seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    seeds = range(parser.parse_args().seeds)
    for seed in seeds:
        report(many_workloads(20, seed))
    for seed in seeds:
        for rate in (20.0, 200.0, 2000.0):
            report(long_histogram(400, seed, rate))


if __name__ == "__main__":
    main()
