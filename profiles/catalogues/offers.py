"""Which offers a request may take: by provider, billing and region, a user's own prices, and owned machines."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile, did_you_mean
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.price import BILLINGS, GIVEN, MOST_USD_PER_HOUR, Billing, Offer
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.name_index import lookup_key
from vllm_opt.profiles.reading.quantities import parse_amount

TRUSTED = ("high", "medium-high", "medium")
PER_GPU = "per GPU"


@dataclass(frozen=True)
class OfferTerms:
    """What a request says about money. Prices and stock are by SKU id.

    Without `billing` only on-demand machines take part, at every provider or at those named; a named provider that
    sells nothing on demand (a marketplace) takes part with its marketplace machines.
    """

    providers: tuple[str, ...] = ()
    billing: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    usd_per_gpu_hour: Mapping[str, float] | None = None
    stock_gpus: Mapping[str, int] | None = None


def offers_for(gpu: GpuProfile, offers: Sequence[Offer], terms: OfferTerms) -> tuple[Offer, ...]:
    """Every offer of a SKU that a request may take: owned machines, then its own price, else the list.

    From the list: rows of confidence medium or better; rows of low confidence only where a named provider has no
    better one. Of one machine in one region only the newest price counts.

    Raises:
        InvalidRequest: a kind of billing that does not exist.
        UnknownProfile: a provider or region that no offer of the list has.
    """
    found = []
    stock = (terms.stock_gpus or {}).get(gpu.id)
    if stock:
        found.append(owned_offer(gpu, stock))
    own = (terms.usd_per_gpu_hour or {}).get(gpu.id)
    if own is not None:
        return (*found, offer_per_gpu(gpu, own, "--price"))
    return (*found, *listed(gpu.id, offers, terms))


def listed(gpu: str, offers: Sequence[Offer], terms: OfferTerms) -> tuple[Offer, ...]:
    """The offers of the list for one SKU."""
    billing = billings(terms.billing)
    named = [known_provider(name, offers) for name in terms.providers]
    for region in terms.regions:
        check_region(region, offers)
    rows = [row for row in offers if row.gpu == gpu and _in_regions(row, terms.regions)]
    if not named:
        wanted = billing or ("on-demand",)
        return newest(row for row in rows if row.billing in wanted and row.confidence in TRUSTED)
    found: list[Offer] = []
    for provider in dict.fromkeys(named):
        allowed = billing or _usual_billing(provider, offers)
        mine = [row for row in rows if row.provider == provider and row.billing in allowed]
        found += [row for row in mine if row.confidence in TRUSTED] or mine
    return newest(found)


def billings(names: Sequence[str]) -> tuple[Billing, ...]:
    """Kinds of billing as the price list spells them.

    Raises:
        InvalidRequest: there is no such kind.
    """
    known: dict[str, Billing] = {lookup_key(name): name for name in BILLINGS}
    for name in names:
        if lookup_key(name) not in known:
            hint = did_you_mean(name, BILLINGS) or f"; known are {', '.join(BILLINGS)}"
            raise InvalidRequest(f"billing {printable(repr(name[:80]))} is unknown{hint}")
    return tuple(dict.fromkeys(known[lookup_key(name)] for name in names))


def known_provider(name: str, offers: Sequence[Offer]) -> str:
    """The name of a provider as the list spells it.

    Raises:
        UnknownProfile: a provider that no offer of the list has.
    """
    known = {lookup_key(offer.provider): offer.provider for offer in offers}
    found = known.get(lookup_key(name))
    if found is not None:
        return found
    hint = did_you_mean(name, known.values()) or f"; the price list has {', '.join(sorted(known.values()))}"
    raise UnknownProfile(f"provider {printable(repr(name[:80]))} is not in the price list{hint}")


def offer_per_gpu(gpu: GpuProfile, usd: float, source: str) -> Offer:
    """A price per GPU: GPUs are sold one by one, and as many as the SKU's usual server holds share a machine."""
    usd = parse_amount(usd, f"the price of {gpu.id}", 0, MOST_USD_PER_HOUR, above=True)
    return Offer(
        gpu=gpu.id, provider="user", instance_type=PER_GPU, gpus=1, up_to_gpus=gpu.gpus_per_node, usd_per_hour=usd,
        billing="on-demand", as_of=GIVEN, confidence="high", source=source,
    )  # fmt: skip


def owned_offer(gpu: GpuProfile, stock: int) -> Offer:
    """Owned GPUs in the SKU's usual servers: they cost nothing here, and there are no more of them."""
    return Offer(
        gpu=gpu.id, provider="owned", instance_type=f"owned server of {min(stock, gpu.gpus_per_node)}",
        gpus=min(stock, gpu.gpus_per_node), stock_gpus=stock, usd_per_hour=0.0, billing="owned", as_of=GIVEN,
        confidence="high", source="--owned",
    )  # fmt: skip


def newest(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """One price of each machine in each region: the newest, of equal dates the lower."""
    best: dict[tuple[object, ...], Offer] = {}
    for offer in offers:
        key = offer.provider, offer.instance_type, offer.gpus, offer.region, offer.billing
        known = best.get(key)
        if known is None or (offer.as_of, -offer.usd_per_hour) > (known.as_of, -known.usd_per_hour):
            best[key] = offer
    return tuple(best.values())


def _usual_billing(provider: str, offers: Sequence[Offer]) -> tuple[str, ...]:
    sold = {offer.billing for offer in offers if offer.provider == provider}
    return ("on-demand",) if "on-demand" in sold else ("marketplace",)


def _in_regions(offer: Offer, regions: Sequence[str]) -> bool:
    return not regions or any(names_region(name, offer.region or "") for name in regions)


def names_region(name: str, region: str) -> bool:
    """Whether a region is meant by a name: the whole, or a word's beginning or end ('us': us-east-1, eastus2)."""
    wanted = re.escape(name.strip().lower())
    return re.search(rf"(^|[^a-z0-9]){wanted}|{wanted}\d*($|[^a-z0-9])", region.lower()) is not None


def check_region(name: str, offers: Sequence[Offer]) -> None:
    """Complain about a name that no region of the list goes by.

    Raises:
        UnknownProfile: it is one.
    """
    known = {offer.region for offer in offers if offer.region}
    if not any(names_region(name, region) for region in known):
        hint = did_you_mean(name, known) or "; `vllm-opt prices` lists the regions"
        raise UnknownProfile(f"no offer of the price list is in region {printable(repr(name[:80]))}{hint}")
