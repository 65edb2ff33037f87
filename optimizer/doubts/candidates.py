"""The plans that are compared: those of the answer, and those that would win were the predictions nearer the truth.

A rival is often no plan that holds at the confidence asked: it is cheaper, and refused because its limit is not sure.
So the request is solved again at confidence 0.5, and once more with limits as far off as the chosen plan's intervals
reach.
"""

from collections.abc import Iterable

from vllm_opt.optimizer.contract.answer import Answer, Plan
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog

MOST_PLANS = 40
LIMITS = {"max_ttft_ms": "ttft_ms", "max_tpot_ms": "tpot_ms"}


def candidates_of(request: SolveRequest, answer: Answer, catalog: Catalog, shared: SharedLayouts) -> tuple[Plan, ...]:
    """The chosen plan first, then every other one, each once."""
    if answer.plan is None:
        return ()
    found = [answer.plan, *(call.plan for call in answer.close_calls), *answer.alternatives]
    asked = {name: answer.request[name] for name in LIMITS if answer.request.get(name)}
    central = {"confidence": 0.5, "explain": False, "pareto": False}
    for limits in ({}, farther(answer.plan, asked)):
        if limits or request.confidence > 0.5:
            again = solve(request.replaced(**{**central, **limits}), catalog, shared=shared)
            found += [again.plan] if again.plan is not None else []
            found += again.alternatives
    return unique(found)[:MOST_PLANS]


def farther(plan: Plan, limits: dict[str, float]) -> dict[str, float]:
    """The limits as they would be were the chosen plan's predictions at the slow end of their intervals."""
    moved = {}
    for name, term in LIMITS.items():
        predicted, ends = getattr(plan.performance, term), plan.performance.interval.get(term)
        if name in limits and predicted and ends is not None:
            moved[name] = limits[name] * ends[1] / predicted
    return moved


def unique(plans: Iterable[Plan]) -> tuple[Plan, ...]:
    """Each way to serve once: GPUs, layout, formats."""
    found: dict[tuple[object, ...], Plan] = {}
    for plan in plans:
        key = (
            plan.gpu, plan.gpu_count, plan.replicas, plan.tensor_parallel_size, plan.pipeline_parallel_size,
            plan.data_parallel_size, plan.decode_context_parallel_size, plan.expert_parallel, plan.quantization,
            plan.kv_cache_dtype,
        )  # fmt: skip
        found.setdefault(key, plan)
    return tuple(found.values())
