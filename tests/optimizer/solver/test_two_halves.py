"""Bounds and proof are two halves: without the search's pick every answer stays, without CP-SAT nothing is proven."""

from typing import Any

import pytest

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog

ASKED: tuple[dict[str, Any], ...] = (
    {"gpu": "h100-sxm"},
    {"gpu": ("l4", "l40s"), "objective": ("throughput", "cost"), "max_gpus": 4},
    {"gpu": ("h100-sxm", "h200-sxm"), "tolerance": 0, "objective": ("efficiency", "gpus"), "max_ttft_ms": 4000},
    {"gpu": "a100-sxm4-80gb", "vllm_version": "0.6.6", "objective": "latency", "max_gpus": 2},
    {"gpu": "h100-sxm", "model": "google/gemma-3-27b-it", "objective": "concurrency", "gpus": 2},
    {"gpu": "l40s", "model": "Qwen/Qwen3-8B", "concurrency": "max", "objective": ("throughput",), "gpus": 1},
    {"gpu": ("l4", "h100-sxm"), "input_tokens": 900, "output_tokens": 200, "concurrency": 100, "max_tpot_ms": 40},
    {"gpu": "h100-sxm", "model": "Qwen/Qwen3-30B-A3B", "objective": ("gpus", "throughput"), "concurrency": 200},
)
WALL = {"solver": {"wall_ms"}}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog()


@pytest.mark.parametrize("fields", ASKED, ids=str)
def test_each_half_without_the_other(fields: dict[str, Any], catalog: Catalog) -> None:
    """Without the pick CP-SAT gets no hint, nothing to fall back on and nothing to agree with: the bounds alone."""
    request = SolveRequest(**fields)
    whole = solve(request, catalog)
    assert whole.status == "optimal"
    assert all(objective.gap == 0 for objective in whole.objectives)
    alone = solve(request, catalog, without="pick")
    assert alone.model_dump(exclude=WALL) == whole.model_dump(exclude=WALL)
    unproven = solve(request, catalog, without="proof")
    assert unproven.status == "feasible"
    assert unproven.plan == whole.plan
    for shown, proven in zip(unproven.objectives, whole.objectives, strict=True):
        sign = -1 if shown.name in ("throughput", "concurrency", "efficiency") else 1
        assert sign * shown.bound <= sign * proven.bound


def test_the_pick_decides_nothing_when_time_is_up_before_it_is_known(catalog: Catalog) -> None:
    request = SolveRequest(gpu="h100-sxm", time_limit=1e-6)
    assert solve(request, catalog, without="pick").status == "unknown"
