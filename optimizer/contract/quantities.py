"""Numbers as a person reads them: GiB, milliseconds, tokens per second, dollars."""

from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
UNKNOWN = "-"


def optional(value: Value | None, shown: Callable[[Value], str]) -> str:
    """Return the value as text, or a dash when it is not known."""
    return UNKNOWN if value is None else shown(value)


def gib(size_bytes: float, unit: str = " GiB") -> str:
    """Return bytes in GiB (2**30) with two decimals."""
    return f"{size_bytes / 2**30:,.2f}{unit}"


def size(size_bytes: float) -> str:
    """Return bytes in the largest unit of which there are at least a tenth: GiB, MiB or KiB."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB")):
        if abs(size_bytes) >= factor / 10:
            return f"{size_bytes / factor:,.2f} {unit}"
    return f"{size_bytes / 2**10:,.2f} KiB"


def count(number: float) -> str:
    """Return a whole number with thousands separators."""
    return f"{int(number):,}"


def billions(number: float) -> str:
    """Return a parameter count as millions or billions."""
    return f"{number / 1e9:,.1f} B" if number >= 1e9 else f"{number / 1e6:,.0f} M"


def dollars(usd: float) -> str:
    """Return US dollars: two decimals, four below a dime."""
    return f"${usd:,.2f}" if usd >= 0.1 or usd == 0 else f"${usd:.4f}"


def milliseconds(time_ms: float) -> str:
    """Return a time: ms below ten seconds, seconds above; a decimal where it matters."""
    if time_ms >= 10_000:
        return f"{time_ms / 1000:,.1f} s"
    return f"{time_ms:,.0f} ms" if time_ms >= 100 else f"{time_ms:.1f} ms"


def rate(per_s: float) -> str:
    """Return a rate per second: a whole number, or two decimals below ten."""
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.2f}"


def percent(share: float) -> str:
    """Return a share of one in percent."""
    return f"{share * 100:.1f} %"


def quantity(value: float, unit: str) -> str:
    """Return a number with its unit, bytes in GiB, MiB or KiB."""
    if unit == "bytes":
        return size(value)
    if unit == "ms":
        return milliseconds(value)
    if unit.lower().startswith("usd"):
        return f"{dollars(value)}{unit[3:]}"
    if value == 1 and unit.endswith("s") and "/" not in unit:
        unit = unit.removesuffix("s")
    shown = count(value) if float(value).is_integer() else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{shown} {unit}".rstrip()
