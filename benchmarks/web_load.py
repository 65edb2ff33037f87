"""Many users at one server on loopback: no answer lost, none wrong, none of another user, and memory stays flat.

    python benchmarks/web_load.py --users 50 --requests 4

Every user asks different questions and compares the answer with what `solve` itself gives for them. The load is bounded
in number and time, and goes to 127.0.0.1 alone, to a server that this script starts and ends.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

LONGEST_RUN_S = 600.0
USERS = 50
MODELS = ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "meta-llama/Llama-3.1-8B-Instruct")
GPUS = ("l40s", "h100-sxm", "a100-sxm4-80gb", "rtx-4090")


def questions(count: int) -> list[dict[str, Any]]:
    """Different questions, the same at every run."""
    order = random.Random(7)
    return [
        {
            "model": order.choice(MODELS),
            "gpu": [order.choice(GPUS)],
            "concurrency": order.randint(1, 96),
            "target_context": order.choice((4096, 8192, 16384)),
            "explain": False,
        }
        for _ in range(count)
    ]


def without_time(document: dict[str, Any]) -> str:
    """The part of an answer that does not depend on how busy the machine is."""
    document.get("solver", {}).pop("wall_ms", None)
    return json.dumps(document, sort_keys=True)


def resident_bytes() -> int:
    """Memory of this process, the server's own, and of its children; Linux only."""
    total, children = 0, Path("/proc/self/task").glob("*/children")
    for process in ["self", *(word for file in children for word in file.read_text().split())]:
        status = Path(f"/proc/{process}/status").read_text()
        total += next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0)
    return total


async def user(
    client: httpx.AsyncClient, asked: list[dict[str, Any]], answers: list[tuple[dict[str, Any], str]],
    times: list[float], codes: Counter[int],
) -> None:  # fmt: skip
    """One user asks one question after the other; told that the queue is full, asks again a little later."""
    for body in asked:
        started = time.monotonic()
        for _ in range(600):
            reply = await client.post("/v1/solve", json=body)
            codes[reply.status_code] += 1
            if reply.status_code != 429:
                break
            await asyncio.sleep(0.5)
        times.append(time.monotonic() - started)
        answers.append((body, without_time(reply.json())))


async def crowd(
    address: str, asked: list[dict[str, Any]], each: int
) -> tuple[list[tuple[dict[str, Any], str]], list[float], Counter[int]]:
    """All users at once, each with so many of the questions."""
    answers: list[tuple[dict[str, Any], str]] = []
    times: list[float] = []
    codes: Counter[int] = Counter()
    async with httpx.AsyncClient(base_url=address, timeout=120) as client:
        parts = [asked[start : start + each] for start in range(0, len(asked), each)]
        everybody = [user(client, part, answers, times, codes) for part in parts]
        await asyncio.wait_for(asyncio.gather(*everybody), LONGEST_RUN_S)
    return answers, times, codes


def main() -> int:
    """Run the load and check every answer."""
    from web_server import serving

    from vllm_opt.optimizer import SolveRequest, solve
    from vllm_opt.optimizer.web.settings import WebSettings

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--requests", type=int, default=4, help="of each user")
    parser.add_argument("--queue", type=int, default=32)
    chosen = parser.parse_args()
    with serving(WebSettings(queue=chosen.queue)) as served:
        asyncio.run(crowd(served.address, questions(8), 2))
        before = resident_bytes()
        asked = questions(chosen.users * chosen.requests)
        answers, times, codes = asyncio.run(crowd(served.address, asked, chosen.requests))
        after = resident_bytes()
    expected = {
        json.dumps(body): without_time(solve(SolveRequest(**body)).model_dump(mode="json")) for body, _ in answers
    }
    wrong = 0
    for body, answer in answers:
        right = expected[json.dumps(body)]
        if answer != right:
            wrong += 1
            at = next((i for i, pair in enumerate(zip(answer, right, strict=False)) if pair[0] != pair[1]), 0)
            print(f"wrong: {body}: {answer[max(0, at - 80) : at + 80]!r}, not {right[max(0, at - 80) : at + 80]!r}")
    lost = chosen.users * chosen.requests - len(answers)
    marks = statistics.quantiles(times, n=20)
    print(f"{len(answers)} answers, {lost} lost, {wrong} wrong; codes {dict(codes)}")
    print(f"seconds until the answer, waiting for a place included: median {marks[9]:.2f}, p95 {marks[18]:.2f}")
    print(f"memory of all processes: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
    return 1 if wrong or lost else 0


if __name__ == "__main__":
    sys.exit(main())
