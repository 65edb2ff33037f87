"""Why a plan stands on other cards than those that are owned: by a default limit alone, or because nothing holds there.

Default limits bend only where no plan at all meets them. Who owns cards may prefer a slower answer on them to buying
others, so both are said.
"""

from collections.abc import Callable

from vllm_opt.optimizer.contract.answer import Answer
from vllm_opt.optimizer.contract.quantities import milliseconds
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.space.default_limits import is_stated, limits_may_bend
from vllm_opt.profiles.catalogues.catalog import Catalog

LIMITS = {"max_ttft_ms": "TTFT", "max_tpot_ms": "TPOT"}


def owned_note(request: SolveRequest, catalog: Catalog, answer: Answer, ask: Callable[[SolveRequest], Answer]) -> str:
    """What the owned cards would give without limits that nobody asked for; empty where there is nothing to say.

    `ask` solves a request with the same catalogue. The plan must use no card that is owned, and the owned ones are
    asked alone: more of them are not bought.
    """
    owned = {catalog.gpu(sku).id: count for sku, count in request.owned if count}
    if not owned or answer.plan is None or answer.plan.gpu in owned or not limits_may_bend(request):
        return ""
    other = ask(_alone(request, owned, answer.request["concurrency"]))
    have = " or ".join(f"{count} x {sku}" for sku, count in owned.items())
    if other.status == "infeasible":
        return f"the GPUs that are owned ({have}) cannot hold this, however slow it may be"
    plan = other.plan
    if plan is None or plan.gpu_count > owned.get(plan.gpu, 0):
        return ""
    took = plan.performance.ttft_ms, plan.performance.tpot_ms
    over = [
        f"{name} {milliseconds(value)} instead of {limit / 1000:g} s"
        for (field, name), value in zip(LIMITS.items(), took, strict=True)
        if (limit := answer.request.get(field)) is not None and value is not None and value > limit
    ]
    if not over:
        return ""
    return (
        f"the GPUs that are owned hold this too, beyond limits that nobody asked for: {plan.gpu_count} x {plan.gpu} "
        f"with {' and '.join(over)} (--gpu {plan.gpu} --no-default-limits)"
    )


def _alone(request: SolveRequest, owned: dict[str, int], users: object) -> SolveRequest:
    """The same request for the owned cards, without limits that nobody asked for."""
    given: dict[str, object] = {field: None for field in LIMITS if not is_stated(request, field)}
    if request.pattern != "poisson":
        given["concurrency"] = users
    most = max(owned.values()) if request.gpus is None else request.gpus
    plain = request.model_copy(update={"workload": None, "assumed": ()})  # what it filled in is asked from here on
    return plain.replaced(
        **given, gpu=tuple(owned), max_gpus=min(most, request.max_gpus or most),
        default_limits=False, pareto=False, second_opinion=False, explain=False,
    )  # fmt: skip
