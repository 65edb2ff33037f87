"""Numbers as people write them: '8k' tokens, '8K' tokens, '2s', '80GB', GiB; and back to text."""

import math
import re
from decimal import Decimal

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable

GIB = 2**30

LARGEST_COUNT = 10**12
"""No count of tokens, sequences or GPUs that means anything is larger."""

_COUNT = re.compile(r"(\d{1,30})(\.\d{1,30})?([kKmMgGtT]?)")
_WITH_UNIT = re.compile(r"([+-]?\d{1,30}(?:\.\d{0,30})?(?:[eE][+-]?\d{1,3})?)\s*([A-Za-zµ]*)", re.ASCII)
_MILLISECONDS = {"us": 0.001, "µs": 0.001, "ms": 1.0, "s": 1000.0, "sec": 1000.0, "min": 60_000.0}
_BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40
}  # fmt: skip
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_count(value: object, name: str, minimum: int = 1, maximum: int = LARGEST_COUNT) -> int:
    """Return a whole number written as vLLM's own flags accept it.

    '8k' is 8,000, '8K' is 8,192; m, g and t count in thousands, M, G and T in 1,024s; a fraction is allowed with a
    lower-case suffix only ('1.5k' is 1,500), as in vLLM 0.33 `engine/arg_utils.py:human_readable_int`. The part of a
    token that a fraction leaves is dropped. Integers and whole floats pass through.

    Raises:
        InvalidRequest: not a number, NaN or infinite, with a fraction, or outside minimum .. maximum.
    """
    number = _as_integer(value, name)
    if number < minimum:
        raise InvalidRequest(f"{name} must be at least {minimum:,}, not {_short(number)}")
    if number > maximum:
        raise InvalidRequest(f"{name} must be at most {maximum:,}, not {_short(number)}")
    return number


def parse_amount(
    value: object, name: str, minimum: float = 0.0, maximum: float = 1e15, *, above: bool = False
) -> float:
    """Return a finite number between `minimum` (itself not allowed when `above`) and `maximum`.

    Raises:
        InvalidRequest: not a number, NaN or infinite, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidRequest(f"{name} must be a number, not {_shown(value)}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} must be a number, not {_shown(value)}") from None
    if not math.isfinite(number):
        raise InvalidRequest(f"{name} must be a finite number, not {_shown(value)}")
    if number < minimum or (above and number == minimum):
        raise InvalidRequest(f"{name} must be {'above' if above else 'at least'} {minimum:g}, not {number:g}")
    if number > maximum:
        raise InvalidRequest(f"{name} must be at most {maximum:g}, not {number:g}")
    return number


def parse_milliseconds(text: str, name: str) -> float:
    """Return a time in ms, written with a unit ('2s', '500 ms') or, as the field's own unit, without one.

    Raises:
        InvalidRequest: not a number, or an unknown unit.
    """
    number, unit = _with_unit(text, name, "a time such as 500, 500ms or 2s")
    if not unit:
        return number
    if unit.lower() not in _MILLISECONDS:
        raise InvalidRequest(f"{name} has the unit {_shown(unit)}; write ms or s, as in 500ms or 2s")
    return number * _MILLISECONDS[unit.lower()]


def parse_gib(text: str, name: str) -> float:
    """Return an amount of memory in GiB, written with a unit ('80GB' is 74.5 GiB) or, in GiB, without one.

    Raises:
        InvalidRequest: not a number, or an unknown unit.
    """
    number, unit = _with_unit(text, name, "an amount such as 80, 80GiB or 80GB")
    return number * _bytes_of(unit, text, name) / GIB if unit else number


def parse_bytes(text: str, name: str) -> int:
    """Return whole bytes, rounded down: '24GiB', '24GB', or what `parse_count` reads.

    Raises:
        InvalidRequest: not a number, or an unknown unit.
    """
    unit = text.strip().lstrip("+-0123456789._").strip()
    if len(unit) < 2:
        return parse_count(text, name, minimum=-LARGEST_COUNT, maximum=10**18)
    number, unit = _with_unit(text, name, "an amount such as 24GiB or 24GB")
    return math.floor(Decimal(repr(number)) * _bytes_of(unit, text, name))


def _bytes_of(unit: str, text: str, name: str) -> int:
    if unit.lower() in _BYTES:
        return _BYTES[unit.lower()]
    if unit.lower() in ("k", "m", "g", "t"):
        whole = text.strip()[: -len(unit)].strip()
        raise InvalidRequest(f"{name} has no clear unit: write {whole}{unit.upper()}iB or {whole}{unit.upper()}B")
    raise InvalidRequest(f"{name} has the unit {_shown(unit)}; write GiB or GB, as in 80GiB or 80GB")


def _with_unit(text: str, name: str, example: str) -> tuple[float, str]:
    match = _WITH_UNIT.fullmatch(text.strip().replace("_", ""))
    if match is None:
        raise InvalidRequest(f"{name} must be {example}, not {_shown(text)}")
    number = float(match.group(1))
    if not math.isfinite(number):
        raise InvalidRequest(f"{name} must be a finite number, not {_shown(text)}")
    return number, match.group(2)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a count before its noun: '1 GPU', '1,024 GPUs'; the plural adds an 's' unless it is given."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def format_gib(amount_bytes: int) -> str:
    """Return bytes as GiB with two decimals: '79.10 GiB'."""
    return f"{amount_bytes / GIB:,.2f} GiB"


def gib_to_bytes(gib: float) -> int:
    """Return whole bytes, rounded down: an amount of GiB is a supply."""
    return math.floor(Decimal(repr(gib)) * GIB)


def _as_integer(value: object, name: str) -> int:
    if isinstance(value, bool):
        raise InvalidRequest(f"{name} must be a whole number, not {_shown(value)}")
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value) or value != math.floor(value):
            raise InvalidRequest(f"{name} must be a whole number, not {_shown(value)}")
        return int(value)
    if isinstance(value, str):
        return _parse_text(value, name)
    raise InvalidRequest(f"{name} must be a whole number, not {_shown(value)}")


def _parse_text(text: str, name: str) -> int:
    stripped = text.strip()
    sign = -1 if stripped.startswith("-") else 1
    match = _COUNT.fullmatch(stripped.removeprefix("-").removeprefix("+").replace("_", ""))
    if match is None:
        raise InvalidRequest(f"{name} must be a whole number such as 8192, 8k or 8K, not {_shown(text)}")
    whole, fraction, suffix = match.groups()
    if fraction and suffix in ("", *_BINARY):
        hint = f"write {whole}{fraction}{suffix.lower()} or a whole number" if suffix else "write a whole number"
        raise InvalidRequest(f"{name} must be a whole number, not {_shown(text)}: {hint}")
    if suffix in _DECIMAL:
        return sign * int(float(whole + (fraction or "")) * _DECIMAL[suffix])
    return sign * int(whole) * _BINARY.get(suffix, 1)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return printable(repr(value[:60]))
    if isinstance(value, bool | float):
        return repr(value)
    return _short(value) if isinstance(value, int) else kind_in_words(value)


def kind_in_words(value: object) -> str:
    """What a value read from JSON or YAML is, as its author would say: 'a list', 'an object', 'true or false'."""
    kinds = ((bool, "true or false"), (dict, "an object"), (list | tuple, "a list"), (str, "text"), (int, "a number"))
    found = next((words for kind, words in kinds if isinstance(value, kind)), None)
    return found or ("nothing" if value is None else "a number" if isinstance(value, float) else "something else")


def _short(number: int) -> str:
    return f"{number:,}" if abs(number) < 10**18 else f"a number of {_digits(number)} digits"


def _digits(number: int) -> int:
    return int(number.bit_length() * math.log10(2)) + 1
