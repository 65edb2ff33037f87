"""The pictures of a plan: its memory, its speed over load, its limits, and where it stands among others."""

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_opt.optimizer.charts.axes import Axis
from vllm_opt.optimizer.charts.bars import Bar, Part, bar_chart, stacked_bar
from vllm_opt.optimizer.charts.front import Point, front_chart
from vllm_opt.optimizer.charts.intervals import Held, interval_chart
from vllm_opt.optimizer.charts.lines import Chosen, Limit, Series, line_chart
from vllm_opt.optimizer.contract.answer import Memory, Plan
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.quantities import count, dollars, gib, milliseconds, rate
from vllm_opt.optimizer.rendering.memory_parts import memory_parts
from vllm_opt.optimizer.rendering.plan_series import PlanSeries
from vllm_opt.optimizer.rendering.plan_words import load_in_words, parallelism, unit_of
from vllm_opt.optimizer.report.document import Figure

TONES = {"weights": 0, "activation": 3, "graphs": 4, "other": 1, "kv": 2, "context": 5, "free": None}


def tick(value: float) -> str:
    """A number on an axis: no decimals where it has none, and none above a hundred."""
    return (
        f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:,.2f}".rstrip("0").rstrip(".")
    )


def time_tick(time_ms: float) -> str:
    """A time on an axis."""
    return f"{tick(time_ms / 1000)} s" if time_ms >= 1000 else f"{tick(time_ms)} ms"


USERS = Axis("users at once", count)
FEWEST_SHOWN = 12
"""A front of more plans than this names only the ones that none beats."""


def memory_figure(memory: Memory) -> Figure:
    """The memory of one GPU as a bar, with the line up to which vLLM may use it."""
    parts = [Part(part.words, part.size_bytes, TONES[part.key]) for part in memory_parts(memory)]
    svg = stacked_bar("Memory of one GPU", parts, gib, mark=("budget", memory.budget_bytes))
    return Figure(svg, "Memory of one GPU")


def limits_of(request: Mapping[str, Any], performance: Performance) -> tuple[Held, ...]:
    """Every limit on speed that was asked for or assumed, with what is predicted: at the percentile that it is on."""
    found = []
    for field, mean_of, shown in (
        ("ttft_ms", "TTFT", milliseconds),
        ("tpot_ms", "TPOT", milliseconds),
        ("output_tokens_per_s", f"{unit_of(performance)}/s", rate),
    ):
        at_least = field == "output_tokens_per_s"
        limit = request.get(f"{'min' if at_least else 'max'}_{field}")
        name, value, span = mean_of, getattr(performance, field), performance.interval.get(field)
        asked = performance.at_percentile(field, request.get(f"{field.removesuffix('_ms')}_percentile"))
        if asked is not None:
            name, value, span = f"{mean_of} {asked[0]}", *asked[1:]
        if isinstance(limit, int | float) and value is not None and span is not None:
            side = "at least" if at_least else "at most"
            words = f"{shown(value)} ({shown(span[0])} to {shown(span[1])}), {side} {shown(limit)}"
            found.append(Held(name, value, span, float(limit), words, at_least))
    return tuple(found)


def limits_figure(request: Mapping[str, Any], performance: Performance) -> Figure | None:
    """Predictions against limits."""
    svg = interval_chart("Predictions against limits", limits_of(request, performance))
    caption = "Dots are predictions, whiskers their 90 % intervals, each in shares of its own limit."
    return Figure(svg, "Predictions against limits", caption) if svg else None


def load_figures(series: PlanSeries) -> tuple[Figure, ...]:
    """TTFT, TPOT and throughput over the number of users, with limits, intervals and the load asked."""
    points = series.over_load()
    asked = Chosen("asked", series.plan.performance.load.users)
    made = unit_of(series.plan.performance)
    figures = []
    for field, name, axis, limit, said in (
        ("ttft_ms", "Time to first token over load", Axis("TTFT", time_tick), "max_ttft_ms", "at most"),
        ("tpot_ms", "Time per output token over load", Axis("TPOT", time_tick), "max_tpot_ms", "at most"),
        (
            "output_tokens_per_s", "Throughput over load", Axis(f"{made}/s, all replicas", tick),
            "min_output_tokens_per_s", "at least",
        ),
    ):  # fmt: skip
        drawn = [point for point in points if getattr(point, field) is not None]
        curve = tuple((float(point.load.users), float(getattr(point, field))) for point in drawn)
        band = tuple(point.interval[field] for point in drawn if field in point.interval)
        value, on = series.request.get(limit), series.request.get(f"{field.removesuffix('_ms')}_percentile")
        limits = [Limit(said, float(value))] if isinstance(value, int | float) and on is None else []
        svg = line_chart(
            name, [Series(axis.name, curve, band)], USERS, axis, limits=limits, chosen=asked, steep=field == "ttft_ms"
        )
        if svg:
            figures.append(Figure(svg, name, "Band: 90 % interval." if band else ""))
    return tuple(figures)


def context_figure(series: PlanSeries) -> Figure | None:
    """GPU memory that the users asked would need if all of them held a context of so many tokens."""
    plan, users = series.plan, series.plan.performance.load.users
    memory, points = plan.memory, series.over_context()
    fixed = memory.budget_bytes - memory.kv_cache_bytes
    needed = tuple(
        (float(context), (fixed + memory.kv_cache_bytes * users / running) / 2**30) for context, running in points
    )
    if len(needed) < 2:
        return None
    context = Axis("tokens that every sequence holds", count)
    svg = line_chart(
        "Memory over context", [Series("memory needed per GPU", needed)], context, Axis("GiB per GPU", tick),
        limits=[Limit("budget", memory.budget_bytes / 2**30)], chosen=_asked_context(plan, needed),
    )  # fmt: skip
    caption = (
        f"Weights, activations and the KV cache of {count(users)} sequences of equal length; past the budget some wait."
    )
    return Figure(svg, "Memory over context", caption)


def _asked_context(plan: Plan, needed: Sequence[tuple[float, float]]) -> Chosen | None:
    length = plan.flags.get("max-model-len")
    inside = isinstance(length, int) and needed[0][0] <= length <= needed[-1][0]
    return Chosen("max-model-len", float(length)) if inside and isinstance(length, int) else None


def capacity_figure(plan: Plan) -> Figure:
    """Users asked against what the flags and the KV pool take at once."""
    users, engines = plan.performance.load.users, plan.replicas * plan.data_parallel_size
    places = plan.performance_full.load.users
    pool = plan.memory.running_concurrency * engines
    bars = [
        _places("places that the flags give (max-num-seqs)", users, places),
        _places("full-length sequences that the KV pool holds", users, pool),
    ]
    svg = bar_chart("Demand against capacity", [bar for bar in bars if bar is not None], rate)
    return Figure(svg, "Demand against capacity", f"{load_in_words(plan.performance)}, all replicas together.")


def _places(name: str, users: float, places: float) -> Bar | None:
    if places <= 0:
        return None
    parts = (
        Part("asked", min(users, places), 0),
        Part("free", max(0.0, places - users), None),
        Part("waiting", max(0.0, users - places), 1),
    )
    return Bar(name, parts, f"{rate(users)} of {rate(places)}")


def front_figure(plans: Sequence[Plan], chosen: Plan | None = None) -> Figure | None:
    """Cost against throughput of several plans with their SKUs, the chosen one ringed."""
    priced = [plan for plan in plans if plan.cost is not None]
    if len(priced) > FEWEST_SHOWN:
        priced = [plan for plan in priced if plan == chosen or not any(_beats(other, plan) for other in priced)]
    made = unit_of(priced[0].performance if priced else None)
    points = [
        Point(
            f"{plan.gpu_count} x {plan.gpu}", plan.cost.usd_per_hour, plan.performance.output_tokens_per_s,
            f"{plan.replicas} x {parallelism(plan)}, {plan.quantization}: {dollars(plan.cost.usd_per_hour)} per hour, "
            f"{rate(plan.performance.output_tokens_per_s)} {made}/s, TTFT {milliseconds(plan.performance.ttft_ms)}",
            chosen=plan == chosen,
        )
        for plan in priced if plan.cost is not None
    ]  # fmt: skip
    svg = front_chart("Cost and throughput", points, Axis("USD per hour", tick), Axis(f"{made}/s", tick))
    return Figure(svg, "Cost and throughput", "The ring is the plan of this report." if chosen else "") if svg else None


def _beats(one: Plan, other: Plan) -> bool:
    if one.cost is None or other.cost is None:
        return False
    cost, speed = one.cost.usd_per_hour, one.performance.output_tokens_per_s
    other_cost, other_speed = other.cost.usd_per_hour, other.performance.output_tokens_per_s
    return cost <= other_cost and speed >= other_speed and (cost, speed) != (other_cost, other_speed)
