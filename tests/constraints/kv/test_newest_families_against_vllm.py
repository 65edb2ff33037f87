"""DeepSeek V4, MiniMax M3, Kimi K3 and Step 3.7 against what vLLM 0.33.0's own classes build and plan.

`newest_families.jsonl` holds one case per line: layout and flags, and weights, blocks and block sizes of vLLM, or its
refusal. `spec` names the drafts of a case and `draft_bytes` the weights of its MTP modules on the last stage.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.speculation import Speculation
from vllm_opt.constraints.kv.kv_plan import plan_kv_cache
from vllm_opt.constraints.layouts import compatibility, divisibility
from vllm_opt.constraints.memory import startup_errors
from vllm_opt.constraints.weights.breakdown import parameter_count
from vllm_opt.constraints.weights.parameter_bytes import draft_bytes, weight_bytes
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.models import load_model
from vllm_opt.profiles.configs.huggingface import model_from_config
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parents[2] / "data/newest_families.jsonl").read_text().splitlines()
]
CATALOG = Catalog()
ENGINE, _ = CATALOG.engine("0.33")
MIXER_FLAGS = {
    "mamba_ssm_cache_dtype": "ssm_dtype",
    "indexer_kv_dtype": "index_cache_dtype",
    "attention_backend": "backend",
}
"""Flags that change a mixer itself -> the field of the profile."""


@cache
def _load(model_id: str) -> ModelProfile:
    return load_model(model_id)


def _model(row: dict[str, Any]) -> ModelProfile:
    model, flags = _load(row["model"]), row["flags"]
    if flags.get("language_model_only"):
        model = model.model_copy(update={"vision": None})
    changes = {MIXER_FLAGS[name]: value for name, value in flags.items() if name in MIXER_FLAGS}
    kinds = tuple(
        kind.model_copy(
            update={
                "mixer": kind.mixer.model_copy(
                    update={name: value for name, value in changes.items() if name in type(kind.mixer).model_fields}
                )
            }
        )
        for kind in model.layer_kinds
        if kind.mixer is not None
    )
    return model.model_copy(update={"layer_kinds": kinds})


def _case(row: dict[str, Any]) -> tuple[ModelProfile, Layout, GpuProfile]:
    model, flags = _model(row), row["flags"]
    native = model.native_quantization
    layout = Layout(
        gpu=row["gpu"],
        tensor_parallel_size=row["tp"],
        pipeline_parallel_size=row["pp"],
        data_parallel_size=row["dp"],
        decode_context_parallel_size=row["dcp"],
        expert_parallel=row["ep"],
        quantization=native.quantization if native else "bf16",
        kv_cache_dtype=row["kv"],
        block_size=row["block_size"],
        async_scheduling=flags.get("async_scheduling", True),
        enable_prefix_caching=flags.get("enable_prefix_caching", True),
        disable_hybrid_kv_cache_manager=flags.get("disable_hybrid_kv_cache_manager", False),
        speculation=Speculation(**row["spec"]) if "spec" in row else None,
        nodes=8,
    )
    return model, layout, CATALOG.gpu(row["gpu"])


def _refusals(row: dict[str, Any]) -> list[str]:
    model, layout, gpu = _case(row)
    arguments = (model, CATALOG.quantization(layout.quantization), layout, ENGINE, gpu)
    found = [*divisibility.violations(*arguments)]
    if not found:
        found = [*compatibility.violations(*arguments)]
    return [violation.message for violation in found]


def _ids(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{row['id']}-{row['model']}" for row in rows]


BUILT = [row for row in ROWS if "weight_bytes" in row]


@pytest.mark.parametrize("row", BUILT, ids=_ids(BUILT))
def test_weights_of_every_stage_equal_vllm(row: dict[str, Any]) -> None:
    model, layout, gpu = _case(row)
    assert list(weight_bytes(model, CATALOG.quantization(layout.quantization), layout, gpu)) == row["weight_bytes"]


DRAFTED = [row for row in ROWS if "draft_bytes" in row]


@pytest.mark.parametrize("row", DRAFTED, ids=_ids(DRAFTED))
def test_the_modules_that_predict_ahead_equal_vllm(row: dict[str, Any]) -> None:
    model, layout, gpu = _case(row)
    assert draft_bytes(model, CATALOG.quantization(layout.quantization), layout, gpu)[-1] == row["draft_bytes"]


PLANNED = [row for row in ROWS if "blocks_per_request" in row]


@pytest.mark.parametrize("row", PLANNED, ids=_ids(PLANNED))
def test_the_cache_is_planned_as_vllm_plans_it(row: dict[str, Any]) -> None:
    assert _refusals(row) == []
    model, layout, gpu = _case(row)
    plan, tokens, length = (
        plan_kv_cache(model, layout, ENGINE, gpu),
        row["max_num_batched_tokens"],
        row["max_model_len"],
    )
    assert plan.block_size == row["resolved_block_size"]
    assert list(plan.block_bytes) == row["bytes_per_block"]
    assert plan.blocks_per_request(length, tokens) == row["blocks_per_request"]
    blocks = plan.num_gpu_blocks(row["available_bytes"])
    if "short" in row:
        available = tuple(row["available_bytes"] for _ in plan.block_bytes)
        assert startup_errors.kv_cache_refusal(plan, available, length, tokens).startswith(row["short"])
        return
    assert blocks == row["blocks"]
    assert plan.startup_blocks(length, tokens) <= blocks


FITTED = [row for row in ROWS if "fitted_length" in row]


@pytest.mark.parametrize("row", FITTED, ids=_ids(FITTED))
def test_the_longest_context_that_fits_is_the_one_vllm_takes(row: dict[str, Any]) -> None:
    model, layout, gpu = _case(row)
    plan, tokens = plan_kv_cache(model, layout, ENGINE, gpu), row["max_num_batched_tokens"]
    blocks = plan.num_gpu_blocks(row["available_bytes"])
    assert (plan.block_size, list(plan.block_bytes), blocks) == (
        row["resolved_block_size"],
        row["bytes_per_block"],
        row["blocks"],
    )
    assert plan.blocks_per_request(model.max_model_len, tokens) == row["blocks_before_fit"]
    assert plan.max_supported_model_len(blocks, tokens, model.max_model_len) == row["fitted_length"]


REFUSED = [row for row in ROWS if "refused" in row and row["model"]]


@pytest.mark.parametrize("row", REFUSED, ids=_ids(REFUSED))
def test_refused_with_vllm_reason(row: dict[str, Any]) -> None:
    reason = row["refused"].split("Error: ")[-1]
    assert any(reason in message for message in _refusals(row)), _refusals(row)


UNREADABLE = [row for row in ROWS if row["model"] is None]


@pytest.mark.parametrize("row", UNREADABLE, ids=[row["id"] for row in UNREADABLE])
def test_a_config_that_vllm_refuses_is_refused(row: dict[str, Any]) -> None:
    architecture, model_type = row["config"]
    with pytest.raises(VllmOptError, match=r"refuses|recognize|loads"):
        model_from_config({"architectures": [architecture], "model_type": model_type}, "m")


def test_rows_of_every_outcome_are_present() -> None:
    assert (len(ROWS), len(BUILT), len(REFUSED), len(UNREADABLE)) == (155, 136, 17, 3)
    planned = {row["id"] for row in (*PLANNED, *FITTED, *REFUSED, *UNREADABLE)}
    only_built = {row["id"] for row in BUILT} - planned
    assert (len(PLANNED), len(FITTED), len(DRAFTED), len(only_built)) == (121, 2, 15, 12)
    assert all(name.startswith("W-") for name in only_built)


@pytest.mark.parametrize(
    ("model_id", "billions"),
    [
        ("deepseek-ai/DeepSeek-V4-Flash", 284.3),
        ("deepseek-ai/DeepSeek-V4-Pro", 1573.0),
        ("MiniMaxAI/MiniMax-M3", 427.0),
        ("moonshotai/Kimi-K3", 2779.9),
        ("stepfun-ai/Step-3.7-Flash", 198.9),
    ],
)
def test_logical_parameters(model_id: str, billions: float) -> None:
    assert round(parameter_count(load_model(model_id)) / 1e9, 1) == billions
