"""Reading the rows of two public price catalogues: SkyPilot's `vms.csv` (v8) and gpuhunt's, as CSV or JSON.

Columns are found by name, because their order differs from cloud to cloud. What each means, and which rows say less
than they seem to (GCP's hosts without their GPUs, parts of a GPU, promotions, dated reservations), was read from the
files themselves and from gpuhunt 0.1.34 (`_internal/storage.py`, `_internal/models.py`, `providers/*.py`).
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import kind_in_words

SKYPILOT = frozenset(("InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region"))
GPUHUNT = frozenset(("instance_name", "location", "price", "gpu_count", "gpu_name", "gpu_memory", "spot"))
SKIPPED_FLAGS = frozenset(("runpod-cluster", "runpod-cpu", "gcp-dws-calendar-mode"))
LONGEST_NAME = 120
MOST_ROWS = 500_000
_COUNT_IN_NAME = (
    r"^(\d+)x[_-]", r"^gpu_(\d+)x_", r"(?:high|mega|ultra|edge)gpu-(\d+)g$", r"^(?:BM|VM)\.GPU.*\.(\d+)$",
    r"_(\d+)gpu-", r"^n3-.*x(\d+)(?:-NVLink)?$",
)  # fmt: skip
_EIGHT_GPUS = r"^Standard_ND(40|96)"
_HOST_ALONE = r"^a[23]-"


@dataclass(frozen=True)
class Found:
    """One machine and price of a catalogue; `refused` says why it cannot be used."""

    instance: str
    name: str
    gpus: float
    memory_gb: float | None
    host_memory_gib: float | None
    region: str
    usd: float
    spot: bool
    provider: str | None = None
    refused: str = ""


def rows_of_csv(text: str, file: str) -> Iterator[dict[str, Any]]:
    """Every row of a CSV under its header.

    Raises:
        InvalidRequest: the text is no CSV, its header is neither catalogue's, or a row has more cells than the header.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = set(reader.fieldnames or ())
        if not (header >= SKYPILOT or header >= GPUHUNT):
            raise InvalidRequest(
                f"{file} is neither SkyPilot's catalogue (columns InstanceType, AcceleratorName, …) nor gpuhunt's "
                "(instance_name, gpu_name, …)"
            )
        for number, row in enumerate(reader, 1):
            if number > MOST_ROWS:
                raise InvalidRequest(f"{file} has more than {MOST_ROWS:,} rows; import one cloud at a time")
            if None in row or None in row.values():
                raise InvalidRequest(f"{file}, line {reader.line_num}: the row does not have the header's columns")
            yield row
    except csv.Error as error:
        raise InvalidRequest(f"{file}, line {reader.line_num}: not CSV ({error})") from None


def rows_of_json(content: object, file: str) -> Iterator[dict[str, Any]]:
    """Every row of a JSON list of gpuhunt's offers.

    Raises:
        InvalidRequest: it is no such list.
    """
    if not isinstance(content, list):
        raise InvalidRequest(f"{file} must hold a list of gpuhunt's offers, not {kind_in_words(content)}")
    for position, row in enumerate(content):
        if not isinstance(row, dict) or not set(row) >= GPUHUNT:
            wanted = ", ".join(sorted(GPUHUNT))
            raise InvalidRequest(f"{file}: entry {position} is no offer of gpuhunt's (keys {wanted})")
        yield row


def offers_in(rows: Iterable[Mapping[str, Any]], provider: str | None) -> Iterator[Found]:
    """The machines with GPUs of a catalogue, spot prices apart; those that cannot be used say why."""
    for row in rows:
        found = _skypilot(row) if "AcceleratorName" in row else _gpuhunt(row)
        for one in found:
            yield _judged(one, one.provider or provider or "")


def _skypilot(row: Mapping[str, Any]) -> Iterator[Found]:
    name, instance = _text(row["AcceleratorName"]), _text(row["InstanceType"])
    gpus = _number(row["AcceleratorCount"])
    if not name or not gpus:
        return
    price, spot = _number(row["Price"]), _number(row.get("SpotPrice"))
    for usd, is_spot in ((price, False), (None if spot == price else spot, True)):
        if usd:
            yield Found(
                instance, name, gpus, None, _number(row.get("MemoryGiB")), _text(row["Region"]), usd, is_spot
            )  # fmt: skip


def _gpuhunt(row: Mapping[str, Any]) -> Iterator[Found]:
    gpus, usd = _number(row["gpu_count"]), _number(row["price"])
    name = _text(row["gpu_name"])
    if not gpus or not name:
        return
    flags = set(_text(row.get("flags")).split())
    refused = "dated or clustered offer" if flags & SKIPPED_FLAGS else ""
    if any(flag.endswith("-preview") for flag in flags):
        refused = "preview, a second row of the same machine"
    memory = _number(row.get("memory"))
    yield Found(
        _text(row["instance_name"]), name, gpus, _number(row["gpu_memory"]),
        None if memory is None else memory * 1e9 / 2**30, _text(row["location"]), usd or 0.0,
        _text(row["spot"]).lower() == "true", _text(row.get("provider")).lower() or None, refused,
    )  # fmt: skip


def _judged(found: Found, provider: str) -> Found:
    """The same with the first reason for which it cannot be used."""
    if found.refused:
        return found
    reason = ""
    if not found.instance:
        reason = "GPUs without their machine"
    elif provider == "gcp" and re.match(_HOST_ALONE, found.instance):
        reason = "GCP lists the host without its GPUs"
    elif re.search(r"_Promo$|-le-", found.instance):
        reason = "promotion"
    elif found.gpus != int(found.gpus) or found.gpus < 1:
        reason = "part of a GPU"
    elif not found.usd > 0:
        reason = "no price"
    elif named_count(found.instance) not in (None, int(found.gpus)):
        reason = "number of GPUs differs from the machine's name"
    elif any(
        len(text) > LONGEST_NAME or text != printable(text) for text in (found.instance, found.region, found.name)
    ):
        reason = "unreadable name"
    return Found(**{**found.__dict__, "refused": reason})


def named_count(instance: str) -> int | None:
    """GPUs that the name of a machine states; None when it states none."""
    if re.match(_EIGHT_GPUS, instance):
        return 8
    for pattern in _COUNT_IN_NAME:
        match = re.search(pattern, instance)
        if match:
            return int(match[1])
    return None


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _number(value: object) -> float | None:
    """A finite number, None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) < 1e9 else None
