"""The solver finds what brute force finds: the same optimum, the same infeasibility, at limits and ties too.

`ORACLE_EXAMPLES` sets the number of problems per kind of model.
"""

import math
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from oracle import FREE, UNPRICED, Best, Oracle, Point
from strategies import Problem, decoders, hybrids, latent, problems, request_of, stored, windowed, with_experts

from vllm_opt.optimizer.contract.answer import Answer
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.objective import OBJECTIVES

KINDS = {"tokens/s per GPU": -FREE, "tokens/GPU-hour": FREE}
"""Where the integers of owned machines and of those without a price start."""
EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "30"))
THOROUGH = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="ORACLE_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)


def agree(request: SolveRequest) -> Best | None:
    """Solve both ways and compare; the reserve gives way before a request becomes infeasible."""
    best = Oracle(request).best() or Oracle(request, reserve=False).best()
    answer = solve(request)
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


def compare(problem: Problem, edge: str) -> None:
    """Compare both ways, and again under limits that the optimum just meets or just misses."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        best = agree(request_of(problem, folder))
        event("feasible" if best else "infeasible")
        if best is None or edge == "none":
            return
        limits = limits_at(best.points[0], edge)
        for field, value in limits.items():
            agree(request_of(problem, folder, **{field: value}))
        agree(request_of(problem, folder, **limits))


EDGES = st.sampled_from(("none", "at", "below"))


@THOROUGH
@given(problem=problems(decoders()), edge=EDGES)
def test_dense_models(problem: Problem, edge: str) -> None:
    compare(problem, edge)


@THOROUGH
@given(problem=problems(stored(decoders())), edge=EDGES)
def test_checkpoints_that_name_a_kv_dtype(problem: Problem, edge: str) -> None:
    compare(problem, edge)


@settings(THOROUGH, max_examples=max(6, EXAMPLES // 2))
@given(problem=problems(with_experts() | latent(), most_gpus=2), edge=EDGES)
def test_models_with_experts_and_latent_attention(problem: Problem, edge: str) -> None:
    compare(problem, edge)


@THOROUGH
@given(problem=problems(windowed()), edge=EDGES)
def test_models_with_sliding_windows(problem: Problem, edge: str) -> None:
    compare(problem, edge)


@THOROUGH
@given(problem=problems(hybrids()), edge=EDGES)
def test_hybrid_models(problem: Problem, edge: str) -> None:
    compare(problem, edge)


def limits_at(best: Point, edge: str) -> dict[str, float]:
    """Limits that the optimum just meets, or just misses."""
    inward = edge == "below"
    bound = best.bound
    limits = {"max_ttft_ms": math.nextafter(bound.ttft_ms, 0) if inward else bound.ttft_ms}
    if bound.tpot_ms is not None:
        limits["max_tpot_ms"] = math.nextafter(bound.tpot_ms, 0) if inward else bound.tpot_ms
    floor = bound.output_tokens_per_s
    limits["min_output_tokens_per_s"] = math.nextafter(floor, math.inf) if inward else floor
    return limits


@settings(THOROUGH, max_examples=max(6, EXAMPLES // 5))
@given(problem=problems())
def test_memory_at_its_edge(problem: Problem) -> None:
    """The fewest bytes with which a GPU still serves: feasible there and infeasible one byte below, both ways."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def at(memory: int) -> SolveRequest:
            rows = ({**problem.gpus[0], "memory_bytes": memory},)
            fields = {**problem.fields, "gpu": (rows[0]["id"],)}
            fields.pop("max_num_batched_tokens", None)
            alone = Problem(problem.config, rows, ((rows[0]["id"], 1.0),), fields)
            return request_of(alone, folder, max_num_seqs=4)

        low, high = 1 << 29, 24 << 30
        if solve(at(high)).plan is None:
            event("never feasible")
            return
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if solve(at(middle)).plan is not None else (middle, high)
        assert agree(at(high)) is not None
        assert agree(at(high - 1)) is None


if __name__ == "__main__":
    pytest.main([__file__])
