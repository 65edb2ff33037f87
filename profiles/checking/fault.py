"""What a check of data files says: where, what, and how bad."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.printable import printable

_LONGEST_PLACE = 120


class Fault(Noun):
    """One thing that is wrong with a file, or worth knowing about it."""

    file: str = Field(description="the data file, or the user's file by its name")
    place: str = Field(description="row or key; empty: the whole file")
    level: Literal["error", "note"] = Field("error", description="a note leaves the exit code at 0")
    message: str = Field(description="what is wrong and what to do")


class FileReport(Noun):
    """One file that was checked."""

    file: str
    rows: int = Field(ge=0, description="rows, models or flags that were looked at")
    faults: tuple[Fault, ...] = ()


def file_name(path: str | Path) -> str:
    """Return how a report calls a user's file."""
    return printable(Path(path).name[:_LONGEST_PLACE])


def fault(file: str, place: str, message: str, *, note: bool = False) -> Fault:
    """Return one fault whose place can be printed, whatever the file holds."""
    return Fault(file=file, place=printable(place[:_LONGEST_PLACE]), level="note" if note else "error", message=message)


def repeats(file: str, places: Iterable[tuple[object, str]], what: str) -> list[Fault]:
    """Return a fault for every key that was there before; `places` are (key, place)."""
    first: dict[object, str] = {}
    found = []
    for key, place in places:
        if key in first:
            found.append(fault(file, place, f"the same {what} stands at {printable(first[key])}; keep one"))
        first.setdefault(key, place)
    return found


def unknown_names(file: str, names: Iterable[tuple[str, str]], known: Mapping[str, Any], what: str) -> list[Fault]:
    """Return a fault for every name that refers to nothing; `names` are (name, place)."""
    return [
        fault(file, place, f"no {what} has the id '{printable(name[:80])}'; add it, or mend the spelling")
        for name, place in names
        if name not in known
    ]
