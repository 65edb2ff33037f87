"""What fleets cost at least with one offer's units counted whole: by hand, and beside brute force."""

import pytest
from fleet_oracle import cheapest_fleet, small_fleet

from vllm_opt.optimizer.fleet import solver
from vllm_opt.optimizer.fleet.covers import covers_of, least_of
from vllm_opt.optimizer.fleet.outcome import FleetOptions
from vllm_opt.optimizer.fleet.problem import SLOTS_PER_GPU, FleetColumn, FleetDemand, FleetProblem, NodeOffer
from vllm_opt.optimizer.fleet.solver import solve_fleet
from vllm_opt.optimizer.fleet.whole_units import narrowed

NODE = NodeOffer("node", "a", 8, micro_usd_per_hour=8_000_000)
SINGLE = NodeOffer("single", "b", 8, billing="gpu", micro_usd_per_hour=1_500_000)
COLUMNS = tuple(FleetColumn(f"w@{gpu}", "w", gpu, SLOTS_PER_GPU, (100,)) for gpu in ("a", "b"))


def test_a_node_of_eight_for_three_gpus_is_paid_whole() -> None:
    """Three replicas cost 3 USD in slots of the node, 8 with the node whole, and 4.5 on GPUs sold singly."""
    problem = FleetProblem((FleetDemand("w", (300,)),), COLUMNS, (NODE, SINGLE))
    assert least_of(covers_of(problem)) == pytest.approx(3_000_000)
    left = narrowed(problem, 4_500_000)
    assert left.bound == pytest.approx(4_500_000, rel=1e-5)
    assert (left.usable, left.columns) == ((1,), (1,))  # nothing on a node is as cheap


def test_what_fills_a_node_stays() -> None:
    """Seven replicas: 8 USD for a node, and 10.5 on single GPUs."""
    problem = FleetProblem((FleetDemand("w", (700,)),), COLUMNS, (NODE, SINGLE))
    left = narrowed(problem, 8_000_000)
    assert left.bound == pytest.approx(8_000_000, rel=1e-5)
    assert 0 in left.usable
    assert narrowed(problem, 10_500_000).usable == (0, 1)


def test_two_workloads_share_a_node() -> None:
    """Four replicas each fill one node: 8 USD, where each alone would pay for a node of its own."""
    columns = (*COLUMNS, *(FleetColumn(f"v@{gpu}", "v", gpu, SLOTS_PER_GPU, (100,)) for gpu in ("a", "b")))
    problem = FleetProblem((FleetDemand("w", (400,)), FleetDemand("v", (400,))), columns, (NODE, SINGLE))
    assert narrowed(problem, 12_000_000).bound == pytest.approx(8_000_000, rel=1e-5)


def test_a_spare_node_is_paid_for_every_offer_in_use() -> None:
    problem = FleetProblem((FleetDemand("w", (800,)),), COLUMNS, (NODE, SINGLE), spare_nodes=1)
    assert narrowed(problem, 15_000_000).usable == (1,)  # two nodes are 16, nine GPUs 13.5
    assert narrowed(problem, 16_000_000).usable == (0, 1)


def test_equal_smaller_units_of_the_same_sku_replace_larger_ones() -> None:
    pair = NodeOffer("pair", "b", 2, micro_usd_per_hour=3_000_000)
    problem = FleetProblem((FleetDemand("w", (300,)),), COLUMNS, (SINGLE, pair))
    left = narrowed(problem, 6_000_000)
    assert left.usable == (0, 1)
    assert left.offers == (0,)
    wide = (FleetColumn("w@b", "w", "b", 2 * SLOTS_PER_GPU, (100,)),)
    assert narrowed(problem.changed(columns=wide), 9_000_000).offers == (0, 1)  # a replica of two GPUs


@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("seed", range(12))
def test_the_bound_is_never_above_the_optimum_and_the_optimum_stays(seed: int, scale: int) -> None:
    problem = small_fleet(seed + 500, scale, wide=seed % 3 == 0)
    optimum = cheapest_fleet(problem, 3)
    if optimum is None:
        return
    for most in (optimum, optimum * 5 // 4):
        left = narrowed(problem, most)
        assert left.bound <= optimum
        part = problem.changed(
            columns=tuple(problem.columns[c] for c in left.columns),
            offers=tuple(problem.offers[o] for o in left.usable),
        )
        assert cheapest_fleet(part, 3) == optimum


@pytest.mark.parametrize("seed", range(20))
def test_large_problems_are_narrowed_to_the_same_optimum(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = small_fleet(seed + 900, 1_000)
    whole = solve_fleet(problem, FleetOptions(time_limit=20))
    monkeypatch.setattr(solver, "LARGE", 0)
    narrow = solve_fleet(problem, FleetOptions(time_limit=20))
    assert (narrow.status, narrow.bounds) == (whole.status, whole.bounds)
    assert narrow.fleet == whole.fleet
