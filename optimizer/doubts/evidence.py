"""Plans that the user has measured as they are, at their own layout, load and lengths: known to the noise of a run.

A calibration moves every load of a model and leaves it an interval for loads that were not measured; a run of exactly
this plan says more of this plan. Such a plan errs on its own: it is a group of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.doubts.separation import NOISE
from vllm_opt.optimizer.regret.stakes import Stake
from vllm_opt.profiles.catalogues.catalog import Catalog

SAME_LOAD, SAME_LENGTH = 0.1, 0.25


def with_evidence(
    stakes: Sequence[Stake], plans: Sequence[Plan], answered: dict[str, Any], request: SolveRequest, catalog: Catalog
) -> tuple[Stake, ...]:
    """The stakes with the plans narrowed that were measured as they are."""
    own = catalog.own_calibration(request.calibration_file) if request.calibration else None
    points = [one["benchmark"] for one in own.measured if isinstance(one.get("benchmark"), dict)] if own else []
    if not points:
        return tuple(stakes)
    return tuple(
        narrowed(stake, plan, [point for point in points if is_of(point, plan, answered)])
        for stake, plan in zip(stakes, plans, strict=True)
    )


def is_of(point: dict[str, Any], plan: Plan, answered: dict[str, Any]) -> bool:
    """Whether a kept point was measured at the layout, load and lengths of a plan."""
    engines = plan.replicas * plan.data_parallel_size
    named = {
        "model": plan.model, "gpu": plan.gpu, "quantization": plan.quantization, "kind": "closed",
        "tensor_parallel_size": plan.tensor_parallel_size, "expert_parallel": plan.expert_parallel,
    }  # fmt: skip
    sizes = (
        ("load", plan.performance.concurrency / engines, SAME_LOAD),
        ("input_tokens", answered.get("input_tokens"), SAME_LENGTH),
        ("output_tokens", answered.get("output_tokens"), SAME_LENGTH),
    )
    return (
        plan.pipeline_parallel_size == 1
        and all(point.get(name) == value for name, value in named.items())
        and all(near(point.get(name), value, tolerance) for name, value, tolerance in sizes)
    )


def near(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two positive numbers differ by no more than the tolerance."""
    if not isinstance(one, int | float) or not isinstance(other, int | float) or one <= 0 or other <= 0:
        return False
    return abs(math.log(one / other)) <= tolerance


def narrowed(stake: Stake, plan: Plan, points: Sequence[dict[str, Any]]) -> Stake:
    """A stake with what its own runs say; unchanged without any."""
    step = [math.log(value / plan.performance.tpot_ms) for value in figures(points, "tpot") if plan.performance.tpot_ms]
    wait = [math.log(value / plan.performance.ttft_ms) for value in figures(points, "ttft")]
    if not step:
        return stake
    at_step, at_wait = median(step), median(wait) if wait else None
    return replace(
        stake,
        group=(plan.gpu, f"{plan.quantization}, measured, TP {plan.tensor_parallel_size} x {plan.replicas}"),
        step_range=(at_step - NOISE, at_step + NOISE),
        wait_range=stake.wait_range if at_wait is None else (at_wait - NOISE, at_wait + NOISE),
    )


def figures(points: Sequence[dict[str, Any]], metric: str) -> list[float]:
    """One metric of every point that has it."""
    found = [point["measured"].get(metric) for point in points if isinstance(point.get("measured"), dict)]
    return [float(value) for value in found if isinstance(value, int | float) and value > 0]
