"""Drafts: tokens per step by hand, published speed-ups, and that they help few users and hurt many."""

import json

import numpy as np
import pytest

from vllm_opt.constraints.decisions.speculation import Speculation
from vllm_opt.constraints.speed.speculation import DraftCost, crossover, speed_up, tokens_per_step
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer import EstimateRequest, estimate
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
DEEPSEEK = {"gpu": "h200", "tensor_parallel_size": 8, "max_model_len": 8192, "vllm_version": "0.33"}
LLAMA_70B = {
    "model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": "h100", "tensor_parallel_size": 4, "max_model_len": 8192,
    "vllm_version": "0.33",
}  # fmt: skip
LLAMA_8B_DRAFTS = {"method": "draft_model", "model": "meta-llama/Llama-3.1-8B-Instruct", "num_speculative_tokens": 5}


def _performance(**fields: object) -> Performance:
    found = estimate(EstimateRequest(input_tokens=1024, output_tokens=1024, **fields), CATALOG)  # type: ignore[arg-type]
    assert found.performance is not None
    return found.performance


def _tpot(**fields: object) -> float:
    tpot = _performance(**fields).tpot_ms
    assert tpot is not None
    return tpot


def test_tokens_per_step_is_the_geometric_sum() -> None:
    assert float(tokens_per_step(0.5, 2)) == 1.75
    assert float(tokens_per_step(0.0, 4)) == 1.0
    assert float(tokens_per_step(1.0, 4)) == 5.0
    assert tokens_per_step(np.array([0.0, 0.5]), 1).tolist() == [1.0, 1.5]


@pytest.mark.parametrize(
    ("model", "acceptance", "published"),
    [
        ("deepseek-ai/DeepSeek-V3", 0.875, 1.8),  # arXiv 2412.19437, 5.4.3
        ("deepseek-ai/DeepSeek-R1", 0.82, 1.63),  # github.com/vllm-project/vllm/pull/12755
        ("deepseek-ai/DeepSeek-V3", 0.9, 1.76),  # lmsys.org, SGLang's MTP of DeepSeek-V3: length 1.9
    ],
)
def test_published_speed_ups_within_a_quarter(model: str, acceptance: float, published: float) -> None:
    drafts = json.dumps({"method": "mtp", "num_speculative_tokens": 1})
    plain = _tpot(model=model, concurrency=1, **DEEPSEEK)
    drafted = _tpot(model=model, concurrency=1, speculative_config=drafts, acceptance=acceptance, **DEEPSEEK)
    assert plain / drafted == pytest.approx(published, rel=0.25)


def test_a_drafter_helps_few_users_and_hurts_many() -> None:
    drafts = json.dumps(LLAMA_8B_DRAFTS)
    gains = [
        _performance(concurrency=users, speculative_config=drafts, **LLAMA_70B).output_tokens_per_s
        / _performance(concurrency=users, **LLAMA_70B).output_tokens_per_s
        for users in (1, 16, 256)
    ]
    assert gains[0] > gains[1] > 1 > gains[2]


def _coefficients(**given: float) -> LatencyCoefficients:
    names = LatencyCoefficients.__dataclass_fields__
    return LatencyCoefficients(**{name: given.get(name, 0.0) for name in names})


def test_only_a_step_that_waits_for_weights_verifies_for_nothing() -> None:
    """1 ms of weights, 0.1 ms per token: one user verifies 3 drafts for nothing, ten do not."""
    step = _coefficients(dense_memory_s=1e-3, dense_compute_s_per_token=1e-4, expert_shape=1.0)
    drafts, free = Speculation(method="mtp", num_speculative_tokens=3), DraftCost(0.0, 0.0)
    assert float(speed_up(step, drafts, free, 0.5, 1.0, 100.0)) == pytest.approx(1.875)
    assert float(speed_up(step, drafts, free, 0.5, 10.0, 100.0)) < 1.0
    turn = crossover(step, drafts, free, 0.5, 100.0, 64)
    assert turn is not None
    assert 4 <= turn <= 10
    assert crossover(step, drafts, free, 1.0, 100.0, 2) is None
