"""What a batch leaves behind: index.json, index.csv, index.html, CHANGES.md, and what it deletes."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from batch_runs import MODELS, asked, written

from vllm_opt.optimizer import BatchRequest, batch
from vllm_opt.optimizer.batches.changes import changes_page
from vllm_opt.optimizer.batches.money import cheapest
from vllm_opt.optimizer.batches.output import csv_table, index_document
from vllm_opt.optimizer.batches.page import index_page
from vllm_opt.optimizer.batches.rows import IndexRow
from vllm_opt.profiles.nouns.workload_preset import WorkloadPreset

HOSTILE = '=cmd|"calc"!A1<script>alert(1)</script>\x1b[31m\n| x'


def row(**changes: Any) -> IndexRow:
    """One row as a plan gives it."""
    fields: dict[str, Any] = {
        "model": "Qwen/Qwen3-8B",
        "workload": "chat",
        "gpu": "l40s",
        "objective": "cost+throughput",
        "vllm_version": "0.33",
        "status": "optimal",
        "file": "configs/Qwen--Qwen3-8B/chat/l40s.yaml",
        "cell": "configs/Qwen--Qwen3-8B/chat/l40s.yaml",
        "checkpoint": "Qwen/Qwen3-8B",
        "quantization": "fp8",
        "gpu_count": 1,
        "replicas": 1,
        "flags": {"max-model-len": 8192, "max-num-seqs": 64},
        "output_tokens_per_s": 1234.5,
        "ttft_ms": 100.0,
        "usd_per_hour": 0.79,
        "usd_per_gpu_hour": 0.79,
        "price_date": "2026-01-01",
        "key": "0" * 64,
        "inputs": {"price": "a", "model": "b", "vllm": "c", "tool": "d"},
    }
    return IndexRow(**{**fields, **changes})


def index(*rows: IndexRow) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(index_document(rows, (), complete=True))
    return found


def test_the_first_run_is_counted() -> None:
    page = changes_page([row(), row(cell="configs/x/chat/l4.yaml", status="infeasible", file=None)], None)
    assert page == (
        "# Changes\n\nFirst run: 2 cells.\n\n- nothing fits: 1\n- recommended, proven optimal: 1\n"
    )  # fmt: skip


def test_a_price_change_that_changes_the_plan_is_told_with_both_prices() -> None:
    before = index(row())
    now = row(
        gpu_count=2, usd_per_hour=1.0, usd_per_gpu_hour=0.5, price_date="2026-02-01",
        inputs={"price": "z", "model": "b", "vllm": "c", "tool": "d"},
        flags={"max-model-len": 8192, "max-num-seqs": 32, "tensor-parallel-size": 2},
    )  # fmt: skip
    page = changes_page([now], before)
    assert "- price of l40s 0.79 (2026-01-01) -> 0.5 (2026-02-01) USD per GPU-hour bought: 1 cell" in page
    assert "## Other configuration (1)" in page
    assert (
        "- Qwen/Qwen3-8B, chat on l40s (cost+throughput): gpu\\_count 1 -> 2; --max-num-seqs 64 -> 32; "
        "--tensor-parallel-size none -> 2. Why: price of l40s 0.79 (2026-01-01) -> 0.5 (2026-02-01) USD per GPU-hour "
        "bought."
    ) in page.replace("gpu_count", "gpu\\_count")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"inputs": {"price": "a", "model": "z", "vllm": "c", "tool": "d"}}, "Why: model data."),
        (
            {"vllm_version": "0.40", "inputs": {"price": "a", "model": "b", "vllm": "z", "tool": "d"}},
            "Why: vLLM 0.33 -> 0.40.",
        ),
        ({"inputs": {"price": "a", "model": "b", "vllm": "c", "tool": "z"}}, "Why: vllm-opt itself."),
        (
            {"inputs": {"price": "a", "model": "z", "vllm": "c", "tool": "z"}},
            "Why: model data, vllm-opt itself.",
        ),
        ({}, "Why: the same inputs: a time limit ended one of the searches."),
    ],
)
def test_the_cause_of_a_change_is_named(changed: dict[str, Any], words: str) -> None:
    page = changes_page([row(output_tokens_per_s=2000.0, **changed)], index(row()))
    assert "## Same configuration, other prediction or cost (1)" in page
    assert "output_tokens_per_s 1,234 -> 2,000" in page
    assert words in page


def test_cells_that_come_and_go_are_listed() -> None:
    other = row(cell="configs/Qwen--Qwen3-8B/chat/l4.yaml", gpu="l4", status="infeasible", file=None)
    page = changes_page([other], index(row()))
    assert "## New cells (1)\n\n- Qwen/Qwen3-8B, chat on l4 (cost+throughput): nothing fits" in page
    assert "## Cells no longer asked for (1)\n\n- Qwen/Qwen3-8B, chat on l40s (cost+throughput)" in page


def test_other_hashes_without_another_recommendation_change_nothing() -> None:
    page = changes_page([row(inputs={"tool": "z"})], index(row()))
    assert page == "# Changes\n\n1 cell, 1 in the previous run.\n\nNo recommendation changed.\n"


def test_a_damaged_previous_index_stops_nothing() -> None:
    damaged = {"cells": [None, 3, {"cell": 4}, {"cell": "x", "model": HOSTILE}]}
    page = changes_page([row()], damaged)
    assert "## New cells (1)" in page
    assert "\x1b" not in page
    assert "<script>" not in page


def test_no_text_of_the_table_is_a_formula_or_breaks_a_line() -> None:
    table = csv_table([row(model=HOSTILE, reason="-1+1", notes=("@a", "b"))])
    assert table.count("\n") == 2
    (line,) = csv.DictReader(table.splitlines())
    assert line["model"].startswith("'=cmd")
    assert line["reason"] == "'-1+1"
    assert line["notes"] == "'@a; b"
    assert line["flags"] == "max-model-len=8192 max-num-seqs=64"
    assert line["ttft_ms"] == "100.0"
    assert line["tpot_ms"] == ""
    assert "\x1b" not in table


def test_the_page_escapes_what_it_shows_and_loads_nothing() -> None:
    preset = WorkloadPreset(
        id="chat", description="<b>bold</b>", input_tokens=1, output_tokens=1, target_context=9, concurrency=1
    )
    refused = row(cell="configs/x", gpu="l4", status="infeasible", file=None, reason=HOSTILE)
    page = index_page([row(model=HOSTILE), refused], [preset], complete=True)
    assert "<script" not in page
    assert "<b>" not in page
    assert "\x1b" not in page
    assert "http" not in page.split("<body>")[1]
    assert "default-src 'none'" in page
    assert '<a href="configs/Qwen--Qwen3-8B/chat/l40s.yaml">1 GPU, fp8</a>' in page


def test_the_page_orders_the_cheapest_of_each_model_and_workload() -> None:
    commit = "01acdfd419ce5afae1289ff14825b893ced0c196"
    priced = {"usd_per_million_output_tokens": 0.5, "gpus_bought": 2, "price_source": f"a/b:prices.csv@{commit}"}
    rows = [
        row(cell="a", gpu="l40s", usd_per_hour=2.0, usd_per_gpu_hour=1.0, price_date="2026-08-10", **priced),
        row(cell="b", gpu="h100-sxm", usd_per_hour=3.0, usd_per_gpu_hour=3.0, price_date="2026-08-11"),
        row(cell="c", gpu="l4", usd_per_hour=None),
        row(cell="d", gpu="t4", status="infeasible", file=None, usd_per_hour=None),
        row(cell="e", workload="rag", usd_per_hour=4.0, usd_per_gpu_hour=4.0, gpus_bought=1, price_date="2026-08-12"),
    ]
    assert [(one.cell, usd) for one, usd in cheapest(rows)] == [("a", 2.0), ("e", 4.0)]
    page = index_page(rows, [], complete=True)
    order = page.partition("Order list")[2].partition("</table>")[0]
    assert order.count("<tr>") == 3, "headings and two orders"
    for figure in ("$1.00", "$1,460", "$17,520", "$52,560"):  # 2 USD x 730, x 8,760, x 26,280 hours; 1 USD each
        assert f">{figure}</td>" in order
    assert f'href="https://github.com/a/b/blob/{commit}/prices.csv"' in order
    assert "cost $4,380 a month together" in page, "(2 + 4) x 730"
    assert "$0.50: Qwen/Qwen3-8B" in page


def test_a_batch_without_prices_has_no_order() -> None:
    page = index_page([row(usd_per_hour=None)], [], complete=True)
    assert "Order list" not in page
    assert "a month together" not in page


def test_the_index_counts_and_lists_every_cell(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    batch(BatchRequest(**asked(folder, workload=("chat", "agentic"))))
    document = json.loads((folder / "index.json").read_text())
    assert document["schema"] == "vllm-opt/batch-index/1"
    assert document["counts"] == {"infeasible": 4, "optimal": 4}
    assert [preset["id"] for preset in document["workloads"]] == ["agentic", "chat"]
    for entry in document["cells"]:
        assert (folder / entry["cell"]).is_file() == (entry["status"] == "optimal")
        assert entry["status"] == "optimal" or entry["reason"].startswith("context_length: ")
        if entry["status"] == "optimal":
            low, high = entry["ttft_ms_interval"]
            assert low <= entry["ttft_ms"] <= high
            assert entry["usd_per_hour"] == pytest.approx(entry["usd_per_gpu_hour"] * entry["gpus_bought"])
            assert entry["gpus_bought"] >= entry["gpu_count"]
    lines = list(csv.DictReader((folder / "index.csv").read_text().splitlines()))
    assert [line["model"] for line in lines] == [entry["model"] for entry in document["cells"]]


def test_a_new_price_is_a_change_with_its_reason_and_the_rest_is_tidied_up(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    request = BatchRequest(**asked(folder))
    batch(request)
    (folder / "configs" / "mine.yaml").write_text("keep")
    theirs = folder / "configs" / "Qwen--Qwen3-0.6B" / "chat" / "l4.yaml"
    theirs.write_text("# edited by hand\n")
    batch(request.replaced(models=MODELS[1], price={"l4": 0.2}))
    changes = (folder / "CHANGES.md").read_text()
    assert "- price of l4 " in changes
    assert "-> 0.2 (given with the request) USD per GPU-hour bought: 1 cell" in changes
    assert "usd_per_hour 0.44 -> 0.2" in changes
    assert "## Cells no longer asked for (2)" in changes
    left = set(written(folder / "configs"))
    assert left == {
        "mine.yaml",
        "Qwen--Qwen3-0.6B/chat/l4.yaml",
        "Qwen--Qwen2.5-1.5B-Instruct/chat/l4.yaml",
        "Qwen--Qwen2.5-1.5B-Instruct/chat/l40s.yaml",
    }
    assert len(list((folder / "cells").glob("*.json"))) == 2
