"""`solve` with adapters and drafts: they cost memory, are in the command, and drafts stay only where they help."""

import json
from typing import Any

import pytest

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
DRAFTER = json.dumps({"method": "draft_model", "model": "meta-llama/Llama-3.2-1B", "num_speculative_tokens": 3})
NGRAMS = json.dumps({"method": "ngram", "num_speculative_tokens": 3})


def _plan(**fields: Any) -> tuple[Plan, tuple[str, ...]]:
    asked = {"model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": ("h100-sxm",), "max_gpus": 2, "concurrency": 8}
    answer = solve(SolveRequest(**{**asked, "vllm_version": "0.33", **fields}), CATALOG)
    assert answer.plan is not None
    return answer.plan, (*answer.notes, *answer.plan.notes)


def test_adapters_are_served_with_the_next_rank_and_take_their_memory() -> None:
    targets = ("q_proj", "v_proj")
    (plain, _), (adapted, _) = _plan(), _plan(lora_adapters=8, lora_rank=48, lora_target_modules=targets)
    assert "--enable-lora --max-loras 8 --max-lora-rank 64 --lora-target-modules q_proj v_proj" in adapted.command
    assert adapted.memory.lora_bytes > 0
    assert adapted.memory.running_concurrency < plain.memory.running_concurrency


def test_a_drafter_that_helps_is_in_the_plan() -> None:
    (plain, _), (drafted, notes) = _plan(), _plan(speculative_config=DRAFTER)
    assert "--speculative-config" in drafted.command
    assert drafted.memory.draft_bytes > 0
    assert drafted.performance.output_tokens_per_s > plain.performance.output_tokens_per_s
    assert any("speculative decoding" in note for note in notes)


@pytest.mark.parametrize(
    "fields",
    [{"speculative_config": NGRAMS, "concurrency": 32}, {"speculative_config": DRAFTER, "acceptance": 0.0}],
)
def test_drafts_that_hurt_at_this_load_are_left_off_and_said_so(fields: dict[str, Any]) -> None:
    plan, notes = _plan(**fields)
    assert "--speculative-config" not in plan.command
    assert any("speculative decoding is left off" in note for note in notes)


def test_more_adapters_than_the_gpu_holds_is_a_conflict_in_words() -> None:
    answer = solve(
        SolveRequest(model="meta-llama/Llama-3.1-8B-Instruct", gpu=("l4",), max_gpus=1, lora_adapters=64,
                     lora_rank=256, vllm_version="0.33", concurrency=1, target_context=2048), CATALOG,
    )  # fmt: skip
    assert answer.plan is None
    assert answer.status == "infeasible"
