"""What is placed when there is no time at all, and what is said when nothing is."""

from dataclasses import replace

import pytest
from placement_oracle import best_values, random_problem

from vllm_opt.constraints.placing.check import placement_violations
from vllm_opt.constraints.placing.gpu_memory import fits_gpu
from vllm_opt.constraints.placing.measures import measure
from vllm_opt.constraints.placing.site import Island, PlacementProblem, ServerColumn, SiteNode, SiteService, maximised
from vllm_opt.optimizer.placement_model.first import first_placement, improved_placement
from vllm_opt.optimizer.placement_model.holding import Room
from vllm_opt.optimizer.placement_model.outcome import PlacementOptions
from vllm_opt.optimizer.placement_model.solver import solve_placement

NO_TIME = PlacementOptions(time_limit=0.0)


def site(columns: tuple[ServerColumn, ...], services: int) -> PlacementProblem:
    nodes = tuple(SiteNode(f"n{n}", (Island("g", 100, (0, 1, 2, 3)),)) for n in range(2))
    return PlacementProblem(
        nodes, tuple(SiteService(f"s{s}", 10) for s in range(services)), columns, links=(frozenset((0, 1)),)
    )


def test_without_any_time_what_plainly_fits_is_placed_and_not_called_the_best() -> None:
    columns = tuple(ServerColumn(f"c{s}", s, "g", 2, 1, 20, bytes_per_gpu=90) for s in range(3))
    outcome = solve_placement(site(columns, 3), NO_TIME)
    assert outcome.servers
    assert outcome.status == "feasible"
    assert next(bound for bound in outcome.bounds if bound.name == "served:1").bound == 3


def test_nothing_placed_for_want_of_time_is_unknown() -> None:
    over_nodes = (ServerColumn("c", 0, "g", 4, 2, 20, nodes=2, bytes_per_gpu=90),)
    outcome = solve_placement(site(over_nodes, 1), NO_TIME)
    assert (outcome.status, outcome.servers) == ("unknown", ())
    assert outcome.bounds[0].bound == 1
    assert solve_placement(site(over_nodes, 1), PlacementOptions()).status == "optimal"


def test_nothing_placed_and_proven_is_no_unknown() -> None:
    too_big = (ServerColumn("c", 0, "g", 1, 1, 20, bytes_per_gpu=101),)
    outcome = solve_placement(site(too_big, 1), PlacementOptions())
    assert (outcome.status, outcome.servers, outcome.bounds[0].bound) == ("optimal", (), 0)


@pytest.mark.parametrize("seed", range(60, 100))
def test_first_placements_break_no_rule_and_are_no_better_than_the_best(seed: int) -> None:
    problem = random_problem(seed)
    expected = best_values(problem)

    def worth(servers: tuple[object, ...]) -> tuple[int, ...]:
        names = problem.objective_names()
        return tuple(measure(problem, servers, name) * (1 if maximised(name) else -1) for name in names)  # type: ignore[arg-type]

    first = first_placement(problem, float("inf"))
    better = improved_placement(problem, first, seed, float("inf"), 20, worth)
    best = tuple(expected[name] * (1 if maximised(name) else -1) for name in problem.objective_names())
    assert not placement_violations(problem, first)
    assert not placement_violations(problem, better)
    assert worth(first) <= worth(better) <= best


@pytest.mark.parametrize("seed", range(20))
def test_a_gpu_grown_server_by_server_holds_what_the_rules_allow(seed: int) -> None:
    problem = random_problem(seed)
    free = replace(problem, apart=(), services=tuple(replace(x, spread="", most=9) for x in problem.services))
    shared = [k for k, column in enumerate(free.columns) if column.shared]
    for total in (60, 100):
        room = Room(free, total)
        for one in shared:
            for two in shared:
                for three in shared:
                    for pattern in ((one,), (one, two), (one, two, three)):
                        fits = fits_gpu([free.columns[k] for k in pattern], total)
                        assert (room.all_of(pattern) is not None) == fits
