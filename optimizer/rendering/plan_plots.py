"""The pictures of a plan for a terminal: TTFT over load with its limit, cost against throughput of several plans."""

from collections.abc import Sequence

from vllm_opt.optimizer.contract.answer import Answer, Plan
from vllm_opt.optimizer.contract.quantities import count
from vllm_opt.optimizer.rendering.plan_charts import tick, time_tick
from vllm_opt.optimizer.rendering.plan_series import PlanSeries
from vllm_opt.optimizer.rendering.plan_words import unit_of
from vllm_opt.optimizer.rendering.plot import Mark, plot
from vllm_opt.optimizer.rendering.screen import Screen


def load_plots(answer: Answer, screen: Screen) -> list[str]:
    """TTFT and throughput of the plan over users at once; the load asked is the marked point."""
    if answer.plan is None:
        return []
    series = PlanSeries(answer.plan, answer.request)
    points, asked = series.over_load(), answer.plan.performance.load.users
    times = [
        Mark(one.load.users, one.ttft_ms, "asked" if one.load.users == asked else "", one.load.users == asked)
        for one in points
    ]
    rates = [
        Mark(mark.x, one.output_tokens_per_s, mark.words, mark.chosen) for mark, one in zip(times, points, strict=True)
    ]
    value = answer.request.get("max_ttft_ms")
    limit = (f"at most {time_tick(value)}", float(value)) if isinstance(value, int | float) else None
    first = plot(times, "users at once", "TTFT", count, time_tick, screen, limit=limit, joined=True, steep=True)
    second = plot(
        rates, "users at once", f"{unit_of(answer.plan.performance).capitalize()}/s", count, tick, screen, joined=True
    )
    return [*first, *([""] if first and second else []), *second]


def front_plot(plans: Sequence[Plan], screen: Screen) -> list[str]:
    """Cost against throughput, a dot a plan, named by its GPUs where there is room."""
    made = unit_of(plans[0].performance if plans else None).capitalize()
    marks = [
        Mark(plan.cost.usd_per_hour, plan.performance.output_tokens_per_s, f"{plan.gpu_count} x {plan.gpu}")
        for plan in plans if plan.cost is not None
    ]  # fmt: skip
    return plot(marks, "USD per hour", f"{made}/s", tick, tick, screen)
