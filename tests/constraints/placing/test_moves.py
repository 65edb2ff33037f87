"""From today to a placement without ever taking more memory than there is."""

from vllm_opt.constraints.placing.moves import Standing, Step, memory_along, ordered_moves
from vllm_opt.constraints.placing.site import Island, PlacementProblem, ServerColumn, SiteNode, SiteService


def problem(*services: str) -> PlacementProblem:
    nodes = (SiteNode("n", (Island("g", 100, (0, 1)),)),)
    return PlacementProblem(nodes, tuple(SiteService(name, 1, most=9) for name in services), ())


def standing(key: int, service: int, held: int, gpu: int) -> Standing:
    column = ServerColumn("c", service, "g", 1, 1, 1, bytes_per_gpu=held, most_on_gpu=4)
    return Standing(key, column, ((0, (gpu,)),))


def test_a_replacement_starts_before_the_old_server_stops_where_both_fit() -> None:
    steps = ordered_moves(problem("a"), [], [standing(0, 0, 60, 0)], [standing(0, 0, 60, 1)])
    assert [(step.action, step.left) for step in steps] == [("start", 2), ("stop", 1)]


def test_two_servers_that_change_places_need_one_stop_first() -> None:
    site = problem("a", "b")
    today = [standing(0, 0, 60, 0), standing(1, 1, 60, 1)]
    wanted = [standing(0, 0, 60, 1), standing(1, 1, 60, 0)]
    steps = ordered_moves(site, [], today, wanted)
    assert [step.action for step in steps] == ["stop", "start", "stop", "start"]
    assert memory_along(site, today, wanted, [], steps) is None


def test_replaying_finds_the_step_that_takes_too_much() -> None:
    site = problem("a")
    today, wanted = [standing(0, 0, 60, 0)], [standing(0, 0, 60, 0)]
    wrong = [Step("start", "placement", 0, 2), Step("stop", "today", 0, 1)]
    assert memory_along(site, today, wanted, [], wrong) == 0
