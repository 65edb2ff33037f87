"""Finding a row by any of its names: letter case, spaces and punctuation do not count, vendor words neither."""

import re
from collections.abc import Iterable, Mapping

from vllm_opt.profiles.errors import UnknownProfile, did_you_mean
from vllm_opt.profiles.printable import printable

_VENDOR_WORDS = frozenset({"nvidia", "amd", "intel", "geforce", "tesla", "instinct"})
_LONGEST_NAME = 200


def lookup_key(name: str) -> str:
    """Return what two spellings of one name share: 'NVIDIA H100 80GB HBM3' and 'h100-80gb-hbm3' give one key."""
    words = re.findall(r"[a-z0-9]+", name[:_LONGEST_NAME].lower())
    while len(words) > 1 and words[0] in _VENDOR_WORDS:
        words = words[1:]
    return "".join(words)


def whole_key(name: str) -> str:
    """Return the same with vendor words kept."""
    return "".join(re.findall(r"[a-z0-9]+", name[:_LONGEST_NAME].lower()))


def index_names(names_by_id: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    """Return lookup key -> id. An id always means itself; among other names the first row that claims one keeps it.

    A name with vendor words counts with them first ("nvidia-tesla-a100" is Google's label of the 40 GB card), and
    without them only where no plain name of another row says the same ("a100").
    """
    rows = [(row_id, tuple(names)) for row_id, names in names_by_id]
    index = {lookup_key(row_id): row_id for row_id, _ in rows}
    claimed = [(name, row_id) for row_id, names in rows for name in names]
    for name, row_id in claimed:
        index.setdefault(whole_key(name), row_id)
    for name, row_id in claimed:
        index.setdefault(lookup_key(name), row_id)
    return index


def resolve(name: str, index: Mapping[str, str], known: Iterable[str], kind: str, where: str) -> str:
    """Return the id that `name` means.

    Raises UnknownProfile naming the nearest of `known`, or `where` the whole list is when none is near.
    """
    found = index.get(whole_key(name)) or index.get(lookup_key(name))
    if found is not None:
        return found
    hint = did_you_mean(name, known) or f"; {where} lists what is known"
    raise UnknownProfile(f"{kind} {printable(repr(name[:80]))} is unknown{hint}")
