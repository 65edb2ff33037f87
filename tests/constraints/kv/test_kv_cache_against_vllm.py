"""KV-cache planning against vLLM 0.33.0's own planning code, equal to the last digit, and its refusals.

`vllm_0_33_planning.jsonl` and `vllm_0_33_planning_more.jsonl` hold one case per line: layout and flags, and what vLLM
planned or the error that it raised. Left out: cases that failed because the machine that ran them lacked a library.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import vllm_opt.profiles
from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import LayoutRefused
from vllm_opt.constraints.kv.kv_plan import KvPlan, plan_kv_cache
from vllm_opt.constraints.layouts import compatibility, divisibility
from vllm_opt.constraints.memory import startup_errors
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.huggingface import model_from_config
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile

DATA = Path(__file__).parents[2] / "data"
CATALOGUE = Path(vllm_opt.profiles.__path__[0]) / "data" / "models"
NOT_DIVISIBLE = re.compile(
    "not divisible|modulo by zero|must be divisible|must divide|not aligned|WNA16|AssertionError: *$|parallel"
)
SKUS = {"H100": "h100-sxm", "A100": "a100-sxm-80gb", "B200": "b200", "L40S": "l40s", "T4": "t4"}
CATALOG = Catalog()
ENGINE, _ = CATALOG.engine("0.33")


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


ROWS = _rows("vllm_0_33_planning.jsonl") + _rows("vllm_0_33_planning_more.jsonl")
PLANNED = [row for row in ROWS if row["status"] == "ok"]
SHORT_OF_MEMORY = [row for row in ROWS if row["status"] == "startup_error"]
REFUSED = [row for row in ROWS if row["status"] == "exception"]


def _id(row: dict[str, Any]) -> str:
    return f"{row['id']}-{row['inputs']['config']}"


@cache
def _model(name: str, quantization: str) -> ModelProfile:
    if "--" in name:
        config = json.loads((DATA.parent.parent / "profiles" / "data" / "models" / f"{name}.json").read_text())[
            "config"
        ]
    else:
        config = json.loads((DATA / "vllm_reference_configs" / f"{name}.json").read_text())
    if quantization != "native":
        config.pop("quantization_config", None)
        config["quantization_config"] = json.loads((DATA / "quantization_configs.json").read_text())[quantization]
    return model_from_config(config, name)


def _case(row: dict[str, Any]) -> tuple[ModelProfile, Layout, GpuProfile]:
    given = row["inputs"]
    model = _model(given["config"], given["quant"] or "native")
    gpu = CATALOG.gpu(SKUS[given["gpu"]])
    flags = given["extra"]
    native = model.native_quantization
    ranks = given["tp"] * given["pp"]
    layout = Layout(
        gpu=gpu.id,
        tensor_parallel_size=given["tp"],
        pipeline_parallel_size=given["pp"],
        decode_context_parallel_size=given["dcp"],
        expert_parallel=given["expert_parallel"],
        quantization=native.quantization if native else "bf16",
        kv_cache_dtype=given["kv_cache_dtype"],
        block_size=given["block_size"],
        async_scheduling=flags.get("async_scheduling", True),
        enable_prefix_caching=flags.get("enable_prefix_caching", True),
        disable_hybrid_kv_cache_manager=flags.get("disable_hybrid_kv_cache_manager", False),
        nodes=-(-ranks // gpu.gpus_per_node),
    )
    return model, layout, gpu


def _refusals(row: dict[str, Any]) -> list[str]:
    """The names of the rules that refuse the row before any memory is counted."""
    model, layout, gpu = _case(row)
    quantization = CATALOG.quantization(layout.quantization)
    arguments = (model, quantization, layout, ENGINE, gpu)
    found = [*divisibility.violations(*arguments), *compatibility.violations(*arguments)]
    rules = [violation.rule for violation in found]
    asked = row["inputs"]["max_model_len"]
    if asked and asked > model.max_model_len:
        rules.append("context_length")
    return rules


def _blocks(row: dict[str, Any], plan: KvPlan) -> int:
    return row["inputs"]["extra"].get("num_gpu_blocks_override") or plan.num_gpu_blocks(_available(row))


def _available(row: dict[str, Any]) -> int:
    return int(row["inputs"]["available_gib"] * 2**30)


def _planned_length(row: dict[str, Any], model: ModelProfile, plan: KvPlan, tokens: int) -> int:
    asked = row["inputs"]["max_model_len"]
    derived = model.default_max_model_len or model.max_model_len
    if asked == -1:
        return plan.max_supported_model_len(_blocks(row, plan), tokens, derived)
    return int(asked or derived)


@pytest.mark.parametrize("row", PLANNED, ids=_id)
def test_plan_equals_vllm(row: dict[str, Any]) -> None:
    assert _refusals(row) == []
    model, layout, gpu = _case(row)
    plan, expected = plan_kv_cache(model, layout, ENGINE, gpu), row["outputs"]
    tokens = expected["max_num_batched_tokens"]
    blocks, length = _blocks(row, plan), _planned_length(row, model, plan, tokens)
    # vLLM reports the groups' blocks at the length before auto-fit shortened it.
    in_flight = plan.in_flight_tokens(tokens)
    dcp = layout.decode_context_parallel_size
    groups = [
        (group.num_layers, group.layer.pages_per_request(expected["max_model_len_in"], in_flight, dcp))
        for group in plan.groups
    ]
    assert {
        "block_size_resolved": plan.block_size,
        "bytes_per_block": list(plan.block_bytes),
        "groups": sorted(groups),
        "num_gpu_blocks": blocks,
        "max_model_len": length,
        "kv_cache_size_tokens": plan.printed_tokens(blocks, length, tokens),
        "max_concurrency": plan.max_concurrency(blocks, length, tokens),
    } == {
        "block_size_resolved": expected["block_size_resolved"],
        "bytes_per_block": expected["bytes_per_block"][:: row["inputs"]["tp"]],
        "groups": sorted((group["layers"], group["blocks_per_request"]) for group in expected["groups"]),
        "num_gpu_blocks": expected["num_gpu_blocks"],
        "max_model_len": expected["max_model_len"],
        "kv_cache_size_tokens": expected["kv_cache_size_tokens"],
        "max_concurrency": expected["max_concurrency"],
    }
    assert plan.startup_blocks(length, tokens) <= blocks


@pytest.mark.parametrize("row", SHORT_OF_MEMORY, ids=_id)
def test_short_memory_refused_with_vllm_text(row: dict[str, Any]) -> None:
    model, layout, gpu = _case(row)
    plan, error = plan_kv_cache(model, layout, ENGINE, gpu), row["outputs"]["error"]
    tokens = row["outputs"]["max_num_batched_tokens"]
    blocks, length = _blocks(row, plan), _planned_length(row, model, plan, tokens)
    if row["inputs"]["max_model_len"] == -1:
        assert length == 0
        assert error == startup_errors.auto_fit_failed()
        return
    assert plan.startup_blocks(length, tokens) > blocks
    override = row["inputs"]["extra"].get("num_gpu_blocks_override")
    available = tuple(override * block if override else _available(row) for block in plan.block_bytes)
    assert error == startup_errors.kv_cache_refusal(plan, available, length, tokens)


WITHOUT_FLASHINFER = re.compile(r"compute capability 8\.[0-8]\); native FP8")
"""The oracle ran without FlashInfer, which a real installation tries before Triton and which reads fp8 on Ampere."""


def test_a_real_installation_serves_fp8_on_ampere_with_flashinfer() -> None:
    rows = [row for row in REFUSED if WITHOUT_FLASHINFER.search(row["exception"])]
    plain = [row for row in rows if row["inputs"]["config"] == "llama-3.1-8b"]
    assert plain
    assert all("compatibility" not in _refusals(row) for row in plain)


@pytest.mark.parametrize("row", [row for row in REFUSED if not WITHOUT_FLASHINFER.search(row["exception"])], ids=_id)
def test_refused_before_memory_is_counted(row: dict[str, Any]) -> None:
    rules = _refusals(row)
    text = row["exception"]
    if "greater than the derived max_model_len" in text:
        assert "context_length" in rules
    elif re.search(
        r"not divisible|modulo by zero|must be divisible|must divide|not aligned|WNA16|AssertionError: *$|parallel",
        text,
    ):
        assert "divisibility" in rules
    else:
        assert "compatibility" in rules


def test_rows_of_every_outcome_are_present() -> None:
    assert len(PLANNED) > 300
    assert len(SHORT_OF_MEMORY) > 50
    assert len(REFUSED) > 100


def test_plan_refuses_what_no_backend_reads() -> None:
    row = next(row for row in REFUSED if "nvfp4" in row["inputs"]["kv_cache_dtype"] and row["inputs"]["gpu"] == "H100")
    model, layout, gpu = _case(row)
    with pytest.raises(LayoutRefused, match="No valid attention backend found for cuda"):
        plan_kv_cache(model, layout, ENGINE, gpu)
