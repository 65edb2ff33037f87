"""Plans beside each other: the best on each other SKU, the Pareto front, and what-if variants."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vllm_opt.optimizer.contract.answer import Answer, Plan
from vllm_opt.optimizer.contract.quantities import dollars, milliseconds, optional, rate
from vllm_opt.optimizer.rendering.plan_words import SLOW_TPOT_MS, SLOW_TTFT_MS, marked, parallelism
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.rendering.tables import table_of

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    ("GPUs", "left"),
    ("servers", "left"),
    ("weights", "left"),
    ("KV", "left"),
    ("USD/h", "right"),
    ("tokens/s", "right"),
    ("TTFT", "right"),
    ("TPOT", "right"),
)


LEAVING = ("KV", "servers", "TPOT", "weights")
"""What a narrow screen does without, in this order."""


def plan_row(plan: Plan) -> list[str]:
    """The cells of one plan, in the order of COLUMNS."""
    return [
        f"{plan.gpu_count} x {plan.gpu}",
        f"{plan.replicas} x {parallelism(plan)}",
        plan.quantization,
        plan.kv_cache_dtype,
        optional(plan.cost, lambda cost: dollars(cost.usd_per_hour)),
        rate(plan.performance.output_tokens_per_s),
        marked(plan.performance.ttft_ms, SLOW_TTFT_MS, milliseconds(plan.performance.ttft_ms)),
        optional(plan.performance.tpot_ms, lambda time_ms: marked(time_ms, SLOW_TPOT_MS, milliseconds(time_ms))),
    ]


def plans_table(plans: Sequence[Plan], screen: Screen) -> "Table":
    """One plan per line."""
    return table_of(COLUMNS, [plan_row(plan) for plan in plans], screen, LEAVING)


def change_in_words(changes: dict[str, Any], separator: str = ", ") -> str:
    """Write the changed options as they are typed."""
    if not changes:
        return "as asked"
    return separator.join(f"{field.replace('_', '-')}={_value(value)}" for field, value in changes.items())


def _value(value: Any) -> str:
    return "+".join(str(item) for item in value) if isinstance(value, list) else str(value)


def what_if_table(variants: Sequence[tuple[dict[str, Any], Answer]], screen: Screen) -> "Table":
    """One request per line with its best plan, or with what stands in its way."""
    rows = []
    for changes, answer in variants:
        cells = plan_row(answer.plan) if answer.plan else [answer.status, *[""] * (len(COLUMNS) - 1)]
        rows.append([change_in_words(changes, ",\n"), *cells])
    return table_of([("request", "left"), *COLUMNS], rows, screen, LEAVING)
