"""From prices, stock and the cost of owning to node offers, each with the words that a finance department asks for."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

from vllm_opt.optimizer.fleet.problem import NodeOffer
from vllm_opt.optimizer.procurement.request import FleetRequest
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.offers import OfferTerms, offer_per_gpu
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.price import Offer as Machine

HOURS_PER_YEAR = 8760
HOURS_PER_MONTH = 730


@dataclass(frozen=True)
class Offer:
    """One node offer and where its numbers come from."""

    node: NodeOffer
    provider: str
    what: str
    source: str
    as_of: str
    synthetic: bool = False

    @property
    def usd_per_gpu_hour(self) -> float:
        """Everything that an hour of one GPU costs, depreciation included."""
        return self.node.cost_micro_usd_per_hour / 1e6 / self.node.unit_gpus


def micro(usd: float | Fraction) -> int:
    """Money in millionths of a dollar, rounded up: cost is never understated."""
    exact = usd if isinstance(usd, Fraction) else Fraction(str(usd))
    return math.ceil(exact * 1_000_000)


class Market:
    """Every way to get GPUs that a request allows."""

    def __init__(self, request: FleetRequest, catalog: Catalog) -> None:
        self.request = request
        self.catalog = catalog
        self.notes: list[str] = []
        inventory, money = request.inventory, request.money
        self._price = {catalog.gpu(name).id: usd for name, usd in money.price.items()}
        self._node_price = {catalog.gpu(name).id: usd for name, usd in money.node_price.items()}
        self._bought = {catalog.gpu(name).id: usd for name, usd in money.purchase.usd_per_gpu.items()}
        self._node_gpus = {catalog.gpu(name).id: n for name, n in inventory.gpus_per_node.items()}
        self._available = {catalog.gpu(name).id: n for name, n in inventory.nodes_available.items()}
        self._rack = {catalog.gpu(name).id: units for name, units in inventory.rack_units_per_node.items()}
        self.quota = {catalog.gpu(name).id: n for name, n in inventory.quota.items()}
        self._terms = OfferTerms(money.provider, money.billing or money.commitment, money.region)

    def offers(self) -> tuple[Offer, ...]:
        """Every offer, stock first; SKUs without any are left out.

        Raises:
            InvalidRequest: nothing can be had at all.
        """
        found = list(self._stock())
        owned = {offer.node.gpu for offer in found}
        for gpu in self._candidates():
            if "rent" in self.request.money.acquire:
                found += self._cheapest(self._rented(gpu))
            if "buy" in self.request.money.acquire:
                found += self._purchase(gpu)
        if not found:
            raise InvalidRequest(
                "no GPU can be had: no price fits money.provider, region and commitment; give money.price (SKU: USD)"
            )
        if owned and self.request.inventory.gpu:
            self.notes.append("stock takes part whether or not inventory.gpu names it")
        return tuple(found)

    def either(self, gpu_id: str) -> tuple[Offer, Offer] | None:
        """The cheapest way to rent a SKU and the way to buy it, for comparison; None when a price is missing."""
        gpu = self.catalog.gpu(gpu_id)
        rents, buys = self._cheapest(self._rented(gpu)), self._purchase(gpu)
        return (rents[0], buys[0]) if rents and buys else None

    def node_gpus(self, gpu: GpuProfile) -> int:
        """GPUs of one server of a SKU."""
        return self._node_gpus.get(gpu.id, gpu.gpus_per_node)

    def _candidates(self) -> tuple[GpuProfile, ...]:
        named = self.request.inventory.gpu
        if not named:
            return self.catalog.gpus
        return tuple({gpu.id: gpu for gpu in map(self.catalog.gpu, named)}.values())

    def _watts(self, gpu: GpuProfile, gpus: int, *, with_server: bool = True) -> int:
        server = self.request.money.purchase.watts_per_server if with_server else 0
        return math.ceil((gpu.tdp_watts or 0) * gpus + server)

    def _running(self, watts: int) -> int:
        """Power through the meter and hosting of one node, millionths of a dollar per hour."""
        cost = self.request.money.purchase
        kilowatts = Fraction(watts, 1000)
        power = kilowatts * Fraction(str(cost.pue)) * Fraction(str(cost.usd_per_kwh))
        return micro(power + kilowatts * Fraction(str(cost.hosting_usd_per_kw_month)) / HOURS_PER_MONTH)

    def _stock(self) -> Iterable[Offer]:
        for position, held in enumerate(self.request.inventory.stock):
            gpu = self.catalog.gpu(held.gpu)
            gpus = held.gpus_per_node or self.node_gpus(gpu)
            watts = self._watts(gpu, gpus)
            running = micro(held.usd_per_node_hour) if held.usd_per_node_hour is not None else self._running(watts)
            node = NodeOffer(
                name=f"stock-{gpu.id}-{position + 1}", gpu=gpu.id, gpus_per_node=gpus, kind="stock", provider="owned",
                micro_usd_per_hour=running, watts=watts, rack_milliunits=self._rack_units(gpu), max_units=held.nodes,
            )  # fmt: skip
            yield Offer(
                node, "owned", f"{held.nodes} owned nodes of {gpus}", "inventory.stock", "given with the request"
            )

    def _rack_units(self, gpu: GpuProfile) -> int:
        return math.ceil(Fraction(str(self._rack.get(gpu.id, 0))) * 1000)

    def _rented(self, gpu: GpuProfile) -> Iterable[Offer]:
        size = self.node_gpus(gpu)
        given = "given with the request"
        if gpu.id in self._node_price:
            usd = self._node_price[gpu.id]
            yield self._rent(gpu, size, "node", usd, ("user", f"node of {size}", "money.node_price", given))
            return
        if gpu.id in self._price:
            machine = offer_per_gpu(gpu, self._price[gpu.id], "money.price")
            yield self._of_machine(gpu, machine.model_copy(update={"up_to_gpus": size}))
            return
        rows = self.catalog.offers_of(gpu, self._terms)
        yield from (self._of_machine(gpu, machine) for machine in rows)
        if not rows and self.request.money.synthetic_prices:
            usd = self._synthetic(gpu)
            words = ("synthetic", "per GPU", "invented: median USD per byte/s of memory bandwidth", "never quoted")
            yield self._rent(gpu, size, "gpu", usd, words, synthetic=True)

    def _of_machine(self, gpu: GpuProfile, machine: Machine) -> Offer:
        """A machine of the price list: a whole node, or single GPUs only where they are sold one by one."""
        words = (machine.provider, machine.instance_type, machine.source, machine.as_of)
        size = machine.up_to_gpus or machine.gpus
        return self._rent(gpu, size, "gpu" if machine.up_to_gpus else "node", machine.usd_per_hour, words)

    def _rent(
        self, gpu: GpuProfile, gpus: int, billing: str, usd: float, words: tuple[str, str, str, str],
        *, synthetic: bool = False,
    ) -> Offer:  # fmt: skip
        single = billing == "gpu"
        available = self._available.get(gpu.id)
        node = NodeOffer(
            name=f"rent-{gpu.id}-{words[0]}-{'gpu' if single else gpus}".lower().replace(" ", "-"),
            gpu=gpu.id, gpus_per_node=gpus, provider=words[0], billing="gpu" if single else "node",
            micro_usd_per_hour=micro(usd),
            watts=self._watts(gpu, 1 if single else gpus, with_server=False),
            max_units=None if available is None else available * (gpus if single else 1),
        )  # fmt: skip
        return Offer(node, words[0], words[1], words[2], words[3], synthetic)

    def _synthetic(self, gpu: GpuProfile) -> float:
        by_id = {profile.id: profile for profile in self.catalog.gpus}
        rates = [
            row.usd_per_gpu_hour / by_id[row.gpu].memory_bandwidth_bytes_per_s
            for row in self.catalog.offers
            if row.gpu in by_id and row.billing == "on-demand"
        ]
        return round(median(rates) * gpu.memory_bandwidth_bytes_per_s, 4)

    @staticmethod
    def _cheapest(offers: Iterable[Offer]) -> list[Offer]:
        """Drop an offer when another is no dearer per GPU and at least as fine-grained and as large."""
        kept: list[Offer] = []
        for offer in sorted(offers, key=lambda o: (o.usd_per_gpu_hour, o.node.unit_gpus, o.node.name)):
            node = offer.node
            beaten = any(
                other.node.unit_gpus <= node.unit_gpus
                and node.unit_gpus % other.node.unit_gpus == 0
                and other.node.gpus_per_node >= node.gpus_per_node
                for other in kept
            )
            if not beaten:
                kept.append(offer)
        return kept

    def _purchase(self, gpu: GpuProfile) -> list[Offer]:
        cost, size = self.request.money.purchase, self.node_gpus(gpu)
        rows = [row for row in self.catalog.purchase_prices if row.gpu == gpu.id]
        if gpu.id in self._bought:
            usd, source, as_of = self._bought[gpu.id], "money.purchase.usd_per_gpu", "given with the request"
        elif rows:
            low, high = min(row.usd_low for row in rows), max(row.usd_high for row in rows)
            usd = {"low": low, "mid": (low + high) / 2, "high": high}[cost.estimate]
            source, as_of = (
                "; ".join(dict.fromkeys(row.source for row in rows)),
                "; ".join(dict.fromkeys(row.as_of for row in rows)),
            )
        else:
            return []
        price = Fraction(str(usd)) * size + Fraction(str(cost.usd_per_server))
        watts = self._watts(gpu, size)
        node = NodeOffer(
            name=f"buy-{gpu.id}", gpu=gpu.id, gpus_per_node=size, kind="buy", provider="purchase",
            micro_usd_per_hour=self._running(watts),
            amortised_micro_usd_per_hour=micro(price / (Fraction(str(cost.years)) * HOURS_PER_YEAR)),
            capex_cents=math.ceil(price * 100), watts=watts, rack_milliunits=self._rack_units(gpu),
            max_units=self._available.get(gpu.id),
        )  # fmt: skip
        return [Offer(node, "purchase", f"node of {size}, {usd:,.0f} USD per GPU ({cost.estimate})", source, as_of)]
