"""Published speed-ups of speculative decoding for one user against the prediction: writes docs/draft-accuracy.md.

    python benchmarks/draft_speed_ups.py [ROWS] > docs/draft-accuracy.md

A row states its acceptance length, so that only the cost of drafting and verifying is judged and not the drafts' luck.
"""

import argparse
import json
import statistics
from pathlib import Path

from vllm_opt.optimizer import EstimateRequest, estimate
from vllm_opt.profiles.catalogues.catalog import Catalog

ROWS = Path(__file__).parent.parent / "tests" / "data" / "draft_speed_ups.jsonl"
FITTED = "https://github.com/vllm-project/vllm/issues/20780"
"""The only source that a constant was read from: the cost of a draft step in releases before 0.11."""
WITHIN = 0.25
HEAD = """# Accuracy of draft speed-ups

Written by `python benchmarks/draft_speed_ups.py > docs/draft-accuracy.md`. Each row is a published speed-up of
speculative decoding at one user, with the acceptance length published beside it; both runs are estimated with 1,024
tokens in and out. Rows marked *fitted* are of the only source that a constant was read from (the cost of a draft step
in releases before 0.11): they say how well the law describes it and are no test. Every other source was left out of
every constant.
"""


def share_of(length: float, drafted: int) -> float:
    """The share of drafts accepted at each position that gives this many tokens per step."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(middle**k for k in range(drafted + 1)) < length else (low, middle)
    return (low + high) / 2


def predicted(row: dict[str, object], catalog: Catalog) -> float:
    """Time per token without drafts over that with them."""
    drafted = int(str(row["num_speculative_tokens"]))
    told = {
        name: row[name]
        for name in ("model", "gpu", "tensor_parallel_size", "vllm_version", "quantization")
        if name in row
    }
    shared = {**told, "concurrency": row["users"], "input_tokens": 1024, "output_tokens": 1024, "max_model_len": 8192}
    config = {"method": row["method"], "num_speculative_tokens": drafted, **dict(row.get("draft") or {})}
    share = share_of(float(str(row["acceptance_length"])), drafted)
    drafts = {"speculative_config": json.dumps(config), "acceptance": round(share, 4)}
    times = []
    for extra in ({}, drafts):
        found = estimate(EstimateRequest(**{**shared, **extra}), catalog).performance
        if found is None or found.tpot_ms is None:
            raise SystemExit(f"{row['id']}: no speed")
        times.append(found.tpot_ms)
    return times[0] / times[1]


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="?", type=Path, default=ROWS)
    rows = [json.loads(line) for line in parser.parse_args().rows.read_text(encoding="utf-8").splitlines() if line]
    catalog = Catalog()
    errors = [(row, predicted(row, catalog)) for row in rows]
    tested = [(row, found / row["speed_up"] - 1) for row, found in errors if row["source"] != FITTED]
    sources = {row["source"] for row, _ in tested}
    near = sum(abs(error) <= WITHIN for _, error in tested)
    sizes = sorted(abs(error) for _, error in tested)
    print(HEAD)
    print(
        f"Of {len(tested)} rows of {len(sources)} sources left out, {near} are within 25 %; median error "
        f"{statistics.median(sizes):.0%}, largest {sizes[-1]:.0%}.\n"
        f"Rows of one source err alike, so count the {len(sources)} sources and not the rows.\n"
    )
    print("| model | GPU | method | drafted | tokens per step | published | predicted | error | source |")
    print("|---|---|---|--:|--:|--:|--:|--:|---|")
    for row, found in errors:
        use = "fitted" if row["source"] == FITTED else "left out"
        print(
            f"| {row['model'].split('/')[-1]} | {row['tensor_parallel_size']} x {row['gpu']} | {row['method']} | "
            f"{row['num_speculative_tokens']} | {row['acceptance_length']:.2f} | {row['speed_up']:.2f} | {found:.2f} | "
            f"{found / row['speed_up'] - 1:+.0%} | [{use}]({row['source']}) |"
        )
    print("\nWhat the rows say of themselves:\n")
    for row, _ in errors:
        if row.get("note") and row["source"] != FITTED:
            print(f"- {row['id']}: {row['note']}")


if __name__ == "__main__":
    main()
