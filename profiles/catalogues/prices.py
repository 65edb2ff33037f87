"""The price list: reading the package's own, or a user's file that stands in its place."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vllm_opt.profiles.catalogues.own_prices import OwnList
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.price import NOT_STATED, MarketRange, Offer, PurchasePrice
from vllm_opt.profiles.reading.data_files import parse_rows, raise_faults, read_data_file
from vllm_opt.profiles.reading.quantities import kind_in_words
from vllm_opt.profiles.reading.user_files import read_user_file, shown_name

_USER_DEFAULTS = {"provider": "user", "billing": "on-demand", "as_of": NOT_STATED, "confidence": "high"}
_SECTIONS = ("offers", "purchase", "market_ranges")
_OLDER_NAMES = {"gpus_per_instance": "gpus", "usd_per_instance_hour": "usd_per_hour", "note": "notes"}


class ListDate(NamedTuple):
    """A price list in words, and its newest date."""

    words: str
    as_of: str


class PriceList(NamedTuple):
    """Everything that one price file holds. `parts`: whose lists it is made of, with their dates."""

    offers: tuple[Offer, ...]
    purchase: tuple[PurchasePrice, ...]
    market_ranges: tuple[MarketRange, ...]
    parts: tuple[ListDate, ...] = ()
    own: bool = False
    """Whether a user's imported list takes part: answers then say so."""


def load_prices() -> PriceList:
    """Return the package's own price list."""
    content = read_data_file("prices.json")
    return _parsed(content, "prices.json")._replace(
        parts=(ListDate("vllm-opt's own list", str(content.get("generated", NOT_STATED))),)
    )


def load_user_prices(prices_file: Path, gpu_of: Callable[[str], GpuProfile]) -> PriceList:
    """Return the price list of a user's file, which stands in place of the package's own.

    The file holds a list of offers, or a mapping with any of `offers`, `purchase` and `market_ranges`, or a plain
    mapping of SKU to USD per GPU-hour. An offer gives `usd_per_hour` of a machine with `gpus` GPUs, which is paid
    whole; one that gives `usd_per_gpu_hour` alone sells GPUs one by one. `provider`, `billing`, `as_of`, `confidence`
    and `source` may be left out; `gpu_of` finds a SKU by its name.

    Raises:
        InvalidRequest: the file cannot be read or a row is wrong; every fault is named.
    """
    file = shown_name(prices_file)
    sections = _sections(read_user_file(prices_file), file)
    faults: list[str] = []
    for key in _SECTIONS:
        for position, row in enumerate(sections[key]):
            faults.extend(_completed(row, f"{key}[{position}]", key, file, gpu_of))
    raise_faults(file, faults)
    read = _parsed(sections, file)
    dates = [offer.as_of for offer in read.offers if offer.as_of[0].isdigit()]
    return read._replace(parts=(ListDate(f"the list {file}", max(dates, default=NOT_STATED)),))


def with_own_prices(prices: PriceList, own: Sequence[OwnList]) -> PriceList:
    """Put each imported list in place of what the package knows of that provider."""
    if not own:
        return prices
    replaced = {one.provider for one in own}
    kept = [offer for offer in prices.offers if offer.provider not in replaced]
    parts = tuple(ListDate(f"your imported list of {one.provider}", one.as_of) for one in own)
    offers = (*kept, *(offer for one in own for offer in one.offers))
    return prices._replace(offers=offers, parts=(*parts, *prices.parts), own=True)


def _parsed(content: Mapping[str, Any], file: str) -> PriceList:
    return PriceList(
        offers=parse_rows(Offer, content["offers"], file, "offers"),
        purchase=parse_rows(PurchasePrice, content["purchase"], file, "purchase"),
        market_ranges=parse_rows(MarketRange, content["market_ranges"], file, "market_ranges"),
    )


def _sections(content: object, file: str) -> dict[str, list[Any]]:
    if isinstance(content, list):
        content = {"offers": content}
    if not isinstance(content, dict) or not content:
        raise InvalidRequest(f"{file} must hold a list of prices, or a mapping of SKU to USD per GPU-hour")
    if "hourly" in content:
        content = {"offers": content["hourly"], **content}
    if not any(key in content for key in _SECTIONS):
        content = {"offers": [{"gpu": gpu, "usd_per_gpu_hour": usd} for gpu, usd in content.items()]}
    result: dict[str, list[Any]] = {}
    for key in _SECTIONS:
        rows = content.get(key, [])
        if not isinstance(rows, list):
            raise InvalidRequest(f"{file}: '{key}' must be a list, not {kind_in_words(rows)}")
        result[key] = [dict(row) if isinstance(row, dict) else row for row in rows]
    return result


def _completed(row: Any, place: str, section: str, file: str, gpu_of: Callable[[str], GpuProfile]) -> list[str]:
    if not isinstance(row, dict) or not isinstance(row.get("gpu"), str):
        return [f"{place} must be a mapping with a 'gpu'"]
    row.setdefault("source", f"user file {file}")
    try:
        gpu = gpu_of(row["gpu"])
    except UnknownProfile as error:
        return [f"{place}: {error}"]
    row["gpu"] = gpu.id
    if section != "offers":
        row.setdefault("as_of", NOT_STATED)
        return []
    for key, value in _USER_DEFAULTS.items():
        row.setdefault(key, value)
    return _with_whole_machine(row, f"{place} ({gpu.id})", gpu)


def _with_whole_machine(row: dict[str, Any], place: str, gpu: GpuProfile) -> list[str]:
    """Name the machine and its whole price; a price per GPU without a machine sells GPUs one by one."""
    for old, new in _OLDER_NAMES.items():
        if old in row:
            row.setdefault(new, row.pop(old))
    per_gpu = row.pop("usd_per_gpu_hour", None)
    if per_gpu is not None and "usd_per_hour" not in row:
        if isinstance(per_gpu, bool) or not isinstance(per_gpu, int | float) or not per_gpu > 0:
            return [f"{place}: usd_per_gpu_hour must be a number above 0"]
        if row.get("gpus") is None:
            row.update(gpus=1, up_to_gpus=row.get("up_to_gpus") or gpu.gpus_per_node)
        if isinstance(row["gpus"], int) and row["gpus"] > 0:
            row["usd_per_hour"] = per_gpu * row["gpus"]
    if row.get("gpus") is None:
        row["gpus"] = 1
    if not row.get("instance_type"):
        row["instance_type"] = "per GPU" if row.get("up_to_gpus") else f"{row['gpus']} GPUs"
    if row.get("up_to_gpus") and row["gpus"] != 1:
        return [f"{place}: up_to_gpus is for GPUs that are sold one by one: gpus must be 1"]
    return []
