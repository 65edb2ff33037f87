"""Adapter slots per rank, equal to what vLLM 0.33.0 allocates, to the byte."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.constraints.decisions.configuration import Adapters, Layout
from vllm_opt.constraints.weights.adapters import adapter_buffer_bytes, adapter_bytes, adapter_host_bytes
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.huggingface import model_from_config
from vllm_opt.profiles.nouns.model import ModelProfile

DATA = Path(__file__).parents[2] / "data"
ROWS = [json.loads(line) for line in (DATA / "vllm_0_33_adapters.jsonl").read_text().splitlines()]


@cache
def _model(name: str) -> ModelProfile:
    return model_from_config(json.loads((DATA / "vllm_reference_configs" / f"{name}.json").read_text()), name)


def _layout(row: dict[str, Any]) -> Layout:
    return Layout(
        gpu="h100-sxm",
        tensor_parallel_size=row["tensor_parallel_size"],
        pipeline_parallel_size=row["pipeline_parallel_size"],
        expert_parallel=row["expert_parallel"],
        adapters=Adapters(
            max_loras=row["max_loras"],
            max_lora_rank=row["max_lora_rank"],
            max_cpu_loras=row.get("max_cpu_loras", row["max_loras"]),
            fully_sharded_loras=row.get("fully_sharded_loras", False),
            lora_target_modules=tuple(row.get("lora_target_modules", ())),
            enable_moe_shared_loras=row.get("enable_moe_shared_loras", False),
            enable_mixed_moe_lora_format=row.get("enable_mixed_moe_lora_format", False),
        ),
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['id']}-{row['config']}")
def test_slots_equal_vllm(row: dict[str, Any]) -> None:
    model = _model(row["config"])
    native = model.native_quantization
    mxfp4 = native is not None and native.quantization == "mxfp4"
    assert list(adapter_bytes(model, _layout(row), mxfp4=mxfp4)) == row["lora_bytes"]


def test_nothing_without_adapters() -> None:
    model = _model("llama-3.1-8b")
    layout = Layout(gpu="h100-sxm", pipeline_parallel_size=2)
    assert adapter_bytes(model, layout) == (0, 0)
    assert adapter_buffer_bytes(model, layout, 8192) == 0


def test_the_host_keeps_whole_adapters_and_a_sharded_head_a_map() -> None:
    model = _model("llama-3.1-8b")
    adapters = Adapters(max_loras=2, max_lora_rank=32, max_cpu_loras=10)
    assert adapter_host_bytes(model, adapters) == 10 * 184_713_216
    layout = Layout(gpu="h100-sxm", tensor_parallel_size=2, adapters=adapters)
    assert adapter_buffer_bytes(model, layout, 8192) == 128_256 * 8 + 36 * 8192


def test_deepseek_v4_wraps_projections_and_no_tables() -> None:
    """Row B-H100-53 of vLLM 0.33: both halves of a compressor's projection, not its biases, sinks or hashed routes."""
    model = Catalog().model("deepseek-ai/DeepSeek-V4-Flash")
    adapters = Adapters(max_loras=1, max_lora_rank=16, max_cpu_loras=1)
    layout = Layout(gpu="h100-sxm", tensor_parallel_size=8, adapters=adapters)
    assert adapter_bytes(model, layout) == (4_685_146_112,)


def test_sharded_and_shared_adapters_of_experts_stored_in_three_dimensions() -> None:
    """By hand, per layer and slot of gpt-oss-20b on TP2: H 3072, I 1536 of a rank, 32 experts, r 16, rA 8."""
    model = _model("gpt-oss-20b")

    def experts(**switches: bool) -> int:
        adapters = Adapters(max_loras=1, max_lora_rank=16, lora_target_modules=("experts",), **switches)
        layout = Layout(gpu="h100-sxm", tensor_parallel_size=2, adapters=adapters)
        (found,) = adapter_bytes(model, layout, mxfp4=True)
        return found

    inside = 32 * 3 * 1536 * 16
    assert experts() == 2 * 24 * (inside + 32 * (16 * 3072 + 3072 * 16))
    assert experts(fully_sharded_loras=True) == 2 * 24 * (inside + 32 * (8 * 3072 + 1536 * 16))
    assert experts(enable_moe_shared_loras=True) == 2 * 24 * (inside + 2 * 16 * 3072 + 3072 * 16)


def test_routers_heads_and_tables_are_named_as_vllm_names_them() -> None:
    """What vLLM lists by module in rows B-H100-37 (Mixtral) and B-H100-40 (gpt-oss)."""
    for name, target, tensor, wanted in (
        ("mixtral-8x7b", "gate", 2, 8_404_992),
        ("mixtral-8x7b", "lm_head", 2, 2_310_144),
        ("mixtral-8x7b", "embed_tokens", 2, 2_310_144),
        ("gpt-oss-20b", "router", 1, 4_472_832),
        ("gpt-oss-20b", "gate", 1, 0),
        ("phi-4", "q_proj", 1, 0),
        ("nemotron-h-8b", "up_proj", 1, 39_321_600),
    ):
        adapters = Adapters(max_loras=2, max_lora_rank=16, lora_target_modules=(target,))
        layout = Layout(gpu="h100-sxm", tensor_parallel_size=tensor, adapters=adapters)
        assert adapter_bytes(_model(name), layout) == (wanted,), (name, target)
