"""A fleet answer as sections of headings, rows and sentences, which the terminal, HTML and CSV show alike."""

from dataclasses import dataclass

from vllm_opt.optimizer.procurement.answer import Assignment, FleetAnswer, NodeOrder
from vllm_opt.optimizer.procurement.commitment_words import commitment_parts
from vllm_opt.profiles.reading.quantities import counted

Headings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Section:
    """One part of the report: a table or sentences under a title."""

    title: str
    headings: Headings = ()
    rows: tuple[tuple[str, ...], ...] = ()
    sentences: tuple[str, ...] = ()


STATUS_WORDS = {
    "optimal": "proven cheapest", "feasible": "found, optimal within the gap shown",
    "infeasible": "no such fleet", "unknown": "nothing found within the time limit",
}  # fmt: skip


def title_of(answer: FleetAnswer) -> str:
    """The headline."""
    goals = answer.request.get("objective", ["cost"])
    words = STATUS_WORDS[answer.status]
    best = "cheapest" if goals[0] == "cost" else "best"
    if answer.covers != "every plan" and answer.status in ("optimal", "feasible"):
        words = f"{best} of {answer.solver.columns_solved:,} plans" + (
            "" if answer.status == "optimal" else ", within the gap shown"
        )
    elif answer.status == "optimal" and any(goal.conceded for goal in answer.objectives):
        words = f"simplest within {100 * answer.request.get('tolerance', 0):g} % of the proven {best}"
    elif answer.status == "optimal" and goals[0] != "cost":
        words = "proven optimal"
    return f"{answer.request.get('name', 'fleet')}: {words}"


def money(usd: float) -> str:
    """Whole dollars with separators, cents below a hundred."""
    return f"${usd:,.0f}" if abs(usd) >= 100 else f"${usd:,.2f}"


def summary(answer: FleetAnswer) -> tuple[str, ...]:
    """The few sentences that a finance department reads."""
    totals = answer.totals
    if totals is None:
        return ()
    bill = f"{money(totals.usd_per_month)} per month ({money(totals.usd_per_hour)} per hour)"
    parts = [f"{bill} for {counted(totals.gpus, 'GPU')}"]
    if totals.capex_usd:
        years = answer.request.get("money", {}).get("purchase", {}).get("years", 3.0)
        parts[0] += f"; it includes {money(totals.capex_usd)} of purchases spread over {years:g} years"
    if totals.new_usd_per_month != totals.usd_per_month:
        parts.append(
            f"{money(totals.new_usd_per_month)} per month is new; the rest is the running cost of owned servers"
        )
    if totals.usd_per_million_tokens is not None:
        parts.append(
            f"{money(totals.usd_per_million_tokens)} per million tokens, input and output, at the average traffic of "
            f"{(totals.tokens_per_month or 0) / 1e9:,.1f} billion tokens per month"
        )
    power = f"{totals.watts / 1000:,.1f} kW of GPUs and servers at rated maximum"
    if totals.hosted_watts:
        power += f", {totals.hosted_watts / 1000:,.1f} kW of it in your own racks"
    if totals.rack_units:
        power += f" ({totals.rack_units:g} rack units)"
    parts.append(power)
    for goal in answer.objectives:
        if goal.conceded > 0:
            parts.append(
                f"{goal.name}: {100 * goal.conceded:.1f} % above the cheapest fleet, for fewer kinds of SKU, providers "
                "or weight formats (tolerance: 0 for the cheapest)"
            )
        if goal.gap > 0:
            parts.append(
                f"{goal.name}: no fleet is below {goal.bound:,.2f} {goal.unit}; this one is at most "
                f"{100 * goal.gap:.2f} % above the optimum"
            )
    return tuple(f"{part}." for part in parts)


ORDER_HEADINGS: Headings = (
    ("what", "left"), ("GPU", "left"), ("nodes", "right"), ("GPUs", "right"), ("idle", "right"), ("USD/month", "right"),
    ("capex USD", "right"), ("W", "right"), ("from", "left"), ("price date", "left"),
)  # fmt: skip
ASSIGNMENT_HEADINGS: Headings = (
    ("workload", "left"), ("GPU", "left"), ("replicas", "right"), ("GPUs", "right"), ("weights", "left"),
    ("KV", "left"), ("peak load", "right"), ("capacity", "right"), ("used", "right"),
)  # fmt: skip
WORKLOAD_HEADINGS: Headings = (
    ("workload", "left"), ("peak", "right"), ("served", "right"), ("USD/month", "right"), ("USD/M tokens", "right"),
)  # fmt: skip


def order_row(order: NodeOrder) -> tuple[str, ...]:
    """One line of what to order."""
    verb = {"stock": "use owned", "rent": "rent", "buy": "buy"}[order.kind]
    mark = " (synthetic price)" if order.synthetic else ""
    return (
        verb, order.gpu, str(order.nodes), str(order.gpus), f"{order.idle_gpus:g}", f"{order.usd_per_month:,.2f}",
        f"{order.capex_usd:,.0f}", f"{order.watts:,}", f"{order.provider}, {order.what}{mark}", order.as_of,
    )  # fmt: skip


def assignment_row(item: Assignment) -> tuple[str, ...]:
    """One line of what runs where."""
    unit = "req/s" if item.unit == "requests/s" else "seq"
    each = f"{item.gpu} (1/{round(1 / item.gpu_part)})" if item.gpu_part < 1 else item.gpu
    return (
        item.workload, each, str(item.replicas), f"{item.gpus:g}", item.plan.quantization, item.plan.kv_cache_dtype,
        f"{item.load:,.2f} {unit}", f"{item.capacity:,.2f} {unit}", f"{100 * item.utilisation:.0f} %",
    )  # fmt: skip


def sections(answer: FleetAnswer) -> tuple[Section, ...]:
    """The whole report, empty parts left out."""
    served = tuple(
        (
            item.workload, f"{item.peak:,.2f} {item.unit}", f"{100 * item.served:.1f} %", f"{item.usd_per_month:,.2f}",
            "-" if item.usd_per_million_tokens is None else f"{item.usd_per_million_tokens:,.4f}",
        )
        for item in answer.workloads
    )  # fmt: skip
    placed = tuple(f"{order.gpu}, {order.provider}: {', '.join(order.placement)}" for order in answer.nodes)
    lengths = tuple(f"{a.workload} on {a.gpu}: {a.lengths}" for a in answer.assignments if a.lengths)
    sources = tuple(
        dict.fromkeys(f"{order.gpu} from {order.provider}, {order.as_of}: {order.source}" for order in answer.nodes)
    )
    parts = (
        Section("What to order", ORDER_HEADINGS, tuple(order_row(order) for order in answer.nodes)),
        Section("What runs where", ASSIGNMENT_HEADINGS, tuple(assignment_row(item) for item in answer.assignments)),
        Section("Placement, node by node", sentences=placed),
        Section("Lengths", sentences=lengths),
        *(Section(*part) for part in commitment_parts(answer.commitment)),
        Section("Workloads and their part of the bill", WORKLOAD_HEADINGS, served),
        Section("With one kind of GPU only", sentences=tuple(one.message for one in answer.single_gpu_fleets)),
        Section("If things change", sentences=tuple(one.message for one in answer.sensitivity)),
        Section("Rent or buy", sentences=tuple(one.message for one in answer.break_even)),
        Section("Why the others lost", sentences=answer.rejected),
        *explanation_sections(answer),
        Section("Price sources", sentences=sources),
        Section("Notes", sentences=(*answer.notes, *_assignment_notes(answer))),
    )
    return tuple(part for part in parts if part.rows or part.sentences)


def _assignment_notes(answer: FleetAnswer) -> tuple[str, ...]:
    notes = [f"{a.workload} on {a.gpu}: {note}" for a in answer.assignments for note in a.notes]
    return tuple(dict.fromkeys(notes))


def explanation_sections(answer: FleetAnswer) -> tuple[Section, ...]:
    """What cannot hold together, and what would help."""
    found = answer.explanation
    if found is None:
        return ()
    return (
        Section("What cannot hold together", sentences=tuple(f"{c.rule}: {c.message}." for c in found.conflict)),
        Section("Any one of these would help", sentences=tuple(r.message for r in found.relaxations)),
    )


def footer(answer: FleetAnswer) -> str:
    """How the answer was found."""
    solver = answer.solver
    return (
        f"{solver.columns:,} plans considered, {solver.columns_solved:,} in the model, {solver.offers} offers, "
        f"{solver.wall_ms / 1000:.1f} s."
    )
