"""Disk and host memory as the cause of what is not placed, with the least that would do."""

import time
from dataclasses import replace

import pytest

from vllm_opt.constraints.placing.site import Island, PlacementProblem, ServerColumn, SiteNode, SiteService
from vllm_opt.optimizer import PlaceRequest, place
from vllm_opt.optimizer.placement.stores import lacking_store, least_and_most, more_room

GIB = 1 << 30


def two_services(disks: tuple[int | None, ...], sizes: tuple[int, int] = (10, 6)) -> PlacementProblem:
    """Two services of one GPU each, with checkpoints of so many GiB, on nodes with so much disk."""
    nodes = tuple(
        SiteNode(f"n{n}", (Island("g", 100, (0, 1)),), disk_bytes=None if disk is None else disk * GIB)
        for n, disk in enumerate(disks)
    )
    columns = tuple(
        ServerColumn(f"c{s}", s, "g", 1, 1, 10, bytes_per_gpu=90, disk_bytes=size * GIB, checkpoint=f"w{s}")
        for s, size in enumerate(sizes)
    )
    return PlacementProblem(nodes, (SiteService("a", 10), SiteService("b", 10, priority=2)), columns)


@pytest.mark.parametrize(
    ("disks", "names", "gib"),
    [
        ((12,), ("n0",), 16),  # both checkpoints on the only node
        ((12, 5), ("n1",), 6),  # a GiB more on the second is less than four more on the first
        ((10, 3), ("n1",), 6),
    ],
)
def test_the_least_disk_that_lets_both_stand(disks: tuple[int, ...], names: tuple[str, ...], gib: int) -> None:
    problem = two_services(disks)
    end = time.monotonic() + 30
    assert lacking_store(problem, 1, 2, end) == "disk"
    room = more_room(problem, "disk", 1, 2, end)
    assert room is not None
    assert (room.nodes, room.gib, room.key) == (names, gib, "disk_gib")
    assert f"{gib} GiB of disk on {names[0]}" in room.message


def test_two_replicas_on_two_small_disks_need_more_on_both() -> None:
    problem = two_services((3, 4))
    spread = replace(problem, services=(replace(problem.services[0], least=2, most=2, spread="node"),))
    alone = replace(spread, columns=problem.columns[:1])
    room = more_room(alone, "disk", 0, 1, time.monotonic() + 30)
    assert room is not None
    assert (room.nodes, room.before_bytes, room.gib) == (("n0", "n1"), 3 * GIB, 10)
    assert least_and_most(alone, "disk", 0) == (10 * GIB, 4 * GIB)


def test_where_gpus_are_lacking_no_disk_is_named() -> None:
    end = time.monotonic() + 30
    full = replace(two_services((40,)), nodes=(SiteNode("n", (Island("g", 100, (0,)),), disk_bytes=40 * GIB),))
    assert lacking_store(full, 1, 2, end) is None
    assert more_room(full, "disk", 1, 2, end) is None
    assert lacking_store(two_services((None,)), 1, 2, end) is None


def test_host_memory_is_named_where_servers_sleep() -> None:
    problem = two_services((None,))
    sleeping = tuple(replace(column, asleep_bytes=5, host_bytes=8 * GIB, most_on_gpu=2) for column in problem.columns)
    node = SiteNode("n0", (Island("g", 100, (0, 1)),), host_bytes=12 * GIB)
    problem = replace(problem, nodes=(node,), columns=sleeping)
    assert lacking_store(problem, 1, 2, time.monotonic() + 30) == "host_memory"
    room = more_room(problem, "host_memory", 1, 2, time.monotonic() + 30)
    assert room is not None
    assert (room.gib, room.key) == (16, "host_memory_gib")


def test_a_site_without_disk_for_the_weights_says_so_and_how_much_helps() -> None:
    nodes = [{"name": "n", "gpu": "h100", "gpus": 2, "disk_gib": 12}]
    services = [
        {"name": "one", "model": "Qwen/Qwen3-8B", "workload": "chat", "requests_per_s": 1},
        {"name": "two", "model": "Qwen/Qwen3-14B", "workload": "chat", "requests_per_s": 1, "priority": 2},
    ]
    answer = place(PlaceRequest(nodes=nodes, services=services))
    (missing,) = answer.unplaced
    assert missing.service == "two"
    assert [conflict.rule for conflict in missing.explanation.conflict] == ["disk"]
    change = next(each for each in missing.explanation.relaxations if each.change == "disk_gib")
    assert change.from_value == 12
    again = place(PlaceRequest(nodes=[{**nodes[0], "disk_gib": change.to}], services=services))
    assert not again.unplaced
    less = place(PlaceRequest(nodes=[{**nodes[0], "disk_gib": change.to - 1}], services=services))
    assert [each.service for each in less.unplaced] == ["two"]
