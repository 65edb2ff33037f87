"""Ways, listings, relaxations and their bounds, on sites small enough to count by hand or to list one by one."""

import time
from dataclasses import replace

import pytest
from placement_oracle import best_values, random_problem

from vllm_opt.constraints.placing.gpu_memory import fits_gpu
from vllm_opt.constraints.placing.site import Island, PlacementProblem, ServerColumn, SiteNode, SiteService
from vllm_opt.optimizer.placement_model.exact import fewest
from vllm_opt.optimizer.placement_model.generation import Relaxation
from vllm_opt.optimizer.placement_model.listing import listings
from vllm_opt.optimizer.placement_model.outcome import PlacementOptions
from vllm_opt.optimizer.placement_model.patterns import PatternSet, gpu_patterns
from vllm_opt.optimizer.placement_model.solver import solve_placement
from vllm_opt.optimizer.placement_model.ways import service_ways, smallest_ways
from vllm_opt.optimizer.placement_model.worth import headroom_first


def halves(services: int, gpus: int = 8, bytes_per_gpu: int = 40) -> PlacementProblem:
    """Services that each need a server of two fifths of a GPU, or a GPU of their own."""
    columns = tuple(
        column
        for s in range(services)
        for column in (
            ServerColumn(f"s{s}part", s, "g", 1, 1, 10, bytes_per_gpu=bytes_per_gpu, most_on_gpu=4),
            ServerColumn(f"s{s}whole", s, "g", 1, 1, 30, bytes_per_gpu=100),
        )
    )
    nodes = (SiteNode("n", (Island("g", 100, tuple(range(gpus))),)),)
    return PlacementProblem(
        nodes, tuple(SiteService(f"s{s}", 10, most=3) for s in range(services)), columns,
        objectives=("served", "gpus", "blocks"),
    )  # fmt: skip


def test_the_smallest_ways_of_a_service_are_those_from_which_nothing_can_be_left_out() -> None:
    problem = halves(1)
    twelve = replace(problem, services=(replace(problem.services[0], demand=12),))
    assert smallest_ways(problem, 0, (0, 1), 1000) == ((1,), (0,))
    assert smallest_ways(twelve, 0, (0, 1), 1000) == ((1,), (0, 0))
    assert smallest_ways(problem, 0, (0,), 4000) == ()  # four servers of 10, and it may have three
    survivor = replace(problem, services=(replace(problem.services[0], survives=True),))
    assert smallest_ways(survivor, 0, (0, 1), 1000) == ((1, 1), (1, 0), (0, 0))
    ways = service_ways(twelve, {0, 1}, 1000)[0]
    assert ways.counts is not None
    assert ways.counts.tolist() == [[0, 1], [2, 0]]
    for most in (3000, 0):  # listed, and looked for
        mine = service_ways(twelve, {0, 1}, 1000, most)[0]
        assert mine.cheapest((3, 7), 1) == (6, ((2, 0),))
        assert mine.cheapest((4, 7), 1) == (7, ((0, 1),))


def test_parts_of_a_large_server_do_not_count_where_its_ways_are_too_many_to_list() -> None:
    problem = halves(1)  # a tenth of the server of its own would do, and is not to be had
    alone = replace(problem, columns=(replace(problem.columns[1], capacity=100),))
    relaxation = Relaxation(alone, {}, 1000)
    relaxation.ways = service_ways(alone, {0}, 1000, most=0)
    assert relaxation.minimised("gpus", time.monotonic() + 60).bound == 1


@pytest.mark.parametrize("seed", range(40))
def test_a_listing_holds_the_patterns_that_are_grown_one_by_one(seed: int) -> None:
    problem = random_problem(seed)
    grown = gpu_patterns(problem)
    for (gpu, total), listing in listings(problem).items():
        found = {listing.pattern(row) for row in range(len(listing.rows))}
        able = {p for p in grown.by_gpu[gpu] if fits_gpu([problem.columns[k] for k in p], total)}
        assert listing.complete
        assert found == able
    assert not any(each.complete for each in listings(halves(9), most=3).values())


def test_five_servers_of_two_fifths_take_three_gpus_though_parts_of_them_take_two_and_a_half() -> None:
    problem = halves(5)
    relaxation = Relaxation(problem, {}, 1000)
    relaxed = relaxation.minimised("gpus", time.monotonic() + 60)
    assert relaxed.bound == 3
    patterns = PatternSet(relaxed.near, complete=False, largest={"g": 100})
    found = fewest(problem, patterns, "gpus", {"headroom": 1000}, time.monotonic() + 60)
    assert (found.status, found.bound) == ("found", 3)
    assert found.servers is not None
    assert len({place for server in found.servers for place in server.parts}) == 3
    kept = {"headroom": 1000, "gpus": 2}
    assert fewest(problem, patterns, "gpus", kept, time.monotonic() + 60, strict=True).status == "none"


def test_a_proof_needs_only_patterns_that_cost_no_more_than_what_is_missing() -> None:
    problem = halves(4)
    relaxation = Relaxation(problem, {}, 1000)
    assert relaxation.minimised("gpus", time.monotonic() + 60).bound == 2
    within = relaxation.within("gpus", 2, 1000)
    assert within is not None
    pairs = {(a, b) for a in (0, 2, 4, 6) for b in (0, 2, 4, 6) if a <= b}
    assert set(within["g"]) == pairs  # one of a GPU costs half a GPU more
    assert relaxation.within("gpus", 2, 5) is None


def least_gpus(problem: PlacementProblem) -> int | None:
    """By trying everything; None where not all is served with the headroom that counts, or it would take too long."""
    try:
        best = best_values(problem)
    except OverflowError:
        return None
    full = all(best[f"served:{p}"] == sum(s.priority == p for s in problem.services) for p in problem.priorities)
    headroom = headroom_first(problem)
    enough = headroom <= 1000 or best["headroom"] >= headroom
    return int(best["gpus"]) if full and enough and "gpus" in best else None


@pytest.mark.parametrize("seed", range(60, 100))
def test_no_bound_of_a_relaxation_exceeds_what_trying_everything_finds(seed: int) -> None:
    problem = random_problem(seed)
    headroom, fewest_gpus = headroom_first(problem), least_gpus(problem)
    if fewest_gpus is None:
        return
    for listed, ways in ((2_000_000, 3000), (2_000_000, 0), (0, 0)):
        relaxation = Relaxation(problem, {}, headroom)
        relaxation.ways = service_ways(problem, relaxation.model.at.total, headroom, ways)
        relaxation.complete &= listed > 0
        bound = relaxation.minimised("gpus", time.monotonic() + 60, elastic=True).bound
        assert bound is None or bound <= fewest_gpus


@pytest.mark.parametrize("seed", range(100, 180))
def test_a_relaxation_made_tighter_keeps_every_pattern_that_the_best_placement_needs(seed: int) -> None:
    problem = replace(random_problem(seed), today=())
    headroom, fewest_gpus = headroom_first(problem), least_gpus(problem)
    if fewest_gpus is None:
        return
    relaxation = Relaxation(problem, {}, headroom)
    if relaxation.minimised("gpus", time.monotonic() + 60, elastic=True).bound is None:
        return
    tightened = relaxation.tightened("gpus", fewest_gpus, 0, time.monotonic() + 60)
    assert tightened is not None
    assert tightened <= fewest_gpus
    within = relaxation.within("gpus", fewest_gpus, 1_000_000)
    assert within is not None
    patterns = PatternSet(within, complete=False, largest=relaxation.largest)
    kept = {"headroom": headroom, "gpus": fewest_gpus}
    assert fewest(problem, patterns, "gpus", kept, time.monotonic() + 60, strict=True).status != "none"


def test_what_cannot_be_listed_is_not_made_tighter() -> None:
    relaxation = Relaxation(halves(4), {}, 1000)
    assert relaxation.tightened("gpus", 2, 0, time.monotonic() + 60) is None  # nothing was minimised yet
    relaxation.minimised("gpus", time.monotonic() + 60)
    relaxation.complete = False
    assert relaxation.tightened("gpus", 2, 0, time.monotonic() + 60) is None


def test_a_service_that_may_not_stand_everywhere_is_outlined_where_others_stand() -> None:
    outcome = solve_placement(random_problem(20443), PlacementOptions(time_limit=20, most_patterns=1))
    values = {bound.name: (bound.value, bound.bound) for bound in outcome.bounds}
    assert values["share:2"] == (750, 750)
