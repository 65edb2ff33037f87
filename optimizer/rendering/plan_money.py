"""A plan's order: what to buy of whom at what price, what it comes to, and whether renting or buying is cheaper."""

from dataclasses import dataclass

from vllm_opt.optimizer.charts.crossing import crossing_chart
from vllm_opt.optimizer.charts.tornado import Swing, tornado_chart
from vllm_opt.optimizer.contract.answer import Cost, Plan
from vllm_opt.optimizer.contract.quantities import count, dollars
from vllm_opt.optimizer.rendering.plan_series import PlanSeries, per_million
from vllm_opt.optimizer.rendering.plan_words import unit_of
from vllm_opt.optimizer.report.document import Figure, Table, source_link
from vllm_opt.profiles.catalogues.catalog import Catalog

HOURS_PER_MONTH, HOURS_PER_YEAR = 730, 8760
USD_PER_KWH, PUE = 0.12, 1.3
"""What running an owned GPU is reckoned at: the defaults of `procure`."""
LESS, MORE = 0.8, 1.2
ORDER_HEADINGS = (
    ("what to order", "left"), ("GPUs", "right"), ("each, per hour", "right"), ("per month", "right"),
    ("1 year", "right"), ("3 years", "right"), ("price of", "left"),
)  # fmt: skip


def whole_dollars(usd: float) -> str:
    """Dollars of a bill: whole above a hundred."""
    return f"${usd:,.0f}" if abs(usd) >= 100 else dollars(usd)


def thousands(usd: float) -> str:
    """Dollars on an axis."""
    return f"${usd:,.0f}" if abs(usd) < 10_000 else f"${usd / 1000:,.0f}k"


def order_table(plan: Plan) -> Table | None:
    """The order of a plan with what it comes to day and night; None where there is no price."""
    cost = plan.cost
    if cost is None:
        return None
    machines = f"{count(cost.instances)} x " if cost.instances > 1 else ""
    sums = [whole_dollars(cost.usd_per_hour * hours) for hours in (HOURS_PER_MONTH, HOURS_PER_YEAR, 3 * HOURS_PER_YEAR)]
    where = f", {cost.region}" if cost.region else ""
    what = f"{plan.gpu} as {machines}{cost.instance_type}: {cost.provider}, {cost.billing}{where}"
    unit = dollars(cost.usd_per_hour / cost.gpus_bought)
    dated = source_link(cost.price_source, cost.price_date)
    return Table(ORDER_HEADINGS, [[what, count(cost.gpus_bought), unit, *sums, dated]])


@dataclass(frozen=True)
class Ownership:
    """Renting and buying one plan's GPUs, per month of use day and night."""

    rent_usd_per_month: float
    running_usd_per_month: float
    capex_usd: float
    source: str
    as_of: str

    @property
    def months(self) -> float | None:
        """After how many months buying is cheaper; None: never."""
        saved = self.rent_usd_per_month - self.running_usd_per_month
        return self.capex_usd / saved if saved > 0 else None


def ownership(plan: Plan, catalog: Catalog) -> Ownership | None:
    """What buying the plan's GPUs would cost; None without a rent or a purchase price.

    capex = GPUs bought x the middle of the listed range; running = rated watts x PUE x USD per kWh x 730 hours.
    """
    rows = [row for row in catalog.purchase_prices if row.gpu == plan.gpu]
    if plan.cost is None or plan.cost.billing == "owned" or not rows or not plan.cost.usd_per_hour:
        return None
    low, high = min(row.usd_low for row in rows), max(row.usd_high for row in rows)
    gpus = plan.cost.gpus_bought
    kilowatts = (catalog.gpu(plan.gpu).tdp_watts or 0) * gpus / 1000
    return Ownership(
        rent_usd_per_month=plan.cost.usd_per_hour * HOURS_PER_MONTH,
        running_usd_per_month=kilowatts * PUE * USD_PER_KWH * HOURS_PER_MONTH,
        capex_usd=(low + high) / 2 * gpus,
        source=rows[0].source,
        as_of=rows[0].as_of,
    )


def rent_or_buy_figure(plan: Plan, catalog: Catalog) -> Figure | None:
    """The cumulative cost of renting and of buying, with the month from which buying is cheaper."""
    found = ownership(plan, catalog)
    if found is None:
        return None
    months = found.months
    told = f"Buying is cheaper after {months:.0f} months" if months is not None else "Buying never pays at this rent"
    caption = (
        f"{told} of use day and night. GPUs at {whole_dollars(found.capex_usd)} in all ({found.as_of}, without the "
        f"servers around them), power at {USD_PER_KWH:g} USD/kWh and PUE {PUE:g}, no resale value."
    )
    svg = crossing_chart(
        "Rent or buy", found.rent_usd_per_month, found.running_usd_per_month, found.capex_usd, months, thousands
    )
    return Figure(svg, "Rent or buy", caption)


def sensitivity_figure(series: PlanSeries) -> Figure | None:
    """Dollars per million output tokens when one assumption moves and the plan stays as it is."""
    plan, cost = series.plan, series.plan.cost
    if cost is None or cost.usd_per_million_output_tokens is None or cost.usd_per_hour == 0:
        return None
    unit = unit_of(plan.performance)
    base = per_million(cost.usd_per_hour, plan.performance.output_tokens_per_s)
    swings = [Swing("price per GPU-hour", base * LESS, base * MORE)]
    if span := plan.performance.interval.get("output_tokens_per_s"):
        worst, best = (per_million(cost.usd_per_hour, speed) for speed in span if speed > 0)
        swings.append(Swing("speed, within its own 90 % interval", best, worst, "fast", "slow"))
    users = plan.performance.load.users
    swings += _reestimated(series, "users at once", "concurrency", users)
    for field, words in (("input_tokens", "tokens of a prompt"), ("output_tokens", "tokens of an answer")):
        value = series.request.get(field)
        if isinstance(value, int) and (field, unit) != ("output_tokens", "inputs"):
            swings += _reestimated(series, words, field, value)
    svg = tornado_chart(f"What moves the cost of a million {unit}", base, swings, dollars)
    caption = "One assumption moves by 20 %, all else and the plan itself stay; the cost is that of use day and night."
    return Figure(svg, f"What moves the cost per million {unit}", caption)


def _reestimated(series: PlanSeries, words: str, field: str, value: int) -> list[Swing]:
    ends = [max(1, round(value * factor)) for factor in (LESS, MORE)]
    less, more = (series.usd_per_million(**{field: end}) for end in ends)
    return [Swing(words, less, more, f"{ends[0]:,}", f"{ends[1]:,}")] if (less, more) != (None, None) else []


def cost_in_a_sentence(cost: Cost | None) -> str:
    """What it costs, for a summary: per hour, per month."""
    if cost is None:
        return "with no price known"
    if cost.billing == "owned":
        return "on GPUs that are owned"
    return f"for {dollars(cost.usd_per_hour)} per hour ({whole_dollars(cost.usd_per_hour * HOURS_PER_MONTH)} a month)"
