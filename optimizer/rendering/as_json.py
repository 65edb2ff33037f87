"""JSON of any answer: exactly `model_dump(mode="json")`, keys in the order of the types."""

import json
from typing import Any


def as_json(document: dict[str, Any]) -> str:
    """Return indented JSON; NaN and Infinity cannot occur.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def as_json_line(document: dict[str, Any]) -> str:
    """Return JSON on one line.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(document, ensure_ascii=False, allow_nan=False)
