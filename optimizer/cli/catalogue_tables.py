"""The catalogue as tables, a few columns of each kind."""

from collections.abc import Callable
from typing import Any

from vllm_opt.optimizer.contract.quantities import billions, count, dollars, gib, optional, percent
from vllm_opt.optimizer.rendering.plan import bullets
from vllm_opt.optimizer.rendering.screen import Screen, drawn
from vllm_opt.optimizer.rendering.tables import table_of

Column = tuple[str, str, Callable[[dict[str, Any]], str]]
"""Heading, 'left' or 'right', and the cell of a row."""


def _text(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: optional(row.get(key), str)


def _tera(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: optional(row.get(key), lambda value: f"{value / 1e12:,.0f}")


COLUMNS: dict[str, tuple[Column, ...]] = {
    "models": (
        ("model", "left", _text("id")),
        ("parameters", "right", lambda row: optional(row.get("parameters"), billions)),
        ("active", "right", lambda row: optional(row.get("active_parameters"), billions)),
        ("context", "right", lambda row: optional(row.get("max_model_len"), count)),
        ("stored as", "left", lambda row: "refused" if row["refused"] else row["native_quantization"]),
    ),
    "gpus": (
        ("SKU", "left", _text("id")),
        ("reported GiB", "right", lambda row: gib(row["memory_bytes"], unit="")),
        ("TB/s", "right", lambda row: f"{row['memory_bandwidth_bytes_per_s'] / 1e12:.2f}"),
        ("bf16 TFLOPS", "right", _tera("bf16_flops_per_s")),
        ("fp8 TFLOPS", "right", _tera("fp8_flops_per_s")),
        ("per node", "right", _text("gpus_per_node")),
        ("USD/h", "right", lambda row: optional(row["usd_per_gpu_hour"], dollars)),
        ("memory known by", "left", _text("memory_basis")),
    ),
    "quantizations": (
        ("name", "left", _text("id")),
        ("bits", "right", _text("weight_bits")),
        ("scales per", "left", _text("scale_granularity")),
        ("from capability", "left", lambda row: optional(row["min_capability"], lambda cc: f"{cc[0]}.{cc[1]}")),
        ("at load", "left", lambda row: "yes" if row["quantizes_at_load"] else "no"),
        ("keeps at 8B", "right", lambda row: optional(row["recovery"]["8B"], percent)),
        ("at 70B", "right", lambda row: optional(row["recovery"]["70B"], percent)),
        ("what it is", "left", _text("title")),
    ),
    "engines": (
        ("vLLM", "left", _text("version")),
        ("engine", "left", _text("engine")),
        ("flags", "right", lambda row: str(len(row["flags"]))),
        ("utilization", "right", _text("gpu_memory_utilization")),
        ("graphs in budget", "left", lambda row: "yes" if row["graphs_in_budget"] else "no"),
        ("swap space", "left", _text("swap_space")),
        ("interpolated", "left", lambda row: ", ".join(row["interpolated"]) or "nothing"),
    ),
    "prices": (
        ("SKU", "left", _text("gpu")),
        ("USD/h", "right", lambda row: dollars(row["usd_per_gpu_hour"])),
        ("provider", "left", _text("provider")),
        ("billing", "left", _text("billing")),
        ("read on", "left", _text("as_of")),
        ("confidence", "left", _text("confidence")),
    ),
}


def catalogue_table(kind: str, rows: list[dict[str, Any]], screen: Screen) -> str:
    """Draw the rows of one kind."""
    columns = COLUMNS[kind]
    headings = [(heading, side) for heading, side, _ in columns]
    cells = [[cell(row) for _, _, cell in columns] for row in rows]
    reasons = [row["refused"] for row in rows if row.get("refused")]
    return drawn(table_of(headings, cells, screen), f"{len(rows)} {kind}", *bullets(reasons), screen=screen)
