"""How fast a two-stage fleet is decided: 6 workloads x 168 hours x 20 scenarios, to be answered in 60 s with its gap.

python benchmarks/commitment.py
"""

import math
import random
import time

from vllm_opt.optimizer.procurement.procure import procure
from vllm_opt.optimizer.procurement.request import FleetRequest

MODELS = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-32B", "Qwen/Qwen3-14B")


def demand() -> FleetRequest:
    """Six workloads whose days differ, twenty scenarios of growth and prices."""
    chance = random.Random(7)
    workloads = []
    for i in range(6):
        peak = 9 + 2 * i
        week = [
            round((0.25 + math.exp(-((hour - peak) ** 2) / 18)) * (0.6 if day > 4 else 1.0), 3)
            for day in range(7)
            for hour in range(24)
        ]
        workloads.append(
            {"name": f"w{i}", "model": MODELS[i % 3], "workload": ("chat", "rag")[i % 2], "profile": week,
             "requests_per_s": 8 + 5 * i}
        )  # fmt: skip
    scenarios = [
        {"name": f"s{n}", "probability": chance.randint(1, 5), "growth": round(chance.uniform(0.6, 2.2), 2),
         "price": round(chance.uniform(0.8, 1.5), 2)}
        for n in range(20)
    ]  # fmt: skip
    return FleetRequest(
        workloads=workloads, scenarios=scenarios, inventory={"gpu": ["h100", "a100", "l40s"]},
        service_level={"missed_hours": 0.01}, comparisons=False, pooling=False, time_limit=30,
        commitment={"rates": {"h100": {"reserved": 1.9}, "a100": {"reserved": 1.1}, "l40s": {"reserved": 0.7}}},
    )  # fmt: skip


if __name__ == "__main__":
    started = time.monotonic()
    answer = procure(demand())
    found = answer.commitment
    assert found is not None
    print(
        f"{time.monotonic() - started:.1f} s: ${found.usd_per_month:,.0f} a month, bound "
        f"${found.bound_usd_per_month:,.0f}, gap {100 * found.gap:.2f} %, {found.assignments} assignments; signed "
        + ", ".join(f"{item.gpus} x {item.gpu} {item.kind}" for item in found.signed)
    )
