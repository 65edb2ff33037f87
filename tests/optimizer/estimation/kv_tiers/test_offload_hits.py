"""Hits in the KV offload tier in seconds: loaded over the host link instead of computed."""

from typing import Any

import pytest

from vllm_opt.constraints.speed.host_link import load_seconds
from vllm_opt.optimizer import Estimate, EstimateRequest, estimate
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()


def _run(**more: Any) -> Estimate:
    asked = {
        "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "h100-sxm", "kv_offloading_size": 64, "concurrency": 1,
        "input_tokens": 8000, "output_tokens": 300, **more,
    }  # fmt: skip
    return estimate(EstimateRequest(**asked), CATALOG)


def test_loading_is_bytes_over_the_link() -> None:
    """131,072 bytes per token of Llama 8B; 80 % of PCIe 5's 64 GB/s on an H100, of PCIe 4's 32 on an L4."""
    assert load_seconds(CATALOG.gpu("h100-sxm"), 8000, 131_072) == pytest.approx(8000 * 131_072 / 51.2e9)
    assert load_seconds(CATALOG.gpu("l4"), 8000, 131_072) == pytest.approx(8000 * 131_072 / 25.6e9)
    assert load_seconds(CATALOG.gpu("gb10"), 8000, 131_072) is None, "its memory is the host's"


def test_a_hit_costs_its_load_and_saves_its_prefill() -> None:
    missed, hit = _run().performance, _run(offload_hit_share=0.8).performance
    cached = _run(prefix_hit_share=0.8).performance
    assert missed is not None
    assert hit is not None
    assert cached is not None
    loaded_ms = 1e3 * 0.8 * 8000 * 131_072 / 51.2e9
    assert hit.ttft_ms == pytest.approx(cached.ttft_ms + loaded_ms)
    assert hit.tpot_ms == cached.tpot_ms
    assert cached.ttft_ms < hit.ttft_ms < missed.ttft_ms


def test_ranks_load_their_own_part() -> None:
    one, two = _run(offload_hit_share=0.5).performance, _run(offload_hit_share=0.5, tensor_parallel_size=2).performance
    plain = _run(prefix_hit_share=0.5, tensor_parallel_size=2).performance
    assert one is not None
    assert two is not None
    assert plain is not None
    assert two.ttft_ms - plain.ttft_ms == pytest.approx(1e3 * 0.5 * 8000 * 65_536 / 51.2e9)


def test_the_answer_prices_a_hit() -> None:
    notes = " ".join(_run().notes)
    assert "a hit of 8,000 prompt tokens in the tier loads 0.98 GiB per GPU in 20.5 ms, at 51 GB/s" in notes
    assert "computing them takes" in notes
    assert "hit" not in " ".join(_run(kv_offloading_size=None).notes)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kv_offloading_size": None, "offload_hit_share": 0.5}, "no KV offload tier"),
        ({"enable_prefix_caching": False, "offload_hit_share": 0.5}, "without prefix caching"),
        ({"prefix_hit_share": 0.6, "offload_hit_share": 0.5}, "below 1"),
        ({"offload_hit_share": 1.0}, "offload_hit_share"),
        ({"offload_hit_share": float("nan")}, "offload_hit_share"),
        ({"offload_hit_share": 0.5, "gpu": "gaudi3"}, "not known"),
    ],
)
def test_bad_input_is_one_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        _run(**fields)
