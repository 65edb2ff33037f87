"""The predicted figures against their limits, with a verdict on each, and the memory of one GPU as one line."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from vllm_opt.optimizer.contract.answer import Memory, Plan
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.quantities import dollars, rate
from vllm_opt.optimizer.rendering.memory import ASCII_MARKS, MARKS
from vllm_opt.optimizer.rendering.memory_parts import cells, memory_parts
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.summary.lines import Column, columns
from vllm_opt.optimizer.summary.words import duration

HEADINGS = (
    Column("", 9, right=False),
    Column("predicted", 8),
    Column("90 % interval", 4),
    Column("limit", 6),
    Column("", 5, right=False),
)
SHOWN_PARTS = ("weights", "kv", "free")
GIB = 2**30


def speed_lines(plan: Plan, request: Mapping[str, Any], screen: Screen) -> list[str]:
    """TTFT, TPOT, output and cost, each beside its limit."""
    speed = plan.performance
    rows = _times("TTFT", speed, "ttft_ms", request.get("max_ttft_ms"), request.get("ttft_percentile"))
    if speed.tpot_ms is not None:
        rows += _times("TPOT", speed, "tpot_ms", request.get("max_tpot_ms"), request.get("tpot_percentile"))
    if speed.tpot_ms is None:
        span = speed.interval.get("output_tokens_per_s")
        rows.append(_row("inputs", speed.requests_per_s, span, None, lambda value: f"{rate(value)}/s"))
        return columns(HEADINGS, [*rows, *_cost(plan, request)], screen)
    rows.append(
        _row(
            "output", speed.output_tokens_per_s, speed.interval.get("output_tokens_per_s"),
            request.get("min_output_tokens_per_s"), lambda value: f"{rate(value)} tok/s", floor=True,
        )
    )  # fmt: skip
    return columns(HEADINGS, [*rows, *_cost(plan, request)], screen)


def _cost(plan: Plan, request: Mapping[str, Any]) -> list[list[str]]:
    limit = request.get("max_hourly_cost")
    if plan.cost is None or limit is None:
        return []
    return [_row("cost", plan.cost.usd_per_hour, None, limit, lambda value: f"{dollars(value)}/h")]


def _times(name: str, speed: Performance, field: str, limit: float | None, percentile: float | None) -> list[list[str]]:
    """The mean, and the percentile over requests that the limit holds at; both with the model's own uncertainty."""
    mean, interval = getattr(speed, field), speed.interval.get(field)
    found = speed.at_percentile(field, percentile)
    if found is None:
        return [_row(name, mean, interval, limit, duration)]
    key, value, around = found
    return [
        _row(name, mean, interval, None, duration),
        _row(f"{name} {key}", value, around, limit, duration),
    ]


def _row(
    name: str, value: float, interval: tuple[float, float] | None, limit: float | None, shown: Callable[[float], str],
    *, floor: bool = False,
) -> list[str]:  # fmt: skip
    span = f"{shown(interval[0])} to {shown(interval[1])}" if interval else ""
    bound = "-" if limit is None else re.sub(r"\.0+(?= |/)", "", shown(limit))
    return [name, shown(value), span, bound, "" if limit is None else verdict(value, interval, limit, floor=floor)]


def verdict(value: float, interval: tuple[float, float] | None, limit: float, *, floor: bool = False) -> str:
    """How a prediction stands to its limit: 'ok' where even the bad end of the interval meets it."""
    sign = -1 if floor else 1
    worst = value if interval is None else interval[0 if floor else 1]
    if sign * worst <= sign * limit:
        return "ok"
    return "likely, not sure" if sign * value <= sign * limit else "missed"


def memory_line(memory: Memory, screen: Screen) -> list[str]:
    """One bar and its legend on one line, or on two where one is too narrow."""
    marks = MARKS if screen.unicode else ASCII_MARKS
    parts = memory_parts(memory)
    shares = dict.fromkeys((part.key for part in parts), 0)
    for part in parts:
        shares[part.key] += part.size_bytes
    other = sum(size for key, size in shares.items() if key not in SHOWN_PARTS)
    legend = [
        f"{marks['weights']} weights {shares.get('weights', 0) / GIB:.1f}",
        f"{marks['kv']} {'KV' if memory.kv_block_bytes else 'unused'} {shares.get('kv', 0) / GIB:.1f}",
        f"other {other / GIB:.1f}",
        f"{marks['free']} free {shares.get('free', 0) / GIB:.1f}",
    ]
    words = f"{', '.join(legend)} of {memory.gpu_total_bytes / GIB:.1f} GiB"
    room = screen.width - len(words) - len("  memory  []  ")
    if room < len(parts) + 4:
        room, words = screen.width - len("  memory  []"), f"\n          {words}"
    bar = "".join(marks[part.key] * width for part, width in zip(parts, cells(parts, room), strict=True))
    return f"  memory  [{bar}]  {words}".replace("  \n", "\n").split("\n")
