"""What whole replicas cost at least: never above the cheapest cover, and above what parts of replicas cost."""

import random
from itertools import product

import pytest

from vllm_opt.optimizer.fleet.covers import added_costs, covers_of, least_of, rows_of
from vllm_opt.optimizer.fleet.problem import SLOTS_PER_GPU, FleetColumn, FleetDemand, FleetProblem, NodeOffer


def drawn(seed: int) -> FleetProblem:
    draw = random.Random(seed)
    columns = tuple(
        FleetColumn(f"c{n}", "w", f"gpu{n}", SLOTS_PER_GPU * draw.choice((1, 2)), (draw.randint(20, 120),), 1)
        for n in range(4)
    )
    offers = tuple(
        NodeOffer(
            f"o{n}", f"gpu{n}", gpus_per_node=draw.choice((2, 4)), billing=draw.choice(("gpu", "node")),
            micro_usd_per_hour=draw.randint(1, 9) * 10**6,
        )
        for n in range(4)
    )  # fmt: skip
    return FleetProblem((FleetDemand("w", (draw.randint(100, 260),)),), columns, offers)


def price_of(problem: FleetProblem, c: int) -> float:
    offer, column = problem.offers[c], problem.columns[c]
    return offer.cost_micro_usd_per_hour * column.slots / (offer.unit_gpus * SLOTS_PER_GPU)


def cheapest(problem: FleetProblem, one: int | None = None) -> float:
    """Every number of replicas, at the least that their slots cost."""
    needed = problem.demands[0].units[0]
    most = [
        range(c == one, -(-needed // column.capacity[0]) + 1 + (c == one)) for c, column in enumerate(problem.columns)
    ]
    return min(
        sum(n * price_of(problem, c) for c, n in enumerate(counts))
        for counts in product(*most)
        if sum(n * column.capacity[0] for n, column in zip(counts, problem.columns, strict=True)) >= needed
    )


@pytest.mark.parametrize("seed", range(25))
def test_it_is_the_cheapest_cover_but_for_the_cells(seed: int) -> None:
    problem = drawn(seed)
    covers = covers_of(problem)
    exact = cheapest(problem)
    assert least_of(covers) <= exact
    assert least_of(covers) >= 0.7 * exact
    for c, cost in covers["w"].with_one().items():
        assert cost <= cheapest(problem, one=c)
        assert added_costs(problem)[c] <= cost - least_of(covers) + 1e-6
    assert covers["w"].used()


@pytest.mark.parametrize("seed", range(25))
def test_every_cover_keeps_the_row(seed: int) -> None:
    problem = drawn(seed)
    ((weights, needed),) = rows_of(list(covers_of(problem).values()))
    demand = problem.demands[0].units[0]
    for counts in product(range(4), repeat=4):
        if sum(n * column.capacity[0] for n, column in zip(counts, problem.columns, strict=True)) >= demand:
            assert sum(n * weights[c] for c, n in enumerate(counts)) >= needed


def test_parts_of_replicas_are_cheaper_than_whole_ones() -> None:
    """Demand 110 of replicas that serve 100: the relaxation pays 1.1 of them, a fleet two."""
    column = FleetColumn("c", "w", "g", SLOTS_PER_GPU, (100,), 1)
    offer = NodeOffer("o", "g", gpus_per_node=8, billing="gpu", micro_usd_per_hour=1_000_000)
    problem = FleetProblem((FleetDemand("w", (110,)),), (column,), (offer,))
    assert least_of(covers_of(problem)) == pytest.approx(2_000_000)
    spare = FleetProblem((FleetDemand("w", (110,), spare_replicas=1),), (column,), (offer,))
    assert least_of(covers_of(spare)) == pytest.approx(3_000_000)
    assert covers_of(problem, frozenset({"demand:w"})) == {}
