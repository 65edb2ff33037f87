"""What machines cost per hour, and what that makes of a million output tokens."""

import os
from datetime import UTC, date, datetime
from typing import Protocol, TypeVar

from vllm_opt.constraints.money.bill import MICRO, Bill
from vllm_opt.optimizer.contract.answer import Cost
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.offers import OfferTerms
from vllm_opt.profiles.errors import InvalidRequest

SECONDS_PER_HOUR = 3600
OLD_DAYS = 90
"""Prices move within months: beyond this age an answer warns."""
_YEAR, _MONTH = 4, 7
Number = TypeVar("Number", int, float)


class AsksForMoney(Protocol):
    """The options about money, which several requests share."""

    @property
    def provider(self) -> tuple[str, ...]: ...
    @property
    def billing(self) -> tuple[str, ...]: ...
    @property
    def region(self) -> tuple[str, ...]: ...
    @property
    def price(self) -> tuple[tuple[str, float], ...]: ...
    @property
    def owned(self) -> tuple[tuple[str, int], ...]: ...


def offer_terms(request: AsksForMoney, catalog: Catalog) -> OfferTerms:
    """What a request says about money, SKUs by their ids.

    Raises:
        UnknownProfile: a price or stock of a SKU that the catalogue does not hold.
        InvalidRequest: one SKU is given two numbers.
    """
    return OfferTerms(
        providers=request.provider,
        billing=request.billing,
        regions=request.region,
        usd_per_gpu_hour=_by_id(request.price, catalog, "price"),
        stock_gpus=_by_id(request.owned, catalog, "owned"),
    )


def _by_id(pairs: tuple[tuple[str, Number], ...], catalog: Catalog, option: str) -> dict[str, Number]:
    found: dict[str, Number] = {}
    for name, number in pairs:
        gpu = catalog.gpu(name).id
        if found.setdefault(gpu, number) != number:
            raise InvalidRequest(f"{option}: {gpu} is given twice, as {found[gpu]:g} and {number:g}")
    return found


def cost_of(bill: Bill | None, performance: Performance | None) -> Cost | None:
    """Money per hour and per million output tokens; None for a SKU without a price."""
    if bill is None:
        return None
    hourly, offer = bill.microusd_per_hour / MICRO, bill.offer
    tokens_per_hour = performance.output_tokens_per_s * SECONDS_PER_HOUR if performance else 0
    return Cost(
        usd_per_hour=hourly,
        gpus_bought=bill.gpus_bought,
        gpus_used=bill.gpus_used,
        instances=bill.instances,
        instance_type=offer.instance_type,
        provider=offer.provider,
        region=offer.region,
        billing=offer.billing,
        price_date=offer.as_of,
        price_source=offer.source,
        usd_per_million_output_tokens=hourly / tokens_per_hour * 1e6 if tokens_per_hour > 0 else None,
    )


def today() -> date:
    """This day; SOURCE_DATE_EPOCH, where it is set, stands for it, so that an answer can be made again."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isdecimal() and len(epoch) < 12:
        return datetime.fromtimestamp(int(epoch), UTC).date()
    return datetime.now(UTC).date()


def age_days(as_of: str, on: date) -> int | None:
    """Days since a date, from the end of a month or year that stands without a day; None when there is no date."""
    if not as_of[:1].isdigit():
        return None
    if len(as_of) == _YEAR:
        end = date(int(as_of), 12, 31)
    elif len(as_of) == _MONTH:
        year, month = int(as_of[:4]), int(as_of[5:])
        end = date.fromordinal(date(year + month // 12, month % 12 + 1, 1).toordinal() - 1)
    else:
        try:
            end = date.fromisoformat(as_of)
        except ValueError:
            return None
    return max(0, (on - end).days)


def price_notes(catalog: Catalog) -> tuple[str, ...]:
    """Which lists the prices are from, where one is a user's own, and a warning where one is old."""
    prices, on = catalog.price_list, today()
    ages = [(part, age_days(part.as_of, on)) for part in prices.parts]
    told = [f"{part.words} of {part.as_of}" + ("" if age is None else f" ({age} days old)") for part, age in ages]
    notes = [f"prices are from {' and '.join(told)}"] if prices.own else []
    old = [words for words, (_, age) in zip(told, ages, strict=True) if age is not None and age > OLD_DAYS]
    if old:
        notes.append(
            f"old prices: {' and '.join(old)}; prices move within months, so check them or import newer ones "
            "(vllm-opt prices --import)"
        )
    return tuple(notes)


def age_note(bill: Bill | None) -> tuple[str, ...]:
    """A warning where the price of the machines that are bought is old."""
    age = age_days(bill.offer.as_of, today()) if bill else None
    if bill is None or age is None or age <= OLD_DAYS:
        return ()
    return (f"the price of {bill.offer.instance_type} is {age} days old ({bill.offer.as_of}); check it",)
