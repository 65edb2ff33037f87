"""The encoder's token budget against vLLM 0.33's own `MultiModalBudget`, and its peak by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.memory.activations import activation_peak
from vllm_opt.constraints.memory.encoder_peak import EncoderPeak, encoder_peak, longest_video, media_items
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.model import VisionTower

CATALOG = Catalog()
ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data" / "vllm_0_33_encoder_budgets.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_budget_and_items_equal_vllm(row: dict[str, Any]) -> None:
    sizes, limits, length = row["max_tokens_per_item"], row["limit_per_prompt"], row["max_model_len"]
    name = max(sizes, key=lambda modality: (sizes[modality], modality))
    assert name == row["profiled_modality"]
    item = sizes[name]
    peak = EncoderPeak(item, max(1, min(limits[name], length // item)), 1, row["enable_chunked_prefill"])
    tokens, sequences = row["max_num_batched_tokens"], row["max_num_seqs"]
    assert peak.budget_tokens(tokens) == row["encoder_compute_budget"] == row["encoder_cache_size"]
    assert [peak.items_per_prompt, peak.items(tokens, sequences)] == row["items"]
    assert peak.bytes(tokens, sequences) == row["items"][1] * item


def test_the_largest_modality_that_is_on_is_profiled() -> None:
    tower = CATALOG.model("Qwen/Qwen2.5-VL-7B-Instruct").vision
    assert tower is not None
    assert (longest_video(tower, 32768), longest_video(tower, 128000)) == (32768, 114688)
    items = media_items(tower, 32768, {})
    assert items is not None
    assert (items.item_tokens, items.items_per_prompt) == (32768, 1)
    items = media_items(tower, 32768, {"video": 0, "image": 1})
    assert items is not None
    assert (items.item_tokens, items.items_per_prompt) == (16384, 1)
    assert media_items(tower, 32768, {"video": 0, "image": 0}) is None
    assert media_items(None, 32768, {}) is None
    assert media_items(VisionTower(parameters=1), 32768, {}) is None


def test_the_towers_of_qwen_and_gemma_by_hand() -> None:
    """65,536 patches of six widths of 1,152 and two of 4,304 in 16 bits, and 16,384 tokens of 6 KiB of pixels."""
    model = CATALOG.model("Qwen/Qwen3.5-9B")
    layout = Layout(gpu="h100-sxm", media=media_items(model.vision, 32768, {}))
    peak = encoder_peak(model, layout)
    assert peak is not None
    pixels = 16384 * 2 * 3 * 32 * 32 * 2
    assert peak.bytes(2048, 8) == 65536 * 2 * (6 * 1152 + 2 * 4304) + pixels
    halved = encoder_peak(model, layout.model_copy(update={"tensor_parallel_size": 2}))
    assert halved is not None
    assert halved.bytes(2048, 8) == 65536 * 2 * (6 * 1152 + 4304) + pixels
    gemma = CATALOG.model("google/gemma-3-27b-it")
    peak = encoder_peak(gemma, Layout(gpu="b200", media=media_items(gemma.vision, 32768, {})))
    assert peak is not None
    assert peak.items(16384, 1024) == 64
    assert peak.bytes(16384, 1024) == 64 * 4096 * 2 * (6 * 1152 + 2 * 4304) + 64 * 2 * 3 * 896**2


def test_the_encoder_is_a_floor_of_the_first_stage_only() -> None:
    model = CATALOG.model("Qwen/Qwen3.5-9B")
    engine, gpu, bf16 = CATALOG.engine("0.33")[0], CATALOG.gpu("h100-sxm"), CATALOG.quantization("bf16")
    layout = Layout(gpu=gpu.id, pipeline_parallel_size=2, media=media_items(model.vision, 32768, {}))
    with_images = activation_peak(model, bf16, layout, engine, gpu)
    text = activation_peak(model, bf16, layout.model_copy(update={"media": None}), engine, gpu)
    assert with_images.encoder is not None
    few = with_images.bytes(2048, 8), text.bytes(2048, 8)
    assert few[0][0] == with_images.encoder.bytes(2048, 8) > few[1][0]
    assert few[0][1] == few[1][1]
    many = with_images.bytes(32768, 1024), text.bytes(32768, 1024)
    assert many[0] == many[1]
