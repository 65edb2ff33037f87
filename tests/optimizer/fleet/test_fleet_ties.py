"""Simple fleets within the tolerance, one answer among equals, and nodes that may be lost: by hand."""

import pytest

from vllm_opt.optimizer.fleet.check import fleet_violations, totals
from vllm_opt.optimizer.fleet.outcome import FleetOptions, FleetOutcome
from vllm_opt.optimizer.fleet.problem import FleetColumn, FleetDemand, FleetLimits, FleetProblem, NodeOffer
from vllm_opt.optimizer.fleet.solver import solve_fleet
from vllm_opt.optimizer.fleet.ties import mix_value

COLUMNS = (
    FleetColumn("big", "chat", "h100", 4, (30,), format="fp8"),
    FleetColumn("small", "chat", "l4", 4, (10,), format="awq"),
)
OFFERS = (
    NodeOffer("h", "h100", 8, billing="gpu", micro_usd_per_hour=3_000_000, provider="one"),
    NodeOffer("l", "l4", 8, billing="gpu", micro_usd_per_hour=980_000, provider="two"),
)


def solved(units: int, ppm: int) -> tuple[FleetProblem, FleetOutcome]:
    problem = FleetProblem((FleetDemand("chat", (units,)),), COLUMNS, OFFERS, tolerance_ppm=ppm)
    return problem, solve_fleet(problem)


def test_a_simpler_fleet_within_the_tolerance_wins_and_the_proven_optimum_stays_known() -> None:
    # 110 = three big + two small (10.96 USD) or eleven small (10.78): small alone is cheapest, nothing to concede
    problem, outcome = solved(110, 50_000)
    assert outcome.fleet is not None
    assert totals(problem, outcome.fleet)["cost"] == 11 * 980_000
    dearer = (OFFERS[0], NodeOffer("l", "l4", 8, billing="gpu", micro_usd_per_hour=1_020_000, provider="two"))
    mixed = problem.changed(offers=dearer, tolerance_ppm=0)
    # big ones are cheaper per unit: three big + two small cost 11.04, eleven small 11.22 (+1.6 %), four big 12.00
    strict = solve_fleet(mixed)
    assert strict.fleet is not None
    assert totals(mixed, strict.fleet)["cost"] == 11_040_000
    assert mix_value(mixed, strict.fleet) == 6
    loose = solve_fleet(mixed.changed(tolerance_ppm=50_000))
    assert loose.fleet is not None
    assert totals(mixed, loose.fleet)["cost"] == 11_220_000
    assert mix_value(mixed, loose.fleet) == 3
    assert [(bound.value, bound.proven) for bound in loose.bounds] == [(11_040_000, True)]
    assert loose.status == "optimal"


def test_among_equal_fleets_neither_seed_nor_threads_nor_order_decide() -> None:
    names = ("a", "b", "c", "d")
    columns = tuple(FleetColumn(f"on-{name}", "chat", name, 4, (10,)) for name in names)
    offers = tuple(NodeOffer(f"offer-{name}", name, 8, billing="gpu", micro_usd_per_hour=7) for name in names)
    found = set()
    for seed, workers, order in ((0, 1, 1), (1, 1, 1), (99, 2, 1), (7, 8, -1), (2**31 + 5, 1, -1)):
        problem = FleetProblem((FleetDemand("chat", (35,)),), columns[::order], offers[::order])
        outcome = solve_fleet(problem, FleetOptions(seed=seed, workers=workers))
        assert outcome.fleet is not None
        found.add(
            tuple(sorted((problem.columns[c].name, n) for (c, _, _), n in outcome.fleet.replicas.items()))
        )  # fmt: skip
    assert len(found) == 1
    ((only,),) = found
    assert only[1] == 4


@pytest.mark.parametrize(("spare", "nodes"), [(0, 1), (1, 2), (2, 3)])
def test_spare_nodes_stand_idle_beside_those_in_use(spare: int, nodes: int) -> None:
    offer = NodeOffer("cloud", "h100", 8, micro_usd_per_hour=16_000_000)
    problem = FleetProblem((FleetDemand("chat", (60,)),), COLUMNS[:1], (offer,), spare_nodes=spare)
    outcome = solve_fleet(problem)
    assert outcome.fleet is not None
    assert outcome.fleet.units == {(0, 0): nodes}
    assert fleet_violations(problem, outcome.fleet, {}) == ()
    more = fleet_violations(problem.changed(spare_nodes=spare + 1), outcome.fleet, {})
    assert [violation.rule for violation in more] == ["spare_nodes"]


def test_single_gpus_keep_the_gpus_of_the_largest_replica_idle() -> None:
    columns = (FleetColumn("pair", "chat", "h100", 8, (30,)),)
    problem = FleetProblem((FleetDemand("chat", (50,)),), columns, OFFERS[:1], spare_nodes=1)
    outcome = solve_fleet(problem)
    assert outcome.fleet is not None
    assert outcome.fleet.units == {(0, 0): 2 * 2 + 2}


def test_spare_nodes_in_two_zones_are_counted_once_and_limits_hold() -> None:
    offer = NodeOffer("cloud", "h100", 8, micro_usd_per_hour=10)
    problem = FleetProblem((FleetDemand("chat", (60,)),), COLUMNS[:1], (offer,), zones=2, spare_nodes=1)
    outcome = solve_fleet(problem)
    assert outcome.fleet is not None
    assert sum(outcome.fleet.units.values()) == 3
    assert solve_fleet(problem.changed(limits=FleetLimits(gpus=16))).status == "infeasible"
