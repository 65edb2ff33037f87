"""The short answer: what stands where, that nothing breaks at any width, and that nothing slow goes unsaid."""

import re
from pathlib import Path

import pytest

from vllm_opt.optimizer.contract.answer import Answer, CloseCall, Plan
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.summary.answer import summary_of_answer
from vllm_opt.optimizer.summary.speed import verdict
from vllm_opt.optimizer.summary.words import duration, tokens

ANSWERS = Path(__file__).parents[2] / "data" / "answers"
WIDTHS = [40, 60, 80, 120, 140]


def read_answer(name: str) -> Answer:
    return Answer.model_validate_json((ANSWERS / f"{name}.json").read_text(encoding="utf-8"))


def plan_of(answer: Answer) -> Plan:
    assert answer.plan is not None
    return answer.plan


def slowed(answer: Answer, **speeds: float) -> Answer:
    plan = plan_of(answer)
    return answer.model_copy(
        update={"plan": plan.model_copy(update={"performance": plan.performance.model_copy(update=speeds)})}
    )


def test_the_command_stands_in_the_first_ten_lines_and_the_whole_is_short() -> None:
    answer = read_answer("optimal")
    lines = summary_of_answer(answer, Screen(80)).splitlines()
    assert "vllm serve" in "\n".join(lines[:7])
    assert not lines[9].endswith("\\")
    assert len(lines) <= 36
    assert "PROVEN OPTIMAL" in "\n".join(lines[:2])


def test_the_wrapped_command_is_the_command() -> None:
    plan = plan_of(read_answer("optimal"))
    text = summary_of_answer(read_answer("optimal"), Screen(80))
    start = text.index("VLLM_USE_V1=1 vllm serve")
    wrapped = text[start : text.index("\n\n", start)]
    assert " ".join(wrapped.replace("\\\n", " ").split()) == f"VLLM_USE_V1=1 {plan.command}"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["optimal", "infeasible", "front"])
def test_no_id_number_or_option_is_broken_at_any_width(name: str, width: int) -> None:
    answer = read_answer(name)
    wide = summary_of_answer(answer, Screen(10_000), why=True)
    text = summary_of_answer(answer, Screen(width), why=True)
    known = set(wide.split())
    assert {word for word in text.split() if not set(word) & set("█▓▒░━▚·[]\\")} <= known
    if width >= 80:
        prose = [line for line in text.splitlines() if "vllm serve" not in line]
        assert max(map(len, prose)) <= max(width, max(map(len, known)) + 10)


def test_columns_leave_in_order_before_a_cell_breaks() -> None:
    answer = read_answer("optimal")
    heads = [
        next(line for line in summary_of_answer(answer, Screen(width)).splitlines() if "USD/h" in line)
        for width in (140, 76, 65, 58)
    ]
    for gone, head in zip(("", "KV", "servers", "TPOT"), heads, strict=True):
        assert not gone or gone not in head.split()
    assert all({"GPUs", "USD/h", "tok/s"} <= set(head.split()) for head in heads)


def test_each_limit_has_its_verdict() -> None:
    answer = read_answer("optimal")
    asked = answer.model_copy(update={"request": {**answer.request, "max_ttft_ms": 1000.0, "max_tpot_ms": 500.0}})
    lines = summary_of_answer(asked, Screen(100)).splitlines()
    assert any(re.search(r"TTFT +812 ms +600 ms to 1.10 s +1 s +likely, not sure", line) for line in lines)
    assert any(re.search(r"TPOT .* 500 ms +ok$", line) for line in lines)
    assert (verdict(9, (5, 12), 8), verdict(9, (5, 12), 5, floor=True), verdict(9, (5, 12), 7, floor=True)) == (
        "missed", "ok", "likely, not sure"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("speeds", "said"),
    [({"ttft_ms": 10_001.0}, "10.0 s"), ({"tpot_ms": 251.0}, "251 ms"), ({"ttft_ms": 248_000.0}, "248.0 s")],
)
def test_a_slow_answer_is_never_shown_without_a_warning(speeds: dict[str, float], said: str) -> None:
    text = summary_of_answer(slowed(read_answer("optimal"), **speeds), Screen(100))
    warning = next(line for line in text.splitlines() if line.startswith("! Slow"))
    assert said in warning
    assert "! Slow" not in summary_of_answer(read_answer("optimal"), Screen(100))


def test_what_was_assumed_is_named_with_its_option() -> None:
    answer = read_answer("optimal")
    assumed = [
        {"field": "target_context", "value": 4096, "why": "the model ends there", "bent_from": 8192},
        {"field": "max_ttft_ms", "value": 2000.0, "why": "workload chat: MLPerf"},
    ]
    text = summary_of_answer(
        answer.model_copy(update={"request": {**answer.request, "assumed": assumed, "workload": "chat"}}), Screen(100)
    )
    assert "Assumed because not given: context 4K instead of 8K (--target-context)." in text
    assert "From workload chat: TTFT limit 2 s." in text


def test_close_calls_are_one_line_each_beside_the_chosen_plan() -> None:
    answer = read_answer("optimal")
    other = answer.alternatives[0]
    calls = (CloseCall(why="fastest", plan=other), CloseCall(why="better_weights", plan=other))
    text = summary_of_answer(answer.model_copy(update={"close_calls": calls}), Screen(120))
    assert "Close calls" in text
    assert [line.split("  ")[1].strip() for line in text.splitlines() if other.gpu in line and "USD" not in line]
    assert re.search(r"\* this +4 x l40s", text)
    assert re.search(r"faster +1 x h100-sxm", text)
    assert re.search(r"better weights +1 x h100-sxm", text)


def test_infeasible_says_what_is_in_the_way_and_what_would_help() -> None:
    text = summary_of_answer(read_answer("infeasible"), Screen(100))
    assert "No plan can meet this request (proven)." in text
    assert "memory_budget: " in text
    assert "--target-context 40960" in text


def test_a_screen_without_unicode_gets_ascii_and_a_hostile_name_cannot_command_it() -> None:
    hostile = "[red]evil\x1b[31m\u202e<script>"
    answer = read_answer("optimal")
    hostile_answer = answer.model_copy(
        update={
            "request": {**answer.request, "model": hostile},
            "plan": plan_of(answer).model_copy(update={"command": f"vllm serve '{hostile}'", "gpu": hostile}),
        }
    )
    assert summary_of_answer(answer, Screen(80, unicode=False), why=True).isascii()
    assert not {"\x1b", "\u202e"} & set(summary_of_answer(hostile_answer, Screen(80)))
    assert "\x1b[" in summary_of_answer(answer, Screen(80, colour=True))


def test_numbers_read_well() -> None:
    assert [duration(value) for value in (3.21, 41.4, 812.4, 1350, 13_650, 248_000)] == [
        "3.2 ms", "41 ms", "812 ms", "1.35 s", "13.7 s", "248.0 s"
    ]  # fmt: skip
    assert [tokens(value) for value in (8192, 131072, 12_000, 1000)] == ["8K", "128K", "12,000", "1,000"]
