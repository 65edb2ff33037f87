"""Why nothing fits: the conflict is minimal, its numbers are right, and SKUs that fail alike share a sentence."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.constraints.rules import RULE_NAMES
from vllm_opt.optimizer.contract.answer import Explanation
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.explanation.conflict import (
    DISPLAY_ORDER,
    DROPPED_FIRST,
    STRUCTURAL,
    minimal_conflict,
    relevant_rules,
)
from vllm_opt.optimizer.explanation.explain import explain_infeasible
from vllm_opt.optimizer.explanation.measures import MEASURES
from vllm_opt.optimizer.explanation.relaxation import NUMBERS
from vllm_opt.optimizer.questions.points import extreme, is_feasible
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.search.search import ALL_RULES, Search
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

REQUESTS = json.loads((Path(__file__).parents[2] / "data" / "infeasible_requests.json").read_text(encoding="utf-8"))
NAMES = [item["name"] for item in REQUESTS]
GIB = 2**30


@cache
def catalog() -> Catalog:
    return Catalog()


def asked(name: str) -> dict[str, Any]:
    return next(item["request"] for item in REQUESTS if item["name"] == name)


def question(fields: dict[str, Any]) -> tuple[Atlas, Question]:
    setting = resolve_solve(SolveRequest(**fields), catalog())
    return Atlas(setting), Question(setting)


def explained(**fields: Any) -> Explanation:
    return explain_infeasible(resolve_solve(SolveRequest(**fields), catalog()), catalog=catalog())


def test_no_rule_is_missing_where_conflicts_are_found_ordered_and_measured() -> None:
    in_conflicts = set(RULE_NAMES) - {"batching", "state_blocks"}
    assert {*STRUCTURAL, *DROPPED_FIRST} == in_conflicts | {"batching"}
    assert set(DISPLAY_ORDER) == set(MEASURES) == in_conflicts
    assert {rule for rule, _ in NUMBERS.values() if rule is not None} <= in_conflicts


def rules(explanation: Explanation) -> tuple[str, ...]:
    return tuple(conflict.rule for conflict in explanation.conflict)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "any card, TTFT of 5 ms"])
def test_a_conflict_cannot_hold_together_and_all_but_any_one_of_its_rules_can(name: str) -> None:
    atlas, whole = question(asked(name))
    conflict = minimal_conflict(atlas, whole)
    held = Question(whole.setting, frozenset(conflict))
    assert conflict
    assert set(conflict) <= relevant_rules(whole)
    assert not is_feasible(atlas, held)
    for rule in conflict:
        assert is_feasible(atlas, held.without(rule)), rule


MEMORY_ONLY = [
    item["name"]
    for item in REQUESTS
    if "gpu" in item["request"] and not {"max_ttft_ms", "max_tpot_ms", "min_output_tokens_per_s"} & set(item["request"])
]


@pytest.mark.parametrize("name", MEMORY_ONLY)
def test_questions_and_the_search_agree_on_what_is_feasible(name: str) -> None:
    atlas, whole = question(asked(name))
    for dropped in ((), ("concurrency",), ("gpu_count",), ("budget",), ("quality",), ("memory_budget",)):
        search = Search(whole.setting, ALL_RULES - set(dropped)).run(first_found=True)
        assert is_feasible(atlas, whole.without(*dropped)) == bool(search.candidates), dropped


@pytest.mark.parametrize("limits", [{"max_ttft_ms": 900}, {"max_tpot_ms": 25}, {"min_output_tokens_per_s": 600}])
def test_questions_and_the_search_agree_on_both_sides_of_a_latency_threshold(limits: dict[str, float]) -> None:
    fields = {"gpu": "l4", "max_gpus": 4, "concurrency": 8, "target_context": 4096, **limits}
    atlas, whole = question(fields)
    (name,) = limits
    rule = {"max_ttft_ms": "ttft", "max_tpot_ms": "tpot", "min_output_tokens_per_s": "throughput"}[name]
    reached = extreme(atlas, whole, rule)  # type: ignore[arg-type]
    assert reached is not None
    for factor in (0.999, 1.001):
        changed = {**fields, name: reached[0] * factor}
        other_atlas, other = question(changed)
        expected = factor < 1 if rule == "throughput" else factor > 1
        assert is_feasible(other_atlas, other) is expected
        assert bool(Search(other.setting).run(first_found=True).candidates) is expected


def test_weights_that_do_not_fit_are_named_with_bytes_and_gpus() -> None:
    found = explained(model="meta-llama/Llama-3.1-70B-Instruct", gpu="l4", max_gpus=1, default_limits=False)
    assert rules(found) == ("memory_budget", "gpu_count")
    memory, gpus = found.conflict
    assert memory.unit == "bytes"
    # 70.6e9 parameters at 4.x bits are some 37 GiB; an L4 reports 22.03 GiB.
    assert memory.needed is not None
    assert memory.needed > 37 * GIB
    assert memory.available is not None
    assert 20 * GIB < memory.available < 22.1 * GIB
    assert "l4" in memory.message
    # 35 sequences of 8,192 tokens at 160 KiB are 44 GiB more, beside 68 GiB of official 8-bit weights.
    assert (gpus.needed, gpus.available, gpus.unit) == (6, 1, "GPUs")


def test_a_context_beyond_the_model_is_the_whole_conflict() -> None:
    found = explained(gpu="h100", target_context=200000, concurrency=1)
    assert rules(found) == ("context_length",)
    assert (found.conflict[0].needed, found.conflict[0].available) == (200000, 131072)
    assert found.per_gpu == ()


def test_a_latency_limit_is_measured_at_the_fastest_layout() -> None:
    found = explained(gpu="h100", max_ttft_ms=5)
    assert rules(found) == ("ttft",)
    (ttft,) = found.conflict
    assert ttft.available == 5
    assert ttft.needed is not None
    assert ttft.needed > 50
    assert "h100-sxm with" in ttft.message


def test_what_vllm_refuses_is_told_in_its_own_words() -> None:
    (refusal,) = explained(gpu="v100", quantization="nvfp4").conflict
    assert refusal.rule == "compatibility"
    assert "Minimum capability: 75. Current capability: 70" in refusal.message
    assert (refusal.needed, refusal.available) == (75, 70)


@pytest.mark.parametrize(
    ("model", "kv_cache_dtype", "gpu"),
    [
        ("Qwen/Qwen3-14B", "nvfp4", "l40s"),
        ("Qwen/Qwen3-14B", "fp8_ds_mla", "h100"),
        ("deepseek-ai/DeepSeek-V3", "fp8_ds_mla", "t4"),
    ],
)
def test_a_kv_dtype_that_a_card_or_model_cannot_take_is_named(model: str, kv_cache_dtype: str, gpu: str) -> None:
    (refusal,) = explained(model=model, kv_cache_dtype=kv_cache_dtype, gpu=gpu).conflict
    assert refusal.rule == "compatibility"
    assert kv_cache_dtype in refusal.message


def test_skus_that_fail_alike_share_one_sentence() -> None:
    found = explained(model="meta-llama/Llama-3.1-70B-Instruct", gpu=["l4", "a100", "h100"], max_gpus=1)
    assert len(found.per_gpu) == 2
    assert found.per_gpu[0].startswith("l4: ")
    assert found.per_gpu[1].startswith("a100-sxm4-80gb, h100-sxm: ")


def test_forty_skus_make_few_sentences() -> None:
    found = explained(**asked("any card, one dollar, 405B"))
    assert 1 <= len(found.per_gpu) <= 4
    assert sum(sentence.count(",") + sentence.count(" more: ") for sentence in found.per_gpu) >= 10
    assert any(" more: " in sentence for sentence in found.per_gpu)


def test_what_is_feasible_has_no_conflict() -> None:
    atlas, whole = question({"gpu": "h100"})
    with pytest.raises(ValueError, match="not in conflict"):
        minimal_conflict(atlas, whole)


def test_solve_answers_with_the_explanation() -> None:
    answer = solve(SolveRequest(gpu="l4", price={"l4": 0.39}, max_hourly_cost=0.1))
    assert answer.status == "infeasible"
    assert answer.explanation is not None
    assert rules(answer.explanation) == ("budget",)
    assert answer.explanation.relaxations[0].to == 0.78


def test_the_same_request_is_explained_in_the_same_words() -> None:
    fields = asked("two SKUs that fail differently")
    assert explained(**fields) == explained(**fields)


def test_a_format_that_nobody_published_is_the_reason() -> None:
    answer = solve(SolveRequest(model="deepseek-ai/DeepSeek-V3", gpu="h100-sxm", quantization="w4a16", max_gpus=8))
    assert answer.status == "infeasible"
    assert answer.explanation is not None
    (reason,) = answer.explanation.conflict
    assert "no w4a16 checkpoint of deepseek-ai/DeepSeek-V3 is published; --hypothetical-checkpoints" in reason.message
    assert {item.change for item in answer.explanation.relaxations} >= {"quantization"}


def test_a_default_context_that_gave_way_is_not_in_the_way() -> None:
    """The model takes 4,096 tokens, so nobody asked for more; the release that dropped it is what stands in the way."""
    answer = solve(SolveRequest(model="baichuan-inc/Baichuan2-7B-Chat", vllm_version="0.33"))
    assert answer.explanation is not None
    assert rules(answer.explanation) == ("compatibility",)
