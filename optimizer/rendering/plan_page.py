"""A plan as sections of a report: order, limits, charts, assumptions with how each is known, commands."""

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_opt.optimizer.contract.answer import Answer, Equation, Plan
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.quantities import dollars, milliseconds, optional, quantity, rate
from vllm_opt.optimizer.rendering.command import wrapped_command
from vllm_opt.optimizer.rendering.memory import memory_heading, pool_sentence
from vllm_opt.optimizer.rendering.plan_charts import (
    capacity_figure,
    context_figure,
    front_figure,
    limits_figure,
    load_figures,
    memory_figure,
)
from vllm_opt.optimizer.rendering.plan_money import (
    HOURS_PER_MONTH,
    cost_in_a_sentence,
    order_table,
    rent_or_buy_figure,
    sensitivity_figure,
    whole_dollars,
)
from vllm_opt.optimizer.rendering.plan_series import PlanSeries
from vllm_opt.optimizer.rendering.plan_words import (
    SHOWN_PERCENTILES,
    basis_in_words,
    capacity_in_words,
    cost_in_words,
    gpus_in_words,
    load_in_words,
    only_prompts,
    percentile_rows,
    quality_in_words,
    slow,
    slow_in_words,
    speed_rows,
    start_sentences,
    unit_of,
    weights_in_words,
)
from vllm_opt.optimizer.report.document import (
    Bullets,
    Cell,
    Code,
    Facts,
    Figure,
    Section,
    Table,
    Words,
    section,
    source_link,
)
from vllm_opt.optimizer.serve_lines.flag_words import FLAG_WORDS
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.reading.quantities import counted

COMMAND_WIDTH = 90
KNOWN = (("assumption", "left"), ("value", "right"), ("how it is known", "left"))


def plan_summary(plan: Plan, request: Mapping[str, Any]) -> str:
    """The sentence that a manager can repeat."""
    speed = plan.performance
    context = request.get("target_context")
    each = f" of up to {counted(context, 'token')} each" if isinstance(context, int) else ""
    verb = "serves" if plan.gpu_count == 1 else "serve"
    words = (
        f"{counted(plan.gpu_count, 'GPU')} ({plan.gpu}) {verb} {plan.model} {_served(speed)}{each}, "
        f"{cost_in_a_sentence(plan.cost)}: "
        f"{'an answer' if only_prompts(speed) else 'first token'} in {_seconds(speed.ttft_ms)}, "
        f"{rate(speed.output_tokens_per_s)} {unit_of(speed)} per second together."
    )
    measured = {"datasheet": " Speed comes from the datasheet: measure before signing.", "measured": ""}
    return words + measured.get(speed.basis, "")


def _served(speed: Performance) -> str:
    if speed.load.pattern == "poisson" and speed.load.requests_per_s is not None:
        return f"at {rate(speed.load.requests_per_s)} requests/s, {counted(speed.load.users, 'request')} in flight"
    return f"to {load_in_words(speed)}"


def _seconds(time_ms: float) -> str:
    return f"{time_ms / 1000:.1f} s" if time_ms >= 1000 else milliseconds(time_ms)


def plan_sections_of_page(plan: Plan, request: Mapping[str, Any], others: Sequence[Plan] = ()) -> tuple[Section, ...]:
    """The whole plan; `others` stand beside it in cost and throughput, where there are any."""
    series = PlanSeries(plan, request)
    catalog = Catalog(gpu_file=request.get("gpu_file"), prices_file=request.get("prices"))
    return (
        *section("In short", _facts(plan)),
        *section(
            "Order",
            order_table(plan),
            Words(cost_in_words(plan.cost, unit_of(plan.performance))),
            Words(gpus_in_words(plan, _users(request))),
        ),
        *section(
            "Demand, limits and what is predicted",
            *_figures(capacity_figure(plan), limits_figure(request, plan.performance)),
        ),
        *speed_sections(plan.performance),
        *section("Over load and context", *load_figures(series), *_figures(context_figure(series))),
        *section(
            "Money", *_figures(rent_or_buy_figure(plan, catalog), sensitivity_figure(series), _beside(plan, others))
        ),
        *section(
            "Memory", Words(memory_heading(plan.memory)), memory_figure(plan.memory), Words(pool_sentence(plan.memory))
        ),
        *section("Assumptions, and how each is known", Table(KNOWN, _assumptions(plan, request))),
        *_start(plan),
        *section("What binds", Bullets(tuple(_binding(plan)))),
        *equations_sections(plan.equations),
    )


def _users(request: Mapping[str, Any]) -> int | None:
    asked = request.get("concurrency")
    return asked if isinstance(asked, int) else None


def _figures(*found: Figure | None) -> tuple[Figure, ...]:
    return tuple(figure for figure in found if figure is not None and figure.svg)


def others_of(answer: Answer) -> tuple[Plan, ...]:
    """The plans that an answer weighs against its own; none where a front shows them."""
    calls = [call.plan for call in answer.close_calls]
    return () if answer.pareto else (*calls, *answer.alternatives)


def _beside(plan: Plan, others: Sequence[Plan]) -> Figure | None:
    return front_figure([plan, *(other for other in others if other != plan)], plan) if others else None


def _facts(plan: Plan) -> Facts:
    speed, cost = plan.performance, plan.cost
    month = "-" if cost is None else whole_dollars(cost.usd_per_hour * HOURS_PER_MONTH)
    hourly = "" if cost is None else f"{dollars(cost.usd_per_hour)} per hour, {cost.provider}"
    return Facts((
        ("Order", f"{plan.gpu_count} x {plan.gpu}", f"{counted(plan.replicas, 'server')}"),
        ("Cost", month + " a month", hourly),
        ("First token", milliseconds(speed.ttft_ms), _span(speed, "ttft_ms", milliseconds)),
        ("Per token", optional(speed.tpot_ms, milliseconds), _span(speed, "tpot_ms", milliseconds)),
        (
            "Throughput", f"{rate(speed.output_tokens_per_s)} {unit_of(speed)}/s",
            _span(speed, "output_tokens_per_s", rate),
        ),
        ("Weights", plan.quantization, quality_in_words(plan).removeprefix(", ")),
    ))  # fmt: skip


def _span(speed: Performance, name: str, shown: Any) -> str:
    ends = speed.interval.get(name)
    return f"{shown(ends[0])} to {shown(ends[1])}" if ends else ""


def speed_sections(performance: Performance) -> tuple[Section, ...]:
    """Predicted speed with its intervals, and how it is known."""
    headings = [("", "left"), ("predicted", "right"), ("90 % interval", "left")]
    return section(
        f"Speed with {load_in_words(performance)}",
        Table(headings, speed_rows(performance)),
        *_over_requests(performance),
        Words(slow_in_words(performance) if slow(performance) else ""),
        Words(basis_in_words(performance)),
    )


def _over_requests(performance: Performance) -> tuple[Table | Words, ...]:
    if not performance.percentiles:
        return ()
    headings = [("over requests", "left"), *((name, "right") for name in SHOWN_PERCENTILES)]
    return Table(headings, percentile_rows(performance)), Words(capacity_in_words(performance))


def _assumptions(plan: Plan, request: Mapping[str, Any]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for item in request.get("assumed", ()):
        if isinstance(item, dict):
            bent = f"; instead of {item['bent_from']}" if item.get("bent_from") is not None else ""
            rows.append(
                [
                    str(item.get("field", "")).replace("_", " "),
                    _value(item.get("value")),
                    f"default: {item.get('why', '')}{bent}",
                ]
            )
    speed = plan.performance
    rows.append(["speed", f"{speed.basis}", speed.basis_note or basis_in_words(speed)])
    rows.append(
        ["weights and their quality", plan.quantization, plan.quality.evidence if plan.quality else "not published"]
    )
    rows.append(["checkpoint", plan.checkpoint or "to be made", weights_in_words(plan)])
    rows.append(
        [
            "memory rules",
            f"vLLM {plan.vllm_version}",
            "that release's own planning code; fitted terms at the confidence asked",
        ]
    )
    if plan.cost is not None:
        rows.append(
            [
                "price",
                f"{dollars(plan.cost.usd_per_hour)} per hour",
                source_link(plan.cost.price_source, f"{plan.cost.provider}, {plan.cost.price_date}"),
            ]
        )
    return rows


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return (
        f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else "none"
        if value is None
        else str(value)
    )


def _start(plan: Plan) -> tuple[Section, ...]:
    flags = [
        [name, str(value).lower() if isinstance(value, bool) else str(value), FLAG_WORDS.get(name, "")]
        for name, value in plan.flags.items()
    ]
    return section(
        f"Start each server with vLLM {plan.vllm_version}",
        Code(wrapped_command(plan.command, plan.env, COMMAND_WIDTH)),
        Words(" ".join(start_sentences(plan))),
        Table([("flag", "left"), ("value", "right"), ("what it decides", "left")], flags),
        apart=True,
    )


def _binding(plan: Plan) -> list[str]:
    return [
        f"{rule.rule}: {rule.message.rstrip('.')} ({quantity(rule.slack, rule.unit)} to spare)."
        for rule in plan.binding
    ]


def equations_sections(equations: tuple[Equation, ...]) -> tuple[Section, ...]:
    """Formulas with their numbers in."""
    rows = [
        [equation.name, equation.formula, equation.values, quantity(equation.result, equation.unit), equation.source]
        for equation in equations
    ]
    headings = [("", "left"), ("formula", "left"), ("with numbers", "left"), ("result", "right"), ("source", "left")]
    return section("Equations", Table(headings, rows), folded=True)
