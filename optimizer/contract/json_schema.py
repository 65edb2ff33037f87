"""The JSON schema that pydantic writes, in the words of the standard, for requests that are read as people type."""

from typing import Any

STANDARD_WORDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


def standard_schema(part: Any) -> Any:
    """Spell limits as the standard does, take one value where a list of words is, and '8k' where a count is."""
    if isinstance(part, list):
        return [standard_schema(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {STANDARD_WORDS.get(key, key): standard_schema(value) for key, value in part.items()}
    if found.get("type") == "integer" and "default" not in found:
        words = {key: found.pop(key) for key in ("title", "description") if key in found}
        return {"anyOf": [found, {"type": "string", "pattern": "^[0-9.]+[kKmM]?$"}], **words}
    if found.get("type") == "array" and isinstance(found.get("items"), dict):
        if "minLength" in found:
            found["minItems"] = found.pop("minLength")
        if found["items"].get("type") == "string" or "enum" in found["items"]:
            outer = {key: found.pop(key) for key in ("title", "description", "default") if key in found}
            return {"anyOf": [found["items"], found], **outer}
    return found
