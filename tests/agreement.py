"""Solve a request and compare with brute force: status, optimum, bounds, what was conceded."""

from oracle import FREE, UNPRICED, Best, Known, Oracle

from vllm_opt.optimizer.contract.answer import Answer
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.objective import OBJECTIVES

KINDS = {"tokens/s per GPU": -FREE, "tokens/GPU-hour": FREE}
"""Where the integers of owned machines and of those without a price start."""


def agree(request: SolveRequest, known: Known | None = None) -> Best | None:
    """Solve both ways and compare; the reserve gives way before a request becomes infeasible.

    `known` is shared by requests that differ in their limits on speed alone.
    """
    return compared(request, solve(request), known)


def compared(request: SolveRequest, answer: Answer, known: Known | None = None) -> Best | None:
    """Compare an answer with brute force."""
    known = known or Known()
    best = Oracle(request, known=known).best() or Oracle(request, reserve=False, known=known).best()
    if best is None:
        assert answer.status == "infeasible", (answer.status, answer.objectives, answer.plan)
        assert answer.plan is None
        return None
    assert answer.status == "optimal", (answer.status, answer.explanation, best)
    assert answer.plan is not None
    wanted = {(*(point.values[name] for name in request.objective), point.gpu_count) for point in best.points}
    assert (*shown(answer, "value"), answer.plan.gpu_count) in wanted, (answer.objectives, best, answer.plan)
    assert shown(answer, "bound") == tuple(best.optima[name] for name in request.objective)
    assert all(objective.gap == 0 for objective in answer.objectives)
    for objective, value, optimum in zip(
        answer.objectives, shown(answer, "value"), shown(answer, "bound"), strict=True
    ):
        assert objective.conceded == max(0, value - optimum) / max(1, abs(without_tier(objective.name, optimum)))
    return best


def without_tier(name: str, optimum: int) -> int:
    """What an amount is worth beside its place: below every price without one, above every efficiency by money."""
    if name == "cost" and optimum >= 1 << 50:
        return optimum - (1 << 50)
    if name == "efficiency" and (optimum <= -(1 << 51) or optimum > 0):
        return optimum + (1 << 51) * (1 if optimum < 0 else -1)
    return optimum


def shown(answer: Answer, field: str) -> tuple[int, ...]:
    """The objective integers behind the values or the bounds that the answer shows."""
    found = []
    for objective in answer.objectives:
        definition = OBJECTIVES[objective.name]
        whole = round(getattr(objective, field) * definition.scale * definition.sign)
        if objective.name == "cost" and objective.unit == "GPUs":
            whole += UNPRICED
        whole += KINDS.get(objective.unit, 0)
        found.append(whole)
    return tuple(found)
