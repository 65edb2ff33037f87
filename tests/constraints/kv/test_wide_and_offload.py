"""Wide expert parallelism, EPLB, KV offload and HiSparse against vLLM 0.33.0's own construction and planning."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import vllm_opt.profiles
from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.speculation import Speculation
from vllm_opt.constraints.decisions.violation import LayoutRefused
from vllm_opt.constraints.kv.kv_plan import KvPlan, plan_kv_cache
from vllm_opt.constraints.kv.offload import offload_tier
from vllm_opt.constraints.weights.parameter_bytes import draft_bytes, weight_bytes
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.huggingface import model_from_config
from vllm_opt.profiles.nouns.model import ModelProfile

DATA = Path(__file__).parents[2] / "data"
MODELS = Path(vllm_opt.profiles.__path__[0]) / "data" / "models"
CATALOG = Catalog()
ENGINE, _ = CATALOG.engine("0.33")
H100 = CATALOG.gpu("h100-sxm")
ROWS = [json.loads(line) for line in (DATA / "vllm_0_33_wide.jsonl").read_text().splitlines()]


@cache
def _model(name: str) -> ModelProfile:
    if "--" in name:
        config = json.loads((MODELS / f"{name}.json").read_text())["config"]
    else:
        config = json.loads((DATA / "vllm_reference_configs" / f"{name}.json").read_text())
    return model_from_config(config, name)


def _layout(row: dict[str, Any]) -> Layout:
    native = _model(row["config"]).native_quantization
    drafts = row["speculative_config"]
    connector = row["kv_transfer_config"] or {}
    sparse = connector.get("kv_connector") == "HiSparseConnector"
    return Layout(
        gpu="h100-sxm",
        tensor_parallel_size=row["tensor_parallel_size"],
        pipeline_parallel_size=row["pipeline_parallel_size"],
        data_parallel_size=row["data_parallel_size"],
        expert_parallel=row["expert_parallel"],
        quantization=native.quantization if native else "bf16",
        kv_cache_dtype=row["kv_cache_dtype"],
        num_redundant_experts=row["num_redundant_experts"],
        speculation=Speculation(**drafts) if drafts else None,
        sparse_host_gib=connector["kv_connector_extra_config"]["host_pool_gib"] if sparse else None,
        nodes=-(-row["tensor_parallel_size"] * row["pipeline_parallel_size"] // 8),
    )


def _plan(row: dict[str, Any]) -> KvPlan:
    return plan_kv_cache(_model(row["config"]), _layout(row), ENGINE, H100)


def _id(row: dict[str, Any]) -> str:
    return f"{row['id']}-{row['config']}"


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_weights_and_drafts_equal_vllm(row: dict[str, Any]) -> None:
    model, layout = _model(row["config"]), _layout(row)
    quantization = CATALOG.quantization(layout.quantization)
    assert list(weight_bytes(model, quantization, layout, H100)) == row["param_bytes"]
    assert list(draft_bytes(model, quantization, layout, H100)) == row["draft_bytes"]


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_the_pool_equals_vllm(row: dict[str, Any]) -> None:
    plan = _plan(row)
    blocks = plan.num_gpu_blocks(int(row["available_gib"] * 2**30))
    assert sorted(set(plan.block_bytes)) == row["bytes_per_block"]
    assert blocks == row["num_gpu_blocks"]
    assert plan.max_concurrency(blocks, row["max_model_len"], row["max_num_batched_tokens"]) == row["max_concurrency"]


@pytest.mark.parametrize("row", [row for row in ROWS if row["kv_offload"]], ids=_id)
def test_chunks_of_the_offload_tier_equal_vllm(row: dict[str, Any]) -> None:
    asked = row["kv_offload"]
    size = (
        row["kv_offloading_size"] or row["kv_transfer_config"]["kv_connector_extra_config"]["cpu_bytes_to_use"] / 2**30
    )
    tier = offload_tier(_plan(row), _layout(row), size, asked["blocks_per_chunk"])
    assert (tier.chunk_bytes, tier.num_chunks) == (asked["kv_bytes_per_chunk"], asked["num_chunks"])


def test_prefix_tokens_of_the_tier_by_hand() -> None:
    plain = next(row for row in ROWS if row["id"] == "F-H100-34")
    assert offload_tier(_plan(plain), _layout(plain), 64).prefix_tokens == 32768 * 16
    windows = next(row for row in ROWS if row["id"] == "F-H100-42")
    # Seven groups of blocks of 16 tokens: each takes a chunk of its own.
    assert offload_tier(_plan(windows), _layout(windows), 64).prefix_tokens == 52428 * 16 // 7


@pytest.mark.parametrize("row", [row for row in ROWS if row["hisparse"]], ids=_id)
def test_hisparse_raises_running_capacity_as_vllm_says(row: dict[str, Any]) -> None:
    plan, length, tokens = _plan(row), row["max_model_len"], row["max_num_batched_tokens"]
    assert plan.host_blocks == row["hisparse"]["host_num_blocks"]
    blocks = row["num_gpu_blocks"]
    admission, steady = plan.admission_blocks(length, tokens), plan.running_blocks_per_request(length)
    assert 1 + (blocks - admission) / steady == pytest.approx(row["hisparse"]["steady_state_concurrency"])
    assert plan.sequence_blocks(length, tokens).sequences(blocks) == int(row["hisparse"]["steady_state_concurrency"])


def test_hisparse_refuses_what_has_no_sparse_rows() -> None:
    layout = Layout(gpu="h100-sxm", sparse_host_gib=64)
    with pytest.raises(LayoutRefused, match="index_topk"):
        plan_kv_cache(_model("llama-3.1-8b"), layout, ENGINE, H100)
    row = next(row for row in ROWS if row["hisparse"])
    split = _layout(row).model_copy(update={"pipeline_parallel_size": 2, "nodes": 2})
    with pytest.raises(LayoutRefused, match="context parallelism"):
        plan_kv_cache(_model(row["config"]), split, ENGINE, H100)


@pytest.mark.parametrize(
    ("name", "chunk", "count"),
    [("deepseek-ai/DeepSeek-V4-Flash", 1_003_520, 273_913), ("moonshotai/Kimi-K3", 169_869_312, 1_618)],
)
def test_a_cache_that_every_rank_holds_is_kept_once(name: str, chunk: int, count: int) -> None:
    """Rows F-H100-45 and -46 of vLLM 0.33: V4's windows are replicas as its latents are, states are not."""
    model = CATALOG.model(name)
    native = model.native_quantization
    quantization = native.quantization if native else "bf16"
    layout = Layout(gpu="h100-sxm", tensor_parallel_size=8, quantization=quantization)
    tier = offload_tier(plan_kv_cache(model, layout, ENGINE, H100), layout, 256)
    assert (tier.chunk_bytes, tier.num_chunks) == (chunk, count)
