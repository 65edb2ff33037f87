"""The fleet solver against brute force, hand-computed fleets, and the rules that a fleet must keep."""

import random

import pytest
from fleet_oracle import agree, small_fleet

from vllm_opt.optimizer.fleet.check import fleet_violations, placement, totals
from vllm_opt.optimizer.fleet.outcome import FleetOptions
from vllm_opt.optimizer.fleet.problem import (
    FleetColumn,
    FleetDemand,
    FleetLimits,
    FleetProblem,
    FleetSolution,
    NodeOffer,
    without_dominated,
)
from vllm_opt.optimizer.fleet.solver import solve_fleet


@pytest.mark.parametrize("seed", range(60))
def test_same_optimum_and_same_infeasibility_as_brute_force(seed: int) -> None:
    agree(small_fleet(seed))


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("seed", range(3))
def test_the_same_at_three_magnitudes_of_units_with_cost_or_what_is_served(seed: int, scale: int, served: bool) -> None:
    agree(small_fleet(seed, scale, served=served, wide=seed == 2))


def one_column(capacity: int = 10, slots: int = 4) -> tuple[FleetColumn, ...]:
    return (FleetColumn("chat@h100", "chat", "h100", slots, (capacity,)),)


def test_demand_of_31_needs_four_replicas_of_10_and_one_node_of_8_where_nodes_are_sold() -> None:
    offer = NodeOffer("cloud", "h100", 8, micro_usd_per_hour=16_000_000)
    outcome = solve_fleet(FleetProblem((FleetDemand("chat", (31,)),), one_column(), (offer,)))
    assert outcome.fleet is not None
    assert outcome.fleet.replicas == {(0, 0, 0): 4}
    assert outcome.fleet.units == {(0, 0): 1}
    assert outcome.bounds[0].value == 16_000_000


def test_gpus_sold_singly_cost_four_gpus_for_the_same_demand() -> None:
    offer = NodeOffer("cloud", "h100", 8, billing="gpu", micro_usd_per_hour=2_500_000)
    outcome = solve_fleet(FleetProblem((FleetDemand("chat", (31,)),), one_column(), (offer,)))
    assert outcome.bounds[0].value == 4 * 2_500_000


def test_replicas_of_three_gpus_never_leave_their_node_of_eight() -> None:
    offer = NodeOffer("cloud", "h100", 8, micro_usd_per_hour=1)
    outcome = solve_fleet(FleetProblem((FleetDemand("chat", (25,)),), one_column(slots=12), (offer,)))
    assert outcome.fleet is not None
    assert outcome.fleet.units == {(0, 0): 2}  # three times 3 GPUs are 9, and 8 hold only two of them


def test_a_spare_replica_survives_the_loss_of_the_largest() -> None:
    columns = (
        FleetColumn("big", "chat", "h100", 32, (100,)),
        FleetColumn("small", "chat", "l4", 4, (10,)),
    )
    offers = (
        NodeOffer("h", "h100", 8, micro_usd_per_hour=100),
        NodeOffer("l", "l4", 8, billing="gpu", micro_usd_per_hour=11),
    )
    demand = FleetDemand("chat", (100,), spare_replicas=1)
    outcome = solve_fleet(FleetProblem((demand,), columns, offers))
    assert (
        outcome.bounds[0].value == 121
    )  # eleven small ones (121) beat two big ones (200) and one big + ten small (210)
    without = solve_fleet(FleetProblem((FleetDemand("chat", (100,)),), columns, offers))
    assert without.bounds[0].value == 100


def test_stock_is_used_before_money_is_spent() -> None:
    columns = (
        FleetColumn("own", "chat", "a100", 4, (10,)),
        FleetColumn("new", "chat", "h100", 4, (30,)),
    )
    offers = (
        NodeOffer("rack", "a100", 8, kind="stock", micro_usd_per_hour=9_000_000, max_units=1),
        NodeOffer("cloud", "h100", 8, billing="gpu", micro_usd_per_hour=2_000_000),
    )
    problem = FleetProblem((FleetDemand("chat", (80,)),), columns, offers)
    first = solve_fleet(problem)
    assert first.fleet is not None
    assert [bound.name for bound in first.bounds] == ["ordered", "cost"]
    assert first.fleet.replicas == {(0, 0, 0): 8}
    cheapest = solve_fleet(problem.changed(stock_first=False))
    assert cheapest.bounds[0].value == 6_000_000  # three H100 cost less than the power of the old node


def test_small_models_share_a_gpu_in_halves_and_quarters() -> None:
    columns = tuple(FleetColumn(f"{name}/half", name, "l40s", 2, (10,)) for name in ("a", "b"))
    columns += tuple(FleetColumn(f"{name}/whole", name, "l40s", 4, (25,)) for name in ("a", "b"))
    offer = NodeOffer("cloud", "l40s", 1, billing="gpu", micro_usd_per_hour=1_000_000)
    outcome = solve_fleet(FleetProblem((FleetDemand("a", (9,)), FleetDemand("b", (9,))), columns, (offer,)))
    assert outcome.bounds[0].value == 1_000_000
    assert outcome.fleet is not None
    nodes = placement(FleetProblem((FleetDemand("a", (9,)), FleetDemand("b", (9,))), columns, (offer,)), outcome.fleet)
    assert nodes[0, 0] == ((("a/half", 2), ("b/half", 2)),)


def test_with_a_budget_the_higher_priority_is_served_first() -> None:
    columns = tuple(FleetColumn(name, name, "h100", 4, (10,)) for name in ("gold", "silver"))
    offer = NodeOffer("cloud", "h100", 1, billing="gpu", micro_usd_per_hour=1_000_000)
    demands = (FleetDemand("gold", (40,), priority=1), FleetDemand("silver", (40,), priority=2))
    problem = FleetProblem(demands, columns, (offer,), FleetLimits(micro_usd_per_hour=6_000_000), ("served",))
    outcome = solve_fleet(problem)
    assert outcome.fleet is not None
    assert outcome.fleet.served == {"gold": 1000, "silver": 500}
    assert [bound.name for bound in outcome.bounds] == ["served:1", "served:2"]


def test_two_zones_keep_a_replica_of_each_workload_apart() -> None:
    offer = NodeOffer("cloud", "h100", 8, micro_usd_per_hour=10)
    problem = FleetProblem((FleetDemand("chat", (20,)),), one_column(), (offer,), zones=2)
    outcome = solve_fleet(problem)
    assert outcome.fleet is not None
    assert sum(outcome.fleet.units.values()) == 2
    assert {zone for (_, _, zone) in outcome.fleet.replicas} == {0, 1}


def test_a_plan_over_two_nodes_takes_two_whole_nodes() -> None:
    columns = (FleetColumn("wide", "chat", "h100", 32, (10,), nodes=2),)
    offer = NodeOffer("cloud", "h100", 8, micro_usd_per_hour=10)
    outcome = solve_fleet(FleetProblem((FleetDemand("chat", (11,)),), columns, (offer,)))
    assert outcome.bounds[0].value == 40


def test_a_plan_over_two_nodes_takes_as_many_gpus_where_they_are_sold_singly() -> None:
    """Three replicas of two parts of four GPUs: 24 GPUs in parts that no node of eight breaks, and not three nodes."""
    columns = (FleetColumn("wide", "chat", "h100", 16, (10,), nodes=2),)
    offer = NodeOffer("cloud", "h100", 8, billing="gpu", micro_usd_per_hour=10)
    problem = FleetProblem((FleetDemand("chat", (25,)),), columns, (offer,))
    outcome = solve_fleet(problem)
    assert outcome.fleet is not None
    assert outcome.fleet.units == {(0, 0): 24}
    assert outcome.bounds[0].value == 240
    assert [len(node) for node in placement(problem, outcome.fleet)[0, 0]] == [1] * 6
    assert not offer.takes(FleetColumn("wider", "chat", "h100", 36, (10,), nodes=2))


def test_the_check_finds_a_fleet_that_serves_too_little_or_overfills_a_node() -> None:
    offer = NodeOffer("cloud", "h100", 8, micro_usd_per_hour=10)
    problem = FleetProblem((FleetDemand("chat", (31,)),), one_column(slots=32), (offer,))
    short = FleetSolution({(0, 0, 0): 3}, {(0, 0): 3}, {"chat": 1000})
    crowded = FleetSolution({(0, 0, 0): 4}, {(0, 0): 3}, {"chat": 1000})
    assert [v.rule for v in fleet_violations(problem, short, {})] == ["demand:chat"]
    assert [v.rule for v in fleet_violations(problem, crowded, {})] == ["packing"]


def test_a_column_that_smaller_replicas_replace_is_dropped() -> None:
    columns = (
        FleetColumn("tp8", "chat", "h100", 32, (79,)),
        FleetColumn("tp4", "chat", "h100", 16, (40,)),
        FleetColumn("other", "chat", "l4", 32, (1,)),
    )
    assert [column.name for column in without_dominated(columns)] == ["tp4", "other"]


def test_a_large_fleet_is_sound_and_its_bound_is_below_it() -> None:
    draw = random.Random(7)
    gpus = [(f"g{i}", draw.uniform(1, 30)) for i in range(26)]
    offers = tuple(
        NodeOffer(f"offer-{gpu}", gpu, 8, billing=draw.choice(("node", "gpu")), micro_usd_per_hour=int(power * 1e5))
        for gpu, power in gpus
    )
    demands = tuple(FleetDemand(f"w{w}", (draw.randint(10**6, 10**8),), spare_replicas=w % 2) for w in range(12))
    columns = tuple(
        FleetColumn(f"{demand.workload}@{gpu}x{size}", demand.workload, gpu, 4 * size, (int(power * 1e5 * size),))
        for demand in demands
        for gpu, power in gpus
        for size in (1, 2)
        for power in (power * draw.uniform(0.5, 2),)
    )
    problem = FleetProblem(demands, without_dominated(columns), offers)
    assert len(problem.pairs) > 300
    outcome = solve_fleet(problem, FleetOptions(time_limit=6, relative_gap=0.02))
    assert outcome.fleet is not None
    assert fleet_violations(problem, outcome.fleet, outcome.parts) == ()
    (bound,) = outcome.bounds
    assert 0 < bound.bound <= bound.value == totals(problem, outcome.fleet)["cost"]
