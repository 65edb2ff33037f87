"""One JSON object from untrusted bytes: every key once, no NaN, not too long, faults in one sentence."""

import json
from typing import Any

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import kind_in_words


def json_object(text: bytes, what: str, longest_bytes: int) -> dict[str, Any]:
    """Read one JSON object; `what` names the text in messages, such as "the line" or "the body".

    Raises:
        InvalidRequest: it is not one, is longer than `longest_bytes`, or gives a key twice.
    """
    if len(text) > longest_bytes:
        raise InvalidRequest(f"{what} is longer than {longest_bytes} bytes")
    try:
        fields = json.loads(text.decode("utf-8-sig"), parse_constant=_refuse_constant, object_pairs_hook=_each_key_once)
    except UnicodeDecodeError:
        raise InvalidRequest(f"{what} is not UTF-8 text") from None
    except RecursionError:
        raise InvalidRequest("the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{what} is not JSON: {error.msg} at column {error.colno}") from None
    except ValueError as error:
        raise InvalidRequest(f"{what} is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidRequest(f"{what} must be a JSON object, not {kind_in_words(fields)}")
    return fields


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is given twice: which of the two was meant, nobody can say."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidRequest(f"the key {printable(repr(key[:60]))} is given twice; keep one")
        found[key] = value
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")
