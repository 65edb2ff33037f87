"""The first line of an answer says no more than the plan holds: contexts, rates, and what nobody asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer.contract.answer import Answer
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.rendering.formats import render_answer
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.serve_lines.flag_words import FLAG_WORDS
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.summary.answer import summary_of_answer

CHAT = {"model": "Qwen/Qwen3-8B", "gpu": ["l40s"], "workload": "chat"}
RATE = {**CHAT, "requests_per_s": 2.0}


def answered(fields: dict[str, Any]) -> Answer:
    answer = solve(SolveRequest(**fields))
    assert answer.plan is not None
    return answer


def first_lines(answer: Answer) -> str:
    return " ".join(summary_of_answer(answer, Screen(10_000)).split("\n\n")[0].split())


@pytest.mark.parametrize(
    ("fields", "full"),
    [
        ({**CHAT, "concurrency": 64}, False),
        ({**CHAT, "concurrency": 16, "kv_sizing": "full"}, True),
        ({**CHAT, "concurrency": 32, "mean_context": 1500, "gpu": ["l4"], "max_gpus": 1}, False),
    ],
)
def test_full_contexts_for_everyone_are_promised_only_where_the_pool_holds_them(
    fields: dict[str, Any], full: bool
) -> None:
    answer = answered(fields)
    plan = answer.plan
    assert plan is not None
    engines = plan.replicas * plan.data_parallel_size
    assert (int(plan.memory.running_concurrency) * engines >= fields["concurrency"]) is full
    said = first_lines(answer)
    assert ("8K context each" in said) is full
    assert ("contexts of up to 8K" in said) is not full
    whole = " ".join(summary_of_answer(answer, Screen(10_000)).split())
    told = "The KV pool is sized for the lengths that are typical" in whole or "preemption is possible" in whole
    assert told is not full


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({**CHAT, "concurrency": 8}, "8 sequences of up to 8,192 tokens"),
        ({**CHAT, "concurrency": 8, "kv_sizing": "full"}, "8 sequences of 8,192 tokens"),
        (RATE, "2.00 requests/s of up to 8,192 tokens"),
        ({**CHAT, "concurrency": "max", "max_gpus": 1}, "as many sequences of up to 8,192 tokens as there is room for"),
    ],
)
def test_the_title_of_the_whole_answer_says_which_load_was_asked(fields: dict[str, Any], title: str) -> None:
    assert title in " ".join(render_answer(answered(fields), "table", Screen(200)).split("\n")[0].split())


def test_a_rate_brings_no_number_of_users_that_nobody_asked_for() -> None:
    answer = answered(RATE)
    plan = answer.plan
    assert plan is not None
    assert "concurrency" not in {row["field"] for row in answer.request["assumed"]}
    assert {item.rule for item in plan.binding} & {"concurrency", "throughput"} == set()
    assert all(FLAG_WORDS[name] for name in plan.flags)


@pytest.mark.parametrize("fields", [{**CHAT, "concurrency": 64}, {**CHAT, "concurrency": 16, "kv_sizing": "full"}])
def test_the_resolved_request_asks_for_the_same_plan_again(fields: dict[str, Any]) -> None:
    answer = answered(fields)
    again = solve(SolveRequest(**answer.request))
    assert again.plan is not None
    assert answer.plan is not None
    assert again.plan.command == answer.plan.command
    assert again.plan.memory == answer.plan.memory


def test_an_encoder_without_kv_cache_is_told_nothing_of_its_pool() -> None:
    answer = answered({"model": "BAAI/bge-m3", "runner": "pooling", "gpu": ["l4"], "input_tokens": 512})
    assert answer.plan is not None
    assert answer.plan.memory.kv_block_bytes == 0
    assert not [note for note in answer.plan.notes if "KV pool is sized" in note]


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"rope_parameters": YARN}, "override max_position_embeddings too"),
        ({"rope_parameters": YARN, "max_position_embeddings": 131072}, "short prompts lose some accuracy too"),
    ],
)
def test_a_longer_context_by_overrides_is_told_with_what_it_lacks_or_costs(
    overrides: dict[str, Any], said: str
) -> None:
    fields: dict[str, Any] = {"model": "Qwen/Qwen3-8B", "gpu": ["h100"], "target_context": 100_000, "concurrency": 1}
    answer = solve(SolveRequest(**fields, hf_overrides=json.dumps(overrides)))
    assert (answer.plan is None) == (len(overrides) == 1)
    assert said in " ".join(summary_of_answer(answer, Screen(10_000)).split())


@pytest.mark.parametrize(("tolerance", "told"), [(0.05, True), (0.0, False)])
def test_what_decides_names_the_publisher_where_it_does(tolerance: float, told: bool) -> None:
    """With a tolerance a faster checkpoint of a vendor loses to the model's own at the same cost; without, it wins."""
    answer = answered({**CHAT, "concurrency": 32, "tolerance": tolerance})
    assert answer.plan is not None
    text = " ".join(render_answer(answer, "table", Screen(200)).split())
    assert ("then whose weights they are (the model's own first), then throughput" in text) is told
    assert (answer.plan.checkpoint_publisher == "native") is told


def test_a_mean_context_below_the_prompt_is_warned_of() -> None:
    fields: dict[str, Any] = {"model": "Qwen/Qwen3-8B", "gpu": ["l4"], "gpus": 1, "mean_context": 1000}
    text = " ".join(summary_of_answer(answered({**fields, "concurrency": 24}), Screen(10_000)).split())
    assert "A typical request holds 7,680 tokens of its own, more than the 1,000" in text
    short = answered({**fields, "concurrency": 24, "input_tokens": 800, "output_tokens": 200})
    assert "A typical request holds" not in " ".join(summary_of_answer(short, Screen(10_000)).split())


def test_lengths_of_a_file_are_not_called_assumed(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text("input_tokens,output_tokens\n100,20\n500,60\n", encoding="utf-8")
    text = summary_of_answer(answered({**CHAT, "workload": None, "lengths": str(path)}), Screen(10_000))
    (line,) = (line for line in text.splitlines() if "lengths.csv" in line)
    assert line.startswith("From ")
    assert line.endswith("300 tokens in, 40 tokens out.")


def test_a_checkpoint_whose_size_is_a_guess_is_told_beside_the_plan() -> None:
    fields: dict[str, Any] = {"model": "Qwen/Qwen3-30B-A3B", "gpu": ["a40"], "concurrency": 8}
    answer = answered({**fields, "quantization": ["gptq"]})
    assert answer.plan is not None
    assert any("25% is added for layers that may be left in 16 bits" in note for note in answer.plan.notes)
    native = answered({**fields, "quantization": ["bf16"], "gpu": ["h100"]})
    assert native.plan is not None
    assert not any("left in 16 bits" in note for note in native.plan.notes)


def test_a_server_that_refuses_and_a_queue_that_is_unsure_are_said_in_the_short_answer() -> None:
    clumps = {**CHAT, "gpu": ["h100-sxm"], "gpus": 1, "burstiness": 0.3, "max_ttft_ms": 2000.0, "ttft_percentile": 95.0}
    for rate, busy in ((8.0, False), (14.0, True)):
        answer = answered({**clumps, "requests_per_s": rate})
        assert answer.plan is not None
        assert ((answer.plan.performance.utilization or 0.0) > 0.5) == busy
        shown = " ".join(summary_of_answer(answer, Screen(10_000)).split())
        assert "Each server refuses requests (HTTP 503) beyond" in shown
        assert ("Requests in clumps at" in shown) == busy
    assert "Each server refuses" not in " ".join(summary_of_answer(answered(RATE), Screen(10_000)).split())
