"""The cheapest replicas of one service against every count of them."""

import random
from itertools import product

import pytest

from vllm_opt.optimizer.placement_model.covering import Counts, Cover


def every_cover(cover: Cover) -> list[Counts]:
    """All counts that do what is asked."""
    found = []
    for counts in product(range(cover.most + 1), repeat=len(cover.capacity)):
        have = sum(count * capacity for count, capacity in zip(counts, cover.capacity, strict=True))
        largest = max((c for c, count in zip(cover.capacity, counts, strict=True) if count), default=0)
        left = have - largest if cover.survives else have
        if have >= cover.needed and left >= cover.demand and cover.least <= sum(counts) <= cover.most:
            found.append(counts)
    return found


def cost(counts: Counts, prices: tuple[int, ...]) -> int:
    return sum(count * price for count, price in zip(counts, prices, strict=True))


@pytest.mark.parametrize("seed", range(150))
def test_the_cheapest_cover_is_that_of_trying_all(seed: int) -> None:
    chance = random.Random(seed)
    columns, demand = chance.randint(1, 4), chance.randint(1, 30)
    cover = Cover(
        tuple(chance.randint(1, 25) for _ in range(columns)), chance.choice((demand, demand * 5 // 4)), demand,
        least=chance.randint(1, 3), most=chance.randint(1, 5), survives=chance.random() < 0.4,
    )  # fmt: skip
    prices = tuple(chance.choice((0, 1, chance.randint(1, 50), chance.randint(1, 1 << 40))) for _ in range(columns))
    bound, counts = cover.cheapest(prices)
    every = every_cover(cover)
    if not every:
        assert counts is None
        return
    assert counts in every
    assert bound == cost(counts, prices) == min(cost(each, prices) for each in every)


def test_a_search_that_is_cut_short_bounds_what_it_did_not_try(monkeypatch: pytest.MonkeyPatch) -> None:
    cover = Cover((7, 11, 13), 40, 40, 1, 10)
    prices = (70, 120, 140)
    exact, _ = cover.cheapest(prices)
    monkeypatch.setattr("vllm_opt.optimizer.placement_model.covering.MOST_STEPS", 3)
    bound, _ = cover.cheapest(prices)
    assert 40 * 70 // 7 == bound <= exact == min(cost(each, prices) for each in every_cover(cover))
