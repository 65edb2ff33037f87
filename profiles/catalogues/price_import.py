"""From a public price catalogue to a user's own list: rows become offers, and what is refused is counted by reason."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median

from vllm_opt.profiles.catalogues.accelerator_names import AcceleratorNames
from vllm_opt.profiles.catalogues.offers import names_region
from vllm_opt.profiles.catalogues.price_rows import Found, offers_in, rows_of_csv, rows_of_json
from vllm_opt.profiles.errors import InvalidRequest, did_you_mean
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.price import Billing, Offer
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.user_files import parse_user_text, read_user_text, shown_name

MOST_BYTES = 64 * 1024 * 1024
PLAUSIBLE_USD_PER_GPU = (0.1, 40.0)
FAR_FROM_MEDIAN = 3.0
FEWEST_FOR_MEDIAN = 3
RECENT_DAYS = 90
WHOLE_GPU_MEMORY = 0.9
"""A machine whose GPU shows less memory than this part of the SKU's has only a part of a GPU."""
US_REGIONS = ("us", "eastus", "westus", "centralus", "northcentralus", "southcentralus", "northamerica")
EU_REGIONS = ("eu", "europe", "northeurope", "westeurope", "germany", "france", "sweden", "uk", "de", "fi", "no", "fr")


@dataclass
class ImportReport:
    """The offers of one provider that were taken, and how many rows were refused, by reason."""

    offers: list[Offer] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    far_from_median: list[str] = field(default_factory=list)
    provider: str = ""
    as_of: str = ""
    source: str = ""
    notes: list[str] = field(default_factory=list)


def read_catalogue(
    path: Path,
    known: Sequence[Offer],
    gpu_of: Callable[[str], GpuProfile],
    *,
    provider: str | None = None,
    as_of: str | None = None,
    all_regions: bool = False,
) -> ImportReport:
    """Read SkyPilot's or gpuhunt's catalogue of one provider.

    `known`: the offers of the price list, against whose median per SKU and billing a price is held. The provider is
    read from the path (`<cloud>/vms.csv`, `<provider>.csv`) when it is not given, the date from the file's own time.

    Raises:
        InvalidRequest: the file cannot be read, is no such catalogue, its provider cannot be told, or nothing in it
            can be used.
    """
    text, file, names = read_user_text(path, MOST_BYTES), shown_name(path), AcceleratorNames()
    report = ImportReport(source=f"{path.name} (SHA-256 {hashlib.sha256(text.encode()).hexdigest()})")
    report.as_of = _date_of(path, as_of, report)
    json_like = text.lstrip()[:1] in ("[", "{")
    if json_like:
        rows = list(rows_of_json(parse_user_text(text, path.with_suffix(".json")), file))
    else:
        rows = list(rows_of_csv(text, file))
    stated = {str(row.get("provider") or "") for row in rows} - {""}
    short = _provider_of(path, provider, stated, names)
    report.provider = names.provider_name(short) or short
    maker = _OfferMaker(report, short, names, gpu_of)
    taken = [offer for one in offers_in(rows, short) if (offer := maker.offer(one)) is not None]
    taken = _near_median(taken, known, report)
    report.offers = taken if all_regions else one_per_market(taken)
    if not report.offers:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in report.refused.most_common(3))
        raise InvalidRequest(f"{file} holds no price that can be used" + (f" ({reasons})" if reasons else ""))
    return report


@dataclass
class _OfferMaker:
    """Turns what a catalogue says into offers, and counts what it refuses."""

    report: ImportReport
    short: str
    names: AcceleratorNames
    gpu_of: Callable[[str], GpuProfile]

    def offer(self, found: Found) -> Offer | None:
        """The offer of one row; None when it is refused."""
        reason = found.refused
        sku, why = self.names.sku_of(self.short, found.instance, found.name, found.memory_gb)
        if not reason and sku is None:
            reason = f"{found.name[:40]}: {why or 'not in our catalogue'}"
        if reason or sku is None:
            self.report.refused[reason] += 1
            return None
        gpu = self.gpu_of(sku)
        gpus = int(found.gpus) * (2 if sku == "mi250x" or "superchip" in found.name.lower() else 1)
        if found.memory_gb is not None and sku != "mi250x" and (
            found.memory_gb < WHOLE_GPU_MEMORY * gpu.memory_gb_nominal
        ):  # fmt: skip
            self.report.refused["part of a GPU"] += 1
            return None
        low, high = PLAUSIBLE_USD_PER_GPU
        if not low <= found.usd / gpus <= high:
            self.report.refused[f"below {low:g} or above {high:g} USD per GPU-hour"] += 1
            return None
        return Offer(
            gpu=sku, provider=self.report.provider, instance_type=found.instance, gpus=gpus,
            host_memory_gib=found.host_memory_gib or None, usd_per_hour=found.usd, region=found.region or None,
            billing=self._billing(found), as_of=self.report.as_of,
            confidence=self.names.confidence(self.short, recent=_is_recent(self.report.as_of)),
            source=self.report.source, notes=why or None,
        )  # fmt: skip

    def _billing(self, found: Found) -> Billing:
        if found.spot:
            return "spot"
        return "marketplace" if self.names.is_marketplace(self.short) else "on-demand"


def _near_median(taken: list[Offer], known: Sequence[Offer], report: ImportReport) -> list[Offer]:
    """Drop prices per GPU that are more than three times from the median of their SKU and billing, and name them."""
    prices: dict[tuple[str, str], list[float]] = {}
    for offer in (*taken, *known):
        prices.setdefault((offer.gpu, offer.billing), []).append(offer.usd_per_gpu_hour)
    kept = []
    for offer in taken:
        others = prices[offer.gpu, offer.billing]
        middle = median(others)
        factor = max(offer.usd_per_gpu_hour / middle, middle / offer.usd_per_gpu_hour)
        if len(others) >= FEWEST_FOR_MEDIAN and factor > FAR_FROM_MEDIAN:
            report.refused["more than 3 times from the median of its SKU"] += 1
            report.far_from_median.append(
                f"{offer.instance_type}, {offer.gpu}, {offer.usd_per_gpu_hour:.2f} USD per GPU against {middle:.2f}"
            )
        else:
            kept.append(offer)
    return kept


def one_per_market(offers: Iterable[Offer]) -> list[Offer]:
    """Per machine and billing the cheapest region in the US, in Europe and, where it is in neither, elsewhere."""
    best: dict[tuple[object, ...], Offer] = {}
    for offer in offers:
        key = offer.provider, offer.instance_type, offer.gpu, offer.billing, _market(offer.region or "")
        if key not in best or (offer.usd_per_hour, offer.region or "") < (
            best[key].usd_per_hour, best[key].region or ""
        ):  # fmt: skip
            best[key] = offer
    covered = {key[:4] for key in best if key[4]}
    return [offer for key, offer in best.items() if key[4] or key[:4] not in covered]


def _market(region: str) -> str:
    if any(names_region(name, region) for name in US_REGIONS):
        return "us"
    return "eu" if any(names_region(name, region) for name in EU_REGIONS) else ""


def _provider_of(path: Path, given: str | None, stated: set[str], names: AcceleratorNames) -> str:
    """The short name of the provider: as given, as the rows state it, or from the path."""
    if len(stated) > 1:
        raise InvalidRequest(f"{shown_name(path)} holds several providers; import one at a time")
    candidates = [given] if given else [*stated, path.stem, path.resolve().parent.name]
    for candidate in candidates:
        lowered = candidate.lower()
        if lowered in names.providers:
            return lowered
        for short in names.providers:
            if (names.provider_name(short) or "").lower() == lowered:
                return short
    if given:
        raise InvalidRequest(
            f"provider {printable(repr(given[:60]))} has no catalogue that can be imported"
            f"{did_you_mean(given, names.providers) or '; known are ' + ', '.join(names.providers)}"
        )
    raise InvalidRequest(f"the provider of {shown_name(path)} cannot be told from its path; name it with --provider")


def _date_of(path: Path, given: str | None, report: ImportReport) -> str:
    if given is not None:
        try:
            return date.fromisoformat(given).isoformat()
        except ValueError:
            raise InvalidRequest(f"--as-of must be a date like 2026-11-25, not {printable(repr(given[:40]))}") from None
    found = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
    report.notes.append(f"the file carries no date: {found} is when it was last changed; --as-of says better")
    return found


def _is_recent(as_of: str) -> bool:
    return (datetime.now(UTC).date() - date.fromisoformat(as_of)).days < RECENT_DAYS
