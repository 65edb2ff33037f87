"""The money of a batch for its page: the cheapest configuration of each model as an order, and what a token costs."""

from collections.abc import Sequence
from typing import Any

from vllm_opt.optimizer.batches.rows import IndexRow
from vllm_opt.optimizer.charts.axes import Axis
from vllm_opt.optimizer.charts.bars import Bar, Part, bar_chart
from vllm_opt.optimizer.charts.front import Point, front_chart
from vllm_opt.optimizer.contract.quantities import dollars, rate
from vllm_opt.optimizer.rendering.plan_charts import tick
from vllm_opt.optimizer.rendering.plan_money import HOURS_PER_MONTH, HOURS_PER_YEAR, whole_dollars
from vllm_opt.optimizer.report.document import Cell, source_link
from vllm_opt.profiles.reading.quantities import counted

MOST_BARS, MOST_POINTS = 40, 24
ORDER_HEADINGS = (
    ("model", "left"), ("workload", "left"), ("what to order", "left"), ("GPUs", "right"), ("each, per hour", "right"),
    ("per month", "right"), ("1 year", "right"), ("3 years", "right"), ("price of", "left"),
)  # fmt: skip

Priced = tuple[IndexRow, float]
"""A row with its dollars per hour."""


def cheapest(rows: Sequence[IndexRow]) -> list[Priced]:
    """The cheapest configuration of each model and workload, whatever its SKU; rows without a price take no part."""
    best: dict[tuple[str, str], Priced] = {}
    for row in rows:
        if row.file is None or row.usd_per_hour is None:
            continue
        key = row.model, row.workload
        if key not in best or (row.usd_per_hour, row.cell) < (best[key][1], best[key][0].cell):
            best[key] = row, row.usd_per_hour
    return [best[key] for key in sorted(best)]


def money_of(rows: Sequence[IndexRow]) -> dict[str, Any]:
    """Orders, sums and charts; the same rows give the same bytes."""
    found = cheapest(rows)
    return {"headings": ORDER_HEADINGS, "orders": [_order(*one) for one in found], "figures": _figures(found, rows)}


def _order(row: IndexRow, usd_per_hour: float) -> list[Cell]:
    gpus = row.gpus_bought or row.gpu_count or 1
    each = dollars(row.usd_per_gpu_hour if row.usd_per_gpu_hour is not None else usd_per_hour / gpus)
    sums = [whole_dollars(usd_per_hour * hours) for hours in (HOURS_PER_MONTH, HOURS_PER_YEAR, 3 * HOURS_PER_YEAR)]
    servers = f", {counted(row.replicas or 1, 'server')}" if (row.replicas or 1) > 1 else ""
    dated = source_link(row.price_source or "", row.price_date or "")
    return [row.model, row.workload, f"{row.gpu}{servers}, {row.quantization}", f"{gpus:,}", each, *sums, dated]


def _figures(found: Sequence[Priced], rows: Sequence[IndexRow]) -> list[tuple[str, str]]:
    """Titles and drawings of what there is to draw."""
    bars = [
        Bar(
            f"{row.model}, {row.workload}", (Part("cheapest configuration", usd * HOURS_PER_MONTH, 0),),
            f"{whole_dollars(usd * HOURS_PER_MONTH)} a month on {row.gpu_count} x {row.gpu}",
        )
        for row, usd in sorted(found, key=lambda one: (-one[1], one[0].cell))[:MOST_BARS]
    ]  # fmt: skip
    drawn = [
        ("Cheapest configuration of each model, USD per month", bar_chart("Cheapest by model", bars, whole_dollars)),
        ("USD per million output tokens, at best on each SKU", _tokens(rows)),
        ("Cost and throughput", _front(rows, found)),
    ]
    return [(title, svg) for title, svg in drawn if svg]


def _tokens(rows: Sequence[IndexRow]) -> str:
    best: dict[str, tuple[float, str]] = {}
    for row in rows:
        usd = row.usd_per_million_output_tokens
        if row.file is not None and usd is not None:
            best[row.gpu] = min(best.get(row.gpu, (usd, row.model)), (usd, row.model))
    bars = [
        Bar(gpu, (Part("per million output tokens", usd, 2),), f"{dollars(usd)}: {model}")
        for gpu, (usd, model) in sorted(best.items(), key=lambda item: (item[1], item[0]))
    ]
    return bar_chart("USD per million output tokens", bars, dollars)


def _front(rows: Sequence[IndexRow], found: Sequence[Priced]) -> str:
    """Every priced configuration where they are few; the cheapest of each model is ringed."""
    ringed = {row.cell for row, _ in found}
    priced = [row for row in rows if row.usd_per_hour is not None and row.output_tokens_per_s is not None]
    if len(priced) > MOST_POINTS:
        priced = [row for row in priced if row.cell in ringed]
    if len(priced) > MOST_POINTS:
        return ""
    points = [
        Point(
            f"{row.gpu_count} x {row.gpu}", row.usd_per_hour or 0.0, row.output_tokens_per_s or 0.0,
            f"{row.model}, {row.workload}: {dollars(row.usd_per_hour or 0.0)} per hour, "
            f"{rate(row.output_tokens_per_s or 0.0)} tokens/s",
            chosen=row.cell in ringed,
        )
        for row in priced
    ]  # fmt: skip
    return front_chart("Cost and throughput", points, Axis("USD per hour", tick), Axis("output tokens/s", tick))
