"""What decisions outside the solver's space could gain: each is made by hand, and everything else is solved again.

    python benchmarks/decision_space.py

The load is left free, and plans are for the most sequences or the most tokens per second on fixed GPUs. A decision that
a request can pin is pinned; asynchronous scheduling is turned off in the profile of the release. Every answer is proven
at the same confidence, so a gain is what the decision would bring if it joined the space, by this program's own
predictions. Prints, per decision, in how many questions it gains and the largest gain.
"""

from typing import Any

from vllm_opt.optimizer import SolveRequest, solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.engine import EngineProfile

PLACES: tuple[dict[str, Any], ...] = (
    {"gpu": "h100-sxm", "gpus": 1},
    {"gpu": "l4", "gpus": 1, "target_context": 2048},
    {"model": "Qwen/Qwen3-0.6B", "gpu": "h100-sxm", "gpus": 1, "target_context": 1024},
    {"model": "Qwen/Qwen3-8B", "gpu": "l40s", "gpus": 1},
    {"model": "Qwen/Qwen3-32B", "gpu": "h100-sxm", "gpus": 2, "target_context": 16384},
    {"model": "Qwen/Qwen3-30B-A3B", "gpu": "h100-sxm", "gpus": 2},
    {"model": "google/gemma-3-27b-it", "gpu": "h100-sxm", "gpus": 1, "target_context": 32768},
    {"model": "openai/gpt-oss-20b", "gpu": "l40s", "gpus": 1},
    {"model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": "h100-sxm", "gpus": 4},
    {"model": "Qwen/Qwen3-Next-80B-A3B-Instruct", "gpu": "h100-sxm", "gpus": 4},
    {"model": "deepseek-ai/DeepSeek-V3", "gpu": "h200-sxm", "gpus": 8, "target_context": 32768},
)
KINDS = ("concurrency", "throughput")
DECISIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "KV cache of 4 bits": tuple(
        {"kv_cache_dtype": name} for name in ("int4_per_token_head", "turboquant_4bit_nc", "nvfp4")
    ),
    "max_num_batched_tokens off the powers of two": tuple(
        {"max_num_batched_tokens": tokens} for tokens in (256, 323, 400, 768, 1536, 3072, 6144)
    ),
    "gpu_memory_utilization up to 0.99": ({"max_gpu_memory_utilization": 0.99},),
    "max_num_seqs between captured sizes, and above 1024": tuple(
        {"max_num_seqs": sequences}
        for sequences in (12, 20, 28, 44, 60, 92, 124, 188, 252, 1100, 1152, 1280, 1536, 2048)
    ),
    "data parallelism for dense models": tuple({"data_parallel_size": size} for size in (2, 4)),
}
ASYNC_OFF = "async scheduling off"


class WithoutAsyncScheduling(Catalog):
    """The catalogue with releases that do not schedule ahead by default."""

    def engine(self, version: str | None = None, engine: Any = None) -> tuple[EngineProfile, str | None]:
        """The profile of a release, changed, and the note on it."""
        found, note = super().engine(version, engine)
        return found.model_copy(update={"async_scheduling_default": False}), note


def best(fields: dict[str, Any], kind: str, catalog: Catalog) -> float | None:
    """The optimum of one question; None when there is none."""
    try:
        asked = SolveRequest(**fields, concurrency="max", objective=(kind,), tolerance=0, explain=False, top=1)
        answer = solve(asked, catalog)
    except VllmOptError:
        return None
    return answer.objectives[0].value if answer.status == "optimal" else None


def main() -> None:
    """Solve, change, and print a Markdown table."""
    catalog, changed = Catalog(), WithoutAsyncScheduling()
    gains: dict[str, list[tuple[float, str]]] = {name: [] for name in (*DECISIONS, ASYNC_OFF)}
    questions = [(place, kind) for place in PLACES for kind in KINDS]
    for place, kind in questions:
        base = best(place, kind, catalog)
        if not base:
            continue
        where = f"{kind}, {place.get('model', 'Llama-3.1-8B')} on {place['gpus']} x {place['gpu']}"
        found = {
            name: [(best({**place, **pin}, kind, catalog), str(pin)) for pin in pins]
            for name, pins in DECISIONS.items()
        }
        found[ASYNC_OFF] = [(best(place, kind, changed), "")]
        for name, values in found.items():
            value, pin = max(((value or 0.0), pin) for value, pin in values)
            gains[name].append((value / base - 1, f"{where} {pin}"))
    print(f"{len(questions)} questions\n\n| decision | gains in | largest gain | where |\n|---|---|---|---|")
    for name, shares in gains.items():
        share, where = max(shares)
        print(f"| {name} | {sum(gain > 0.0005 for gain, _ in shares)} | {100 * share:+.1f} % | {where} |")


if __name__ == "__main__":
    main()
