"""The catalogue's own data files, and checking a whole file of rows at once."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import kind_in_words

DATA = Path(__file__).parents[1] / "data"

_Row = TypeVar("_Row", bound=Noun)
_MOST_ERRORS_SHOWN = 25


def read_data_file(name: str) -> dict[str, Any]:
    """Return one of the package's own JSON files.

    Raises:
        InvalidRequest: the installation is damaged: the file is missing or not JSON.
    """
    try:
        content = json.loads((DATA / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"the catalogue file {name} is damaged ({error}); install vllm-opt again") from None
    if not isinstance(content, dict):
        raise InvalidRequest(f"the catalogue file {name} is damaged (no JSON object); install vllm-opt again")
    return content


def parse_rows(noun: type[_Row], rows: object, file: str, key: str) -> tuple[_Row, ...]:
    """Return every row as a noun.

    Raises:
        InvalidRequest: one sentence that names every fault of the file: key path, row id, and what is wrong.
    """
    if not isinstance(rows, list):
        raise InvalidRequest(f"{file}: '{key}' must be a list, not {kind_in_words(rows)}")
    parsed: list[_Row] = []
    faults: list[str] = []
    for position, row in enumerate(rows):
        try:
            parsed.append(noun.model_validate(row))
        except ValidationError as error:
            faults.extend(_faults(error, f"{key}[{position}]", row))
    raise_faults(file, faults)
    return tuple(parsed)


def raise_faults(file: str, faults: Iterable[str]) -> None:
    """Raise one InvalidRequest that lists all faults of a file; do nothing when there is none."""
    listed = list(faults)
    if not listed:
        return
    more = f"; and {len(listed) - _MOST_ERRORS_SHOWN} more" if len(listed) > _MOST_ERRORS_SHOWN else ""
    count = "1 error" if len(listed) == 1 else f"{len(listed)} errors"
    raise InvalidRequest(f"{file} has {count}: {'; '.join(listed[:_MOST_ERRORS_SHOWN])}{more}")


def _faults(error: ValidationError, place: str, row: object) -> Iterable[str]:
    row_id = row.get("id", row.get("gpu")) if isinstance(row, Mapping) else None
    named = f" ({printable(row_id[:60])})" if isinstance(row_id, str) else ""
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
        message = detail["msg"].rstrip(".")
        yield f"{place}{printable(path[:120])}{named}: {printable(message[:1].lower() + message[1:])}"
