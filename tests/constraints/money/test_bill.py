"""Whole machines: the bill against one filled server by server, and the properties that the search relies on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import whole_machines
from strategies import offer

from vllm_opt.constraints.money.bill import bill_of, cheapest_bill, most_replicas
from vllm_opt.profiles.nouns.price import Offer

EIGHT = offer(8, 16.0)
SINGLY = offer(1, 3.0, up_to_gpus=8)


@pytest.mark.parametrize(
    ("offers", "servers", "usd", "instances", "bought"),
    [
        ((EIGHT,), (1, 1), 16.0, 1, 8),
        ((EIGHT,), (4, 2), 16.0, 1, 8),
        ((EIGHT,), (5, 2), 32.0, 2, 16),
        ((EIGHT,), (3, 3), 32.0, 2, 16),  # two servers of three fit into eight GPUs, two GPUs stay idle
        ((SINGLY,), (3, 2), 18.0, 1, 6),
        ((SINGLY,), (3, 3), 27.0, 2, 9),
        ((EIGHT, SINGLY), (1, 4), 12.0, 1, 4),
        ((EIGHT, SINGLY), (1, 6), 16.0, 1, 8),
        ((EIGHT, offer(1, 2.5)), (1, 2), 16.0, 1, 8),  # a server of two GPUs does not fit into machines of one
    ],
)
def test_bills_by_hand(
    offers: tuple[Offer, ...], servers: tuple[int, int], usd: float, instances: int, bought: int
) -> None:
    bill = cheapest_bill(offers, *servers)
    assert bill is not None
    assert (bill.microusd_per_hour, bill.instances, bill.gpus_bought) == (round(usd * 1e6), instances, bought)
    assert bill.gpus_used == servers[0] * servers[1]


def test_a_server_stays_in_one_machine_unless_said() -> None:
    """Servers of three GPUs: two in a machine of eight, where halves of them would fill it."""
    bill = bill_of(EIGHT, 3, 3)
    assert bill is not None
    assert (bill.instances, bill.gpus_bought, bill.gpus_used) == (2, 16, 9)
    assert most_replicas(offer(8, 0.0, stock_gpus=12, billing="owned"), 3) == 3


def test_a_server_over_two_nodes_takes_whole_machines_of_that_size() -> None:
    bill = cheapest_bill((EIGHT, offer(4, 4.0)), 1, 16, nodes=2)
    assert bill is not None
    assert (bill.instances, bill.microusd_per_hour, bill.offer.gpus) == (2, 32_000_000, 8)


def test_owned_machines_cost_nothing_and_end() -> None:
    owned = offer(8, 0.0, stock_gpus=12, billing="owned")
    assert most_replicas(owned, 2) == 6
    assert most_replicas(owned, 8) == 1
    bill = cheapest_bill((owned, EIGHT), 6, 2)
    assert bill is not None
    assert (bill.microusd_per_hour, bill.gpus_bought, bill.offer.billing) == (0, 12, "owned")
    more = cheapest_bill((owned, EIGHT), 7, 2)
    assert more is not None
    assert more.microusd_per_hour == 32_000_000
    assert cheapest_bill((owned,), 7, 2) is None


@st.composite
def offer_lists(draw: st.DrawFn) -> tuple[Offer, ...]:
    found = []
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.sampled_from((1, 2, 3, 4, 8, 16)))
        kind = draw(st.sampled_from(("machine", "machine", "singly", "stock")))
        usd = draw(st.sampled_from((0.1, 0.333333, 1.0, 2.5, 7.77)))
        if kind == "singly":
            found.append(offer(1, usd, up_to_gpus=size))
        elif kind == "stock":
            found.append(offer(size, 0.0, stock_gpus=draw(st.integers(1, 20)), billing="owned"))
        else:
            found.append(offer(size, usd * size))
    return tuple(found)


SERVERS = st.sampled_from(((1, 1), (2, 1), (3, 1), (4, 1), (8, 1), (16, 2), (8, 2)))


@given(offers=offer_lists(), server=SERVERS, replicas=st.integers(1, 24))
def test_the_bill_is_that_of_machines_filled_one_server_after_the_other(
    offers: tuple[Offer, ...], server: tuple[int, int], replicas: int
) -> None:
    bill = cheapest_bill(offers, replicas, *server)
    assert (bill and bill.microusd_per_hour) == whole_machines(offers, replicas, *server)
    if bill is not None:
        assert bill.gpus_used == replicas * server[0] <= bill.gpus_bought
        assert bill.gpus_bought % bill.offer.gpus == 0 or bill.offer.stock_gpus is not None


@given(offers=offer_lists(), server=SERVERS)
def test_more_servers_never_cost_less_and_never_fit_where_fewer_do_not(
    offers: tuple[Offer, ...], server: tuple[int, int]
) -> None:
    bills = [cheapest_bill(offers, replicas, *server) for replicas in range(1, 30)]
    costs = [bill.microusd_per_hour if bill else None for bill in bills]
    known = [cost for cost in costs if cost is not None]
    assert known == sorted(known)
    assert costs == known + [None] * (len(costs) - len(known))
    for one in offers:
        most = most_replicas(one, *server)
        held = [replicas for replicas in range(1, 30) if bill_of(one, replicas, *server) is not None]
        assert held == list(range(1, 30 if most is None else min(most, 29) + 1))
