"""How fast a placement is proven: sites of a stated size, their plans found and their servers placed.

    python benchmarks/placement.py [small|large|today|others|all]

small: 8 nodes x 8 GPUs x 20 services, to be proven in 10 s; large: 64 nodes x 60 services, to be within 2 % of the
bound of every objective that is asked for in 60 s (the fewest servers only break ties); today: the small site with its
own placement as today's, two services grown; others: the large site with the same demands turned among its services.
"""

import sys
import time

from vllm_opt.optimizer.placement.place import place
from vllm_opt.optimizer.placement.request import PlaceRequest

MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "Qwen/Qwen3-32B",
    "meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen2.5-7B-Instruct", "mistralai/Mistral-7B-Instruct-v0.3",
    "Qwen/Qwen3-30B-A3B", "google/gemma-3-12b-it", "openai/gpt-oss-20b",
)  # fmt: skip
WORKLOADS = ("chat", "rag", "chat")


def site(nodes: list[dict[str, object]], services: int, seconds: float, turned: int = 0) -> PlaceRequest:
    """A site with services of ten models, three priorities, some spread, some that may be cold."""
    asked = [
        {
            "name": f"s{i:02d}",
            "model": MODELS[i % len(MODELS)],
            "workload": WORKLOADS[i % len(WORKLOADS)],
            "requests_per_s": round(0.4 + ((i + turned) * 7 % 11) * 0.35, 2),
            "priority": 1 + i % 3,
            "replicas": {"least": 2 if i % 5 == 0 else 1},
            **({"spread": "node"} if i % 5 == 0 else {}),
            **({"cold": True} if i % 7 == 3 else {}),
        }
        for i in range(services)
    ]
    return PlaceRequest(nodes=nodes, services=asked, time_limit=seconds)


def run(name: str, request: PlaceRequest) -> None:
    """Place, and say how long it took and how far the bounds are."""
    started = time.monotonic()
    answer = place(request)
    gaps = ", ".join(f"{o.name} {o.value:g}/{o.bound:g}" for o in answer.objectives)
    worst = max((o.gap for o in answer.objectives if o.name != "servers"), default=1.0)
    print(
        f"{name}: {answer.status} in {time.monotonic() - started:.1f} s, largest gap {100 * worst:.2f} %, "
        f"{answer.solver.plans} plans, {answer.solver.gpu_patterns} patterns, {answer.solver.node_classes} classes, "
        f"{len(answer.servers)} servers, {len(answer.unplaced)} unplaced, {len(answer.moves)} moves\n  {gaps}",
        flush=True,
    )


def small(seconds: float = 30.0) -> PlaceRequest:
    """8 nodes of 8 GPUs, two SKUs."""
    nodes: list[dict[str, object]] = [
        {"name": "h", "gpu": "h100", "gpus": 8, "count": 4, "host_memory_gib": 512},
        {"name": "l", "gpu": "l40s", "gpus": 8, "count": 4, "host_memory_gib": 256},
    ]
    return site(nodes, 20, seconds)


def large(seconds: float = 60.0, turned: int = 0) -> PlaceRequest:
    """64 nodes of 8 GPUs, three SKUs."""
    nodes: list[dict[str, object]] = [
        {"name": "h", "gpu": "h100", "gpus": 8, "count": 24, "host_memory_gib": 512},
        {"name": "a", "gpu": "a100", "gpus": 8, "count": 16, "host_memory_gib": 512},
        {"name": "l", "gpu": "l40s", "gpus": 8, "count": 24, "host_memory_gib": 256},
    ]
    return site(nodes, 60, seconds, turned)


def today() -> PlaceRequest:
    """The small site as it was placed, with two services that grew."""
    before = small()
    answer = place(before)
    running = [
        {
            "service": server.service,
            "parts": [part.model_dump() for part in server.parts],
            "tensor_parallel_size": server.plan.tensor_parallel_size,
            "pipeline_parallel_size": server.plan.pipeline_parallel_size,
            "quantization": server.plan.quantization,
            "gpu_memory_utilization": server.plan.flags["gpu-memory-utilization"],
        }
        for server in answer.servers
    ]
    grown = [
        service.model_copy(update={"requests_per_s": service.requests_per_s * 2}) if i in (4, 9) else service
        for i, service in enumerate(before.services)
        if service.requests_per_s
    ]
    return before.replaced(placement=running, services=[each.model_dump(exclude_unset=True) for each in grown])


if __name__ == "__main__":
    which = sys.argv[1] if len(sys.argv) > 1 else "all"
    for name, make in (("small", small), ("large", large), ("today", today)):
        if which in (name, "all"):
            run(name, make())
    for turned in (1, 2, 3) if which == "others" else ():
        run(f"large, demands turned by {turned}", large(turned=turned))
