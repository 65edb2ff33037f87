"""The placement model against trying everything, on tiny sites; benchmarks/placement_brute_force.py has thousands."""

from collections import Counter

import pytest
from placement_oracle import best_values, random_problem

from vllm_opt.constraints.placing.check import placement_violations
from vllm_opt.constraints.placing.measures import measure
from vllm_opt.constraints.placing.moves import Standing, memory_along, ordered_moves
from vllm_opt.constraints.placing.site import Island, PlacementProblem, ServerColumn, SiteNode, SiteService
from vllm_opt.optimizer.placement_model import patterns
from vllm_opt.optimizer.placement_model.outcome import PlacementOptions
from vllm_opt.optimizer.placement_model.solver import solve_placement


@pytest.mark.parametrize("seed", range(12))
def test_every_objective_is_that_of_trying_everything(seed: int) -> None:
    problem = random_problem(seed)
    outcome = solve_placement(problem, PlacementOptions())
    expected = best_values(problem)
    assert outcome.status == "optimal"
    assert not placement_violations(problem, outcome.servers)
    assert {bound.name: bound.value for bound in outcome.bounds}.items() <= expected.items()
    assert all(measure(problem, outcome.servers, name) == value for name, value in expected.items())


@pytest.mark.parametrize("seed", [1, 5, 9, 11])
def test_with_too_many_patterns_to_list_bounds_still_hold(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MOST_PATTERNS", 2)
    problem = random_problem(seed)
    outcome = solve_placement(problem, PlacementOptions(time_limit=10))
    expected = best_values(problem)
    assert not placement_violations(problem, outcome.servers)
    first = outcome.bounds[0]
    assert first.value <= expected[first.name] <= first.bound


@pytest.mark.parametrize("seed", range(30, 50))
def test_the_moves_never_take_more_memory_than_there_is(seed: int) -> None:
    problem = random_problem(seed)
    servers = solve_placement(problem, PlacementOptions()).servers
    left = Counter(servers)
    today = [Standing(e, problem.columns[s.column], s.parts) for e, s in enumerate(problem.today)]
    stays, stops = [], []
    for standing, server in zip(today, problem.today, strict=True):
        (stays if left[server] else stops).append(standing)
        left[server] -= bool(left[server])
    starts = [Standing(i, problem.columns[s.column], s.parts) for i, s in enumerate(sorted(left.elements()))]
    alone = all(
        memory_along(problem, [], [one, other], [one], ordered_moves(problem, [one], [], [other])) is None
        for one in stays for other in stays if one is not other
    )  # fmt: skip
    if not alone:
        return  # what stays was drawn by chance and does not itself fit together
    steps = ordered_moves(problem, stays, [], starts)
    assert memory_along(problem, [], starts, stays, steps) is None or any(step.action == "stop" for step in steps)


def test_identical_nodes_are_one_class_and_the_placement_is_proven() -> None:
    nodes = tuple(SiteNode(f"n{n}", (Island("g", 100, tuple(range(8))),)) for n in range(16))
    services = tuple(SiteService(f"s{s}", 10, least=2, most=4, spread="node") for s in range(8))
    columns = tuple(ServerColumn(f"c{s}", s, "g", 4, 1, 10, bytes_per_gpu=90) for s in range(8))
    outcome = solve_placement(PlacementProblem(nodes, services, columns), PlacementOptions())
    values = {bound.name: bound.value for bound in outcome.bounds}
    assert (outcome.status, outcome.classes) == ("optimal", 1)
    assert values["gpus"] == 64
    assert values["blocks"] == 8 * 64  # eight whole nodes stay free
