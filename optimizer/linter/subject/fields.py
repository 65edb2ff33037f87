"""The flags of a command as the fields of an estimate."""

import json
from typing import Any

from vllm_opt.optimizer.linter.subject.context import FIELDS
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand


def estimate_fields(parsed: ParsedCommand) -> dict[str, Any]:
    """The flags that an estimate understands; the last of each counts."""
    fields = {FIELDS[use.name]: use.value for use in parsed.uses if use.name in FIELDS}
    if graphs_switched_off({use.name: use.value for use in parsed.uses}):
        fields["enforce_eager"] = True
    return {
        name: value for name, value in fields.items() if value is not False or name.startswith(("enable_", "async_"))
    }


def gpus_of(fields: dict[str, Any]) -> int:
    """GPUs of one server: TP x PP x DP."""
    product = 1
    for kind in ("tensor", "pipeline", "data"):
        product *= int(fields.get(f"{kind}_parallel_size", 1))
    return product


def graphs_switched_off(flags: dict[str, object]) -> bool:
    """Whether -O0 or a compilation config without graphs does what --enforce-eager does."""
    if str(flags.get("optimization-level")) == "0":
        return True
    config = flags.get("compilation-config")
    if not isinstance(config, str):
        return False
    try:
        read = json.loads(config)
    except ValueError:
        return config == "NONE"
    return isinstance(read, dict) and str(read.get("cudagraph_mode", "")).upper() == "NONE"
