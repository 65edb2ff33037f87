"""`--equations`: each formula, its numbers and its result agree with one another and with the answer."""

import re
from math import ceil

import pytest

from vllm_opt.optimizer import EstimateRequest, SolveRequest, estimate, solve
from vllm_opt.optimizer.contract.answer import Equation, Estimate

LLAMA = {"model": "meta-llama/Llama-3.1-8B-Instruct", "max_model_len": 8192, "equations": True}


def by_name(equations: tuple[Equation, ...]) -> dict[str, Equation]:
    return {equation.name: equation for equation in equations}


def worked_out(values: str) -> float:
    """Calculate the right-hand side as it is printed."""
    expression = values.replace(",", "").replace(" x ", " * ")
    assert re.fullmatch(r"[\d\s.*/+()-]+", expression), values
    return float(eval(expression))  # only digits and operators, by the line above


def llama(**changes: object) -> Estimate:
    return estimate(EstimateRequest(**{"gpu": "h100-sxm", **LLAMA, **changes}))


def test_the_sum_is_printed_as_it_is_calculated() -> None:
    result = llama(tensor_parallel_size=2)
    found = by_name(result.equations)
    memory = result.memory
    assert found["budget"].result == memory.budget_bytes == ceil(0.92 * memory.gpu_total_bytes)
    assert worked_out(found["KV cache pool"].values) == memory.kv_cache_bytes
    assert worked_out(found["headroom left"].values) == memory.headroom_bytes - memory.headroom_needed_bytes
    assert found["activation peak"].result == memory.activation_peak_bytes
    both = found["activation peak"].values.removeprefix("max(").removesuffix(")").split(", ")
    assert max(worked_out(term) for term in both) == memory.activation_peak_bytes
    assert worked_out(found["sequences at once"].values) == memory.max_concurrency


def test_kv_per_token_is_exact_for_grouped_queries_and_the_rule_of_thumb_is_named_as_too_much() -> None:
    found = by_name(llama().equations)
    assert found["KV per token, rule of thumb"].result == 2 * 32 * 4096 * 2 == 524_288
    assert "8 KV heads serve 32 query heads" in found["KV per token, rule of thumb"].source
    assert found["KV per token and GPU"].values == "32 x 8 x (128 + 128) x 2"
    assert found["KV per token and GPU"].result == worked_out("32 x 8 x (128 + 128) x 2") == 131_072
    assert found["blocks per sequence"].result == 8192 // 16


def test_an_eight_bit_cache_halves_the_token() -> None:
    found = by_name(llama(kv_cache_dtype="fp8").equations)
    assert found["KV per token and GPU"].values == "32 x 8 x (128 + 128) x 1"
    assert found["KV per token and GPU"].result == 65_536


def test_weights_are_explained_from_the_rule_of_thumb() -> None:
    found = by_name(llama().equations)
    thumb, exact = found["weights, rule of thumb"], found["weights"]
    assert thumb.values == "8,030,261,248 x 16 / 8 / 1"
    assert thumb.result == 16_060_522_496
    assert exact.result == llama().memory.weights_bytes


def test_eager_mode_captures_no_graphs() -> None:
    found = by_name(llama(enforce_eager=True).equations)
    assert found["CUDA graphs"].result == 0
    assert worked_out(found["KV cache pool"].values) == llama(enforce_eager=True).memory.kv_cache_bytes


def test_a_pool_of_given_size_is_as_asked() -> None:
    found = by_name(llama(kv_cache_memory_bytes=2**34).equations)
    assert (found["KV cache pool"].formula, found["KV cache pool"].result) == ("as asked", 2**34)


@pytest.mark.parametrize(
    "model", ["deepseek-ai/DeepSeek-V2-Lite", "google/gemma-3-27b-it", "Qwen/Qwen3-30B-A3B", "openai/gpt-oss-20b"]
)
def test_every_kind_of_model_has_its_equations(model: str) -> None:
    result = estimate(EstimateRequest(model=model, gpu="h200-sxm", max_model_len=8192, equations=True))
    found = by_name(result.equations)
    assert found["KV per token and GPU"].result == result.memory.kv_bytes_per_token
    assert worked_out(found["KV cache pool"].values) == result.memory.kv_cache_bytes


def test_equations_only_when_asked() -> None:
    assert llama(equations=False).equations == ()


def test_a_plan_shows_its_equations() -> None:
    answer = solve(SolveRequest(gpu="l40s", equations=True))
    assert answer.plan is not None
    found = by_name(answer.plan.equations)
    assert worked_out(found["KV cache pool"].values) == answer.plan.memory.kv_cache_bytes


def test_a_latent_cache_is_told_from_the_rule_of_thumb() -> None:
    request = EstimateRequest(model="deepseek-ai/DeepSeek-V2-Lite", gpu="h100", max_model_len=8192, equations=True)
    thumb = by_name(estimate(request).equations)["KV per token, rule of thumb"]
    assert thumb.result == 2 * 27 * 2048 * 2
    assert "latent attention caches one compressed vector per token" in thumb.source


def test_the_speeds_hang_together() -> None:
    found = by_name(llama().equations)
    performance = llama().performance
    assert performance is not None
    assert worked_out(found["end-to-end time"].values) == pytest.approx(performance.e2e_ms, rel=1e-3)
    assert worked_out(found["throughput"].values) == pytest.approx(performance.output_tokens_per_s, rel=1e-3)
