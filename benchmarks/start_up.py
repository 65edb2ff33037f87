"""Wall time, CPU time and peak memory of whole commands, each a new process with a warm file cache.

    python benchmarks/start_up.py [--repeats 5]

Run it with the installed command on the PATH (`vllm-opt`).
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time

COMMANDS = (
    ("--help",),
    ("models", "qwen3"),
    ("estimate", "--gpu", "h100-sxm", "--max-model-len", "8192"),
    ("solve", "--target-context", "8192", "--concurrency", "32"),
    ("explain", "--gpu", "l4", "--model", "meta-llama/Llama-3.1-70B-Instruct", "--max-gpus", "2"),
)


def run(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MiB of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Run and print a Markdown table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    program = shutil.which("vllm-opt")
    if program is None:
        sys.exit("vllm-opt is not on the PATH; install the package first")
    print("| command | wall s | CPU s | peak MiB |\n|---|---|---|---|")
    for arguments in COMMANDS:
        runs = [run([program, *arguments]) for _ in range(repeats)]
        wall, processor, memory = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"| `vllm-opt {' '.join(arguments)}` | {wall:.2f} | {processor:.2f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
