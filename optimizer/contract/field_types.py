"""The values that fields of a request hold: counts, numbers, times, sizes, lists of one; read as people type them."""

import math
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import parse_bytes, parse_count, parse_gib, parse_milliseconds

LARGEST_COUNT = 2**31 - 1
LARGEST_GPU_COUNT = 1_000_000
MOST_WORKERS = 1024


def _one(value: object) -> object:
    """Unwrap a list of one."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _many(value: object) -> object:
    """Wrap one value into a tuple; None is an empty tuple."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _count(value: object) -> object:
    """Read a whole number, also as '8k' (8000) or '8K' (8192)."""
    value = _one(value)
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    if not isinstance(value, str):
        return value
    try:
        return parse_count(value, "it", minimum=-LARGEST_COUNT)
    except InvalidRequest as fault:
        raise ValueError(str(fault).removeprefix("it ")) from None


def _number(value: object) -> object:
    """Read a finite number; true and false are not numbers."""
    value = _one(value)
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _unit(parse: Callable[[str, str], float | int]) -> Callable[[object], object]:
    """Read text with a unit; a plain number is left to the field."""

    def read(value: object) -> object:
        value = _number(value)
        if not isinstance(value, str):
            return value
        try:
            return parse(value, "it")
        except InvalidRequest as fault:
            raise ValueError(str(fault).removeprefix("it ")) from None

    return read


def _concurrency(value: object) -> object:
    """Read a number of sequences, or 'max'."""
    value = _one(value)
    if isinstance(value, str) and value.strip().lower() == "max":
        return "max"
    if value is None or isinstance(value, list | tuple | dict):
        raise ValueError("must be a whole number or 'max'")
    counted = _count(value)
    if isinstance(counted, float) and counted.is_integer():
        counted = int(counted)
    if not isinstance(counted, int) or not 0 < counted <= LARGEST_COUNT:
        raise ValueError(f"must be a positive whole number of at most {LARGEST_COUNT}, or 'max'")
    return counted


def _prices(value: object) -> object:
    """Read `{'h100-sxm': 2.5}` or `['h100-sxm=2.5']` into a tuple of pairs."""
    return _pairs(value, "USD")


def _stock(value: object) -> object:
    """Read `{'h100-sxm': 8}` or `['h100-sxm=8']` into a tuple of pairs."""
    return _pairs(value, "N")


def _pairs(value: object, what: str) -> object:
    if isinstance(value, dict):
        return tuple((str(sku), number) for sku, number in value.items())
    pairs = []
    for item in _many(value):  # type: ignore[attr-defined]
        if isinstance(item, list | tuple) and len(item) == 2:
            pairs.append(tuple(item))
            continue
        sku, separator, number = str(item).partition("=")
        if not separator or not sku.strip():
            raise ValueError(f"must look like SKU={what}, not {printable(repr(str(item)[:60]))}")
        pairs.append((sku.strip(), number))
    return tuple(pairs)


def _model_len(value: object) -> object:
    """Read a context length; 'auto' and -1 ask vLLM to fit the largest."""
    value = _one(value)
    if isinstance(value, list | tuple):
        raise ValueError("must be one number or 'auto'")
    if value in (-1, "-1", "auto"):
        return "auto"
    counted = _count(value)
    if isinstance(counted, float) and counted.is_integer():
        counted = int(counted)
    if isinstance(counted, int) and not 0 < counted <= LARGEST_COUNT:
        raise ValueError(f"must be a positive whole number of at most {LARGEST_COUNT}")
    return counted


Count = Annotated[int, BeforeValidator(_count), Field(gt=0, le=LARGEST_COUNT)]
GpuCount = Annotated[int, BeforeValidator(_count), Field(gt=0, le=LARGEST_GPU_COUNT)]
CountOrZero = Annotated[int, BeforeValidator(_count), Field(ge=0, le=LARGEST_COUNT)]
PositiveNumber = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1e15)]
NumberOrZero = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1e15)]
Text = Annotated[str, BeforeValidator(_one), Field(min_length=1, max_length=4096)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_many)]
Bytes = Annotated[int, BeforeValidator(_unit(parse_bytes)), Field(gt=0, le=10**15)]
Milliseconds = Annotated[float, BeforeValidator(_unit(parse_milliseconds)), Field(gt=0, le=1e15)]
Gibibytes = Annotated[float, BeforeValidator(_unit(parse_gib)), Field(gt=0, le=1e15)]
GibibytesOrZero = Annotated[float, BeforeValidator(_unit(parse_gib)), Field(ge=0, le=1e15)]
Share = Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)]
Confidence = Annotated[float, BeforeValidator(_number), Field(ge=0.5, le=0.99)]
Prices = Annotated[tuple[tuple[Text, PositiveNumber], ...], BeforeValidator(_prices)]
Stock = Annotated[tuple[tuple[Text, GpuCount], ...], BeforeValidator(_stock)]
ModelLen = Annotated[int | Literal["auto"], BeforeValidator(_model_len)]
Concurrency = Annotated[int | Literal["max"], BeforeValidator(_concurrency)]
Switch = Annotated[bool, BeforeValidator(_one)]
PerformanceMode = Annotated[Literal["balanced", "interactivity", "throughput"], BeforeValidator(_one)]
"""What `--performance-mode` takes (vLLM 0.17 and later)."""
