"""The price list: schema, one machine listed twice, prices whose unit cannot be right, sources, dates ahead of time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllm_opt.profiles.catalogues.prices import PriceList, load_prices, load_user_prices
from vllm_opt.profiles.checking.fault import Fault, FileReport, fault, file_name, repeats, unknown_names
from vllm_opt.profiles.checking.sources import source_faults
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.price import Offer
from vllm_opt.profiles.reading.data_files import read_data_file

LEAST_USD_PER_GPU_HOUR, MOST_USD_PER_GPU_HOUR = 0.005, 200.0
LEAST_USD_TO_BUY, MOST_USD_TO_BUY = 30.0, 200_000.0


def check_prices(gpus: dict[str, GpuProfile]) -> FileReport:
    """Check the package's own list."""
    content = read_data_file("prices.json")
    faults = _faults("prices.json", load_prices(), gpus, str(content.get("generated", "9999")))
    return FileReport(file="prices.json", rows=len(content["offers"]) + len(content["purchase"]), faults=tuple(faults))


def check_user_prices(path: Path, gpus: dict[str, GpuProfile], gpu_of: Callable[[str], GpuProfile]) -> FileReport:
    """Check a list that stands in place of the package's own.

    Raises:
        InvalidRequest: a row breaks the schema; every such fault is named.
    """
    file, prices = file_name(path), load_user_prices(path, gpu_of)
    rows = len(prices.offers) + len(prices.purchase)
    return FileReport(file=file, rows=rows, faults=tuple(_faults(file, prices, gpus, "9999")))


def _faults(file: str, prices: PriceList, gpus: dict[str, GpuProfile], newest: str) -> list[Fault]:
    rows: tuple[Any, ...] = (*prices.offers, *prices.purchase, *prices.market_ranges)
    found = unknown_names(file, [(row.gpu, _place(row)) for row in rows], gpus, "GPU")
    for row in rows:
        found += source_faults(file, _place(row), [row.source])
        if row.as_of[:1].isdigit() and row.as_of > newest:
            found.append(fault(file, _place(row), f"as_of {row.as_of} lies after the list's own date {newest}"))
    for offer in prices.offers:
        usd = offer.usd_per_gpu_hour
        if offer.billing != "owned" and not LEAST_USD_PER_GPU_HOUR <= usd <= MOST_USD_PER_GPU_HOUR:
            found.append(fault(file, _place(offer), f"{usd:g} USD per GPU-hour is not plausible; one whole machine"))
    for card in prices.purchase:
        if not LEAST_USD_TO_BUY <= card.usd_low <= card.usd_high <= MOST_USD_TO_BUY:
            found.append(
                fault(file, _place(card), f"{card.usd_low:g} to {card.usd_high:g} USD to buy is not plausible")
            )
    keys = [
        (
            (offer.gpu, offer.provider, offer.instance_type, offer.gpus, offer.region, offer.billing, offer.as_of),
            _place(offer),
        )
        for offer in prices.offers
    ]
    return found + repeats(file, keys, "machine, region, billing and date")


def _place(row: Any) -> str:
    return f"{row.gpu} ({row.provider}, {row.instance_type})" if isinstance(row, Offer) else str(row.gpu)
