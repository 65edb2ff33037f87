"""Spare replicas of pools: which stay idle, and fleets beside brute force."""

import pytest
from fleet_oracle import agree, resilient_fleet, small_pool

from vllm_opt.optimizer.fleet.problem import SLOTS_PER_GPU, FleetColumn, FleetDemand, FleetProblem, NodeOffer, spares_of
from vllm_opt.optimizer.fleet.solver import solve_fleet


def column(name: str, capacity: tuple[int, int], reserve: str = "", slots: int = SLOTS_PER_GPU) -> FleetColumn:
    return FleetColumn(name, "x + y", "g", slots, capacity, reserve=reserve)


COLUMNS = {
    0: column("shared", (50, 40)), 1: column("small x", (60, 0), "#1"), 2: column("large x", (140, 0), "#1", 8),
    3: column("y", (0, 70), "#2"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "spares", "idle"),
    [
        ({0: 3, 1: 2, 2: 1, 3: 0}, 1, {0: 1, 2: 1, 1: 0}),  # the one large replica of x
        ({0: 0, 1: 2, 2: 1, 3: 4}, 2, {2: 1, 1: 1, 3: 2}),
        ({0: 1, 1: 1, 2: 0, 3: 0}, 2, {0: 2, 1: 1}),  # fewer than may be lost: none works
        ({0: 1, 1: 1, 2: 1, 3: 1}, 0, {0: 0, 1: 0, 2: 0, 3: 0}),
    ],
)
def test_a_plan_keeps_its_own_spares_and_a_member_its_largest(
    counts: dict[int, int], spares: int, idle: dict[int, int]
) -> None:
    assert spares_of(COLUMNS, counts, spares) == idle


def test_own_replicas_of_two_plans_share_one_spare() -> None:
    """A demand of 190 for x: 60 + 140 and one more of 140 survive any loss; a spare of each plan would cost 60 more."""
    columns = (COLUMNS[1], COLUMNS[2], column("y", (0, 70), "#2"))
    offer = NodeOffer("o", "g", 8, billing="gpu", micro_usd_per_hour=1_000_000)
    demand = FleetDemand("x + y", (190, 60), spare_replicas=1)
    outcome = solve_fleet(FleetProblem((demand,), columns, (offer,), exact_routes=True))
    assert outcome.fleet is not None
    assert outcome.bounds[0].value == (5 + 2) * 1_000_000  # five GPUs for x, as 60 + 2 x 140, and two for y
    assert outcome.bounds[0].proven


@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("seed", range(8))
def test_pools_with_spares_cost_what_brute_force_says(seed: int, scale: int) -> None:
    agree(small_pool(5 * seed + 1, scale))


@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("seed", range(6))
def test_spare_replicas_and_nodes_cost_what_brute_force_says(seed: int, scale: int) -> None:
    agree(resilient_fleet(seed + 40, scale))
