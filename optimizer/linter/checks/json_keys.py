"""Findings about keys inside JSON flags: a release refuses those that its configuration classes do not have."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from vllm_opt.optimizer.linter.subject.report import Finding
from vllm_opt.optimizer.serve_lines.parsed_command import FlagUse, ParsedCommand
from vllm_opt.profiles.errors import did_you_mean
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.reading.data_files import read_data_file

_LONGEST_SHOWN = 60


@cache
def _known_keys() -> Mapping[str, Mapping[str, Mapping[str, list[str] | None]]]:
    """Release -> flag -> key -> the keys below it, or None where anything goes."""
    keys: Mapping[str, Mapping[str, Mapping[str, list[str] | None]]] = read_data_file("json_flag_keys.json")["releases"]
    return keys


def json_key_findings(parsed: ParsedCommand, engine: EngineProfile) -> Iterator[Finding]:
    """Every key that the release does not know, in JSON and in dotted flags; releases that were not read: none."""
    known = _known_keys().get(engine.version, {})
    for use in parsed.uses:
        keys = known.get(use.name)
        if keys is None or not isinstance(use.value, str):
            continue
        for path in _unknown(use, keys):
            yield _finding(use, path, keys, engine)


def _unknown(use: FlagUse, keys: Mapping[str, list[str] | None]) -> Iterator[str]:
    _, dot, below = use.words[0].text.partition("=")[0].partition(".")
    if dot:
        first, _, rest = below.partition(".")
        value: Any = {first: {rest.partition(".")[0]: None} if rest else None}
    else:
        try:
            value = json.loads(use.value) if isinstance(use.value, str) else None
        except (ValueError, RecursionError):
            return
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        spelled = name.rstrip("+")
        if spelled not in keys:
            yield spelled
            continue
        allowed = keys[spelled]
        if allowed is not None and isinstance(inner, dict):
            yield from (f"{spelled}.{key}" for key in inner if key.rstrip("+") not in allowed)


def _finding(use: FlagUse, path: str, keys: Mapping[str, list[str] | None], engine: EngineProfile) -> Finding:
    parent, dot, name = path.rpartition(".")
    candidates = (keys.get(parent) or []) if dot else list(keys)
    hint = did_you_mean(name, candidates)
    return Finding(
        rule="unknown_json_key",
        level="error",
        message=f"vLLM {engine.version} knows no '{path[:_LONGEST_SHOWN]}' in --{use.name}, and refuses it{hint}",
        flag=f"--{use.name}",
        from_value=path[:_LONGEST_SHOWN],
        line=max(1, use.words[0].line),
        source=use.words[0].source,
    )
