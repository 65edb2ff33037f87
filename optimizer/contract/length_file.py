"""A trace or a histogram of requests: CSV or JSONL, one request or one bar a line.

    input_tokens, output_tokens     required, under any of the names that published traces use
    arrival                         optional; seconds, milliseconds or a date, by the name of the column
    count                           optional: how many requests a bar of a histogram stands for

Published traces that are read as they are: Azure LLM inference (TIMESTAMP, ContextTokens, GeneratedTokens), BurstGPT
(Timestamp, Request tokens, Response tokens), Mooncake (timestamp in ms, input_length, output_length).
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable

LARGEST_FILE_BYTES = 256 * 2**20
MOST_TOKENS = 2**31 - 1
PAIRS = 1024
"""Pairs that stand for the whole file: equally likely, evenly spaced in the file's own order of answers."""
LEAST_BURSTINESS, MOST_BURSTINESS = 0.05, 100.0
INPUTS = ("input_tokens", "prompt_tokens", "input_length", "input_len", "prompt_len", "contexttokens", "request_tokens")
OUTPUTS = (
    "output_tokens", "completion_tokens", "output_length", "output_len", "generatedtokens", "response_tokens"
)  # fmt: skip
COUNTS = ("count", "weight", "requests")
SECONDS, MILLISECONDS = ("arrival_s", "timestamp_s", "time_s", "arrival", "arrived_at"), ("arrival_ms", "timestamp_ms")
STAMPS = ("timestamp", "time")


@dataclass(frozen=True)
class Trace:
    """Lengths of every request, and when they came where that is known. Arrays of one length, in order of arrival."""

    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    arrival_s: NDArray[np.float64] | None
    weight: NDArray[np.float64]

    @property
    def mean_lengths(self) -> tuple[int, int]:
        """Mean prompt and answer in whole tokens."""
        means = (np.average(values, weights=self.weight) for values in (self.input_tokens, self.output_tokens))
        first, second = (max(1, round(float(mean))) for mean in means)
        return first, second

    @property
    def rate_and_burstiness(self) -> tuple[float, float] | None:
        """Requests per second and the shape of the gamma law with the same variation between arrivals."""
        if self.arrival_s is None or len(self.arrival_s) < 3:
            return None
        gaps = np.diff(self.arrival_s).tolist()
        mean = math.fsum(gaps) / len(gaps)
        if mean <= 0:
            return None
        variation = math.fsum((gap - mean) * (gap - mean) for gap in gaps) / len(gaps) / mean**2
        shape = MOST_BURSTINESS if variation <= 0 else 1.0 / variation
        return 1.0 / mean, min(max(shape, LEAST_BURSTINESS), MOST_BURSTINESS)

    def pairs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Equally likely pairs that stand for the file."""
        order = np.lexsort((self.input_tokens, self.output_tokens))
        share = np.cumsum(self.weight[order]) / self.weight.sum()
        number = min(PAIRS, max(len(order), 2) if np.ptp(self.weight) == 0 else PAIRS)
        at = order[np.searchsorted(share, (np.arange(number) + 0.5) / number).clip(0, len(order) - 1)]
        return self.input_tokens[at].astype(np.float64), self.output_tokens[at].astype(np.float64)


def read_lengths(path: str) -> Trace:
    """The requests of a file.

    Raises:
        InvalidRequest: the file cannot be read, or a line of it is no request.
    """
    place = Path(path).expanduser()
    try:
        stamp = place.stat()
        if not place.is_file():
            raise InvalidRequest(f"lengths: '{printable(path[:200])}' is no file; give a CSV or JSONL file")
        if stamp.st_size > LARGEST_FILE_BYTES:
            raise InvalidRequest(f"lengths: '{printable(path[:200])}' is larger than {LARGEST_FILE_BYTES >> 20} MiB")
        return _read(str(place), stamp.st_mtime_ns, stamp.st_size)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InvalidRequest(f"lengths: cannot read '{printable(path[:200])}': {why}") from None


@lru_cache(maxsize=8)
def _read(path: str, _changed: int, _size: int) -> Trace:
    text = Path(path).read_text(encoding="utf-8-sig")
    where = f"lengths file '{printable(path[-120:])}'"
    rows = _json_rows(text, where) if text.lstrip().startswith("{") else _csv_rows(text, where)
    found = [_request(row, f"{where}, line {line}") for line, row in rows]
    if not found:
        raise InvalidRequest(f"{where} holds no request: one a line, with 'input_tokens' and 'output_tokens'")
    timed = all(row[2] is not None for row in found)
    if timed:
        found.sort(key=lambda row: row[2] or 0.0)
    begin = (found[0][2] or 0.0) if timed else 0.0
    return Trace(
        np.array([row[0] for row in found], dtype=np.int64),
        np.array([row[1] for row in found], dtype=np.int64),
        np.array([(row[2] or 0.0) - begin for row in found]) if timed else None,
        np.array([row[3] for row in found]),
    )


def _json_rows(text: str, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise InvalidRequest(f"{where}, line {number} is not JSON") from None
        if not isinstance(row, dict):
            raise InvalidRequest(f"{where}, line {number} is no JSON object")
        yield number, {_plain(str(key)): value for key, value in row.items()}


def _csv_rows(text: str, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        names = [_plain(name or "") for name in reader.fieldnames or ()]
        if not set(names) & set(INPUTS) or not set(names) & set(OUTPUTS):
            raise InvalidRequest(f"{where} needs a first line that names 'input_tokens' and 'output_tokens'")
        for row in reader:
            yield reader.line_num, {_plain(str(key)): value for key, value in row.items()}
    except csv.Error as error:
        raise InvalidRequest(f"{where} is no CSV: {error}") from None


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _request(row: dict[str, Any], where: str) -> tuple[int, int, float | None, float]:
    tokens = [_tokens(row, names, where) for names in (INPUTS, OUTPUTS)]
    weight = _first(row, COUNTS)
    counted = 1.0 if weight is None else _number(weight, where, COUNTS[0])
    if counted <= 0:
        raise InvalidRequest(f"{where}: count must be above 0")
    return tokens[0], max(1, tokens[1]), _arrival(row, where), counted


def _first(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _tokens(row: dict[str, Any], names: tuple[str, ...], where: str) -> int:
    value = _first(row, names)
    if value is None:
        raise InvalidRequest(f"{where} lacks '{names[0]}'")
    number = _number(value, where, names[0])
    if not 0 <= number <= MOST_TOKENS or number != int(number):
        raise InvalidRequest(f"{where}: '{names[0]}' must be a whole number of tokens from 0 to {MOST_TOKENS}")
    return max(1, int(number)) if names is INPUTS else int(number)


def _arrival(row: dict[str, Any], where: str) -> float | None:
    readers: tuple[tuple[tuple[str, ...], Callable[[Any], float]], ...] = (
        (SECONDS, lambda value: _number(value, where, "arrival_s")),
        (MILLISECONDS, lambda value: _number(value, where, "arrival_ms") / 1e3),
        (STAMPS, lambda value: _stamp(value, where, in_ms="input_length" in row)),
    )
    for names, read in readers:
        value = _first(row, names)
        if value is not None:
            return read(value)
    return None


def _stamp(value: Any, where: str, *, in_ms: bool) -> float:
    """A number of seconds (Mooncake: milliseconds), or a date."""
    if isinstance(value, str) and not _is_number(value):
        try:
            return datetime.fromisoformat(value.strip()[:26]).timestamp()
        except (ValueError, OverflowError, OSError):
            raise InvalidRequest(f"{where}: '{printable(value[:40])}' is neither seconds nor a date") from None
    return _number(value, where, "timestamp") / (1e3 if in_ms else 1.0)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _number(value: Any, where: str, name: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float | str) else float(value)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{where}: '{name}' must be a number, not {printable(repr(value)[:40])}") from None
    if not math.isfinite(number):
        raise InvalidRequest(f"{where}: '{name}' must be a finite number")
    return number
