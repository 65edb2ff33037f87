"""A fleet answer as a report that a manager can present: one page that loads nothing, with its charts."""

from collections.abc import Sequence
from typing import Any

from vllm_opt.optimizer.charts.bars import Bar, Part, bar_chart
from vllm_opt.optimizer.contract.quantities import milliseconds
from vllm_opt.optimizer.orders.money_pages import (
    fleets_figure,
    order_table,
    rent_or_buy_figures,
    sensitivity_figure,
)
from vllm_opt.optimizer.orders.words import (
    ASSIGNMENT_HEADINGS,
    STATUS_WORDS,
    assignment_row,
    explanation_sections,
    footer,
    money,
    sections,
    summary,
    title_of,
)
from vllm_opt.optimizer.orders.words import Section as TextSection
from vllm_opt.optimizer.procurement.answer import Assignment, FleetAnswer, ServedDemand
from vllm_opt.optimizer.rendering.command import wrapped_command
from vllm_opt.optimizer.rendering.served_plans import (
    KNOWN_HEADINGS,
    Served,
    served_known_rows,
    served_limits_figure,
    served_load_figures,
)
from vllm_opt.optimizer.report.document import (
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Facts,
    Figure,
    Section,
    Table,
    Words,
    section,
    source_link,
)
from vllm_opt.optimizer.report.page import page
from vllm_opt.profiles.reading.quantities import counted
from vllm_opt.profiles.version import installed_version

COMMAND_WIDTH = 90
DRAWN = ("What to order", "What runs where", "If things change", "Rent or buy", "Price sources", "Notes")
"""Sections of the table form that this page shows in its own way."""


def fleet_page(answer: FleetAnswer) -> str:
    """Write the answer as one self-contained page."""
    return page(fleet_document(answer))


def fleet_document(answer: FleetAnswer) -> Document:
    """The answer as a report."""
    tables = [part for part in sections(answer) if part.title not in DRAWN]
    tables = [part for part in tables if part not in explanation_sections(answer)]
    body: tuple[Section, ...] = (
        *section("In short", _facts(answer)),
        *section("Order list", order_table(answer), Bullets(summary(answer))),
        *section("Demand and limits", *_figures(capacity_figure(answer), served_limits_figure(_served(answer)))),
        *section("Over load", *served_load_figures(_served(answer))),
        *section("Money", *_figures(fleets_figure(answer), sensitivity_figure(answer), *rent_or_buy_figures(answer))),
        *section("What runs where", Table(ASSIGNMENT_HEADINGS, [assignment_row(item) for item in answer.assignments])),
        *_said(explanation_sections(answer)),
        *_said(tables),
        *section("Assumptions, and how each is known", _known(answer), Bullets(_notes(answer))),
        *_commands(answer),
    )
    return Document(
        title=title_of(answer), subtitle=f"{counted(len(answer.request.get('workloads', ())), 'workload')}",
        summary=fleet_summary(answer), sections=body, good=answer.status in ("optimal", "feasible"),
        footer=f"{footer(answer)} vllm-opt {installed_version()}.",
    )  # fmt: skip


def fleet_summary(answer: FleetAnswer) -> str:
    """The sentence that a manager can repeat."""
    totals = answer.totals
    if totals is None:
        reasons = answer.explanation.conflict if answer.explanation is not None else ()
        why = f": {reasons[0].message.rstrip('.')}" if reasons else ""
        helps = answer.explanation.relaxations if answer.explanation is not None else ()
        words = STATUS_WORDS[answer.status]
        return f"{words[:1].upper()}{words[1:]}{why}." + (f" What would help: {helps[0].message}" if helps else "")
    kinds: dict[str, int] = {}
    for order in answer.nodes:
        kinds[order.gpu] = kinds.get(order.gpu, 0) + order.gpus
    gpus = " and ".join(f"{number} {gpu}" for gpu, number in kinds.items())
    request = answer.request
    above = f"{100 * request['headroom']:g} % headroom" if request.get("headroom") else ""
    kept = " and ".join(part for part in (above, _spares_in_words(answer)) if part)
    least = min((item.served for item in answer.workloads), default=1.0)
    served = "all demand at its peak" if least >= 1 else f"at least {100 * least:.0f} % of every workload's peak"
    months = f"{money(totals.usd_per_month)} a month ({money(totals.usd_per_month * 12)} a year)"
    capex = f", {money(totals.capex_usd)} of it to buy now" if totals.capex_usd else ""
    return f"{gpus} serve {counted(len(answer.workloads), 'workload')} for {months}{capex}: {served}" + (
        f", with {kept}." if kept else ", without headroom or spares."
    )


def _spares(answer: FleetAnswer) -> dict[str, int]:
    """Spare replicas by workload: its own, else those of the whole demand."""
    every = int(answer.request.get("resilience", {}).get("spare_replicas", 0))
    named = {item["name"]: item.get("spare_replicas") for item in answer.request.get("workloads", ())}
    return {
        item.workload: every if (own := named.get(item.workload)) is None else int(own) for item in answer.workloads
    }


def _spares_in_words(answer: FleetAnswer) -> str:
    spares = _spares(answer)
    kept = [number for number in spares.values() if number]
    if not kept:
        return ""
    if len(set(spares.values())) == 1:
        return f"{counted(kept[0], 'spare replica')} of each"
    return f"spare replicas of {len(kept)} of them"


def _facts(answer: FleetAnswer) -> Facts:
    totals = answer.totals
    if totals is None:
        return Facts(())
    bound = answer.objectives[0] if answer.objectives else None
    gap = bound.gap if bound is not None else 0.0
    tokens = totals.usd_per_million_tokens
    bought = ("To buy", money(totals.capex_usd), "once")
    used = [item.utilisation for item in answer.assignments]
    return Facts((
        ("Cost", f"{money(totals.usd_per_month)} a month", f"{money(totals.usd_per_hour)} per hour"),
        ("GPUs", str(totals.gpus), f"on {counted(totals.nodes, 'node')}"),
        bought if totals.capex_usd else ("Power", f"{totals.watts / 1000:,.1f} kW", "rated maximum"),
        ("A million tokens", "-" if tokens is None else f"${tokens:,.4f}", "input and output, average traffic"),
        ("Used at the peak", f"{100 * max(used):.0f} %" if used else "-", "of the busiest servers' capacity"),
        ("Proof", "optimal" if not gap else f"within {100 * gap:.1f} %", "of the cheapest fleet" if gap else ""),
    ))  # fmt: skip


def _figures(*found: Figure | None) -> tuple[Figure, ...]:
    return tuple(figure for figure in found if figure is not None and figure.svg)


def capacity_figure(answer: FleetAnswer) -> Figure | None:
    """Demand against capacity, workload by workload, each in shares of its own capacity."""
    headroom = float(answer.request.get("headroom", 0.0))
    spares = _spares(answer)
    bars = []
    for item in answer.workloads:
        mine = [one for one in answer.assignments if one.workload == item.workload]
        bars.append(_capacity_bar(item, mine, headroom, spares[item.workload]))
    svg = bar_chart("Demand against capacity", [bar for bar in bars if bar is not None], "{:.0%}".format)
    cap = float(answer.request.get("utilization_cap", 1.0))
    caption = (
        f"Each bar is the capacity of the servers of a workload; they are asked for at most {100 * cap:.0f} % of it. "
        "The line is what is left of it when the spare servers are lost."
    )
    return Figure(svg, "Demand against capacity", caption) if svg else None


def _capacity_bar(item: ServedDemand, mine: list[Assignment], headroom: float, spares: int) -> Bar | None:
    capacity = sum(one.capacity for one in mine)
    if capacity <= 0:
        return None
    asked = item.peak * item.served
    demand = asked / (1 + headroom)
    each = sorted((one.capacity / one.replicas for one in mine for _ in range(one.replicas)), reverse=True)
    left = 1 - sum(each[:spares]) / capacity
    parts = (
        Part("demand at the peak", demand / capacity, 0), Part("headroom", (asked - demand) / capacity, 5),
        Part("free, spares included", max(0.0, 1 - asked / capacity), None),
    )  # fmt: skip
    words = f"{asked:,.2f} of {capacity:,.2f} {item.unit}"
    marks = ((f"without {counted(spares, 'spare')}", left),) if spares and left > 0 else ()
    return Bar(item.workload, parts, words, marks)


def _said(parts: Sequence[TextSection]) -> tuple[Section, ...]:
    found: list[Section] = []
    for part in parts:
        block: Block = Table(part.headings, part.rows) if part.rows else Bullets(part.sentences)
        found += section(part.title, block)
    return tuple(found)


def _served(answer: FleetAnswer) -> tuple[Served, ...]:
    """Every plan in use with the workload that it serves."""
    asked = {item["name"]: item for item in answer.request.get("workloads", ())}
    rest: dict[str, Any] = {
        name: answer.request[name] for name in ("confidence", "calibration") if name in answer.request
    }
    return tuple(
        Served(f"{item.workload} on {item.gpu}", item.plan, {**rest, **asked.get(item.workload, {})})
        for item in answer.assignments
    )


def _known(answer: FleetAnswer) -> Table:
    prices: list[list[Cell]] = [
        [
            f"{order.gpu} from {order.provider}",
            "price" + (", invented" if order.synthetic else ""),
            source_link(order.source, order.as_of),
        ]
        for order in answer.nodes
    ]
    return Table(KNOWN_HEADINGS, prices + served_known_rows(_served(answer)))


def _notes(answer: FleetAnswer) -> tuple[str, ...]:
    notes = [f"{item.workload} on {item.gpu}: {note}" for item in answer.assignments for note in item.notes]
    return tuple(dict.fromkeys((*answer.notes, *notes)))


def _commands(answer: FleetAnswer) -> tuple[Section, ...]:
    blocks: list[Block] = []
    for item in answer.assignments:
        speed = item.plan.performance
        blocks.append(
            Words(f"{item.workload} on {item.gpu}, {item.replicas} times; TTFT {milliseconds(speed.ttft_ms)}")
        )
        blocks.append(Code(wrapped_command(item.plan.command, item.plan.env, COMMAND_WIDTH)))
    return section("Commands", *blocks, apart=True)
