"""The price list: reading it, a user's own list, and the price that one SKU takes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile, did_you_mean
from vllm_opt.profiles.nouns.price import HourlyPrice, MarketRange, PurchasePrice
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.data_files import parse_rows, raise_faults, read_data_file
from vllm_opt.profiles.reading.name_index import lookup_key
from vllm_opt.profiles.reading.user_files import read_user_file, shown_name

_TRUSTED = ("high", "medium-high", "medium")
_USER_DEFAULTS = {"provider": "user", "billing": "on-demand", "as_of": "not stated", "confidence": "high"}
_SECTIONS = ("hourly", "purchase", "market_ranges")


class PriceList(NamedTuple):
    """Everything that one price file holds."""

    hourly: tuple[HourlyPrice, ...]
    purchase: tuple[PurchasePrice, ...]
    market_ranges: tuple[MarketRange, ...]


def load_prices() -> PriceList:
    """Return the package's own price list."""
    return _parsed(read_data_file("prices.json"), "prices.json")


def load_user_prices(prices_file: Path, gpu_id: Callable[[str], str]) -> PriceList:
    """Return the price list of a user's file, which stands in place of the package's own.

    The file holds a list of hourly prices, or a mapping with any of `hourly`, `purchase` and `market_ranges`, or a
    plain mapping of SKU to USD per GPU-hour. `provider`, `billing`, `as_of`, `confidence` and `source` may be left
    out; `gpu_id` turns a SKU's name into its id.

    Raises:
        InvalidRequest: the file cannot be read or a row is wrong; every fault is named.
    """
    file = shown_name(prices_file)
    sections = _sections(read_user_file(prices_file), file)
    faults: list[str] = []
    for key in _SECTIONS:
        for position, row in enumerate(sections[key]):
            faults.extend(_completed(row, f"{key}[{position}]", key, file, gpu_id))
    raise_faults(file, faults)
    return _parsed(sections, file)


def cheapest_price(gpu: str, prices: Sequence[HourlyPrice], providers: Sequence[str] = ()) -> HourlyPrice | None:
    """Return the price that a SKU takes, or None when the list has none that may be used.

    Without providers: the cheapest on-demand row of confidence medium or better. With providers: the cheapest of
    their rows, whatever the billing; rows of low confidence only where those providers have no better one.

    Raises:
        UnknownProfile: a provider is not in the price list.
    """
    rows = [price for price in prices if price.gpu == gpu]
    if providers:
        named = {_known_provider(name, prices) for name in providers}
        rows = [price for price in rows if price.provider in named]
        rows = [price for price in rows if price.confidence in _TRUSTED] or rows
    else:
        rows = [price for price in rows if price.billing == "on-demand" and price.confidence in _TRUSTED]
    return min(rows, key=_order, default=None)


def _order(price: HourlyPrice) -> tuple[float, str, str, str]:
    return (price.usd_per_gpu_hour, price.provider, price.instance_type or "", price.as_of)


def _known_provider(name: str, prices: Sequence[HourlyPrice]) -> str:
    known = {lookup_key(price.provider): price.provider for price in prices}
    found = known.get(lookup_key(name))
    if found is not None:
        return found
    hint = did_you_mean(name, known.values()) or f"; the price list has {', '.join(sorted(known.values()))}"
    raise UnknownProfile(f"provider {printable(repr(name[:80]))} is not in the price list{hint}")


def _parsed(content: Mapping[str, Any], file: str) -> PriceList:
    return PriceList(
        hourly=parse_rows(HourlyPrice, content["hourly"], file, "hourly"),
        purchase=parse_rows(PurchasePrice, content["purchase"], file, "purchase"),
        market_ranges=parse_rows(MarketRange, content["market_ranges"], file, "market_ranges"),
    )


def _sections(content: object, file: str) -> dict[str, list[Any]]:
    if isinstance(content, list):
        content = {"hourly": content}
    if not isinstance(content, dict) or not content:
        raise InvalidRequest(f"{file} must hold a list of prices, or a mapping of SKU to USD per GPU-hour")
    if not any(key in content for key in _SECTIONS):
        content = {"hourly": [{"gpu": gpu, "usd_per_gpu_hour": usd} for gpu, usd in content.items()]}
    result: dict[str, list[Any]] = {}
    for key in _SECTIONS:
        rows = content.get(key, [])
        if not isinstance(rows, list):
            raise InvalidRequest(f"{file}: '{key}' must be a list, not {type(rows).__name__}")
        result[key] = [dict(row) if isinstance(row, dict) else row for row in rows]
    return result


def _completed(row: Any, place: str, section: str, file: str, gpu_id: Callable[[str], str]) -> list[str]:
    if not isinstance(row, dict) or not isinstance(row.get("gpu"), str):
        return [f"{place} must be a mapping with a 'gpu'"]
    row.setdefault("source", f"user file {file}")
    for key, value in _USER_DEFAULTS.items():
        if section == "hourly" or key == "as_of":
            row.setdefault(key, value)
    try:
        row["gpu"] = gpu_id(row["gpu"])
    except UnknownProfile as error:
        return [f"{place}: {error}"]
    return []
