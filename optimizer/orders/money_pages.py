"""The money of a fleet for a report: orders with totals over years, other fleets, what moves the bill, rent or buy."""

from collections.abc import Sequence

from vllm_opt.optimizer.charts.bars import Bar, Part, bar_chart
from vllm_opt.optimizer.charts.crossing import crossing_chart
from vllm_opt.optimizer.charts.tornado import Swing, tornado_chart
from vllm_opt.optimizer.orders.order_sums import depreciation_years, paid_in
from vllm_opt.optimizer.orders.words import money
from vllm_opt.optimizer.procurement.answer import FleetAnswer, NodeOrder
from vllm_opt.optimizer.rendering.plan_money import thousands
from vllm_opt.optimizer.report.document import Cell, Figure, Table, source_link

ORDER_HEADINGS = (
    ("what to order", "left"), ("from", "left"), ("GPUs", "right"), ("unit price", "right"), ("per month", "right"),
    ("1 year", "right"), ("3 years", "right"), ("price of", "left"),
)  # fmt: skip
VERBS = {"stock": "use owned", "rent": "rent", "buy": "buy"}
OTHER_FLEETS = 6
LESS, MORE = " -20 %", " +20 %"


def order_table(answer: FleetAnswer) -> Table:
    """What to order, each line with its unit price, what it comes to, and where its price was read."""
    spread = depreciation_years(answer)
    sums = [[paid_in(order, years, spread) for years in (1, 3)] for order in answer.nodes]
    rows = [_order_row(order, paid) for order, paid in zip(answer.nodes, sums, strict=True)]
    total: Sequence[Cell] = ()
    if len(rows) > 1 and answer.totals is not None:
        paid_in_all = [money(sum(column)) for column in zip(*sums, strict=True)]
        total = ["all", "", str(answer.totals.gpus), "", money(answer.totals.usd_per_month), *paid_in_all, ""]
    return Table(ORDER_HEADINGS, rows, total)


def _order_row(order: NodeOrder, paid: Sequence[float]) -> list[Cell]:
    unit = (
        f"${order.capex_usd / order.gpus:,.0f}" if order.kind == "buy" else f"${order.usd_per_hour / order.gpus:,.2f}/h"
    )
    mark = " (synthetic price)" if order.synthetic else ""
    dated = order.as_of if order.source == order.as_of else source_link(order.source, order.as_of)
    return [
        f"{VERBS[order.kind]} {order.gpu}", f"{order.provider}, {order.what}{mark}", str(order.gpus), unit,
        money(order.usd_per_month), *(money(usd) for usd in paid), dated if not isinstance(dated, str) else order.as_of,
    ]  # fmt: skip


def fleets_figure(answer: FleetAnswer) -> Figure | None:
    """The bill of this fleet by workload, beside the best fleets of one SKU."""
    if answer.totals is None or not answer.workloads:
        return None
    parts = [Part(item.workload, item.usd_per_month, tone) for tone, item in enumerate(answer.workloads)]
    bars = [Bar("this fleet", tuple(parts), f"{money(answer.totals.usd_per_month)}, {answer.totals.gpus} GPUs")]
    for other in [one for one in answer.single_gpu_fleets if one.usd_per_month is not None][:OTHER_FLEETS]:
        words = f"{money(other.usd_per_month or 0)} ({100 * (other.relative or 0):+.0f} %), {other.gpus} GPUs"
        bars.append(Bar(f"only {other.name}", (Part("another fleet", other.usd_per_month or 0, 6),), words))
    return Figure(bar_chart("Cost per month", bars, money), "Cost per month, by workload")


def sensitivity_figure(answer: FleetAnswer) -> Figure | None:
    """The monthly bill when demand or one price moves by a fifth, the fleet chosen anew."""
    if answer.totals is None:
        return None
    found = {one.name: one.usd_per_month for one in answer.sensitivity}
    names = dict.fromkeys(name.removesuffix(LESS).removesuffix(MORE) for name in found)
    swings = [Swing(name, found.get(name + LESS), found.get(name + MORE)) for name in names]
    svg = tornado_chart("What moves the bill", answer.totals.usd_per_month, swings, money)
    return (
        Figure(svg, "What moves the monthly bill", "Each moves alone; the fleet is chosen anew for it.")
        if svg
        else None
    )


def rent_or_buy_figures(answer: FleetAnswer) -> tuple[Figure, ...]:
    """Renting against buying, one figure a SKU in use."""
    found = []
    for case in answer.break_even:
        svg = crossing_chart(
            f"Rent or buy {case.gpu}", case.rent_usd_per_gpu_month, case.running_usd_per_gpu_month,
            case.capex_usd_per_gpu, case.months, thousands,
        )  # fmt: skip
        found.append(Figure(svg, f"Rent or buy one {case.gpu}", f"{case.message[:1].upper()}{case.message[1:]}."))
    return tuple(found)
