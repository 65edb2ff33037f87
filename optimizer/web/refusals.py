"""What the command line takes and a request over the network may not: files, downloads, and more than its share."""

import json
from collections.abc import Iterator
from typing import Any

from vllm_opt.profiles.configs.model_paths import is_path
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable

FILE_FIELDS = frozenset(("prices", "file", "paths", "exclude"))
"""Fields of requests that name files, wherever they stand in a document; and so does all that ends in `_file`."""
MODEL_FIELDS = frozenset(("model",))
JSON_FIELDS = frozenset(("speculative_config", "hf_overrides"))
DEEPEST = 32


def refuse_files(fields: dict[str, Any]) -> None:
    """Refuse every field that names a file.

    Raises:
        InvalidRequest: one is there.
    """
    for key, value in _pairs(fields, 0):
        first = value[0] if isinstance(value, list) and value else value
        if (key == "lengths" and isinstance(first, str)) or (
            (key in FILE_FIELDS or str(key).endswith("_file")) and value not in (None, "", [], ())
        ):
            raise InvalidRequest(
                f"{key} names a file, and no file is read for a request over the network: state the values themselves "
                "(price, node_price), or use the command line"
            )
        if key in MODEL_FIELDS:
            for name in value if isinstance(value, list) else [value]:
                if isinstance(name, str) and (is_path(name.strip()) or name.strip().endswith(".json")):
                    raise InvalidRequest(
                        f"model {printable(repr(name[:80]))} is a path, and no file is read for a request over the "
                        "network: give a name of GET /v1/models, or use the command line"
                    )


def _pairs(value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Every key with its value at any depth; JSON inside text is looked into where a field holds such."""
    if depth > DEEPEST:
        raise InvalidRequest("the JSON is nested too deeply")
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _pairs(_unpacked(key, inner), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner, depth + 1)


def _unpacked(key: str, value: Any) -> Any:
    if key not in JSON_FIELDS:
        return value
    texts = value if isinstance(value, list) else [value]
    found = []
    for text in texts:
        try:
            found.append(json.loads(text) if isinstance(text, str) else text)
        except (ValueError, RecursionError):
            continue  # the request itself says what is wrong with it
    return found


def within_share(fields: dict[str, Any], longest_s: float, usual_s: float) -> dict[str, Any]:
    """Fill in the time that a request may take where what it would usually take is more.

    Raises:
        InvalidRequest: it asks for more, or for more than one thread.
    """
    asked = fields.get("time_limit")
    asked = asked[0] if isinstance(asked, list) and len(asked) == 1 else asked
    if asked is None and usual_s > longest_s:
        fields = {**fields, "time_limit": longest_s}
    elif asked is not None and _more(asked, longest_s):
        raise InvalidRequest(f"time_limit: this server gives a request {longest_s:g} seconds; ask for at most that")
    workers = fields.get("workers")
    workers = workers[0] if isinstance(workers, list) and len(workers) == 1 else workers
    if workers is not None and _more(workers, 1):
        raise InvalidRequest("workers: this server gives a request 1 thread; leave workers out")
    return fields


def _more(asked: Any, most: float) -> bool:
    """Whether a number, also as text, is above the most; what is no number is left to the request to refuse."""
    try:
        return not isinstance(asked, bool) and float(asked) > most
    except (TypeError, ValueError, OverflowError):
        return isinstance(asked, int)
