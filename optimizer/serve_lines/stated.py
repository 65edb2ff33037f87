"""What a command states, flag by flag: the last value of each, with dotted keys gathered into one object."""

import json
from typing import Any

from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand

POOLING_TASKS = ("embed", "embedding", "classify", "score", "reward")
"""What --task took before --runner and --convert, of servers that generate no text."""


def stated_values(parsed: ParsedCommand) -> dict[str, Any]:
    """Flag -> its last value; `--flag.key value` are gathered into one JSON object, which comes last.

    Source: vLLM 0.33 `utils/argparse_utils.py:FlexibleArgumentParser.parse_args`.
    """
    values: dict[str, Any] = {}
    gathered: dict[str, dict[str, Any]] = {}
    for use in parsed.uses:
        spelling, joined, value = use.words[0].text.partition("=")
        _, dot, path = spelling.partition(".")
        if dot:
            _put(gathered.setdefault(use.name, {}), path.split("."), value if joined else use.words[-1].text)
        else:
            values[use.name] = use.value
    return {**values, **{name: json.dumps(keys) for name, keys in gathered.items()}}


def implied_fields(values: dict[str, Any]) -> dict[str, Any]:
    """What older or indirect flags say in other words: `--task embed` is a pooling runner, `-O0` eager mode."""
    fields: dict[str, Any] = {}
    if values.get("task") in POOLING_TASKS and "runner" not in values:
        fields["runner"] = "pooling"
    if _graphs_switched_off(values):
        fields["enforce_eager"] = True
    return fields | _attention_choices(values)


def _attention_choices(values: dict[str, Any]) -> dict[str, Any]:
    """What `--attention-config` says of the indexers' keys and of the backend, where no flag of its own does."""
    try:
        config = json.loads(str(values.get("attention-config") or "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(config, dict):
        return {}
    names = {"indexer_kv_dtype": "indexer_kv_dtype", "backend": "attention_backend"}
    return {
        field: config[name]
        for name, field in names.items()
        if isinstance(config.get(name), str) and field.replace("_", "-") not in values
    }


def _graphs_switched_off(values: dict[str, Any]) -> bool:
    """Whether -O0 or a compilation config without graphs does what --enforce-eager does."""
    if str(values.get("optimization-level")) == "0":
        return True
    config = values.get("compilation-config")
    if not isinstance(config, str):
        return False
    try:
        read = json.loads(config)
    except (ValueError, RecursionError):
        return config == "NONE"
    return isinstance(read, dict) and str(read.get("cudagraph_mode", "")).upper() == "NONE"


def _put(keys: dict[str, Any], path: list[str], text: str) -> None:
    """Set a value below nested keys; a key that ends in '+' adds to a list, whose items commas part."""
    for name in path[:-1]:
        below = keys.get(name)
        if not isinstance(below, dict):
            below = keys[name] = {}
        keys = below
    name = path[-1]
    if not name.endswith("+"):
        keys[name] = _read(text)
        return
    before = keys.get(name[:-1])
    keys[name[:-1]] = [*(before if isinstance(before, list) else []), *map(_read, text.split(","))]


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
