"""`--runner pooling` on decoders: no head, piecewise graphs, one prompt and no answer; vLLM 0.33's own numbers."""

import json
from pathlib import Path

import pytest

from vllm_opt.optimizer import Estimate, EstimateRequest, estimate
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
CONFIGS = json.loads((Path(__file__).parents[2] / "data" / "pooling_configs.json").read_text())


def _run(folder: Path, name: str, **fields: object) -> Estimate:
    (folder / "config.json").write_text(json.dumps(CONFIGS[name]))
    asked = {"model": str(folder), "gpu": "h100", "vllm_version": "0.33", "runner": "pooling", **fields}
    return estimate(EstimateRequest(**asked), CATALOG)


@pytest.mark.parametrize(
    ("name", "fields", "weights", "blocks", "tokens"),
    [
        ("qwen3-embedding-0.6b", {}, 1_191_575_552, 5851, 8192),
        ("qwen3-embedding-8b", {}, 15_134_713_856, 4551, 8192),
        ("qwen3-embedding-8b", {"tensor_parallel_size": 2}, 7_567_665_152, 9102, 8192),
        ("qwen3-embedding-0.6b", {"enable_chunked_prefill": False}, 1_191_575_552, 5851, 32768),
        ("qwen3-embedding-0.6b", {"enable_prefix_caching": False}, 1_191_575_552, 5851, 8192),
        ("qwen3-embedding-8b", {"gpu": "l40s"}, 15_134_713_856, 4551, 2048),
    ],
)
def test_weights_blocks_and_defaults_are_vllms(
    tmp_path: Path, name: str, fields: dict[str, object], weights: int, blocks: int, tokens: int
) -> None:
    found = _run(tmp_path, name, kv_cache_memory_bytes=10 * 2**30, **fields)
    assert found.memory.weights_bytes == weights
    assert found.memory.num_gpu_blocks == blocks
    assert found.request["max_num_batched_tokens"] == tokens
    assert found.request["async_scheduling"] is False


def test_an_embedding_is_all_prompt(tmp_path: Path) -> None:
    embedded = _run(tmp_path, "qwen3-embedding-8b", input_tokens=512)
    answered = _run(tmp_path, "qwen3-embedding-8b", input_tokens=512, output_tokens=128, runner="generate")
    assert embedded.performance is not None
    assert answered.performance is not None
    assert embedded.performance.tpot_ms is None
    assert embedded.request["output_tokens"] == 1
    assert embedded.performance.requests_per_s > 2 * answered.performance.requests_per_s
    assert embedded.memory.weights_bytes < answered.memory.weights_bytes
    assert embedded.memory.cuda_graph_bytes < answered.memory.cuda_graph_bytes
