"""CHANGES.md: which recommendations differ from the previous run, in what, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vllm_opt.optimizer.batches.rows import STATUS_WORDS, IndexRow
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import counted

CAUSES = {
    "price": "price",
    "model": "model data",
    "gpu": "GPU data",
    "vllm": "vLLM release",
    "workload": "workload",
    "options": "options of the run",
    "weight_formats": "weight-format data",
    "calibration": "fitted constants",
    "tool": "vllm-opt itself",
}
CONFIGURATION = (
    "status", "reason", "checkpoint", "quantization", "kv_cache_dtype", "gpu_count", "replicas", "tensor_parallel_size",
    "pipeline_parallel_size", "data_parallel_size", "expert_parallel",
)  # fmt: skip
PREDICTION = ("usd_per_hour", "users", "ttft_ms", "tpot_ms", "output_tokens_per_s", "max_concurrency")


def changes_page(rows: Sequence[IndexRow], previous: Mapping[str, Any] | None) -> str:
    """Return the page as Markdown.

    A cell is the same cell when its file has the same path; its causes are the inputs whose hashes differ.
    """
    if previous is None:
        counts = Counter(row.status for row in rows)
        listed = [f"- {STATUS_WORDS[status]}: {number:,}" for status, number in sorted(counts.items())]
        return "\n".join(["# Changes", "", f"First run: {counted(len(rows), 'cell')}.", "", *listed, ""])
    rows_before = [row for row in previous["cells"] if isinstance(row, dict)]
    before = {row["cell"]: row for row in rows_before if isinstance(row.get("cell"), str)}
    now = {row.cell: row.model_dump(mode="json", exclude_none=True) for row in rows}
    both = [cell for cell in now if cell in before]
    configured = {cell: _differences(before[cell], now[cell], CONFIGURATION) for cell in both}
    predicted = {cell: _differences(before[cell], now[cell], PREDICTION) for cell in both if not configured[cell]}
    lines = ["# Changes", "", f"{counted(len(now), 'cell')}, {len(before):,} in the previous run."]
    lines += _why(before, now, [cell for cell in both if configured[cell] or predicted.get(cell)])
    lines += _section("Other configuration", [_line(before[c], now[c], configured[c]) for c in both if configured[c]])
    lines += _section(
        "Same configuration, other prediction or cost",
        [_line(before[cell], now[cell], found) for cell, found in predicted.items() if found],
    )
    lines += _section("New cells", [f"{_name(now[cell])}: {_status(now[cell])}" for cell in now if cell not in before])
    lines += _section("Cells no longer asked for", [_name(before[cell]) for cell in before if cell not in now])
    if len(lines) == 3:
        lines += ["", "No recommendation changed."]
    return "\n".join([*lines, ""])


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    found = [f"{name} {_value(old.get(name))} -> {_value(new.get(name))}" for name in names if _differ(old, new, name)]
    if names is CONFIGURATION:
        old_flags, new_flags = old.get("flags") or {}, new.get("flags") or {}
        found += [
            f"--{flag} {_value(old_flags.get(flag))} -> {_value(new_flags.get(flag))}"
            for flag in sorted({*old_flags, *new_flags})
            if old_flags.get(flag) != new_flags.get(flag)
        ]
    return found


def _differ(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> bool:
    return bool(old.get(name) != new.get(name))


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return _plain(value)


def _plain(value: object) -> str:
    """Text that neither a terminal nor Markdown mistakes for something else."""
    text = printable(" ".join(str(value).split()))[:300]
    return "".join(f"\\{character}" if character in "\\`*[]<>|" else character for character in text)


def _name(row: Mapping[str, Any]) -> str:
    parts = [_plain(row.get(field, "")) for field in ("model", "workload", "gpu", "objective")]
    return f"{parts[0]}, {parts[1]} on {parts[2]} ({parts[3]})"


def _status(row: Mapping[str, Any]) -> str:
    return STATUS_WORDS.get(str(row.get("status")), "unknown status")


def causes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Why two answers to one cell may differ, most telling first; numbers where the index holds them."""
    before, after = old.get("inputs") or {}, new.get("inputs") or {}
    return [_cause(name, words, old, new) for name, words in CAUSES.items() if before.get(name) != after.get(name)]


def _cause(name: str, words: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if name == "price":
        return f"price of {_plain(new.get('gpu'))} {_price(old)} -> {_price(new)} USD per GPU-hour bought"
    if name == "vllm" and old.get("vllm_version") != new.get("vllm_version"):
        return f"vLLM {_plain(old.get('vllm_version'))} -> {_plain(new.get('vllm_version'))}"
    return words


def _price(row: Mapping[str, Any]) -> str:
    dated = f" ({_plain(row['price_date'])})" if row.get("price_date") else ""
    return f"{_value(row.get('usd_per_gpu_hour'))}{dated}"


def _line(old: Mapping[str, Any], new: Mapping[str, Any], found: Sequence[str]) -> str:
    why = ", ".join(causes(old, new)) or "the same inputs: a time limit ended one of the searches"
    return f"{_name(new)}: {'; '.join(found)}. Why: {why}."


def _why(before: Mapping[str, Any], now: Mapping[str, Any], changed: Sequence[str]) -> list[str]:
    reasons = Counter(reason for cell in changed for reason in causes(before[cell], now[cell]))
    if not reasons:
        return []
    listed = [f"- {reason}: {counted(number, 'cell')}" for reason, number in sorted(reasons.items())]
    return ["", "## Why", "", *listed]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title} ({len(lines):,})", "", *(f"- {line}" for line in lines)] if lines else []
