"""What is at stake with a plan: its loss as a function of how far the speed of its GPU and weight format is off.

    ln loss(x) = base + rate * x_step + max(0, b_step + x_step, b_wait + x_wait)

x_step and x_wait are ln(true / predicted) of step time and of TTFT, each within its 90 % interval, the same for all
plans of one GPU and weight format: what the formula misses there it misses in all of them. `base` is the ln of the
first objective as planned (cost, GPUs, or the inverse of tokens per second), `rate` is 1 where that objective slows
down with the step. b_step = ln(predicted / limit): a server that is slower than its limit serves so much less within
it, so what is asked costs that much more.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.performance import Performance

NEVER = -1e9
"""ln of a limit that is not there."""
LEAST_RATE = 1e-9
SPEED_OBJECTIVES = ("throughput", "efficiency", "latency")
Group = tuple[str, str]


@dataclass(frozen=True)
class Stake:
    """One plan's loss. Logarithms all."""

    group: Group
    """(GPU, weight format)."""
    base: float
    rate: float
    step: float
    """ln(TPOT / its limit), or of the tokens per second asked; whichever is nearer."""
    wait: float
    """ln(TTFT / its limit)."""
    step_range: tuple[float, float]
    wait_range: tuple[float, float]

    def loss(self, x_step: float, x_wait: float) -> float:
        """ln of the loss."""
        return self.base + self.rate * x_step + max(0.0, self.step + x_step, self.wait + x_wait)

    @property
    def best(self) -> float:
        """The least that it can be."""
        return self.loss(self.step_range[0], self.wait_range[0])

    @property
    def worst(self) -> float:
        """The most."""
        return self.loss(self.step_range[1], self.wait_range[1])


def stakes_of(plans: Iterable[Plan], request: Mapping[str, Any]) -> tuple[Stake, ...]:
    """The stakes of plans that answer one request (as answered, defaults filled in)."""
    listed = tuple(plans)
    objective = str((request.get("objective") or ["cost"])[0])
    priced = all(plan.cost is not None and plan.cost.usd_per_hour > 0 for plan in listed)
    return tuple(stake_of(plan, request, objective, priced=priced) for plan in listed)


def stake_of(plan: Plan, request: Mapping[str, Any], objective: str, *, priced: bool) -> Stake:
    """One plan's stake."""
    speed = plan.performance
    rate = max(LEAST_RATE, speed.output_tokens_per_s)
    price = plan.cost.usd_per_hour if priced and plan.cost is not None else float(plan.gpu_count)
    base = {
        "cost": math.log(price),
        "gpus": math.log(plan.gpu_count),
        "throughput": -math.log(rate),
        "efficiency": math.log(price / rate),
        "latency": math.log(speed.e2e_ms),
        "concurrency": -math.log(max(1, plan.performance_full.concurrency)),
    }[objective]
    tpot, tokens = limit_of(request, "max_tpot_ms"), limit_of(request, "min_output_tokens_per_s")
    step = max(
        math.log(speed.tpot_ms / tpot) if tpot and speed.tpot_ms else NEVER,
        math.log(tokens / rate) if tokens else NEVER,
    )
    ttft = limit_of(request, "max_ttft_ms")
    return Stake(
        group=(plan.gpu, plan.quantization), base=base, rate=1.0 if objective in SPEED_OBJECTIVES else 0.0, step=step,
        wait=math.log(speed.ttft_ms / ttft) if ttft else NEVER, step_range=step_range(speed),
        wait_range=range_of(speed, "ttft_ms", speed.ttft_ms),
    )  # fmt: skip


def limit_of(request: Mapping[str, Any], name: str) -> float | None:
    """A limit that was asked or assumed."""
    value = request.get(name)
    return float(value) if value else None


def step_range(speed: Performance) -> tuple[float, float]:
    """ln of the interval of step time around its prediction: TPOT's, else that of the tokens per second."""
    if speed.tpot_ms and "tpot_ms" in speed.interval:
        return range_of(speed, "tpot_ms", speed.tpot_ms)
    low, high = range_of(speed, "output_tokens_per_s", speed.output_tokens_per_s)
    return -high, -low


def range_of(speed: Performance, name: str, predicted: float) -> tuple[float, float]:
    """ln of an interval over its prediction."""
    ends = speed.interval.get(name)
    if ends is None or ends[0] <= 0 or predicted <= 0:
        return 0.0, 0.0
    return math.log(ends[0] / predicted), math.log(ends[1] / predicted)
