"""KV blocks of live requests against vLLM 0.33.0's own `KVCacheManager`, to the block.

Each line of `vllm_0_33_live_blocks.jsonl` is one request driven through vLLM's manager with its scheduler's arguments:
the blocks planned at start-up, held at the peak of the prefill, and held at most while decoding, per KV group.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vllm_opt.profiles
from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.kv.groups import CacheLayer, DecodeStep
from vllm_opt.constraints.kv.kv_plan import KvPlan, plan_kv_cache
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.huggingface import model_from_config

DATA = Path(__file__).parents[2] / "data"
CATALOGUE = Path(vllm_opt.profiles.__path__[0]) / "data" / "models"
CATALOG = Catalog()
ENGINE, _ = CATALOG.engine("0.33")
ROWS = [json.loads(line) for line in (DATA / "vllm_0_33_live_blocks.jsonl").read_text().splitlines()]
CONFIGS = {path.stem: path for path in (DATA / "vllm_reference_configs").glob("*.json")}
KNOWN = [row for row in ROWS if row["config"] in CONFIGS and not row["speculative_method"]]


def _id(row: dict[str, Any]) -> str:
    return f"{row['id']}-{row['config']}"


def _step(row: dict[str, Any]) -> DecodeStep:
    return DecodeStep(row["num_speculative_tokens"], row["lookahead"], 1 if row["async_scheduling"] else 0)


def _layer(group: dict[str, Any]) -> CacheLayer:
    states = group["planned"] if group["kind"] == "state" else 0
    return CacheLayer(group["kind"], group["block_size"], 1, window_tokens=group["window_tokens"], state_pages=states)


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_decoding_requests_hold_what_vllm_holds(row: dict[str, Any]) -> None:
    length = row["prompt"] + row["output"]
    held = [_layer(group).pages_while_decoding(length, _step(row), 1) for group in row["groups"]]
    assert held == [group["decoding"] for group in row["groups"]]
    assert (row["num_gpu_blocks"] - 1) // sum(held) == row["requests_decoding_at_once"]


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_the_gate_wants_what_a_prefill_holds_and_no_more_than_start_up_plans(row: dict[str, Any]) -> None:
    in_flight = row["max_num_batched_tokens"] * (2 if row["async_scheduling"] else 1)
    for group in row["groups"]:
        wanted = _layer(group).pages_at_admission(row["prompt"], in_flight, _step(row), 1)
        # A window's cap allows for any start inside a page; chunks of whole pages start at a boundary.
        capped = wanted < -(-row["prompt"] // group["block_size"])
        spare = 1 if capped and group["window_tokens"] is not None else 0
        assert group["peak_prefill"] <= wanted <= group["peak_prefill"] + spare
        assert wanted <= group["planned"] or group["kind"] in ("full", "latent")


def _plan(row: dict[str, Any]) -> KvPlan:
    config = json.loads(CONFIGS[row["config"]].read_text())
    model = model_from_config(config, row["config"])
    native = model.native_quantization
    layout = Layout(
        gpu="h100-sxm",
        tensor_parallel_size=row["tensor_parallel_size"],
        quantization=native.quantization if native else "bf16",
        async_scheduling=row["async_scheduling"],
        enable_prefix_caching=row["enable_prefix_caching"],
    )
    return plan_kv_cache(model, layout, ENGINE, CATALOG.gpu("h100-sxm"))


@pytest.mark.parametrize("row", KNOWN, ids=_id)
def test_a_whole_plan_gives_the_three_numbers(row: dict[str, Any]) -> None:
    plan = _plan(row)
    blocks = plan.num_gpu_blocks(int(row["available_gib"] * 2**30))
    length, tokens = row["prompt"] + row["output"], row["max_num_batched_tokens"]
    assert blocks == row["num_gpu_blocks"]
    assert plan.max_concurrency(blocks, row["max_model_len"], tokens) == row["printed_max_concurrency"]
    assert int(plan.running_concurrency(blocks, length)) == row["requests_decoding_at_once"]
    peak = sum(group["peak_prefill"] for group in row["groups"])
    assert plan.admission_blocks(row["prompt"], tokens) >= peak


def test_windows_print_far_fewer_than_they_run() -> None:
    row = next(row for row in KNOWN if row["id"] == "S-14")
    plan = _plan(row)
    assert round(plan.max_concurrency(72817, 131072, 8192), 2) == 7.89
    assert plan.running_blocks_per_request(8064) == 9 + 504
    # The gate: a prompt of 8,064 tokens wants 504 + 504 blocks, of which 495 are given back once it decodes.
    assert plan.admission_blocks(8064, 8192) == 1008
    assert plan.sequence_blocks(8064, 8192).needed(3) == 1 + 495 + 3 * 513


def test_without_windows_all_three_agree_but_for_the_null_block() -> None:
    row = next(row for row in KNOWN if row["id"] == "S-21")
    plan = _plan(row)
    assert plan.max_concurrency(10240, 16384, 8192) == 10.0
    assert plan.running_concurrency(10241, 16384) == plan.admission_concurrency(10241, 16384, 8192) == 10.0
    assert int(plan.running_concurrency(10240, 16384)) == 9


@pytest.mark.parametrize("version", ["0.33", "0.26", "0.19", "0.11"])
def test_older_releases_free_windows_by_what_they_scheduled(version: str) -> None:
    row = next(row for row in KNOWN if row["id"] == "S-14")
    model = model_from_config(json.loads(CONFIGS["gpt-oss-120b"].read_text()), "gpt-oss-120b")
    engine, _ = CATALOG.engine(version)
    layout = Layout(
        gpu="h100-sxm", tensor_parallel_size=2, quantization="mxfp4", async_scheduling=engine.async_scheduling_default
    )
    plan = plan_kv_cache(model, layout, engine, CATALOG.gpu("h100-sxm"))
    assert row["groups"][0]["decoding"] == 9
    assert plan.step.in_flight_steps == (1 if engine.sliding_window_in_flight == "concurrent_batches" else 0)
    assert plan.running_blocks_per_request(8064) == 9 + 504


@given(
    st.integers(1, 200_000), st.integers(1, 5000), st.sampled_from((4, 8, 16, 64, 256)), st.integers(0, 4),
    st.integers(1, 16), st.booleans(),
)  # fmt: skip
def test_running_never_holds_more_than_a_whole_sequence_and_arrays_agree(
    context: int, window: int, block: int, drafts: int, cp: int, in_flight: bool
) -> None:
    step = DecodeStep(drafts, drafts, int(in_flight))
    full = CacheLayer("full", block, 1)
    windowed = CacheLayer("sliding_window", block, 1, window_tokens=window)
    assert 1 <= windowed.pages_while_decoding(context, step, cp) <= full.pages_while_decoding(context, step, cp)
    assert windowed.pages_at_admission(context, 8192, step, cp) <= full.pages_at_admission(context, 8192, step, cp)
    contexts = np.array([context, context + 1, 2 * context])
    for layer in (full, windowed):
        each = layer.pages_while_decoding(contexts, step, cp)  # type: ignore[arg-type]
        assert list(each) == [layer.pages_while_decoding(int(value), step, cp) for value in contexts]  # type: ignore[call-overload]
