"""Gemma 4 without encoders, and the thinker of Qwen3-Omni."""

import pytest

from vllm_opt.optimizer import EstimateRequest, estimate
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()


def test_gemma_4_12b_equals_the_hub_to_the_element() -> None:
    """11,959,730,224 on the Hub; vLLM stores the shared keys of eight global layers as values too."""
    found = estimate(EstimateRequest(model="google/gemma-4-12B-it", gpu="h100-sxm", vllm_version="0.26.0"))
    shared_keys = 8 * 3840 * 512
    assert found.memory.weights_bytes == 2 * (11_959_730_224 + shared_keys)


def test_gemma_4_12b_asks_for_the_published_cache() -> None:
    """A public 0.26.0 log: 7.32 GiB at 131,200 tokens with 8,192 per step, refused."""
    request = EstimateRequest(
        model="google/gemma-4-12B-it", gpu="rtx-5090", vllm_version="0.26.0", max_model_len=131_200,
        gpu_memory_utilization=0.9, max_num_batched_tokens=8192,
    )  # fmt: skip
    found = estimate(request)
    assert not found.fits
    assert "7.32 GiB KV cache is needed" in found.violations[0].message
    assert found.memory.kv_cache_bytes / 2**30 == pytest.approx(4.9, rel=0.15)


def test_vllm_serves_the_thinker_alone() -> None:
    """A public log asks for 6.0 GiB at 65,536 tokens: 48 layers, 4 KV heads of 128."""
    model = CATALOG.model("Qwen/Qwen3-Omni-30B-A3B-Instruct")
    assert model.num_hidden_layers == 48
    assert model.vision is not None
    assert model.vision.max_encoder_tokens == 16_384
    found = estimate(EstimateRequest(model=model.id, gpu="h100-sxm", max_model_len=65_536))
    assert found.memory.kv_bytes_per_token * 65_536 == 6 * 2**30
    tower = 27 * (4 * 1152**2 + 2 * 1152 * 4304)
    audio = 32 * (4 * 1280**2 + 2 * 1280 * 5120)
    assert tower + audio < model.vision.parameters < 1.35 * (tower + audio)
