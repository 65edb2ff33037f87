"""Numbers as people write them: '8k' tokens, '8K' tokens, GiB; and back to text."""

import math
import re
from decimal import Decimal

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable

GIB = 2**30

LARGEST_COUNT = 10**12
"""No count of tokens, sequences or GPUs that means anything is larger."""

_COUNT = re.compile(r"(\d{1,30})(\.\d{1,30})?([kKmMgGtT]?)")
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
    return _short(value) if isinstance(value, int) else type(value).__name__


def _short(number: int) -> str:
    return f"{number:,}" if abs(number) < 10**18 else f"a number of {_digits(number)} digits"


def _digits(number: int) -> int:
    return int(number.bit_length() * math.log10(2)) + 1
