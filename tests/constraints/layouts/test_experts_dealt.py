"""Redundant experts must be dealt evenly, and go with what vLLM lets them go with (`vllm/config/parallel.py`, 0.33)."""

import pytest

from vllm_opt.constraints.decisions.configuration import Adapters, Layout
from vllm_opt.constraints.layouts.experts_dealt import expert_violations
from vllm_opt.profiles.catalogues.catalog import Catalog

MODEL = Catalog().model("Qwen/Qwen3-30B-A3B")  # 128 experts
EIGHT = Layout(gpu="h100-sxm", tensor_parallel_size=2, data_parallel_size=4, expert_parallel=True)


@pytest.mark.parametrize(("extra", "needed"), [(0, None), (8, None), (16, None), (1, 136), (7, 136), (9, 144)])
def test_every_rank_holds_as_many(extra: int, needed: int | None) -> None:
    """128 and the redundant ones over eight ranks."""
    found = list(expert_violations(MODEL, EIGHT.model_copy(update={"num_redundant_experts": extra})))
    told = [(each.rule, each.needed, each.available, each.unit) for each in found]
    assert told == ([] if needed is None else [("divisibility", needed, 128 + extra, "experts")])
    assert all(f"Got {128 + extra} experts and 8 EP ranks" in each.message for each in found)


@pytest.mark.parametrize("change", [{"expert_parallel": False}, {"tensor_parallel_size": 1, "data_parallel_size": 1}])
def test_without_whole_experts_on_several_ranks_there_is_nothing_to_balance(change: dict[str, object]) -> None:
    (found,) = expert_violations(MODEL, EIGHT.model_copy(update={"num_redundant_experts": 8, **change}))
    assert found.rule == "compatibility"
    assert found.message == "EPLB requires --enable-expert-parallel and tensor or data parallelism."


def test_adapters_sharded_over_ranks_do_not_go_with_whole_experts() -> None:
    adapters = Adapters(fully_sharded_loras=True)
    (found,) = expert_violations(MODEL, EIGHT.model_copy(update={"adapters": adapters}))
    assert found.message.startswith("Fused MoE LoRA does not support enable_expert_parallel=True together")
