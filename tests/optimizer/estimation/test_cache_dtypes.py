"""Flags that store part of a cache otherwise, as estimate, solve and lint take them; sizes are vLLM 0.33.0's own."""

import pytest

from vllm_opt import EstimateRequest, SolveRequest, estimate, solve
from vllm_opt.profiles.errors import InvalidRequest

V4 = {"model": "deepseek-ai/DeepSeek-V4-Flash", "tensor_parallel_size": 8}


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({**V4, "gpu": "h100"}, 1_002_240),
        ({**V4, "gpu": "b200", "indexer_kv_dtype": "mxfp4"}, 917_568),
        (
            {**V4, "gpu": "h100", "attention_backend": "flashinfer_mla_sparse_dsv4", "kv_cache_dtype": "bfloat16"},
            1_600_000,
        ),
        ({"model": "MiniMaxAI/MiniMax-M3", "gpu": "h200", "tensor_parallel_size": 8}, 5_799_936),
        (
            {"model": "MiniMaxAI/MiniMax-M3", "gpu": "h200", "tensor_parallel_size": 8, "indexer_kv_dtype": "fp8"},
            4_866_048,
        ),
        (
            {
                "model": "google/gemma-3-27b-it", "gpu": "h100", "tensor_parallel_size": 2, "kv_cache_dtype": "fp8",
                "kv_cache_dtype_skip_layers": ("sliding_window",),
            },
            655_360,
        ),
    ],
)  # fmt: skip
def test_block_sizes_are_vllms(fields: dict[str, object], size: int) -> None:
    memory = estimate(EstimateRequest(**fields)).memory
    assert memory.kv_block_bytes == size


def test_recurrent_matrices_in_bfloat16_halve_the_block() -> None:
    fields = {"model": "moonshotai/Kimi-K3", "gpu": "b300", "tensor_parallel_size": 8}
    assert estimate(EstimateRequest(**fields)).memory.block_size == 768
    assert estimate(EstimateRequest(**fields, mamba_ssm_cache_dtype="bfloat16")).memory.block_size == 384


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kv_cache_dtype_skip_layers": ("0",), "vllm_version": "0.12"}, "has no --kv-cache-dtype-skip-layers"),
        ({"indexer_kv_dtype": "int3"}, "indexer_kv_dtype"),
        ({"mamba_ssm_cache_dtype": "fp8"}, "mamba_ssm_cache_dtype"),
        ({"model": "MiniMaxAI/MiniMax-M3", "indexer_kv_dtype": "mxfp4"}, "caches its keys as auto or fp8"),
    ],
)
def test_what_cannot_be_is_one_sentence(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        estimate(EstimateRequest(**{"model": "Qwen/Qwen3-8B", "gpu": "h100", **fields}))


def test_a_flag_without_effect_is_said() -> None:
    found = estimate(EstimateRequest(model="Qwen/Qwen3-8B", gpu="h100", mamba_ssm_cache_dtype="float32"))
    assert any("no recurrent layers" in note for note in found.notes)


def test_a_plan_keeps_the_layers_that_are_named_in_16_bits() -> None:
    request = SolveRequest(
        model="google/gemma-3-27b-it", gpu=("h100",), kv_cache_dtype="fp8", kv_cache_dtype_skip_layers=("0", "61"),
        explain=False,
    )  # fmt: skip
    plan = solve(request).plan
    assert plan is not None
    assert plan.command.endswith("--kv-cache-dtype-skip-layers 0 61")
    assert plan.memory.block_size == 32


@pytest.mark.parametrize(("ranks", "gib", "tokens", "printed"), [(1, 19.55, 341_504, 1.68), (2, 19.47, 680_192, 3.35)])
def test_a_registered_backend_is_taken_at_its_word(ranks: int, gib: float, tokens: int, printed: float) -> None:
    """A fork of vLLM 0.20.2 with a sparse backend for SM 12.0 printed these pools of GLM-5.1 on eight cards."""
    common = {
        "model": "nvidia/GLM-5.1-NVFP4", "gpu": "rtx-pro-6000-server", "vllm_version": "0.20.2",
        "tensor_parallel_size": 8, "decode_context_parallel_size": ranks, "max_model_len": 202_752,
        "kv_cache_dtype": "fp8", "max_num_seqs": 64, "kv_cache_memory_bytes": int(gib * 2**30),
    }  # fmt: skip
    assert not estimate(EstimateRequest(**common)).fits
    found = estimate(EstimateRequest(**common, attention_backend="custom"))
    assert found.fits
    assert (found.memory.kv_cache_tokens, round(found.memory.max_concurrency, 2)) == (tokens, printed)
    assert any("CUSTOM is one that you register" in note for note in found.notes)
