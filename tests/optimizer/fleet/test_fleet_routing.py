"""Length histograms: routing against an exact greedy split, cuts that never remove a fleet that works, advice."""

import random
from fractions import Fraction
from itertools import product

import pytest

from vllm_opt.optimizer.fleet.check import fleet_violations
from vllm_opt.optimizer.fleet.outcome import FleetOptions
from vllm_opt.optimizer.fleet.problem import FleetColumn, FleetDemand, FleetProblem, NodeOffer
from vllm_opt.optimizer.fleet.routing import Routing, exact_parts, load_of
from vllm_opt.optimizer.fleet.solver import solve_fleet


def two_columns_suffice(
    demand: FleetDemand, columns: tuple[FleetColumn, FleetColumn], replicas: tuple[int, int]
) -> bool:
    """Fill the first column with the buckets it is relatively best at, exactly; the rest must fit the second."""
    first, second = columns
    room, rest = Fraction(replicas[0]), Fraction(0)
    order = sorted(
        range(len(demand.units)),
        key=lambda b: Fraction(second.capacity[b], first.capacity[b]) if first.capacity[b] else Fraction(10**9),
    )
    for b in order:
        units = Fraction(demand.units[b])
        taken = min(units, room * first.capacity[b]) if first.capacity[b] else Fraction(0)
        if not second.capacity[b] and taken < units:
            return False
        room -= taken / first.capacity[b] if taken else 0
        rest += (units - taken) / second.capacity[b] if taken < units else 0
    return rest <= replicas[1]


def histogram(seed: int, buckets: int = 4) -> tuple[FleetDemand, tuple[FleetColumn, FleetColumn]]:
    draw = random.Random(seed)
    demand = FleetDemand("w", tuple(draw.randint(50_000, 900_000) for _ in range(buckets)))
    small = tuple(draw.choice((0, 1, 1)) * draw.randint(90_000, 400_000) for _ in range(buckets))
    large = tuple(draw.randint(150_000, 700_000) for _ in range(buckets))
    return demand, (FleetColumn("s", "w", "l4", 4, small), FleetColumn("l", "w", "h100", 4, large))


@pytest.mark.parametrize("seed", range(25))
def test_the_cheapest_routed_fleet_is_the_one_of_brute_force(seed: int) -> None:
    demand, columns = histogram(seed)
    prices = (random.Random(seed).randint(3, 9), 10)
    offers = (
        NodeOffer("s", "l4", 8, billing="gpu", micro_usd_per_hour=prices[0]),
        NodeOffer("l", "h100", 8, billing="gpu", micro_usd_per_hour=prices[1]),
    )
    feasible = [
        n[0] * prices[0] + n[1] * prices[1]
        for n in product(range(45), repeat=2)
        if two_columns_suffice(demand, columns, n)
    ]
    outcome = solve_fleet(FleetProblem((demand,), columns, offers))
    assert outcome.status == "optimal"
    assert outcome.bounds[0].value == min(feasible)


@pytest.mark.parametrize("seed", range(10))
def test_a_cut_never_removes_replicas_that_suffice(seed: int) -> None:
    demand, columns = histogram(seed)
    routing = Routing(demand, dict(enumerate(columns)), {0: 4, 1: 10})
    draw = random.Random(seed)
    cuts = [routing.cut({0: draw.random(), 1: draw.random()}) for _ in range(20)]
    for n in product(range(15), repeat=2):
        if two_columns_suffice(demand, columns, n):
            for cut in cuts:
                assert cut is not None
                # the margin of two millionths may ask for one part more of the scaled prices
                assert sum(cut.prices[p] * n[p] for p in (0, 1)) >= cut.needed * (1 - 3e-6) - 1


def test_parts_of_a_bucket_add_up_and_the_load_is_rounded_up() -> None:
    demand = FleetDemand("w", (1_000_000, 3))
    columns = {0: FleetColumn("a", "w", "l4", 4, (300_000, 7)), 1: FleetColumn("b", "w", "l4", 4, (0, 5))}
    parts = exact_parts(demand, columns, {(0, 0): 1.0, (1, 0): 0.3333333, (1, 1): 0.6666667}, 1_000_000)
    assert parts == {(0, 0): 1_000_000, (1, 0): 333_333, (1, 1): 666_667}
    assert load_of(demand, columns[0], {0: 1_000_000}) == 3_333_333_334


def test_a_bucket_that_nobody_can_serve_makes_the_fleet_infeasible() -> None:
    demand = FleetDemand("w", (10, 10))
    column = FleetColumn("a", "w", "l4", 4, (5, 0))
    offer = NodeOffer("a", "l4", 8, micro_usd_per_hour=1)
    assert solve_fleet(FleetProblem((demand,), (column,), (offer,))).status == "infeasible"


def test_spares_of_a_routed_workload_idle_beside_every_column_in_use() -> None:
    demand = FleetDemand("w", (10, 10), spare_replicas=1)
    column = FleetColumn("a", "w", "l4", 4, (10, 10))
    offer = NodeOffer("a", "l4", 8, billing="gpu", micro_usd_per_hour=5)
    outcome = solve_fleet(FleetProblem((demand,), (column,), (offer,)))
    # two replicas exactly full would do; routed demand carries two millionths more, so three work and one is spare
    assert outcome.bounds[0].value == 20


@pytest.mark.parametrize("seed", range(3))
def test_a_long_histogram_is_solved_within_its_gap_and_sound(seed: int) -> None:
    draw = random.Random(seed)
    buckets = 150
    demand = FleetDemand("w", tuple(draw.randint(10_000, 200_000) for _ in range(buckets)))
    columns = tuple(
        FleetColumn(
            f"c{g}", "w", f"g{g}", 4, tuple(int(draw.uniform(0.5, 1.5) * 200_000 * (g + 1)) for _ in range(buckets))
        )
        for g in range(4)
    )
    offers = tuple(
        NodeOffer(f"o{g}", f"g{g}", 8, billing="gpu", micro_usd_per_hour=1_000_000 * (g + 1)) for g in range(4)
    )
    problem = FleetProblem((demand,), columns, offers)
    outcome = solve_fleet(problem, FleetOptions(time_limit=20, relative_gap=0.005))
    assert outcome.fleet is not None
    assert outcome.bounds[0].gap <= 0.005
    assert fleet_violations(problem, outcome.fleet, outcome.parts) == ()
