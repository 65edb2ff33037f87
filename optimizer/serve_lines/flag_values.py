"""One flag's value read as the release's parser reads it: type, choices, JSON, and counts such as 8k or 8K."""

import json
import math
import re

from vllm_opt.profiles.errors import did_you_mean
from vllm_opt.profiles.nouns.engine import FlagSpec

FlagValue = str | int | float | bool | tuple[str, ...]
Problem = tuple[str, str, str | None]
"""Rule, message, and what to write instead where that is certain."""

_COUNT = re.compile(r"(\d{1,40}(?:\.\d{1,40})?)([kKmMgGtT])")
_WHOLE = re.compile(r"[+-]?\d{1,40}")
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
AUTO_LENGTH_FLAG = "max-model-len"
LONGEST_JSON = 100_000


def read_value(
    flag: FlagSpec, spelling: str, texts: list[str], *, strict_json: bool = True
) -> tuple[FlagValue, None] | tuple[None, Problem]:
    """Return the value, or what is wrong with it; before 0.10 some JSON flags also took `key=value,key=value`."""
    if flag.values == "many":
        return tuple(texts), None
    text = texts[0]
    if flag.choices is not None and text not in flag.choices:
        return None, _wrong_choice(flag, spelling, text)
    if flag.kind == "human_int":
        return _human_count(flag, spelling, text)
    if flag.kind == "json":
        return _json(spelling, text, strict=strict_json)
    return _plain(flag, spelling, text)


def _plain(flag: FlagSpec, spelling: str, text: str) -> tuple[FlagValue, None] | tuple[None, Problem]:
    if flag.kind == "int":
        return _whole_number(spelling, text)
    return _number(spelling, text) if flag.kind == "float" else (text, None)


def _wrong_choice(flag: FlagSpec, spelling: str, text: str) -> Problem:
    choices = flag.choices or ()
    by_lower = {choice.lower().replace("-", "_"): choice for choice in choices}
    exact = by_lower.get(text.lower().replace("-", "_"))
    hint = f"; write '{exact}'" if exact else did_you_mean(text, choices)
    shown = ", ".join(choices[:12]) + (", …" if len(choices) > 12 else "")
    message = f"argument {spelling}: invalid choice: '{text[:80]}' (choose from {shown}){hint}"
    return "wrong_choice", message, exact


def _whole_number(spelling: str, text: str) -> tuple[int, None] | tuple[None, Problem]:
    stripped = text.strip().replace("_", "")
    if _WHOLE.fullmatch(stripped):
        return int(stripped), None
    counted = _COUNT.fullmatch(stripped)
    message = f"argument {spelling}: invalid int value: '{text[:80]}'"
    if counted is None:
        return None, ("wrong_type", f"{message}; give a whole number", None)
    number, suffix = counted.groups()
    value = int(float(number) * (_DECIMAL.get(suffix) or _BINARY[suffix]))
    return None, ("wrong_type", f"{message}: this flag takes no suffix; write {value}", str(value))


def _human_count(flag: FlagSpec, spelling: str, text: str) -> tuple[str | int, None] | tuple[None, Problem]:
    stripped = text.strip()
    if flag.name == AUTO_LENGTH_FLAG and stripped.lower() in ("auto", "-1"):
        return "auto", None
    match = _COUNT.fullmatch(stripped)
    if match is None:
        plain = stripped.replace("_", "")
        if _WHOLE.fullmatch(plain):
            return int(plain), None
        message = f"argument {spelling}: invalid value: '{text[:80]}'; give a whole number such as 8192, 8k or 8K"
        return None, ("wrong_type", message, None)
    number, suffix = match.groups()
    if suffix in _BINARY and "." in number:
        message = (
            f"argument {spelling}: Decimals are not allowed with binary suffixes like {suffix}. Did you mean to use "
            f"{number}{suffix.lower()} instead?"
        )
        return None, ("wrong_type", message, f"{number}{suffix.lower()}")
    if suffix in _BINARY:
        return int(number) * _BINARY[suffix], None
    return int(float(number) * _DECIMAL[suffix]), None


def _number(spelling: str, text: str) -> tuple[float, None] | tuple[None, Problem]:
    try:
        value = float(text)
    except ValueError:
        suggestion = None
        if re.fullmatch(r"\d{1,3}(?:\.\d+)?%", text):
            suggestion = f"{float(text[:-1]) / 100:g}"
        elif re.fullmatch(r"\d+,\d+", text):
            suggestion = text.replace(",", ".")
        hint = f"; write {suggestion}" if suggestion else "; give a number"
        return None, ("wrong_type", f"argument {spelling}: invalid float value: '{text[:80]}'{hint}", suggestion)
    if not math.isfinite(value):
        return None, ("wrong_type", f"argument {spelling}: '{text[:80]}' is not a finite number", None)
    return value, None


def _json(spelling: str, text: str, *, strict: bool) -> tuple[str, None] | tuple[None, Problem]:
    if len(text) > LONGEST_JSON or (not strict and not text.lstrip().startswith(("{", "["))):
        return text, None
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:100] if isinstance(error, ValueError) else "nested too deeply"
        shell_ate_quotes = re.search(r"[{,]\s*'?[A-Za-z_]", text) is not None
        hint = "; put the JSON in single quotes, names and texts in double quotes" if shell_ate_quotes else ""
        return None, ("wrong_type", f"argument {spelling}: '{text[:80]}' is not JSON ({reason}){hint}", None)
    return text, None
