"""`--kv-cache-dtype-skip-layers` and `--attention-backend`, against vLLM 0.33.0's own planning."""

import json
from pathlib import Path

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import LayoutRefused
from vllm_opt.constraints.kv.kv_plan import KvPlan, plan_kv_cache
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.huggingface import model_from_config
from vllm_opt.profiles.nouns.model import ModelProfile

CATALOG = Catalog()
ENGINE, _ = CATALOG.engine("0.33")
H100 = CATALOG.gpu("h100-sxm")
CONFIGS = Path(__file__).parents[2] / "data" / "vllm_reference_configs"
GIB = 2**30


def _text_only(name: str) -> ModelProfile:
    return CATALOG.model(name).model_copy(update={"vision": None, "bidirectional_image_tokens": False})


def _plan(model: ModelProfile, *, tensor: int = 1, **changes: object) -> KvPlan:
    layout = Layout.model_validate({"gpu": H100.id, "tensor_parallel_size": tensor, "kv_cache_dtype": "fp8"} | changes)
    return plan_kv_cache(model, layout, ENGINE, H100)


def test_two_full_layers_left_in_16_bits() -> None:
    plan = _plan(CATALOG.model("meta-llama/Llama-3.1-8B-Instruct"), kv_cache_dtype_skip_layers=("0", "31"))
    assert (plan.block_size, plan.block_bytes) == (32, (30 * 65_536 + 2 * 131_072,))
    assert plan.num_gpu_blocks(20 * GIB) == 9637
    assert plan.blocks_per_request(32_768, 8192) == 1024


def test_windows_left_in_16_bits() -> None:
    plan = _plan(_text_only("google/gemma-3-27b-it"), tensor=2, kv_cache_dtype_skip_layers=("sliding_window",))
    assert (plan.block_size, plan.block_bytes) == (32, (655_360,))
    assert sorted((group.num_layers, group.layer.block_size) for group in plan.groups) == [
        (8, 16), (8, 16), (9, 16), (9, 16), (9, 16), (9, 16), (10, 32),
    ]  # fmt: skip
    assert plan.num_gpu_blocks(20 * GIB) == 32_768
    assert plan.blocks_per_request(32_768, 8192) == 7558


def test_a_16_bit_cache_has_nothing_to_skip() -> None:
    model = CATALOG.model("Qwen/Qwen3-8B")
    plain = _plan(model, kv_cache_dtype="auto")
    assert _plan(model, kv_cache_dtype="auto", kv_cache_dtype_skip_layers=("0",)) == plain


@pytest.mark.parametrize("entry", ["36", "-1", "first", "", "²", "sliding window"])
def test_an_entry_that_names_no_layer_is_refused(entry: str) -> None:
    with pytest.raises(LayoutRefused, match="neither 'sliding_window' nor a layer"):
        _plan(CATALOG.model("Qwen/Qwen3-8B"), kv_cache_dtype_skip_layers=(entry,))


def test_packed_states_of_deepseek_v4_skip_nothing() -> None:
    with pytest.raises(LayoutRefused, match="one packed format"):
        _plan(CATALOG.model("deepseek-ai/DeepSeek-V4-Flash"), kv_cache_dtype_skip_layers=("0",))


def test_a_named_backend_serves_or_is_refused_by_name() -> None:
    model = CATALOG.model("Qwen/Qwen3-8B")
    assert _plan(model, attention_backend="TRITON_ATTN").block_size == 16
    assert _plan(model, attention_backend="FLASHINFER").block_size == 16
    with pytest.raises(LayoutRefused, match="FLASHMLA: "):
        _plan(model, attention_backend="FLASHMLA")
    with pytest.raises(LayoutRefused, match=r"TRITON_ATTN: \[DCP not supported\]"):
        _plan(model, tensor=16, attention_backend="TRITON_ATTN", decode_context_parallel_size=2, nodes=2)
    config = json.loads((CONFIGS.parent / "pooling_configs.json").read_text())["qwen3-embedding-8b"]
    assert _plan(model_from_config(config, "m"), attention_backend="FLASH_ATTN").block_size == 16
