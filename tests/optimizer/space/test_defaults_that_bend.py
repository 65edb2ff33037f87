"""A default never makes a request infeasible: not the newest release, and not that plans keep to one node."""

from typing import Any

import pytest

from vllm_opt import EstimateRequest, SolveRequest, estimate, solve
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.optimizer.space.several_nodes import over_nodes
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
HUGE = "Qwen/Qwen3.8-2.4T-A95B"


def test_a_model_that_newer_releases_dropped_gets_the_last_that_loads_it() -> None:
    setting = resolve_solve(SolveRequest(model="baichuan-inc/Baichuan2-7B-Chat"), CATALOG)
    assert setting.engine.version == "0.23"
    (row,) = [row for row in setting.assumed if row["field"] == "vllm_version"]
    assert "vLLM 0.33 does not" in row["why"]
    found = estimate(EstimateRequest(model="baichuan-inc/Baichuan2-7B-Chat", gpu="a100"))
    assert found.fits
    assert any("newest release that loads BaichuanForCausalLM" in note for note in found.notes)


def test_a_release_that_is_named_is_taken_as_it_is() -> None:
    found = estimate(EstimateRequest(model="baichuan-inc/Baichuan2-7B-Chat", gpu="a100", vllm_version="0.33"))
    assert not found.fits


def test_weights_that_no_node_holds_are_spread_over_nodes() -> None:
    setting = over_nodes(resolve_solve(SolveRequest(model=HUGE), CATALOG), CATALOG)
    assert setting.request.internode_gbps == 400
    assert {"internode_gbps"} <= {row["field"] for row in setting.assumed}


def test_what_the_request_says_stays() -> None:
    for said in ({"gpu": ("b300",)}, {"max_gpus": 8}, {"max_hourly_cost": 100.0}, {"pipeline_parallel_size": 2}):
        setting = resolve_solve(SolveRequest(model=HUGE, **said), CATALOG)
        assert over_nodes(setting, CATALOG) is setting
    fits = resolve_solve(SolveRequest(model="Qwen/Qwen3-8B"), CATALOG)
    assert over_nodes(fits, CATALOG) is fits


@pytest.mark.parametrize(
    "fields",
    [
        {"gpu": "l4", "max_gpus": 1, "concurrency": 40},
        {"gpu": "l40s", "model": "Qwen/Qwen3-14B", "kv_cache_dtype": "nvfp4", "explain": False},
        {"gpu": "l4", "gpus": 1, "concurrency": 10, "target_context": 16384},
        {"gpu": "h100", "concurrency": 4},
    ],
)
def test_the_limits_of_an_answer_are_those_that_its_assumptions_name(fields: dict[str, Any]) -> None:
    request = solve(SolveRequest(**fields)).request
    rows = {row["field"]: row for row in request["assumed"]}
    for field in ("max_ttft_ms", "max_tpot_ms"):
        assert set(rows[field]) >= {"field", "value", "why"}
        assert rows[field]["value"] == request[field]
