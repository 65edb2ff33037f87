"""Fleets at the edge of a rule, computed by hand: one replica, unit or dollar more or less would be another answer."""

import pytest

from vllm_opt.optimizer.fleet.outcome import objective_value
from vllm_opt.optimizer.fleet.problem import FleetColumn, FleetDemand, FleetProblem, FleetSolution, NodeOffer
from vllm_opt.optimizer.fleet.solver import is_proven, solve_fleet


@pytest.mark.parametrize("zones", [2, 3, 4])
def test_two_zones_hold_one_replica_each_where_two_suffice(zones: int) -> None:
    columns = (FleetColumn("chat@h100", "chat", "h100", 32, (10,)),)
    offer = NodeOffer("cloud", "h100", 8, micro_usd_per_hour=10)
    outcome = solve_fleet(FleetProblem((FleetDemand("chat", (20,)),), columns, (offer,), zones=zones))
    assert outcome.fleet is not None
    assert outcome.fleet.replicas == {(0, 0, 0): 1, (0, 0, 1): 1}
    assert outcome.bounds[0].value == 20


def test_two_of_three_gpus_and_two_of_one_fill_a_node_of_eight() -> None:
    columns = (FleetColumn("wide", "large", "h100", 12, (10,)), FleetColumn("slim", "small", "h100", 4, (10,)))
    offer = NodeOffer("cloud", "h100", 8, micro_usd_per_hour=7)
    problem = FleetProblem((FleetDemand("large", (20,)), FleetDemand("small", (20,))), columns, (offer,))
    outcome = solve_fleet(problem)
    assert outcome.fleet is not None
    assert outcome.fleet.units == {(0, 0): 1}
    assert outcome.bounds[0].value == 7


def test_a_quota_counts_the_gpus_of_its_sku_that_are_not_owned() -> None:
    offers = (
        NodeOffer("nodes", "h100", 8, micro_usd_per_hour=5),
        NodeOffer("single", "h100", 8, billing="gpu", micro_usd_per_hour=1),
        NodeOffer("others", "l40s", 8, micro_usd_per_hour=5),
        NodeOffer("ours", "h100", 8, kind="stock", max_units=9),
    )
    problem = FleetProblem((FleetDemand("chat", (1,)),), (FleetColumn("a", "chat", "h100", 4, (1,)),), offers)
    fleet = FleetSolution({}, {(0, 0): 2, (1, 0): 3, (2, 0): 4, (3, 0): 5}, {"chat": 1000})
    assert objective_value(problem, fleet, "quota:h100") == 2 * 8 + 3
    assert objective_value(problem, fleet, "quota:l40s") == 4 * 8
    assert objective_value(problem, fleet, "units:ours") == 5


@pytest.mark.parametrize(
    ("value", "bound", "proven"),
    [
        (100, 100.0, True), (100, 99.6, True), (100, 99.5, False), (100, 50.0, False), (0, -0.4, True),
        (0, -1.0, False), (-100, -100.4, True), (-100, -101.0, False), (10**9, 10**9 - 1999.0, True),
        (10**9, 10**9 - 2001.0, False),
    ],
)  # fmt: skip
def test_what_counts_as_proven(value: int, bound: float, proven: bool) -> None:
    assert is_proven(value, bound) is proven


@pytest.mark.parametrize(("billing", "exact"), [("node", False), ("gpu", True)])
def test_a_rack_with_odd_sizes_is_rounded_and_says_so_only_where_whole_racks_are_sold(
    billing: str, exact: bool
) -> None:
    columns = tuple(FleetColumn(f"c{size}", "chat", "gb300", 4 * size, (size,)) for size in (1, 2, 3, 5, 7))
    offer = NodeOffer("rack", "gb300", 72, billing=billing, micro_usd_per_hour=1)
    assert FleetProblem((FleetDemand("chat", (1,)),), columns, (offer,)).packs_exactly is exact
