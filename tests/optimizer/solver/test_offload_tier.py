"""A KV offload tier in plans: what a hit there is worth, what the command line and the host's memory need for it."""

from pathlib import Path
from typing import Any

import pytest
from agreement import compared
from strategies import Problem, request_of

from vllm_opt.optimizer import Answer, EstimateRequest, SolveRequest, estimate, solve
from vllm_opt.optimizer.second_opinion.opinion import opinion_of_answer
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()
DENSE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 4096,
    "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64, "num_hidden_layers": 2, "vocab_size": 32000,
    "max_position_embeddings": 4096, "tie_word_embeddings": True, "torch_dtype": "float16",
}  # fmt: skip
ASKED: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": ("l40s", "h100-sxm"), "input_tokens": 6000,
    "output_tokens": 200, "concurrency": 32, "max_ttft_ms": 2000, "max_tpot_ms": 60,
}  # fmt: skip


def _solve(**fields: Any) -> Answer:
    return solve(SolveRequest(**{**ASKED, **fields}), CATALOG)


def test_a_plan_says_what_estimate_says_and_carries_the_flag() -> None:
    answer = _solve(kv_offloading_size=40, offload_hit_share=0.5, prefix_hit_share=0.2)
    assert answer.plan is not None
    plan = answer.plan
    assert plan.flags["kv-offloading-size"] == 40
    assert "--kv-offloading-size 40" in plan.command
    sizes = {
        "tensor_parallel_size": plan.tensor_parallel_size, "pipeline_parallel_size": plan.pipeline_parallel_size,
        "data_parallel_size": plan.data_parallel_size, "replicas": plan.replicas,
    }  # fmt: skip
    flags = {
        name.replace("-", "_"): plan.flags[name]
        for name in ("max-model-len", "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization")
    }
    again = estimate(
        EstimateRequest(
            model=plan.checkpoint or plan.model, quantization=plan.quantization, gpu=plan.gpu,
            kv_cache_dtype=plan.kv_cache_dtype, kv_offloading_size=40, offload_hit_share=0.5, prefix_hit_share=0.2,
            input_tokens=6000, output_tokens=200, concurrency=32, **sizes, **flags,
        ),
        CATALOG,
    )  # fmt: skip
    assert again.performance is not None
    assert again.performance.ttft_ms == plan.performance.ttft_ms
    assert again.performance.output_tokens_per_s == plan.performance.output_tokens_per_s


def test_a_hit_in_the_tier_is_worth_less_than_one_in_the_cache_and_more_than_none() -> None:
    pinned = {"gpu": "l40s", "gpus": 1, "max_ttft_ms": 30000, "max_tpot_ms": 200, "concurrency": 16}
    none, tier, cache = (
        _solve(**pinned, **hits)
        for hits in ({}, {"kv_offloading_size": 40, "offload_hit_share": 0.7}, {"prefix_hit_share": 0.7})
    )
    first = [one.plan.performance.ttft_ms for one in (cache, tier, none) if one.plan is not None]
    assert len(first) == 3
    assert first == sorted(first)
    assert first[0] < first[1] < first[2]


def test_the_tiers_of_a_node_are_counted() -> None:
    answer = _solve(
        gpu="l40s",
        gpus=4,
        tensor_parallel_size=1,
        replicas=4,
        kv_cache_dtype="auto",
        kv_offloading_size=100,
        host_memory_gib=256,
    )
    assert answer.plan is not None
    note = next(said for said in answer.plan.notes if "KV offload tier" in said)
    assert "takes 400 GiB of a node's host memory (4 engines on one)" in note
    assert "more than the 256 GiB that are there: lower --kv-offloading-size to 64" in note
    assert answer.plan.memory.host_tier_tokens == 100 * 2**30 // 131_072


def test_cards_whose_way_to_host_memory_is_unknown_are_left_out() -> None:
    answer = _solve(gpu=("gb10", "h100-sxm"), kv_offloading_size=40, offload_hit_share=0.5)
    assert answer.plan is not None
    assert answer.plan.gpu == "h100-sxm"
    assert any("how fast gb10 reaches host memory is not known" in note for note in answer.plan.notes)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"offload_hit_share": 0.5}, "no KV offload tier"),
        ({"offload_hit_share": 0.5, "kv_offloading_size": 0}, "no KV offload tier"),
        ({"offload_hit_share": 0.6, "prefix_hit_share": 0.5, "kv_offloading_size": 9}, "together must be below 1"),
        ({"offload_hit_share": 1, "kv_offloading_size": 9}, "offload_hit_share"),
        ({"offload_hit_share": float("nan"), "kv_offloading_size": 9}, "offload_hit_share"),
        ({"offload_hit_share": "half", "kv_offloading_size": 9}, "offload_hit_share"),
        ({"kv_offloading_size": -1}, "kv_offloading_size"),
        ({"kv_offloading_size": "much"}, "kv_offloading_size"),
        ({"kv_offloading_size": 900, "host_memory_gib": 512}, "more than the host_memory_gib of a node"),
        ({"kv_offloading_size": 9, "vllm_version": "0.9.0"}, "has no --kv-offloading-size"),
        ({"kv_offloading_size": 9, "offload_hit_share": 0.5, "gpu": "gb10"}, "gb10 reaches host memory is not known"),
    ],
)
def test_bad_input_is_one_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as found:
        _solve(**fields)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"objective": ("latency", "cost"), "concurrency": 6},
        {"objective": ("cost", "throughput"), "concurrency": 12, "max_ttft_ms": 60},
        {"objective": ("throughput",), "concurrency": 5, "prefix_hit_share": 0.25},
        {"objective": ("concurrency", "throughput"), "concurrency": "max", "max_ttft_ms": 60, "kv_cache_dtype": "auto"},
    ],
)
def test_brute_force_finds_the_same(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Slow links make a hit in the tier dear, and more ranks cheap."""
    gpu = {
        "id": "card", "base": "a10", "memory_bytes": 6 << 30, "gpus_per_node": 4,
        "host_link_gb_per_s_per_direction": 0.5,
    }  # fmt: skip
    asked = {
        "gpu": ("card",), "default_limits": False, "max_gpus": 2, "min_quality": 0.5, "target_context": 2048,
        "input_tokens": 1500, "output_tokens": 40, "kv_offloading_size": 4, "offload_hit_share": 0.5,
        "quantization": ("bf16",), "max_num_batched_tokens": 2048, "confidence": 0.5, "explain": False, **fields,
    }  # fmt: skip
    request = request_of(Problem(DENSE, (gpu,), (("card", 1.3),), asked), tmp_path)
    answer = solve(request)
    assert compared(request, answer) is not None
    if answer.plan is not None:
        assert answer.plan.flags["kv-offloading-size"] == 4
        opinion = opinion_of_answer(answer, Catalog(gpu_file=request.gpu_file, prices_file=request.prices))
        assert opinion.agrees, opinion.disagreements
