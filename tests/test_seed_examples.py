"""The eleven worked examples of the document that this project started from, with the same inputs."""

import re
from fractions import Fraction

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.kv.kv_plan import plan_kv_cache
from vllm_opt.constraints.memory import rules_of_thumb
from vllm_opt.constraints.weights.breakdown import parameter_count
from vllm_opt.constraints.weights.parameter_bytes import weight_bytes
from vllm_opt.optimizer import EstimateRequest, SolveRequest, estimate, solve
from vllm_opt.profiles.catalogues.catalog import Catalog

GB = 10**9
MIB = 2**20
CATALOG = Catalog()
ENGINE = CATALOG.engine("0.33")[0]
H100 = CATALOG.gpu("h100-sxm")


def kv_bytes_per_token(model_id: str) -> int:
    layout = Layout(gpu=H100.id)
    return int(plan_kv_cache(CATALOG.model(model_id), layout, ENGINE, H100).bytes_per_token[0])


@pytest.mark.parametrize(
    ("billions", "bits", "gigabytes"), [(7, 16, 14.0), (13, 16, 26.0), (34, 16, 68.0), (7, 8, 7.0), (7, 4, 3.5)]
)
def test_1_weights_are_parameters_times_bytes(billions: int, bits: int, gigabytes: float) -> None:
    assert rules_of_thumb.weights_bytes(billions * GB, bits) == Fraction(gigabytes) * GB


@pytest.mark.parametrize(
    ("model_id", "parameters"),
    [("meta-llama/Llama-2-7b-hf", 6_738_415_616), ("meta-llama/Llama-2-13b-hf", 13_015_864_320)],
)
def test_1_exact_weights_of_real_models(model_id: str, parameters: int) -> None:
    model = CATALOG.model(model_id)
    assert parameter_count(model) == parameters
    assert weight_bytes(model, CATALOG.quantization("bf16"), Layout(gpu=H100.id)) == (2 * parameters,)


def test_2_kv_per_token_of_llama_7b_is_half_a_mebibyte() -> None:
    assert rules_of_thumb.multi_head_kv_bytes_per_token(32, 4096) == 524_288
    assert kv_bytes_per_token("meta-llama/Llama-2-7b-hf") == 524_288


def test_3_one_llama_13b_sequence_of_2048_tokens() -> None:
    per_token = kv_bytes_per_token("meta-llama/Llama-2-13b-hf")
    assert per_token == 819_200
    assert per_token * 2048 == 1_677_721_600
    assert round(per_token * 4096 / GB, 1) == 3.4


def test_4_a_70b_model_has_eight_kv_heads_not_sixty_four() -> None:
    assert rules_of_thumb.multi_head_kv_bytes_per_token(80, 8192) == 2.5 * MIB
    assert rules_of_thumb.multi_head_kv_bytes_per_token(80, 8192) * 2048 > 5 * GB
    assert kv_bytes_per_token("meta-llama/Llama-2-70b-hf") == 0.3125 * MIB
    reason = rules_of_thumb.why_not_multi_head(CATALOG.model("meta-llama/Llama-2-70b-hf"))
    assert reason == "8 KV heads serve 64 query heads"
    assert rules_of_thumb.why_not_multi_head(CATALOG.model("meta-llama/Llama-2-7b-hf")) is None


def test_5_the_pool_of_a_40_gb_gpu() -> None:
    assert rules_of_thumb.kv_pool_bytes(40 * GB, Fraction(9, 10), 16_400 * 10**6) == 19_600 * 10**6


def test_6_and_7_sequences_of_200_megabytes() -> None:
    assert rules_of_thumb.sequences_held(int(19.6 * GB), 200 * 10**6) == 98
    assert rules_of_thumb.sequences_held(2 * GB, 200 * 10**6) == 10


def test_8_waste_of_the_last_block() -> None:
    assert [rules_of_thumb.last_block_waste_tokens(size) for size in (16, 8)] == [15, 7]
    assert rules_of_thumb.last_block_waste_tokens(16) / 400 < 0.04


def test_9_swap_adds_capacity_in_v0_and_nothing_in_v1() -> None:
    assert 4 * 2**30 // (819_200 * 2048) == 2
    assert rules_of_thumb.tokens_held(2 * GB, 4 * 2**30, 819_200) == (2 * GB + 4 * 2**30) // 819_200
    common = {"model": "meta-llama/Llama-2-13b-hf", "gpu": "a100-sxm4-40gb", "max_model_len": 2048}
    old = estimate(EstimateRequest(**common, vllm_version="0.6.6", swap_space=4))
    assert old.memory.host_tier_tokens == 4 * 2**30 // 819_200
    ignored = estimate(EstimateRequest(**common, vllm_version="0.11.0", swap_space=4))
    assert ignored.memory.host_tier_tokens == 0
    offloaded = estimate(EstimateRequest(**common, vllm_version="0.33.0", kv_offloading_size=4))
    assert offloaded.memory.host_tier_tokens == 4 * 2**30 // 819_200


@pytest.mark.parametrize(("chats", "gigabytes", "fits"), [(8, 19.4, True), (12, 22.6, False)])
def test_10_thirteen_billion_at_8_bits_on_24_gb(chats: int, gigabytes: float, fits: bool) -> None:
    needed = rules_of_thumb.weights_bytes(13 * GB, 8) + chats * 1000 * 800_000
    assert needed == Fraction(round(gigabytes * 10)) * GB / 10
    assert (needed <= Fraction(9, 10) * 24 * GB) is fits


def test_10_the_product_says_the_same_of_a_real_card() -> None:
    request = {
        "model": "meta-llama/Llama-2-13b-hf", "gpu": "rtx-4090", "price": {"rtx-4090": 0.5}, "gpus": 1,
        "target_context": 1000, "kv_cache_dtype": "auto", "max_gpu_memory_utilization": 0.9,
    }  # fmt: skip
    at_16_bits = solve(SolveRequest(**request, concurrency=8, quantization="bf16"))
    assert at_16_bits.status == "infeasible"
    assert solve(SolveRequest(**request, concurrency=8, quantization="fp8")).status == "optimal"
    twelve = solve(SolveRequest(**request, concurrency=12, quantization="fp8"))
    assert twelve.status == "infeasible"
    assert twelve.explanation is not None
    changes = {relaxation.change for relaxation in twelve.explanation.relaxations}
    assert {"kv_cache_dtype", "target_context", "concurrency"} <= changes


def test_11_an_8b_model_with_128k_context_on_a_24_gb_card_is_refused() -> None:
    answer = estimate(EstimateRequest(model="meta-llama/Llama-3.1-8B-Instruct", gpu="rtx-4090"))
    assert not answer.fits
    assert [violation.rule for violation in answer.violations] == ["memory_budget"]
    assert "Try increasing `gpu_memory_utilization`" in answer.startup_log[0]
    found = re.search(r"the estimated maximum model length is (\d+)\.", answer.startup_log[0])
    assert found is not None
    assert 38_000 <= answer.memory.max_supported_model_len <= int(found[1]) <= 46_000


def test_dated_figures_of_the_document_come_out_right() -> None:
    assert int(19.6 * GB) // 524_288 == 37_384
    assert kv_bytes_per_token("codellama/CodeLlama-34b-Instruct-hf") == 0.1875 * MIB
    assert CATALOG.model("meta-llama/Llama-2-7b-hf").max_model_len == 4096
