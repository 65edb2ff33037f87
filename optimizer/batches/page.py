"""index.html: every model with its workloads and SKUs, self-contained, nothing runs in it."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from vllm_opt.optimizer.batches.money import cheapest, money_of
from vllm_opt.optimizer.batches.rows import STATUS_WORDS, IndexRow
from vllm_opt.optimizer.charts.bars import Bar, Part, bar_chart
from vllm_opt.optimizer.contract.quantities import count, dollars, milliseconds, percent, rate
from vllm_opt.optimizer.rendering.plan_money import HOURS_PER_MONTH, whole_dollars
from vllm_opt.optimizer.report.page import filled
from vllm_opt.profiles.nouns.workload_preset import WorkloadPreset
from vllm_opt.profiles.reading.quantities import counted
from vllm_opt.profiles.version import installed_version

TITLE = "Recommended vLLM configurations"


def ordered(workloads: Sequence[WorkloadPreset]) -> list[WorkloadPreset]:
    """Workloads by name: the order in which they were asked for does not count."""
    return sorted(workloads, key=lambda preset: preset.id)


def index_page(rows: Sequence[IndexRow], workloads: Sequence[WorkloadPreset], *, complete: bool) -> str:
    """Return the page; rows must be in the order of their cells."""
    counts = Counter(row.status for row in rows)
    answered = sum(row.file is not None for row in rows)
    models = [(model, list(group)) for model, group in groupby(rows, key=lambda row: row.model)]
    summary = (
        f"{answered:,} of {counted(len(rows), 'cell')} have a configuration: {counted(len(models), 'model')} on "
        f"{counted(len({row.gpu for row in rows}), 'SKU')}, by vllm-opt {installed_version()}."
    )
    page = filled(
        "index.html", title=TITLE, summary=f"{summary}{_bill(rows)}", complete=complete, overview=_overview(models),
        money=money_of(rows),
        counts=[f"{STATUS_WORDS[status]}: {number:,}" for status, number in sorted(counts.items())],
        workloads=[
            {"id": preset.id, "words": _workload(preset), "sources": list(preset.sources.items())}
            for preset in ordered(workloads)
        ],
        models=[_model(model, group) for model, group in models],
    )  # fmt: skip
    return page + "\n"


def _bill(rows: Sequence[IndexRow]) -> str:
    """What the cheapest configuration of each model and workload comes to, as a sentence."""
    found = cheapest(rows)
    if not found:
        return ""
    month = sum(usd for _, usd in found) * HOURS_PER_MONTH
    what = "It costs" if len(found) == 1 else f"The cheapest of each model and workload, {len(found):,} in all, cost"
    return f" {what} {whole_dollars(month)} a month together, day and night."


def _overview(models: Sequence[tuple[str, list[IndexRow]]]) -> dict[str, Any]:
    """Cheapest cost by model and SKU, and how many cells of each SKU have a configuration."""
    every = [row for _, rows in models for row in rows]
    skus = sorted({row.gpu for row in every})
    bars = []
    for sku in skus:
        mine = [row for row in every if row.gpu == sku]
        found = sum(row.file is not None for row in mine)
        parts = (Part("has a configuration", found, 2), Part("none", len(mine) - found, None))
        bars.append(Bar(sku, parts, f"{found:,} of {len(mine):,}"))
    lines = [(model, [_cheapest([row for row in rows if row.gpu == sku]) for sku in skus]) for model, rows in models]
    return {"skus": skus, "rows": lines, "svg": bar_chart("Configurations by SKU", bars, count)}


def _cheapest(rows: Sequence[IndexRow]) -> str:
    answered = [row for row in rows if row.file is not None]
    prices = [row.usd_per_hour for row in answered if row.usd_per_hour is not None]
    return dollars(min(prices)) if prices else "yes" if answered else "-"


def _workload(preset: WorkloadPreset) -> str:
    limits = [f"TTFT within {milliseconds(preset.max_ttft_ms)}"] if preset.max_ttft_ms is not None else []
    limits += [f"TPOT within {milliseconds(preset.max_tpot_ms)}"] if preset.max_tpot_ms is not None else []
    cached = [f"{percent(preset.prefix_hit_share)} of the prompt cached"] if preset.prefix_hit_share else []
    parts = [
        f"{count(preset.input_tokens)} tokens in",
        f"{count(preset.output_tokens)} out",
        f"{count(preset.concurrency)} at once",
        f"up to {count(preset.target_context)} each",
        *cached,
        *limits,
    ]
    return f"{preset.description} {', '.join(parts)}.".strip()


def _model(model: str, rows: Sequence[IndexRow]) -> dict[str, Any]:
    skus = list(dict.fromkeys(row.gpu for row in rows))
    lines = []
    for (workload, details), group in groupby(rows, key=_label):
        by_sku = {row.gpu: row for row in group}
        lines.append({"workload": workload, "details": details, "cells": [_cell(by_sku.get(sku)) for sku in skus]})
    answered = sum(row.file is not None for row in rows)
    return {"name": model, "answered": answered, "cells": len(rows), "skus": skus, "lines": lines}


def _label(row: IndexRow) -> tuple[str, str]:
    return row.workload, f"{row.objective.replace('+', ' then ')}, vLLM {row.vllm_version}"


def _cell(row: IndexRow | None) -> dict[str, str] | None:
    if row is None:
        return None
    if row.file is None:
        return {"file": "", "words": STATUS_WORDS[row.status], "reason": row.reason or ""}
    speed = [f"{rate(row.output_tokens_per_s or 0)} tok/s"]
    speed += [f"TTFT {milliseconds(row.ttft_ms)}"] if row.ttft_ms is not None else []
    speed += [f"TPOT {milliseconds(row.tpot_ms)}"] if row.tpot_ms is not None else []
    price = f"{dollars(row.usd_per_hour)} per hour" if row.usd_per_hour is not None else "no price"
    return {"file": row.file, "words": _servers(row), "price": price, "speed": ", ".join(speed)}


def _servers(row: IndexRow) -> str:
    servers = f", {counted(row.replicas or 1, 'server')}" if (row.replicas or 1) > 1 else ""
    return f"{counted(row.gpu_count or 1, 'GPU')}{servers}, {row.quantization}"
