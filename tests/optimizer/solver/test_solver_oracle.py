"""The solver finds what brute force finds: the same optimum, the same infeasibility, at limits and ties too.

`ORACLE_EXAMPLES` sets the number of problems per kind of model.
"""

import math
import os
import tempfile
from pathlib import Path

import pytest
from agreement import agree
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from oracle import Known, Point
from strategies import Problem, decoders, hybrids, latent, problems, request_of, stored, windowed, with_experts

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve

EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "30"))
THOROUGH = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="ORACLE_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)


def compare(problem: Problem, edge: str) -> None:
    """Compare both ways, and again under limits that the optimum just meets or just misses."""
    with tempfile.TemporaryDirectory() as name:
        folder, known = Path(name), Known()
        best = agree(request_of(problem, folder), known)
        event("feasible" if best else "infeasible")
        if best is None or edge == "none":
            return
        limits = limits_at(best.points[0], edge)
        for field, value in limits.items():
            agree(request_of(problem, folder, **{field: value}), known)
        agree(request_of(problem, folder, **limits), known)


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
