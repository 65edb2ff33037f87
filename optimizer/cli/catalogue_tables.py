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


def _machine(row: dict[str, Any]) -> str:
    name = row["instance_type"]
    return f"{row['provider']} {name if len(name) <= LONGEST_MACHINE else name[: LONGEST_MACHINE - 1] + '…'}"


def _gpus(row: dict[str, Any]) -> str:
    return f"1-{row['up_to_gpus']}" if row["up_to_gpus"] else str(row["gpus"])


LONGEST_MACHINE = 18
MOST_MACHINES = 17
"""Rows of one SKU that fit a screen of 24 lines with their heading and notes."""
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
        ("machine", "left", _machine),
        ("GPUs", "right", _gpus),
        ("USD/h", "right", lambda row: dollars(row["usd_per_hour"])),
        ("per GPU", "right", lambda row: dollars(row["usd_per_gpu_hour"])),
        ("billing", "left", _text("billing")),
        ("date", "left", _text("as_of")),
    ),
}


def prices_table(rows: list[dict[str, Any]], screen: Screen) -> str:
    """Draw offers: a SKU alone with its cheapest machines, as many as a screen takes; of several one machine each.

    Machines that are rented on demand stand first, of one machine in several regions the cheapest.
    """
    order = sorted(rows, key=lambda row: row["billing"] != "on-demand" or row["confidence"] == "low")
    by_machine: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in order:
        by_machine.setdefault(tuple(row[key] for key in ("gpu", "provider", "instance_type", "billing")), row)
    skus = dict.fromkeys(row["gpu"] for row in rows)
    alone = len(skus) == 1
    shown = list(by_machine.values())[:MOST_MACHINES] if alone else [
        next(row for row in by_machine.values() if row["gpu"] == sku) for sku in skus
    ]  # fmt: skip
    columns = COLUMNS["prices"][1:] if alone else COLUMNS["prices"]
    title = f"{next(iter(skus))}: machines on offer" if alone else "The cheapest machine of each SKU"
    table = table_of(
        [(head, side) for head, side, _ in columns], [[cell(row) for *_, cell in columns] for row in shown], screen
    )
    left = len(rows) - len(shown)
    more = f"{count(left)} more offers" + ("" if alone else "; name a SKU for its machines")
    notes = [f"{more}; --format json has all, with regions and addresses"] if left else []
    if any(row["up_to_gpus"] for row in shown):
        notes.append("GPUs '1-8': sold one by one, so many in one machine; every other machine is paid whole")
    return drawn(title, "", table, *bullets(notes), screen=screen)


def catalogue_table(kind: str, rows: list[dict[str, Any]], screen: Screen) -> str:
    """Draw the rows of one kind."""
    columns = COLUMNS[kind]
    headings = [(heading, side) for heading, side, _ in columns]
    cells = [[cell(row) for _, _, cell in columns] for row in rows]
    reasons = [row["refused"] for row in rows if row.get("refused")]
    what = kind.removesuffix("s") if len(rows) == 1 else kind
    return drawn(table_of(headings, cells, screen), f"{len(rows)} {what}", *bullets(reasons), screen=screen)
