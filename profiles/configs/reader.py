"""Reading a `config.json` that may be anything: size, nesting and number limits, and typed access key by key."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from vllm_opt.profiles.errors import InvalidRequest

MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_NESTING = 64
MAX_DIMENSION = 2_000_000_000
MAX_LAYERS = 10_000

Json = dict[str, Any]

BRACKETS_AND_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{\]}]', re.DOTALL)
"""A string that never ends is one token up to the end: looked at once, however many quotes it holds."""


def read_config(path: str | Path) -> Json:
    """Return the JSON object in `path`, or in `path/config.json` where `path` is a folder.

    Keys such as `auto_map` are data like any other: nothing in the file is ever executed. Raises InvalidRequest when
    the file cannot be read, is larger than 16 MiB, nested deeper than 64 levels, truncated, or not a JSON object. The
    literals NaN and Infinity are accepted here, as published files hold them, and refused where a number is needed.
    """
    file = Path(path)
    try:
        file = file / "config.json" if file.is_dir() else file
        if file.exists() and not file.is_file():
            raise InvalidRequest(f"{str(path)[-200:]!r} is neither a file nor a folder; give a config.json")
        with file.open("rb") as stream:
            content = stream.read(MAX_CONFIG_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise InvalidRequest(
            f"cannot read {str(path)[-200:]!r}: {reason}; give a config.json or model folder"
        ) from None
    if len(content) > MAX_CONFIG_BYTES:
        raise InvalidRequest(f"{file.name} is larger than {MAX_CONFIG_BYTES >> 20} MiB, which no config.json is")
    return parse_config(content, str(file))


def parse_config(content: bytes, where: str) -> Json:
    """Return the JSON object in `content`; `where` names it in errors. Limits as in `read_config`."""
    where = where[-200:]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{where} is not UTF-8 text (byte {error.start}), so it is no config.json") from None
    _check_nesting(text, where)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{where} is not valid JSON: {error.msg} at line {error.lineno}") from None
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{where} holds a number with too many digits or is nested too deeply") from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where} holds a JSON {_kind(value)} where the object of a config.json belongs")
    return value


def _check_nesting(text: str, where: str) -> None:
    """Refuse deep nesting before the parser recurses into it."""
    depth = 0
    for token in BRACKETS_AND_STRINGS.finditer(text):
        if token.group() in "[{":
            depth += 1
            if depth > MAX_NESTING:
                raise InvalidRequest(f"{where} is nested deeper than {MAX_NESTING} levels, which no config.json is")
        elif token.group() in "]}":
            depth -= 1


def _kind(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


class ConfigKeys:
    """One JSON object of a config, read key by key.

    An absent key with a default takes it and is noted in `assumptions`; one without is refused by name, as is a value
    of the wrong type or out of range.
    """

    def __init__(self, values: Mapping[str, Any], model_id: str, section: str = "") -> None:
        self.values = values
        self.model_id = model_id
        self.section = section
        self.assumptions: list[str] = []

    def refuse(self, reason: str) -> NoReturn:
        """Raise InvalidRequest: `reason` about this model's config."""
        raise InvalidRequest(f"the config of {self.model_id[:200]} {reason}")

    def has(self, key: str) -> bool:
        """Whether `key` is present and not null."""
        return self.values.get(key) is not None

    def take(self, key: str, value: object, why: str) -> None:
        """Note that `key` was absent and `value` was taken."""
        self.assumptions.append(f"{self._name(key)} is absent: {value} taken, {why}")

    def integer(self, *keys: str, default: int | None = None, minimum: int = 1) -> int:
        """Return the first present key as an integer of at least `minimum`; several keys are spellings of one."""
        found = self.optional_integer(*keys, minimum=minimum)
        if found is not None:
            return found
        if default is None:
            self.refuse(f"lacks {' / '.join(self._name(key) for key in keys)}, without which it cannot be sized")
        self.take(keys[0], default, "the default of its Hugging Face class")
        return default

    def layer_count(self) -> int:
        """Return the number of decoder layers; more than 10,000 are refused, as they would be built one by one."""
        count = self.integer("num_hidden_layers", "n_layer")
        if count > MAX_LAYERS:
            self.refuse(f"has num_hidden_layers = {count}, more than {MAX_LAYERS}, which no model has")
        return count

    def optional_integer(self, *keys: str, minimum: int = 1) -> int | None:
        """Return the first present key as an integer, or None when all are absent or null."""
        for key in keys:
            if self.has(key):
                return self._checked_integer(key, self.values[key], minimum)
        return None

    def _checked_integer(self, key: str, value: object, minimum: int) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(f"has {self._name(key)} = {_shown(value)} where an integer belongs")
        if not minimum <= value <= MAX_DIMENSION:
            self.refuse(f"has {self._name(key)} = {_shown(value)}, outside {minimum} to {MAX_DIMENSION}")
        return value

    def number(self, key: str, default: float, *, minimum: float = 0.0) -> float:
        """Return a finite positive number of at least `minimum`."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < MAX_DIMENSION:
            self.refuse(f"has {self._name(key)} = {_shown(value)} where a positive number belongs")
        if value < minimum:
            self.refuse(f"has {self._name(key)} = {_shown(value)}, below {minimum:g}, which no model has")
        return float(value)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a boolean; an absent one is `default` without a note, as most flags are absent when off."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(f"has {self._name(key)} = {_shown(value)} where true or false belongs")
        return value

    def text(self, *keys: str) -> str | None:
        """Return the first present key as a string, or None."""
        for key in keys:
            if self.has(key):
                value = self.values[key]
                if not isinstance(value, str):
                    self.refuse(f"has {self._name(key)} = {_shown(value)} where a string belongs")
                return value
        return None

    def strings(self, key: str) -> list[str] | None:
        """Return a list of strings, or None when absent."""
        value = self._list(key)
        if value is not None and not all(isinstance(item, str) for item in value):
            self.refuse(f"has {self._name(key)} with an entry that is not a string")
        return value

    def integers(self, key: str, minimum: int = 0) -> list[int] | None:
        """Return a list of integers, or None when absent."""
        value = self._list(key)
        return None if value is None else [self._checked_integer(key, item, minimum) for item in value]

    def objects(self, key: str) -> list["ConfigKeys"] | None:
        """Return a list of objects, or None when absent."""
        value = self._list(key)
        return None if value is None else [self._child(f"{key}[{i}]", item) for i, item in enumerate(value)]

    def _list(self, key: str) -> list[Any] | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, list):
            self.refuse(f"has {self._name(key)} = {_shown(value)} where a list belongs")
        return value

    def child(self, key: str) -> "ConfigKeys | None":
        """Return the object under `key`, or None when absent."""
        return self._child(key, self.values[key]) if self.has(key) else None

    def _child(self, key: str, value: object) -> "ConfigKeys":
        if not isinstance(value, dict):
            self.refuse(f"has {self._name(key)} = {_shown(value)} where an object belongs")
        child = ConfigKeys(value, self.model_id, f"{self.section}{key}.")
        child.assumptions = self.assumptions
        return child

    def _name(self, key: str) -> str:
        return f"{self.section}{key}"


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "a number of more than 30 digits"
    return repr(value)[:60]
