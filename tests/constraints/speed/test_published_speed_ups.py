"""Drafts and adapters against published comparisons: nine sources, each row with its address."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer import EstimateRequest, estimate
from vllm_opt.optimizer.contract.answer import Performance
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
DATA = Path(__file__).parents[2] / "data" / "draft_speed_ups.jsonl"
ROWS = [json.loads(line) for line in DATA.read_text().splitlines()]
ASKED = ("model", "gpu", "tensor_parallel_size", "vllm_version", "quantization")
WITHIN = 0.25


def _performance(row: dict[str, Any], **fields: object) -> Performance:
    asked = {name: row[name] for name in ASKED if name in row}
    asked |= {"input_tokens": 128, "output_tokens": 512, "max_model_len": 4096, "concurrency": row["users"]}
    found = estimate(EstimateRequest(**asked, **fields), CATALOG).performance
    assert found is not None
    return found


def _acceptance(length: float, drafted: int) -> float:
    """The constant rate with this mean acceptance length, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        shorter = sum(middle**power for power in range(drafted + 1)) < length
        low, high = (middle, high) if shorter else (low, middle)
    return low


def _error(row: dict[str, Any]) -> float:
    drafted = row["num_speculative_tokens"]
    config = json.dumps({"method": row["method"], "num_speculative_tokens": drafted})
    rate = _acceptance(row["acceptance_length"], drafted)
    plain, faster = _performance(row), _performance(row, speculative_config=config, acceptance=rate)
    assert plain.tpot_ms is not None
    assert faster.tpot_ms is not None
    return plain.tpot_ms / faster.tpot_ms / float(row["speed_up"]) - 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_published_speed_ups_of_drafts(row: dict[str, Any]) -> None:
    """Within a quarter, or known to miss: an integrated GPU, and a first day's build that waits for launches."""
    assert row["source"].startswith("https://")
    assert (abs(_error(row)) <= WITHIN) != row.get("misses", False)


def test_ten_and_more_are_met() -> None:
    met = [row for row in ROWS if not row.get("misses")]
    assert len(met) >= 20
    assert len({row["source"] for row in met}) >= 7


def _adapted(version: str) -> float:
    """Throughput with adapters over that without: Llama 2 7B on an A100, ShareGPT's lengths, many at once."""
    asked = {
        "model": "meta-llama/Llama-2-7b-hf", "gpu": "a100-sxm4-80gb", "vllm_version": version,
        "input_tokens": 246, "output_tokens": 235, "concurrency": 256,
    }  # fmt: skip
    speeds = [
        estimate(EstimateRequest(**asked, enable_lora=on, max_lora_rank=8), CATALOG).performance for on in (False, True)
    ]
    assert speeds[0] is not None
    assert speeds[1] is not None
    return speeds[1].output_tokens_per_s / speeds[0].output_tokens_per_s


def test_adapters_slow_down_as_published() -> None:
    """7.60 of 11.45 requests/s: github.com/vllm-project/vllm/pull/11267."""
    assert _adapted("0.6.6") == pytest.approx(7.60 / 11.45, rel=0.25)


def test_the_rewritten_kernels_cost_less() -> None:
    """8 to 24 %: github.com/vllm-project/vllm/pull/15655."""
    assert _adapted("0.6.6") < _adapted("0.33")
    assert 0.76 <= _adapted("0.33") <= 0.97
