"""Time of `solve` over fixed requests in one process: small to trillion-parameter models, one SKU to all of them.

    python benchmarks/solve_latency.py [--repeats 3] [--group mixed|limited] [--against FOLDER]

Forty mixed requests, and twenty-four with one limit on latency or throughput over every SKU that has a price. Prints
the median of the repeats per request, as wall-clock and as CPU time of the process, and the distribution over the
requests. Every answer must be proven. `--against` times another checkout, in which a virtual environment `.venv` has it
installed, request by request beside this one, so that both see the same load of the machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vllm_opt.optimizer import SolveRequest, solve

try:
    from vllm_opt.profiles.catalogues.catalog import Catalog
except ModuleNotFoundError:  # the first edition, timed by `--against`
    from vllm_opt.profiles.catalog import Catalog

SEVERAL = ("l4", "l40s", "a100-sxm4-80gb", "h100-sxm", "h200-sxm", "b200")
MIXED: tuple[dict[str, object], ...] = (
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
LIMITED: tuple[dict[str, object], ...] = (
    {"max_ttft_ms": 200},
    {"max_tpot_ms": 10},
    {"min_output_tokens_per_s": 5000},
    {"model": "Qwen/Qwen2.5-1.5B-Instruct", "max_tpot_ms": 5},
    {"model": "Qwen/Qwen3-8B", "max_ttft_ms": 500},
    {"model": "Qwen/Qwen3-8B", "max_tpot_ms": 12, "concurrency": 128},
    {"model": "Qwen/Qwen3-14B", "min_output_tokens_per_s": 3000},
    {"model": "Qwen/Qwen3-32B", "max_ttft_ms": 1000},
    {"model": "Qwen/Qwen3-32B", "max_tpot_ms": 20},
    {"model": "Qwen/Qwen3-30B-A3B", "max_tpot_ms": 30},
    {"model": "Qwen/Qwen3-30B-A3B", "max_ttft_ms": 400},
    {"model": "google/gemma-3-27b-it", "max_tpot_ms": 25, "target_context": 32768},
    {"model": "microsoft/phi-4", "max_ttft_ms": 800},
    {"model": "mistralai/Mistral-7B-Instruct-v0.3", "max_tpot_ms": 8},
    {"model": "mistralai/Mixtral-8x7B-v0.1", "max_tpot_ms": 20},
    {"model": "ai21labs/Jamba-v0.1", "max_ttft_ms": 1500},
    {"model": "openai/gpt-oss-20b", "max_tpot_ms": 8},
    {"model": "openai/gpt-oss-120b", "max_ttft_ms": 600, "concurrency": 64},
    {"model": "Qwen/Qwen3-Next-80B-A3B-Instruct", "max_tpot_ms": 15},
    {"model": "meta-llama/Llama-3.1-70B-Instruct", "max_ttft_ms": 2000},
    {"model": "meta-llama/Llama-3.1-70B-Instruct", "max_tpot_ms": 25},
    {"model": "Qwen/Qwen2.5-72B", "min_output_tokens_per_s": 3000},
    {"model": "zai-org/GLM-4.5-Air", "max_tpot_ms": 30},
    {"vllm_version": "0.11.2", "max_tpot_ms": 30},
)  # fmt: skip
GROUPS = {"mixed": MIXED, "limited": LIMITED}
Timed = tuple[str, int, float, float]
"""Status, layouts considered, wall-clock and CPU milliseconds."""


def name_of(fields: dict[str, object]) -> str:
    """A request in a few words."""
    shown: dict[str, object] = dict(fields)
    if isinstance(shown.get("gpu"), tuple):
        shown["gpu"] = f"{len(shown['gpu'])} SKUs"
    return ", ".join(f"{key}={value}" for key, value in shown.items()) or "the default request, every priced SKU"


def timer() -> Callable[[dict[str, object]], Timed]:
    """What times one request in this process, its imports and caches warm."""
    catalog = Catalog()
    solve(SolveRequest(gpu="h100-sxm"), catalog)

    def timed(fields: dict[str, object]) -> Timed:
        wall, processor = time.perf_counter(), time.process_time()
        answer = solve(SolveRequest(**fields), catalog)
        took = (time.perf_counter() - wall) * 1000, (time.process_time() - processor) * 1000
        return answer.status, answer.solver.layouts_considered, *took

    return timed


def other_timer(folder: Path) -> Callable[[dict[str, object]], Timed]:
    """The same in a process of another checkout, which answers line by line."""
    command = [str(folder / ".venv" / "bin" / "python"), str(Path(__file__).resolve()), "--serve"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a pipe is missing")
    requests, answers = process.stdin, process.stdout

    def timed(fields: dict[str, object]) -> Timed:
        requests.write(json.dumps(fields) + "\n")
        requests.flush()
        status, layouts, wall, processor = json.loads(answers.readline())
        return status, layouts, wall, processor

    return timed


def serve() -> None:
    """Time the request of each line of standard input."""
    timed = timer()
    for line in sys.stdin:
        print(json.dumps(timed(json.loads(line))), flush=True)


def report(group: str, repeats: int, timers: list[Callable[[dict[str, object]], Timed]]) -> None:
    """Print one Markdown table and its distribution; the second timer's columns stand beside the first's."""
    print("| request | status | layouts |" + " ms | CPU ms |" * len(timers))
    print("|---" * (3 + 2 * len(timers)) + "|")
    columns: list[list[float]] = [[] for _ in range(2 * len(timers))]
    for fields in GROUPS[group]:
        runs = [[timed(fields) for timed in timers] for _ in range(repeats)]
        status, layouts = runs[-1][0][:2]
        medians = [statistics.median(run[at][part] for run in runs) for at in range(len(timers)) for part in (2, 3)]
        for column, median in zip(columns, medians, strict=True):
            column.append(median)
        numbers = "".join(f" {median:.0f} |" for median in medians)
        print(f"| {name_of(fields)} | {status} | {layouts} |{numbers}", flush=True)
    names = ("ms", "CPU ms", "ms there", "CPU ms there")
    for name, column in zip(names, columns, strict=False):
        ordered = sorted(column)
        tenth = ordered[(len(ordered) * 9 - 1) // 10]
        print(f"\n{group}, {name}: median {statistics.median(ordered):.0f}, 90th percentile {tenth:.0f}, "
              f"worst {ordered[-1]:.0f}")  # fmt: skip


def main() -> None:
    """Run and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--group", choices=GROUPS)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    timers = [timer()] + ([other_timer(options.against)] if options.against else [])
    for group in GROUPS if options.group is None else (options.group,):
        report(group, options.repeats, timers)
        print()


if __name__ == "__main__":
    main()
