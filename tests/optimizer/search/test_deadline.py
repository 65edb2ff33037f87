"""A search whose time is up: any answer it has, bounds that hold for what it left open, and never "infeasible"."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.search.first_answer import PATIENCE
from vllm_opt.optimizer.search.left_open import open_bounds, unknown
from vllm_opt.optimizer.search.search import ALL_RULES, Search
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.setting import SolveSetting, resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

SKUS = ("l4", "l40s", "a100-sxm4-80gb", "h100-sxm", "h200-sxm")
ASKED: tuple[dict[str, Any], ...] = (
    {},
    {"objective": ("throughput", "cost"), "max_gpus": 8},
    {"objective": ("latency", "gpus")},
    {"objective": ("concurrency", "efficiency"), "max_gpus": 4},
    {"objective": ("efficiency", "throughput"), "max_ttft_ms": 3000},
    {"objective": "gpus", "model": "meta-llama/Llama-3.3-70B-Instruct", "max_tpot_ms": 40},
)


def ticking() -> Callable[[], float]:
    """A clock that moves on by one whenever it is read."""
    ticks = count()
    return lambda: float(next(ticks))


def setting_of(**fields: Any) -> SolveSetting:
    return resolve_solve(SolveRequest(**{"gpu": SKUS, **fields}), Catalog())


@pytest.mark.parametrize("fields", ASKED, ids=str)
def test_what_was_found_or_left_open_bounds_every_objective_of_every_plan(fields: dict[str, Any]) -> None:
    setting = setting_of(**fields)
    whole = Search(setting)
    found = whole.run()
    assert found.complete
    best = [min(int(whole.scores.of(one, name).min()) for one in found.candidates) for name in whole.order.names]
    cut_short = 0
    for ticks in (0, 2, 5, 7, 9, 12, 20):
        search = Search(setting, deadline=float(ticks), clock=ticking())
        came = search.run()
        if came.complete:
            continue
        cut_short += 1
        assert len(came.open_bounds) == len(search.order.names)
        for position, name in enumerate(search.order.names):
            known = [int(search.scores.of(one, name).min()) for one in came.candidates]
            assert min([came.open_bounds[position], *known]) <= best[position], (ticks, name)
    assert cut_short > 2


def test_any_point_is_looked_for_once_a_part_of_the_time_is_gone() -> None:
    """Listing five SKUs reads the clock at least five times; a deadline at ten leaves four ticks of patience."""
    search = Search(setting_of(), deadline=10.0, clock=ticking())
    came = search.run()
    assert not came.complete
    assert came.candidates
    assert PATIENCE < 1
    assert Search(setting_of(), deadline=-1.0, clock=ticking()).run().candidates == []


def test_what_is_not_even_listed_costs_a_gpu_and_bounds_no_speed() -> None:
    setting = setting_of(price=[(sku, 2.0 + at) for at, sku in enumerate(SKUS)], gpu=SKUS)
    search = Search(setting)
    names = ("cost", "gpus", "throughput", "latency", "concurrency", "efficiency")
    bounds = open_bounds(setting, search.physics, [], ALL_RULES, names, unlisted=setting.gpus[2:])
    assert bounds[:2] == (4_000_000, 1)
    assert bounds[2:] == tuple(unknown(name) for name in names[2:])
    servers = search.servers.of(setting.gpus[0])
    mixed = open_bounds(setting, search.physics, servers, ALL_RULES, names, unlisted=setting.gpus[2:])
    assert mixed[:2] == (min(4_000_000, *(server.microusd_per_hour for server in servers)), 1)
    assert mixed[2:] == bounds[2:]


@pytest.mark.parametrize("seconds", [1e-9, 1e-3, 0.05])
def test_time_that_is_up_never_says_infeasible(seconds: float) -> None:
    hopeless = {"gpu": ("t4", "l4"), "max_gpus": 1, "model": "meta-llama/Llama-3.3-70B-Instruct"}
    assert solve(SolveRequest(**hopeless, time_limit=1e-9)).status == "unknown"
    answer = solve(SolveRequest(gpu=SKUS, time_limit=seconds))
    assert answer.status in ("unknown", "feasible", "optimal")
    if answer.status == "feasible":
        assert any(objective.gap > 0 for objective in answer.objectives)
        assert any("time limit" in note for note in answer.notes)


def test_a_thousand_skus_and_a_million_gpus(tmp_path: Path) -> None:
    """Nothing is done for each SKU or each number of replicas once time is up."""
    rows = [{"id": f"card-{at}", "base": SKUS[at % len(SKUS)]} for at in range(1000)]
    path = tmp_path / "gpus.json"
    path.write_text(json.dumps({"gpus": rows}))
    ids = tuple(row["id"] for row in rows)
    price = [(name, 1.0 + at % 7) for at, name in enumerate(ids)]
    request = SolveRequest(gpu=ids, gpu_file=str(path), price=price, max_gpus=1_000_000, concurrency=1_000_000)
    setting = resolve_solve(request, Catalog(gpu_file=str(path)))
    search = Search(setting, deadline=20.0, clock=ticking())
    came = search.run()
    assert not came.complete
    assert came.candidates
    assert len({server.sku.gpu.id for server in search.servers.listed()}) <= 21
    assert came.open_bounds[0] >= 1_000_000  # a GPU of the cheapest SKU
