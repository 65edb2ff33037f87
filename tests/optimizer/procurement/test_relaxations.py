"""Every limit that can stand in the way of an order says how much more would do: that much does, and less does not."""

from typing import Any

import pytest

from vllm_opt.optimizer import FleetRequest, procure
from vllm_opt.optimizer.procurement.answer import FleetAnswer
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
CHAT: dict[str, Any] = {
    "name": "chat", "model": "Qwen/Qwen2.5-7B-Instruct", "requests_per_s": 60, "input_tokens": 1000,
    "output_tokens": 200, "target_context": 4096, "max_tpot_ms": 60,
}  # fmt: skip
BUYING: dict[str, Any] = {
    "inventory": {"gpu": ["l40s"], "rack_units_per_node": {"l40s": 4}, "gpus_per_node": {"l40s": 4}},
    "money": {"acquire": ["buy"], "purchase": {"years": 4, "usd_per_server": 10_000, "watts_per_server": 800}},
}


def asked(**changes: Any) -> FleetAnswer:
    fields: dict[str, Any] = {"workloads": [CHAT], "inventory": {"gpu": ["l40s"]}, "comparisons": False}
    return procure(FleetRequest(**{**fields, **changes}), CATALOG)


def relaxation(answer: FleetAnswer, change: str) -> Any:
    assert answer.status == "infeasible"
    assert answer.explanation is not None
    return next(found for found in answer.explanation.relaxations if found.change == change)


@pytest.mark.parametrize(
    ("limit", "least", "setting"),
    [
        ("gpus", 1, {}),
        pytest.param("capex_usd", 1, BUYING, id="capex"),
        pytest.param("watts", 1, BUYING, id="watts"),
        pytest.param("rack_units", 1, BUYING, id="rack units"),
    ],
)
def test_a_limit_that_is_short_says_what_would_do(limit: str, least: float, setting: dict[str, Any]) -> None:
    found = relaxation(asked(**setting, limits={limit: least}), f"limits.{limit}")
    assert found.from_value == least
    assert found.to > least
    assert f"short by {found.to - least:,}" in found.message
    assert asked(**setting, limits={limit: found.to}).status == "optimal"
    assert asked(**setting, limits={limit: found.to - 1}).status == "infeasible"


def test_fewer_requests_are_offered_where_gpus_are_short() -> None:
    found = relaxation(asked(limits={"gpus": 1}), "workloads.chat.requests_per_s")
    assert 0 < found.to < 60
    assert asked(workloads=[{**CHAT, "requests_per_s": found.to}], limits={"gpus": 1}).status == "optimal"
    assert asked(workloads=[{**CHAT, "requests_per_s": found.to + 0.1}], limits={"gpus": 1}).status == "infeasible"


def test_spares_zones_and_idle_nodes_are_given_up_one_by_one() -> None:
    few = {"requests_per_s": 1}
    spare = asked(workloads=[{**CHAT, **few, "spare_replicas": 3}], limits={"gpus": 2})
    found = relaxation(spare, "workloads.chat.spare_replicas")
    assert (found.from_value, found.to) == (3, 1)
    assert found.message == "1 spare replica of 'chat' instead of 3"
    zones = asked(workloads=[{**CHAT, **few}], limits={"gpus": 1}, resilience={"zones": 2})
    assert relaxation(zones, "resilience.zones").to == 1
    idle = asked(workloads=[{**CHAT, **few}], limits={"gpus": 1}, resilience={"spare_nodes": 1})
    assert relaxation(idle, "resilience.spare_nodes").to == 0
