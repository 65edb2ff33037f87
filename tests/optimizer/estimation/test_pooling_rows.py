"""Pooling and speech servers against vLLM 0.33's own rows: weights, groups, blocks, figures, defaults, refusals.

Rows: vLLM's classes on meta tensors, planned with 10 GiB of cache.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer import EstimateRequest, estimate
from vllm_opt.optimizer.estimation.resolution import resolve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()
DATA = Path(__file__).parents[2] / "data"
ROWS = [json.loads(line) for line in (DATA / "vllm_0_33_pooling.jsonl").read_text().splitlines()]
CONFIGS = json.loads((DATA / "pooling_configs.json").read_text())


def _request(row: dict[str, Any], folder: Path) -> EstimateRequest:
    """The row's request: a model that vLLM told by its config alone is a folder here."""
    asked = dict(row["ask"])
    name = str(asked["model"]).rsplit("/", 1)[-1].lower().removesuffix("-instruct")
    if name in CONFIGS:
        (folder / "config.json").write_text(json.dumps(CONFIGS[name]))
        asked["model"] = str(folder)
    return EstimateRequest(vllm_version="0.33", **asked)


@pytest.mark.parametrize("row", [row for row in ROWS if "built" in row], ids=str)
def test_a_server_is_built_as_vllm_builds_it(row: dict[str, Any], tmp_path: Path) -> None:
    request, built = _request(row, tmp_path), row["built"]
    found = estimate(request, CATALOG)
    setting = resolve(request, CATALOG)
    assert found.fits
    memory = found.memory
    assert memory.weights_bytes == built["weights_bytes"]
    assert (memory.kv_block_bytes, memory.num_gpu_blocks) == (built["kv_block_bytes"], built["num_gpu_blocks"])
    for name in ("max_num_batched_tokens", "max_num_seqs", "max_model_len", "async_scheduling"):
        assert found.request[name] == built[name], name
    assert setting.layout.enable_chunked_prefill == built["enable_chunked_prefill"]
    assert setting.layout.enable_prefix_caching == built["enable_prefix_caching"]
    assert (setting.model.runner == "pooling") == (built["runner_type"] == "pooling")
    if built["max_concurrency"] is None:
        assert memory.kv_cache_tokens == 0
        assert found.performance is not None
        return
    assert memory.max_concurrency == pytest.approx(built["max_concurrency"], rel=1e-12)
    assert memory.kv_cache_tokens == built["kv_cache_tokens"]


@pytest.mark.parametrize("row", [row for row in ROWS if "refused" in row], ids=str)
def test_what_vllm_refuses_is_refused(row: dict[str, Any], tmp_path: Path) -> None:
    request = _request(row, tmp_path)
    if request.runner == "generate":
        with pytest.raises(InvalidRequest, match="runner"):
            estimate(request, CATALOG)
        return
    found = estimate(request, CATALOG)
    assert not found.fits
    assert [violation.rule for violation in found.violations] == ["batching"]


def _whisper(**fields: object) -> Any:
    asked = {"model": "openai/whisper-large-v3", "gpu": "l40s", "vllm_version": "0.33", **fields}
    return estimate(EstimateRequest(**asked), CATALOG)


def test_a_clip_holds_what_it_takes_and_not_what_is_printed() -> None:
    """1,500 encoder tokens are 94 blocks of 16; the printed figure plans for a whole step of them."""
    found = _whisper(kv_cache_memory_bytes=10 * 2**30)
    assert found.memory.max_concurrency == pytest.approx(4096 / 156)
    assert found.memory.running_concurrency == pytest.approx(4095 / (94 + 28))


def test_an_item_is_never_cut() -> None:
    found = _whisper(max_num_batched_tokens=1024)
    assert not found.fits
    assert [violation.needed for violation in found.violations if violation.rule == "batching"] == [1500]
    assert _whisper(max_num_batched_tokens=1500).fits


def test_more_clips_at_once_wait_for_each_other() -> None:
    speeds = [_whisper(concurrency=users).performance for users in (1, 16, 64)]
    assert all(speed is not None for speed in speeds)
    assert speeds[0].ttft_ms < speeds[1].ttft_ms < speeds[2].ttft_ms
    assert speeds[0].requests_per_s < speeds[1].requests_per_s < speeds[2].requests_per_s
    assert speeds[2].requests_per_s < 64 * speeds[0].requests_per_s
