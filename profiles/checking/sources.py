"""Whether a source has a form that a reader can open. Nothing is fetched: a form can be judged without a network."""

import re
from collections.abc import Iterable

from vllm_opt.profiles.checking.fault import Fault, fault
from vllm_opt.profiles.printable import printable

_ADDRESS = re.compile(r"https?://[a-z0-9.-]+\.[a-z]{2,}(?:[/:?#]\S*)?", re.IGNORECASE)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+:[^@\n]+@[0-9a-f]{7,40}\b")
_RELEASE = re.compile(r"vllm \d+(?:\.\d+)+ (?:source distribution|wheel)", re.IGNORECASE)
_LONGEST_SOURCE = 1000
_CHOICE = re.compile(r"(?:choice|user file)[: ]")


def can_be_opened(source: str) -> bool:
    """Whether a reader can open it: an address, `owner/name:path@commit`, or a published package of vLLM."""
    return any(form.search(source[:_LONGEST_SOURCE]) for form in (_ADDRESS, _REPOSITORY, _RELEASE))


def source_faults(file: str, place: str, sources: Iterable[object], *, each: bool = False) -> list[Fault]:
    """Return a fault where no source can be opened; with `each`, for every single one that cannot.

    A number that is ours says so: 'choice: why'. A user's own file may stand for itself, which is a note.
    """
    texts = [source for source in sources if isinstance(source, str)]
    closed = [text for text in texts if not can_be_opened(text) and not text.startswith("choice: ")]
    if texts and all(_CHOICE.match(text) for text in texts):
        own = any(text.startswith("user file") for text in texts)
        return [fault(file, place, "no source is given; say where the numbers were read", note=True)] if own else []
    if closed and (each or len(closed) == len(texts)):
        shown = printable(closed[0][:80])
        return [fault(file, place, f"'{shown}' cannot be opened; give an address or owner/name:path@commit")]
    return [] if texts else [fault(file, place, "no source is given; say where the numbers were read")]
