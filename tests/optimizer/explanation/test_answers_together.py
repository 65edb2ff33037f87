"""SKUs asked together answer as each does alone, with and without what is remembered."""

import pytest

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.explanation.conflict import conflicts_by_sku, minimal_conflict
from vllm_opt.optimizer.questions.points import feasible_points, feasible_skus, is_feasible
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

SKUS = ("l4", "a10", "h100-sxm")
REQUESTS = (
    {"max_gpus": 1, "concurrency": 64, "max_tpot_ms": 12},
    {"max_gpus": 2, "min_output_tokens_per_s": 4000, "concurrency": 32},
    {"max_gpus": 1, "target_context": 32768, "concurrency": 16, "max_ttft_ms": 300},
)


@pytest.mark.parametrize("fields", REQUESTS)
def test_skus_together_and_alone(fields: dict[str, object]) -> None:
    setting = resolve_solve(SolveRequest(model="Qwen/Qwen3-8B", gpu=SKUS, **fields), Catalog())
    remembering, whole = Atlas(setting), Question(setting)
    for dropped in ((), ("tpot",), ("throughput",), ("memory_budget",), ("concurrency",), ("concurrency", "gpu_count")):
        question = whole.without(*dropped)
        alone = {
            name
            for name in SKUS
            if any(map(len, feasible_points(Atlas(setting), Question(setting, question.active, frozenset((name,))))))
        }
        assert feasible_skus(remembering, question) == alone, dropped
        assert is_feasible(remembering, question) is bool(alone), dropped
        for name in SKUS:
            one = Question(setting, question.active, frozenset((name,)))
            assert is_feasible(remembering, one) is (name in alone), (dropped, name)


def test_the_conflict_of_each_sku_is_minimal() -> None:
    fields = {"max_gpus": 1, "min_output_tokens_per_s": 100_000, "concurrency": 64}
    setting = resolve_solve(SolveRequest(model="Qwen/Qwen3-8B", gpu=SKUS, **fields), Catalog())
    atlas, whole = Atlas(setting), Question(setting)
    rules = minimal_conflict(atlas, whole)
    for name, own in conflicts_by_sku(atlas, whole, SKUS, rules).items():
        held, fresh = Question(setting, frozenset(own), frozenset((name,))), Atlas(setting)
        assert not is_feasible(fresh, held)
        assert all(is_feasible(fresh, held.without(rule)) for rule in own)
