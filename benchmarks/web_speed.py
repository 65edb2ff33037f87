"""How long the page and the API take: what a person waits for, and what eight clients wait for at once.

    python benchmarks/web_speed.py [--fresh 5] [--moves 30] [--clients 8] [--rounds 3]

1. The page: a server of its own for each visit, Debian's chromium, from the start of the navigation to the frame after
   the command is drawn.
2. A slider: from its `input` event to the frame after the new answer is drawn, the page's own pause included.
3. The API: so many clients, each asking the next of the forty requests of `solve_latency.py` as soon as it has an
   answer; then the same among estimates, explanations and checks, as a page and a script send them.

CPU seconds of the processes that answer are printed beside, since a wall-clock time says little on a machine that does
other things; so is the load of the machine before and after.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent))

from solve_latency import MIXED

Asked = tuple[str, dict[str, Any]]
"""A verb and its body."""
LONGEST_MS = 60_000
WATCH = """
let waiting = true;
new MutationObserver(() => {
  const command = document.getElementById('command'), busy = document.querySelector('.answer.busy');
  if (waiting && command && !busy) {
    waiting = false;
    requestAnimationFrame(() => requestAnimationFrame(() => {
      document.documentElement.dataset.drawn = performance.now() - (window.movedAt ?? 0);
    }));
  }
}).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ['class'] });
window.watchAgain = () => {
  waiting = true;
  delete document.documentElement.dataset.drawn;
  window.movedAt = performance.now();
};
"""
MOVE = """
value => {
  const slider = document.querySelector('input[type=range]');
  document.querySelector('.answer').classList.add('busy');
  window.watchAgain();
  slider.value = value;
  slider.dispatchEvent(new Event('input', { bubbles: true }));
}
"""
DRAWN = "html[data-drawn]"


def cpu_seconds(process: int) -> float:
    """CPU time of a process and of its children; Linux only."""
    total = 0.0
    for each in [str(process), *_children(process)]:
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _children(process: int) -> list[str]:
    found = [word for file in Path(f"/proc/{process}/task").glob("*/children") for word in file.read_text().split()]
    return found + [inner for each in found for inner in _children(int(each))]


@contextmanager
def server(processes: int) -> Iterator[tuple[str, int, float]]:
    """A fresh `vllm-opt web`: its address, its process, and the seconds until its port was open."""
    started = time.monotonic()
    command = [sys.executable, "-m", "vllm_opt", "web", "--port", "0", "--processes", str(processes)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = "" if process.stderr is None else process.stderr.readline()
            yield line.split()[1].rstrip("/"), process.pid, time.monotonic() - started
        finally:
            process.terminate()


def spread(name: str, values: list[float], unit: str) -> None:
    """Print the median, p95 and the worst."""
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    median = statistics.median(ordered)
    print(f"{name}: n {len(values)}, median {median:.2f}, p95 {p95:.2f}, worst {ordered[-1]:.2f} {unit}")


def load() -> str:
    """The load of the machine over the last minute."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def visits(fresh: int, moves: int, processes: int) -> None:
    """Open the page on fresh servers, then move a slider on the last one."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened, ready = list[float](), list[float]()
        for visit in range(fresh):
            with server(processes) as (address, process, started):
                ready.append(started)
                page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
                page.set_default_timeout(LONGEST_MS)
                page.add_init_script(WATCH)
                page.goto(address)
                opened.append(_drawn_after_s(page))
                if visit == fresh - 1:
                    _move(page, moves, process)
                page.context.close()
        browser.close()
    spread("server started until its port is open", ready, "s")
    spread("page: navigation to the answer drawn, first visit of a fresh server", opened, "s")


def _drawn_after_s(page: Any) -> float:
    page.wait_for_selector(DRAWN)
    return float(page.get_attribute("html", "data-drawn")) / 1000


def _move(page: Any, moves: int, process: int) -> None:
    page.wait_for_timeout(4000)
    steps = [random.Random(3).randrange(0, 24) for _ in range(moves)]
    took, spent = list[float](), cpu_seconds(process)
    for number, step in enumerate(steps):
        page.evaluate(MOVE, step if not number or step != steps[number - 1] else (step + 1) % 24)
        took.append(_drawn_after_s(page))
    spent = cpu_seconds(process) - spent
    spread("slider: moved until the answer is drawn", took, "s")
    print(f"   {spent / moves:.2f} CPU seconds of the server a move")


async def clients(address: str, count: int, asked: list[Asked]) -> tuple[list[float], Counter[int]]:
    """So many clients that take the next question as soon as they have an answer."""
    left, times, codes = iter(asked), list[float](), Counter[int]()

    async def one(client: httpx.AsyncClient) -> None:
        for verb, body in left:
            started = time.monotonic()
            reply = await client.post(f"/v1/{verb}", json=body)
            times.append(time.monotonic() - started)
            codes[reply.status_code] += 1

    async with httpx.AsyncClient(base_url=address, timeout=120) as client:
        await asyncio.gather(*(one(client) for _ in range(count)))
    return times, codes


def questions(rounds: int) -> tuple[list[Asked], list[Asked]]:
    """The forty solves in a shuffled order, so often; and the same among what else a page and a script ask."""
    order = random.Random(11)
    solves = [("solve", json.loads(json.dumps(each))) for each in MIXED] * rounds
    order.shuffle(solves)
    others: list[Asked] = []
    for number in range(len(solves)):
        model = order.choice(("Qwen/Qwen3-8B", "meta-llama/Llama-3.1-70B-Instruct", "openai/gpt-oss-120b"))
        ranks, length = 2 ** order.randrange(3), 2048 * (1 + number % 9)
        line = f"vllm serve {model} --tensor-parallel-size {ranks} --max-model-len {length}"
        others.append(
            (
                ("estimate", {"model": model, "gpu": "h100", "tensor_parallel_size": 2, "concurrency": 1 + number}),
                ("lint", {"command": line, "gpu": "h100-sxm", "optimum": False}),
                ("curves", {"command": line, "gpu": "h100-sxm", "users": 8 + number}),
                ("explain", {"model": model, "gpu": ["l4"], "gpus": 1, "target_context": 4096 + 64 * number}),
            )[number % 4]
        )
    mixed = solves + others
    order.shuffle(mixed)
    return solves, mixed


def loads(count: int, rounds: int, processes: int) -> None:
    """Ask the API from several clients at once."""
    solves, mixed = questions(rounds)
    for name, asked in (("forty solves", solves), ("the same among estimates, checks, curves, explanations", mixed)):
        with server(processes) as (address, process, _):
            spent, started = cpu_seconds(process), time.monotonic()
            times, codes = asyncio.run(clients(address, count, asked))
            took, spent = time.monotonic() - started, cpu_seconds(process) - spent
        spread(f"API, {count} clients, {name}", times, "s")
        rate, each = len(times) / took, spent / len(times)
        print(f"   codes {dict(codes)}; {rate:.1f} answers/s; {each:.3f} CPU seconds a request; {load()}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", type=int, default=5, help="servers started for a first visit")
    parser.add_argument("--moves", type=int, default=30, help="moves of a slider")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="how often the forty requests are asked")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    print(load())
    if chosen.fresh:
        visits(chosen.fresh, chosen.moves, chosen.processes)
    if chosen.rounds:
        loads(chosen.clients, chosen.rounds, chosen.processes)
    print(load())


if __name__ == "__main__":
    main()
