"""The plans that a person would weigh against the chosen one, each on one line."""

from dataclasses import replace

from vllm_opt.optimizer.contract.answer import Answer, Plan
from vllm_opt.optimizer.contract.quantities import dollars, rate
from vllm_opt.optimizer.rendering.plan_words import (
    SLOW_TPOT_MS,
    SLOW_TTFT_MS,
    SLOW_WORDS,
    marked,
    only_prompts,
    parallelism,
    slow,
)
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.summary.lines import Column, columns
from vllm_opt.optimizer.summary.words import duration, users_of

WHY = {
    "cheapest": "cheapest",
    "fastest": "faster",
    "fewest_gpus": "fewer GPUs",
    "better_weights": "better weights",
    "published_weights": "published weights",
    "owned": "owned",
}
MOST_OTHERS = 3
HEADINGS = (
    Column("", 9, right=False),
    Column("GPUs", 8, right=False),
    Column("servers", 2, right=False),
    Column("weights", 5, right=False),
    Column("KV", 1, right=False),
    Column("users", 4),
    Column("TTFT", 6),
    Column("TPOT", 3),
    Column("tok/s", 7),
    Column("USD/h", 8),
)


def close_call_lines(answer: Answer, screen: Screen) -> list[str]:
    """The chosen plan and its close calls; without any, a few other layouts and cards."""
    if answer.plan is None:
        return []
    title, others = "Close calls", [(WHY[call.why], call.plan) for call in answer.close_calls]
    if not others:
        title = "Next best" if answer.request.get("top") else "Other layouts and cards"
        others = [("", plan) for plan in answer.alternatives[:MOST_OTHERS]]
    if not others:
        return []
    mark = "* this" if answer.close_calls else "*"
    rows = [_row(mark, answer.plan), *(_row(f"  {why}".rstrip(), plan) for why, plan in others)]
    legend = [f"  {SLOW_WORDS}"] if any(slow(plan.performance) for _, plan in others) else []
    made = "in/s" if only_prompts(answer.plan.performance) else "tok/s"
    headings = [replace(one, heading=made) if one.heading == "tok/s" else one for one in HEADINGS]
    return [title, *columns(headings, rows, screen), *legend]


def _row(mark: str, plan: Plan) -> list[str]:
    speed = plan.performance
    return [
        mark,
        f"{plan.gpu_count} x {plan.gpu}",
        f"{plan.replicas} x {parallelism(plan)}",
        plan.quantization,
        plan.kv_cache_dtype,
        f"{users_of(speed):,}",
        marked(speed.ttft_ms, SLOW_TTFT_MS, duration(speed.ttft_ms)),
        "-" if speed.tpot_ms is None else marked(speed.tpot_ms, SLOW_TPOT_MS, duration(speed.tpot_ms)),
        rate(speed.output_tokens_per_s),
        "-" if plan.cost is None else dollars(plan.cost.usd_per_hour),
    ]
