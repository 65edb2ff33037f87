"""A fleet's columns: the fastest point of a class is the one that evaluating every point would find."""

import math
from typing import Any

import pytest

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.search.curve import rate_ceilings
from vllm_opt.optimizer.search.fastest_points import FastestPoints
from vllm_opt.optimizer.search.search import Search
from vllm_opt.optimizer.space.points import Unit
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
ASKED: dict[str, dict[str, Any]] = {
    "dense": {"model": "Qwen/Qwen3-8B", "gpu": ("h100",), "max_tpot_ms": 40, "quantization": ("fp8", "bf16")},
    "stages": {"model": "Qwen/Qwen3-4B", "gpu": ("l4",), "max_ttft_ms": 9000, "quantization": ("bf16",)},
    "experts": {"model": "Qwen/Qwen3-30B-A3B", "gpu": ("h200",), "max_tpot_ms": 30, "quantization": ("bf16",)},
    "short_answers": {
        "model": "Qwen/Qwen3-4B", "gpu": ("l40s",), "output_tokens": 3, "quantization": ("bf16",), "max_gpus": 1
    },
}  # fmt: skip


def search_of(kind: str) -> Search:
    request = SolveRequest(
        **{
            "concurrency": "max", "objective": ("throughput",), "max_gpus": 2, "target_context": 4096,
            "input_tokens": 1500, "output_tokens": 300, "default_limits": False, **ASKED[kind],
        }
    )  # fmt: skip
    return Search(resolve_solve(request, CATALOG))


def class_of(unit: Unit) -> tuple[str, int]:
    return unit.facts.sku.gpu.id, unit.shape.gpus


@pytest.mark.parametrize("kind", ASKED)
def test_the_fastest_of_every_class_is_that_of_all_points(kind: str) -> None:
    search = search_of(kind)
    servers = [
        server.with_replicas(1, 1) for sku in search.setting.gpus for server in search.servers.of(sku)
    ]  # fmt: skip
    every: dict[object, float] = {}
    for candidate in search.solve_servers(servers):
        at = class_of(candidate.unit)
        every[at] = max(every.get(at, 0.0), float(candidate.bound_tokens_per_s.max()))
    found: dict[object, float] = {}
    points = FastestPoints(search_of(kind), lambda rate: math.floor(rate * 1e6), {}, class_of)
    for candidate in points.of_servers(servers):
        at = class_of(candidate.unit)
        found[at] = max(found.get(at, 0.0), float(candidate.bound_tokens_per_s[0]))
    assert found.keys() == every.keys()
    assert found == pytest.approx(every, rel=1e-9)


@pytest.mark.parametrize("kind", ASKED)
def test_no_point_is_above_the_ceiling_of_its_width(kind: str) -> None:
    search = search_of(kind)
    servers = [server.with_replicas(1, 1) for sku in search.setting.gpus for server in search.servers.of(sku)][::4]
    found = search.solve_servers(servers)
    assert found
    ceilings = rate_ceilings(
        search.setting, [(one.unit, one.max_num_batched_tokens, int(one.sequences[-1])) for one in found]
    )
    for candidate, ceiling in zip(found, ceilings, strict=True):
        assert float(candidate.bound_tokens_per_s.max()) <= ceiling
    tight = [float(one.bound_tokens_per_s.max()) / most for one, most in zip(found, ceilings, strict=True)]
    assert max(tight) > 0.5
