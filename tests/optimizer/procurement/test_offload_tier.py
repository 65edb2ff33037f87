"""A workload of a demand whose prompts come in part from a KV offload tier."""

from typing import Any

import pytest

from vllm_opt.optimizer import EstimateRequest, estimate, procure
from vllm_opt.optimizer.procurement.request import FleetRequest
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()


def _demand(**fields: Any) -> FleetRequest:
    workload = {
        "name": "documents", "model": "meta-llama/Llama-3.1-8B-Instruct", "requests_per_s": 6, "input_tokens": 6000,
        "output_tokens": 150, "max_ttft_ms": 3000, "max_tpot_ms": 60, "quantization": ["bf16"],
        "kv_cache_dtype": "auto", **fields,
    }  # fmt: skip
    return FleetRequest(workloads=[workload], inventory={"gpu": ["l40s", "gb10"]})


def test_hits_save_money_and_every_server_has_its_tier() -> None:
    plain = procure(_demand(), CATALOG)
    tiered = procure(_demand(kv_offloading_size=64, offload_hit_share=0.8), CATALOG)
    assert plain.totals is not None
    assert tiered.totals is not None
    assert tiered.totals.usd_per_hour < plain.totals.usd_per_hour
    assert {assignment.gpu for assignment in tiered.assignments} == {"l40s"}
    for assignment in tiered.assignments:
        assert assignment.plan.flags["kv-offloading-size"] == 64
        assert "--kv-offloading-size 64" in assignment.plan.command


def test_a_replica_is_as_fast_as_estimate_says() -> None:
    answer = procure(_demand(kv_offloading_size=64, offload_hit_share=0.8), CATALOG)
    plan = answer.assignments[0].plan
    flags = {
        name.replace("-", "_"): plan.flags[name]
        for name in ("max-model-len", "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization")
    }
    alone = estimate(
        EstimateRequest(
            model=plan.model, gpu=plan.gpu, tensor_parallel_size=plan.tensor_parallel_size, replicas=plan.replicas,
            input_tokens=6000, output_tokens=150, kv_offloading_size=64, offload_hit_share=0.8,
            concurrency=plan.performance.concurrency,
            **flags,
        ),
        CATALOG,
    )  # fmt: skip
    assert alone.performance is not None
    assert alone.performance.ttft_ms == pytest.approx(plan.performance.ttft_ms)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"offload_hit_share": 0.5}, "no KV offload tier"),
        ({"offload_hit_share": 0.6, "prefix_hit_share": 0.4, "kv_offloading_size": 9}, "together must be below 1"),
        ({"offload_hit_share": 1.5, "kv_offloading_size": 9}, "offload_hit_share"),
        ({"offload_hit_share": "x", "kv_offloading_size": 9}, "offload_hit_share"),
        ({"kv_offloading_size": -2}, "kv_offloading_size"),
    ],
)
def test_bad_input_is_one_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as found:
        _demand(**fields)
    assert "\n" not in str(found.value)


def test_long_prompts_of_a_histogram_load_longer() -> None:
    bars = [{"input_tokens": size, "output_tokens": 150, "share": 1} for size in (500, 7000)]
    shape = {"input_tokens": None, "output_tokens": None, "lengths": bars}
    plain = procure(_demand(**shape), CATALOG)
    tiered = procure(_demand(**shape, kv_offloading_size=64, offload_hit_share=0.8), CATALOG)
    assert plain.totals is not None
    assert tiered.totals is not None
    assert tiered.totals.usd_per_hour <= plain.totals.usd_per_hour
