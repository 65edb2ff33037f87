"""What a deployment costs: whole instances of one offer, in whole millionths of a dollar per hour.

R servers of g GPUs each, over `nodes` nodes each, are R x nodes parts of q = g / nodes GPUs; a part never leaves its
instance, and parts share instances:

    slots     = floor(GPUs of an instance / q)
    instances = ceil(R x nodes / slots)
    cost      = instances x price of an instance

The cheapest offer is taken; a plan buys instances of one offer and never mixes sizes, so that every server runs on the
same machine. Where GPUs are sold one by one (`Offer.up_to_gpus`), a part takes exactly the GPUs that it uses and must
fit into one machine. Owned machines cost nothing and end with the stock.

The search relies on two properties, which hold for any list of offers: for servers of one kind the cost never falls
when R grows (a step function), and R servers can be had whenever R + 1 can.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.profiles.nouns.price import Offer

MICRO = 1_000_000


def microusd(usd: float) -> int:
    """Money as whole millionths of a dollar, so that the model and the checks compare the same integers."""
    return round(usd * MICRO)


@dataclass(frozen=True, slots=True)
class Bill:
    """What is bought for a number of servers."""

    offer: Offer
    instances: int
    gpus_bought: int
    gpus_used: int
    microusd_per_hour: int

    @property
    def order(self) -> tuple[int, int, int, str, str, str, str]:
        """The cheaper first; among equals fewer GPUs, fewer machines, then by name."""
        offer = self.offer
        return (
            self.microusd_per_hour, self.gpus_bought, self.instances, offer.provider, offer.instance_type,
            offer.region or "", offer.billing,
        )  # fmt: skip


def machine_gpus(offer: Offer) -> int:
    """The most GPUs of the offer that share one machine."""
    return offer.up_to_gpus or offer.gpus


def most_replicas(offer: Offer, server_gpus: int, nodes: int = 1) -> int | None:
    """The servers that the offer can hold: 0 when none fits into a machine, None without a limit."""
    part = server_gpus // nodes
    slots = machine_gpus(offer) // part
    if not slots or offer.stock_gpus is None:
        return None if slots else 0
    whole, rest = divmod(offer.stock_gpus, machine_gpus(offer))
    return (whole * slots + rest // part) // nodes


def bill_of(offer: Offer, replicas: int, server_gpus: int, nodes: int = 1) -> Bill | None:
    """The bill for R servers on one offer; None when it cannot hold them."""
    most = most_replicas(offer, server_gpus, nodes)
    if most is not None and replicas > most:
        return None
    used, part = replicas * server_gpus, server_gpus // nodes
    instances = -(-replicas * nodes // (machine_gpus(offer) // part))
    if offer.up_to_gpus is not None:
        return Bill(offer, instances, used, used, used * microusd(offer.usd_per_hour))
    bought = used if offer.stock_gpus is not None else instances * offer.gpus
    return Bill(offer, instances, bought, used, instances * microusd(offer.usd_per_hour))


def cheapest_bill(offers: Sequence[Offer], replicas: int, server_gpus: int, nodes: int = 1) -> Bill | None:
    """The cheapest bill for R servers; None when no offer holds them."""
    bills = (bill_of(offer, replicas, server_gpus, nodes) for offer in offers)
    return min((bill for bill in bills if bill is not None), key=lambda bill: bill.order, default=None)
