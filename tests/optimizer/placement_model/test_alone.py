"""A server alone on its GPU takes all of it, and nothing that was decided gets worse."""

from dataclasses import replace

from vllm_opt.constraints.placing.site import (
    Island,
    PlacedServer,
    PlacementProblem,
    ServerColumn,
    SiteNode,
    SiteService,
)
from vllm_opt.optimizer.placement_model.alone import with_whole_gpus
from vllm_opt.optimizer.placement_model.worth import worth

GIB = 1 << 30
PART = ServerColumn("part", 0, "g", 1, 1, 10, bytes_per_gpu=40, most_on_gpu=2, disk_bytes=5 * GIB, checkpoint="light")
WHOLE = ServerColumn("whole", 0, "g", 1, 1, 30, bytes_per_gpu=95, disk_bytes=9 * GIB, checkpoint="full")
OTHER = replace(PART, name="other", service=1, checkpoint="other")
SITE = PlacementProblem(
    (SiteNode("n", (Island("g", 100, (0, 1)),), disk_bytes=20 * GIB),),
    (SiteService("a", 8, most=3), SiteService("b", 8)), (PART, WHOLE, OTHER),
)  # fmt: skip


def on(column: int, gpu: int) -> PlacedServer:
    return PlacedServer(column, ((0, (gpu,)),))


def test_what_stands_alone_gets_the_whole_gpu() -> None:
    before = (on(0, 0), on(2, 1))
    after = with_whole_gpus(SITE, before)
    assert after == (on(1, 0), on(2, 1))
    assert worth(SITE, after) >= worth(SITE, before)


def test_what_shares_keeps_its_part() -> None:
    together = (on(0, 0), on(2, 0))
    assert with_whole_gpus(SITE, together) == together


def test_what_runs_today_and_what_sleeps_stay_as_they_are() -> None:
    running = replace(SITE, today=(on(0, 0),))
    assert with_whole_gpus(running, (on(0, 0),)) == (on(0, 0),)
    sleeping = replace(SITE, columns=(replace(PART, asleep_bytes=2), WHOLE, OTHER))
    assert with_whole_gpus(sleeping, (on(0, 0),)) == (on(0, 0),)


def test_a_disk_that_holds_only_the_lighter_weights_keeps_them() -> None:
    small = replace(SITE, nodes=(replace(SITE.nodes[0], disk_bytes=8 * GIB),))
    assert with_whole_gpus(small, (on(0, 0),)) == (on(0, 0),)


def test_a_whole_gpu_that_serves_less_is_not_taken() -> None:
    slow = replace(SITE, columns=(PART, replace(WHOLE, capacity=9), OTHER))
    assert with_whole_gpus(slow, (on(0, 0),)) == (on(0, 0),)
