"""What decides between two plans, by hand: the keys of an order, and when one surely beats a bound."""

from dataclasses import replace

import pytest

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.search.order import Order, capped_quality
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.optimizer.space.weights import WeightFormat
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.quality import Quality

FORMATS = resolve_solve(SolveRequest(model="Qwen/Qwen3-8B", gpu="l40s"), Catalog()).formats
NATIVE = next(item for item in FORMATS if item.publisher == "native")
UNKNOWN = replace(NATIVE, quality=Quality(log_mean=None, log_deviation=0.0))
WORSE = replace(NATIVE, quality=Quality(log_mean=-0.5, log_deviation=0.0))


def test_weights_of_unknown_quality_come_after_every_known_one() -> None:
    assert capped_quality(UNKNOWN) == 0.0
    assert 0 < capped_quality(WORSE) < capped_quality(NATIVE) == 1.0
    order = Order.of(("cost",), 0.02)
    keys = [order.key((100, -5), 2, weights) for weights in (NATIVE, WORSE, UNKNOWN)]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("objectives", "tolerance", "names"),
    [
        (("cost",), 0.02, ("cost", "throughput")), (("latency",), 0.02, ("latency", "cost")),
        (("throughput", "cost"), 0.02, ("throughput", "cost")), (("cost",), 0.0, ("cost",)),
        (("throughput",), 0.0, ("throughput",)), (("efficiency",), 0.1, ("efficiency", "throughput")),
    ],
)  # fmt: skip
def test_what_nobody_named_follows_the_objectives(
    objectives: tuple[str, ...], tolerance: float, names: tuple[str, ...]
) -> None:
    assert Order.of(objectives, tolerance).names == names


def test_the_places_of_a_key() -> None:
    other: WeightFormat = replace(NATIVE, publisher="vendor")
    loose, strict = Order.of(("cost",), 0.02), Order.of(("cost", "throughput"), 0.0)
    assert loose.key((100, -5), 2, other) == (100, 2, -5, 2, 2, -1.0)
    assert strict.key((100, -5), 2, other) == (100, -5, 2, 2, -1.0)
    assert (loose.slack(0), loose.slack(1), loose.slack(2)) == (0.02, 0.02, 0.0)
    assert [strict.slack(place) for place in range(3)] == [0.0, 0.0, 0.0]
    assert (loose.window(1000), strict.window(1000)) == (1020, 1000)
    assert loose.worst(0, 1000) == 1020


def test_what_surely_beats_a_bound() -> None:
    loose, strict = Order.of(("cost", "gpus"), 0.02), Order.of(("cost", "gpus"), 0.0)
    assert strict.surely_better((5, 1), (5, 2))
    assert not strict.surely_better((5, 2), (5, 2))
    assert loose.surely_better((100, 0, 900), (100, 1, 0))  # its publisher comes first
    assert not loose.surely_better((100, 1, 0), (100, 0, 900))
    assert loose.surely_better((100, 0, 1000), (100, 0, 1021))  # by more than 2 % of the second objective
    assert not loose.surely_better((100, 0, 1000), (100, 0, 1020))


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
def test_servers_are_ranked_by_their_keys(tolerance: float) -> None:
    order = Order.of(("cost", "throughput"), tolerance)
    formats = (NATIVE, WORSE, UNKNOWN, replace(NATIVE, publisher="vendor"))
    servers = [
        ((cost, -speed), gpus, weights)
        for gpus in (2, 1) for cost in (7, 5) for weights in formats for speed in (3, 9) for _ in "ab"
    ]  # fmt: skip
    keys = [order.key(*server) for server in servers]
    expected = sorted(range(len(servers)), key=lambda at: keys[at])
    assert order.ranked(*(list(column) for column in zip(*servers, strict=True))) == expected
