"""The flags of a command as the fields of an estimate."""

from typing import Any

from vllm_opt.optimizer.linter.subject.context import FIELDS
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand
from vllm_opt.optimizer.serve_lines.stated import implied_fields, stated_values


def estimate_fields(parsed: ParsedCommand) -> dict[str, Any]:
    """The flags that an estimate understands; the last of each counts."""
    values = stated_values(parsed)
    fields = {FIELDS[name]: value for name, value in values.items() if name in FIELDS} | implied_fields(values)
    return {
        name: value for name, value in fields.items() if value is not False or name.startswith(("enable_", "async_"))
    }


def gpus_of(fields: dict[str, Any]) -> int:
    """GPUs of one server: TP x PP x DP."""
    product = 1
    for kind in ("tensor", "pipeline", "data"):
        product *= int(fields.get(f"{kind}_parallel_size", 1))
    return product
