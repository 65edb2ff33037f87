"""Time of `solve` over forty fixed requests in one process: small to trillion-parameter models, one SKU to all of them.

    python benchmarks/solve_latency.py [--repeats 3]

Prints the median of the repeats per request and the distribution over the requests. Every answer must be proven.
"""

import argparse
import statistics
import time

from vllm_opt.optimizer import SolveRequest, solve
from vllm_opt.profiles.catalogues.catalog import Catalog

SEVERAL = ("l4", "l40s", "a100-sxm4-80gb", "h100-sxm", "h200-sxm", "b200")
REQUESTS: tuple[dict[str, object], ...] = (
    {},
    {"gpu": "h100-sxm"},
    {"gpu": "l4", "concurrency": 8},
    {"gpu": SEVERAL, "max_ttft_ms": 2000},
    {"gpu": SEVERAL, "max_tpot_ms": 50},
    {"objective": ("throughput",), "gpu": "h100-sxm", "gpus": 1},
    {"objective": ("latency",), "gpu": SEVERAL},
    {"objective": ("efficiency",), "gpu": SEVERAL},
    {"objective": ("gpus", "throughput"), "gpu": SEVERAL},
    {"objective": ("concurrency", "cost"), "gpu": "h100-sxm", "gpus": 2},
    {"target_context": 131072, "concurrency": 4},
    {"target_context": 2048, "concurrency": 512, "gpu": SEVERAL},
    {"vllm_version": "0.19.0", "gpu": SEVERAL},
    {"vllm_version": "0.6.6", "gpu": ("a100-sxm4-80gb", "h100-sxm")},
    {"model": "Qwen/Qwen2.5-1.5B-Instruct", "concurrency": 128},
    {"model": "Qwen/Qwen3-0.6B", "gpu": SEVERAL},
    {"model": "Qwen/Qwen3-8B", "max_hourly_cost": 3.0},
    {"model": "Qwen/Qwen3-14B", "gpu": SEVERAL, "min_output_tokens_per_s": 2000},
    {"model": "Qwen/Qwen3-32B", "gpu": SEVERAL},
    {"model": "google/gemma-3-27b-it", "gpu": SEVERAL, "target_context": 32768},
    {"model": "google/gemma-2-9b-it", "gpu": SEVERAL},
    {"model": "microsoft/phi-4", "gpu": SEVERAL},
    {"model": "mistralai/Mistral-7B-Instruct-v0.3"},
    {"model": "mistralai/Mixtral-8x7B-v0.1", "gpu": SEVERAL},
    {"model": "ai21labs/Jamba-v0.1", "gpu": SEVERAL},
    {"model": "openai/gpt-oss-20b", "gpu": SEVERAL},
    {"model": "openai/gpt-oss-120b", "gpu": ("h100-sxm", "h200-sxm", "b200")},
    {"model": "Qwen/Qwen3-30B-A3B", "gpu": SEVERAL},
    {"model": "Qwen/Qwen3-Next-80B-A3B-Instruct", "gpu": ("h100-sxm", "h200-sxm")},
    {"model": "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "gpu": SEVERAL},
    {"model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": SEVERAL},
    {"model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": "h100-sxm", "target_context": 32768, "max_ttft_ms": 2000,
     "concurrency": 64, "input_tokens": 2048, "output_tokens": 512},
    {"model": "Qwen/Qwen2.5-72B", "gpu": SEVERAL, "concurrency": 64},
    {"model": "meta-llama/Meta-Llama-3.1-405B", "gpu": ("h100-sxm", "h200-sxm", "b200")},
    {"model": "zai-org/GLM-4.5-Air", "gpu": ("h100-sxm", "h200-sxm")},
    {"model": "Qwen/Qwen3-235B-A22B", "gpu": ("h100-sxm", "h200-sxm", "b200")},
    {"model": "Qwen/Qwen3-Coder-480B-A35B-Instruct", "gpu": ("h200-sxm", "b200")},
    {"model": "deepseek-ai/DeepSeek-V3", "gpu": ("h200-sxm", "b200")},
    {"model": "deepseek-ai/DeepSeek-V3.2", "gpu": ("h200-sxm", "b200")},
    {"model": "moonshotai/Kimi-K2-Instruct", "gpu": ("h200-sxm", "b200"), "concurrency": 16},
)  # fmt: skip


def name_of(fields: dict[str, object]) -> str:
    """A request in a few words."""
    shown: dict[str, object] = dict(fields)
    if isinstance(shown.get("gpu"), tuple):
        shown["gpu"] = f"{len(shown['gpu'])} SKUs"
    return ", ".join(f"{key}={value}" for key, value in shown.items()) or "the default request, every priced SKU"


def main() -> None:
    """Run and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    catalog = Catalog()
    solve(SolveRequest(gpu="h100-sxm"), catalog)
    medians = []
    print("| request | status | layouts | ms |\n|---|---|---|---|")
    for fields in REQUESTS:
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            answer = solve(SolveRequest(**fields), catalog)
            times.append((time.perf_counter() - started) * 1000)
        medians.append(statistics.median(times))
        layouts = answer.solver.layouts_considered
        print(f"| {name_of(fields)} | {answer.status} | {layouts} | {medians[-1]:.0f} |", flush=True)
    ordered = sorted(medians)
    middle = statistics.median(ordered)
    print(f"\nmedian {middle:.0f} ms, 90th percentile {ordered[35]:.0f} ms, worst {ordered[-1]:.0f} ms")


if __name__ == "__main__":
    main()
