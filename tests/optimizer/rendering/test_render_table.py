"""Answers for the terminal: what is said, at any width, and that no name can change how the text is read."""

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from vllm_opt.optimizer.contract.answer import Answer, Estimate, Memory, Plan
from vllm_opt.optimizer.contract.quantities import billions, count, dollars, gib, milliseconds, percent, quantity, rate
from vllm_opt.optimizer.rendering.formats import render_answer, render_estimate, render_explanation
from vllm_opt.optimizer.rendering.memory_parts import cells, memory_parts, shortfall_bytes
from vllm_opt.optimizer.rendering.screen import Screen, screen_of_standard_output

ANSWERS = Path(__file__).parents[2] / "data" / "answers"
GIB = 2**30


def read_answer(name: str) -> Answer:
    return Answer.model_validate_json((ANSWERS / f"{name}.json").read_text(encoding="utf-8"))


def read_estimate() -> Estimate:
    return Estimate.model_validate_json((ANSWERS / "estimate.json").read_text(encoding="utf-8"))


def one_line(text: str) -> str:
    """Undo the wrapping, so that a sentence can be looked for."""
    return " ".join(text.split())


def first_plan() -> Plan:
    plan = read_answer("optimal").plan
    assert plan is not None
    return plan


@pytest.mark.parametrize("width", [80, 140])
def test_the_recommendation_says_what_to_rent_and_what_to_type(width: int) -> None:
    text = one_line(render_answer(read_answer("optimal"), "table", Screen(width)))
    for part in (
        "32 sequences of 8,192 tokens: proven optimal",
        "4 x l40s = 2 separate servers (replicas) x 2 GPUs (TP 2); each takes 16 of the 32 sequences",
        "$3.16 per hour, $0.69 per million output tokens (RunPod, 4 x pod, on-demand, 2026-07-01)",
        "max-num-batched-tokens 8192",
        "TTFT 812 ms 600 ms to 1,100 ms",
        "How it is known: fitted to measurements of this SKU or its family.",
        "Memory per GPU: 47.00 GiB reported, 42.00 GiB budget (89.4 %)",
        "weights 15.25 32.4 %",
        "KV pool: 204,800 tokens in 12,800 blocks of 16, 2.00 MiB each; 24.9 sequences of full length at once",
        "concurrency: 18 sequences fit where 16 are admitted (2 sequences to spare).",
        "1 x h100-sxm 1 x TP 1 bf16 auto $5.50 2,400",
        "Preemption is impossible.",
        "= 16,106,127,360 bytes = 15.00 GiB",
        "1,234 layouts considered, 12 in the model, 0.81 s.",
    ):
        assert part in text


def test_the_wrapped_command_is_the_command() -> None:
    text = render_answer(read_answer("optimal"), "table", Screen(80))
    start = text.index("VLLM_USE_V1=1 vllm serve")
    wrapped = text[start : text.index("\n\n", start)]
    assert one_line(wrapped.replace("\\\n", " ")) == f"VLLM_USE_V1=1 {first_plan().command}"


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("name", ["optimal", "infeasible", "front"])
def test_no_line_is_wider_than_the_screen(name: str, width: int) -> None:
    text = render_answer(read_answer(name), "table", Screen(width))
    longest_word = max(cell_len(word) for word in text.split() if "─" not in word)
    assert max(cell_len(line) for line in text.splitlines()) <= max(width, longest_word + 6)


def test_infeasible_names_the_conflict_and_what_would_help() -> None:
    text = one_line(render_answer(read_answer("infeasible"), "table", Screen(100)))
    for part in (
        "no plan can meet this request (proven)",
        "memory_budget: weights and one sequence exceed the budget of l4. Needed 33.00 GiB, available 20.00 GiB.",
        "l4: the KV pool holds 40,960 tokens.",
        "Any one of these would make it feasible - --target-context 40960",
    ):
        assert part in text


def test_the_front_lists_every_plan() -> None:
    text = one_line(render_answer(read_answer("front"), "table", Screen(100)))
    assert "4 x l40s 2 x TP 2 bf16 auto $3.16 1,278" in text
    assert "1 x h100-sxm 1 x TP 1 bf16 auto $5.50 2,400" in text


def test_explain_compares_variants() -> None:
    infeasible = read_answer("infeasible")
    variants = [({"target_context": "40960", "gpu": ["l4", "l40s"]}, read_answer("optimal"))]
    text = one_line(render_explanation(infeasible, variants, "table", Screen(140)))
    assert "as asked infeasible" in text
    assert "target-context=40960, 4 x l40s" in text
    assert "gpu=l4+l40s" in text
    document = json.loads(render_explanation(infeasible, variants, "json", Screen(80)))
    assert document["schema"] == "vllm-opt/what-if/1"
    assert document["what_if"][0]["answer"]["plan"]["gpu"] == "l40s"


def test_the_estimate_is_a_bill() -> None:
    text = one_line(render_estimate(read_estimate(), "table", Screen(100)))
    for part in (
        "Llama-3.1-8B-Instruct on 1 x l40s, vLLM 0.33: does not fit",
        "lower --max-model-len to 4096. Needed 33.00 GiB, available 20.00 GiB.",
        "GPU as reported 50,465,865,728 47.00",
        "x utilization = budget 45,097,156,608 42.00 0.894 of the GPU",
        "- weights 16,106,127,360 15.00",
        "= KV cache pool 26,843,545,600 25.00",
        "= blocks 12,800",
        "1 16 8.00 1.00 0.25 0.50 24.00 12,288",
        "ValueError: To serve at least one request",
    ):
        assert part in text


HOSTILE = "[red]evil[/red]\x1b[31m\u202e<script>"


def test_names_cannot_pose_as_markup_or_control_the_terminal() -> None:
    answer = read_answer("optimal")
    plan = first_plan().model_copy(update={"model": HOSTILE, "notes": (HOSTILE,), "checkpoint": HOSTILE})
    hostile = answer.model_copy(update={"plan": plan, "request": {**answer.request, "model": HOSTILE}})
    text = render_answer(hostile, "table", Screen(200))
    assert text.count("[red]evil[/red]\\x1b[31m\\u202e<script>") == 3
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_colour_only_where_the_screen_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" in render_answer(read_answer("optimal"), "table", Screen(80, colour=True))
    assert "\x1b[" not in render_answer(read_answer("optimal"), "table", Screen(80))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert screen_of_standard_output().colour
    assert not screen_of_standard_output(to_file=True).colour
    monkeypatch.setenv("NO_COLOR", "1")
    assert not screen_of_standard_output().colour


def test_a_screen_without_unicode_gets_ascii() -> None:
    assert render_answer(read_answer("optimal"), "table", Screen(80, unicode=False)).isascii()


def test_a_table_never_cuts_a_cell_off() -> None:
    variants = [({"target_context": "40960", "gpu": ["l4", "l40s"], "max_ttft_ms": "400"}, read_answer("optimal"))] * 2
    text = render_explanation(read_answer("infeasible"), variants, "table", Screen(80))
    rows = text[text.index("What if") :].split("Notes")[0]
    assert "".join(rows.split()).count("h100") == 0
    for cell in ("4 x l40s", "bf16", "$3.16", "1,278", "24.2 ms", "812 ms", "target-context=40960,"):
        assert rows.count(cell) == 2
    assert "auto" not in rows  # a column leaves before anything in another is broken


# --- the memory bar -------------------------------------------------------------------------------------------------


def memory(**changes: object) -> Memory:
    return first_plan().memory.model_copy(update=changes)


def test_memory_parts_add_up_to_the_gpu() -> None:
    parts = memory_parts(memory())
    assert {part.key: part.size_bytes / GIB for part in parts} == {
        "weights": 15.25,
        "activation": 1.0,
        "graphs": 0.25,
        "other": 0.5,
        "kv": 25.0,
        "context": 1.0,
        "free": 4.0,
    }
    assert sum(part.size_bytes for part in parts) == memory().gpu_total_bytes
    assert shortfall_bytes(memory()) == 0


def test_what_does_not_fit_is_a_shortfall() -> None:
    assert shortfall_bytes(memory(weights_bytes=30 * GIB)) == 11 * GIB


def test_graphs_outside_the_budget_are_not_counted_twice() -> None:
    parts = {part.key: part for part in memory_parts(memory(cuda_graph_in_budget=False))}
    assert parts["context"].size_bytes == GIB - GIB // 4
    assert not parts["graphs"].in_budget


@pytest.mark.parametrize("width", [7, 40, 76, 136])
def test_every_part_that_is_there_is_seen_and_the_bar_is_exactly_as_wide(width: int) -> None:
    parts = memory_parts(memory())
    widths = cells(parts, width)
    assert sum(widths) == width
    assert min(widths) >= 1


# --- numbers --------------------------------------------------------------------------------------------------------


def test_numbers_read_well() -> None:
    assert gib(GIB * 1234.5) == "1,234.50 GiB"
    assert count(204800) == "204,800"
    assert (billions(8.03e9), billions(4.94e8)) == ("8.0 B", "494 M")
    assert (dollars(3.162), dollars(0.04217), dollars(0)) == ("$3.16", "$0.0422", "$0.00")
    assert (milliseconds(24.04), milliseconds(812.4), milliseconds(25632)) == ("24.0 ms", "812 ms", "25.6 s")
    assert (rate(1278.5), rate(0.125)) == ("1,278", "0.12")
    assert percent(0.894) == "89.4 %"
    assert quantity(GIB, "bytes") == "1.00 GiB"
    assert (quantity(3 * 2**20, "bytes"), quantity(512, "bytes")) == ("3.00 MiB", "0.50 KiB")
    assert quantity(3.16, "USD/h") == "$3.16/h"
    assert (quantity(2, "sequences"), quantity(0.5, "")) == ("2 sequences", "0.50")
