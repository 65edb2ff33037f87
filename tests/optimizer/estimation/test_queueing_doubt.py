"""What is said where the closed forms of queueing are known to be unsure."""

import math
from typing import Any

import pytest

from vllm_opt.constraints.queueing.doubt import queueing_doubt
from vllm_opt.constraints.queueing.engine import Demand
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
SERVER: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "h100", "max_model_len": 8192, "input_tokens": 1000,
    "output_tokens": 200,
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"requests_per_s": 5.0}, None),
        ({"requests_per_s": 25.0}, "upper percentiles of TTFT may be off by a third"),
        ({"requests_per_s": 20.0, "burstiness": 0.3}, "requests in clumps"),
        ({"requests_per_s": 2.0, "burstiness": 0.3}, None),
        ({"concurrency": 20, "think_time_s": 5.0}, None),
        ({"concurrency": 600, "think_time_s": 1.0}, "users who pause"),
        ({"concurrency": 20}, None),
        ({"concurrency": 20, "max_ttft_ms": 500, "ttft_percentile": 95}, "begin apart or together"),
        ({"concurrency": 20, "arrivals": "burst"}, None),
    ],
)
def test_doubt_of_the_wait_is_said_where_it_is_large(asked: dict[str, Any], said: str | None) -> None:
    notes = [note for note in estimate(EstimateRequest(**SERVER, **asked), CATALOG).notes if "may be off by" in note]
    assert len(notes) == (said is not None)
    assert all(said in note and "vllm-opt simulate" in note for note in notes if said)


def test_doubt_widens_the_interval_and_leaves_the_prediction() -> None:
    """exp(1.645 sqrt(sigma^2 + doubt^2)), doubt 0.1 above three quarters of the capacity."""
    calm, busy = (
        estimate(EstimateRequest(**SERVER, requests_per_s=rate, max_num_seqs=64), CATALOG).performance
        for rate in (5.0, 25.0)
    )
    assert calm is not None
    assert busy is not None
    assert (busy.utilization or 0) > 0.75 > (calm.utilization or 0)
    spread, wide = (math.log(one.interval["ttft_ms"][1] / one.ttft_ms) / 1.6448536 for one in (calm, busy))
    assert wide == pytest.approx(math.hypot(spread, 0.1), rel=1e-4)
    assert math.prod(busy.interval["ttft_ms"]) == pytest.approx(busy.ttft_ms**2)
    assert busy.interval["tpot_ms"][1] / (busy.tpot_ms or 1) == pytest.approx(
        calm.interval["tpot_ms"][1] / (calm.tpot_ms or 1)
    )


@pytest.mark.parametrize(
    ("demand", "busy", "doubt"),
    [
        (Demand("poisson"), 0.7, 0.0),
        (Demand("poisson"), 0.8, 0.1),
        (Demand("poisson", burstiness=0.5), 0.6, 0.08),
        (Demand("poisson", burstiness=0.5), 0.9, 0.25),
        (Demand("closed", think_s=1.0), 0.9, 0.25),
        (Demand("closed"), 1.0, 0.0),
        (Demand("burst"), 1.0, 0.0),
    ],
)
def test_doubt_by_traffic(demand: Demand, busy: float, doubt: float) -> None:
    assert float(queueing_doubt(demand, busy)) == doubt
    assert float(queueing_doubt(Demand("burst"), 1.0, beyond_pool=True)) == 0.05


def test_a_burst_beyond_the_pool_is_said() -> None:
    asked = {"gpu": "l4", "model": "meta-llama/Llama-3.1-8B-Instruct", "max_model_len": 8192, "arrivals": "burst"}
    found = estimate(EstimateRequest(**asked, concurrency=200, input_tokens=3000, output_tokens=400), CATALOG)
    assert any("more at once than the KV pool holds" in note for note in found.notes)


def test_a_plan_says_what_its_estimate_says() -> None:
    """One SKU, all flags given: solve and estimate describe the same server, and doubt it alike."""
    given: dict[str, Any] = {
        "model": "meta-llama/Llama-3.1-8B-Instruct", "requests_per_s": 18.0, "burstiness": 0.4, "max_num_seqs": 64,
        "max_num_batched_tokens": 2048, "input_tokens": 1000, "output_tokens": 200, "confidence": 0.5,
        "kv_cache_dtype": "auto",
    }  # fmt: skip
    asked = {"gpu": ("h100-sxm",), "target_context": 8192, "gpus": 1, "max_ttft_ms": 60_000, "max_tpot_ms": 1000}
    answer = solve(SolveRequest(**given, **asked, quantization=("bf16",)), CATALOG)
    assert answer.plan is not None
    found = estimate(EstimateRequest(**given, gpu="h100-sxm", max_model_len=8192), CATALOG)
    said = [[note for note in notes if "may be off by" in note] for notes in (answer.plan.notes, found.notes)]
    assert said[0] == said[1] != []
    assert found.performance is not None
    assert answer.plan.performance.interval["ttft_ms"] == found.performance.interval["ttft_ms"]
