"""Several plans that serve something together, for a report: their limits, their curves, and how each is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllm_opt.optimizer.charts.intervals import interval_chart
from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.quantities import milliseconds, optional, rate
from vllm_opt.optimizer.rendering.plan_charts import limits_of, load_figures
from vllm_opt.optimizer.rendering.plan_series import PlanSeries
from vllm_opt.optimizer.rendering.plan_words import BASIS_WORDS
from vllm_opt.optimizer.report.document import Cell, Figure, Table

MOST_DRAWN = 6
"""Plans whose curves are drawn; each is estimated again at some ten loads."""
KNOWN_HEADINGS = (("of", "left"), ("what", "left"), ("how it is known", "left"))
SPEED_HEADINGS = (
    ("plan", "left"), ("users at once", "right"), ("TTFT", "right"), ("TPOT", "right"), ("output tokens/s", "right"),
)  # fmt: skip


@dataclass(frozen=True)
class Served:
    """One plan in use: what it is called, and the fields of its request (lengths, limits)."""

    name: str
    plan: Plan
    request: Mapping[str, Any]


def served_limits_figure(served: Sequence[Served]) -> Figure | None:
    """Predictions of every plan against the limits that were asked of it."""
    rows = [
        replace(held, name=f"{one.name}, {held.name}")
        for one in served
        for held in limits_of(one.request, one.plan.performance)
    ]
    svg = interval_chart("Predictions against limits", rows)
    loads = ", ".join(f"{one.name} {one.plan.performance.load.users:,}" for one in served)
    caption = f"At these users at once in all replicas: {loads}. Whiskers are 90 % intervals, in shares of each limit."
    return Figure(svg, "Predictions against limits", caption) if svg else None


def served_speed_table(served: Sequence[Served]) -> Table:
    """What is predicted for every plan, each figure with its interval."""
    return Table(SPEED_HEADINGS, [_speed_row(one.name, one.plan.performance) for one in served])


def _speed_row(name: str, speed: Performance) -> list[Cell]:
    def within(figure: str, value: float | None, shown: Any) -> str:
        ends = speed.interval.get(figure)
        return optional(value, shown) + (f" ({shown(ends[0])} to {shown(ends[1])})" if ends else "")

    return [
        name, f"{speed.load.users:,}", within("ttft_ms", speed.ttft_ms, milliseconds),
        within("tpot_ms", speed.tpot_ms, milliseconds), within("output_tokens_per_s", speed.output_tokens_per_s, rate),
    ]  # fmt: skip


def served_load_figures(served: Sequence[Served]) -> tuple[Figure, ...]:
    """TTFT, TPOT and throughput over load of each plan, the first few of them."""
    return tuple(
        replace(figure, title=f"{one.name}: {figure.title}")
        for one in served[:MOST_DRAWN]
        for figure in load_figures(PlanSeries(one.plan, one.request))
    )


def served_known_rows(served: Sequence[Served]) -> list[list[Cell]]:
    """What the speed and the weights of each plan rest on."""
    speed: list[list[Cell]] = [
        [one.name, f"speed, {one.plan.performance.basis}", _basis(one.plan.performance)] for one in served
    ]
    weights: list[list[Cell]] = [[one.name, f"weights, {one.plan.quantization}", _evidence(one.plan)] for one in served]
    return speed + weights


def _basis(speed: Performance) -> str:
    return speed.basis_note or BASIS_WORDS[speed.basis]


def _evidence(plan: Plan) -> str:
    return plan.quality.evidence if plan.quality else "quality not published"
