"""`estimate`: the contract's fields, defaults by release, refusals, and what the pool means for the load."""

import pytest

from vllm_opt.optimizer import Estimate, EstimateRequest, estimate
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile

CATALOG = Catalog()
GIB = 2**30


def run(**fields: object) -> Estimate:
    return estimate(EstimateRequest(**fields), CATALOG)


def test_defaults_are_those_of_the_release_and_the_gpu() -> None:
    request = run(gpu="h100", max_model_len=8192).request
    assert (request["gpu_memory_utilization"], request["max_num_seqs"]) == (0.92, 1024)
    assert request["max_num_batched_tokens"] == 8192
    small = run(gpu="l4", max_model_len=8192, vllm_version="0.11.0").request
    assert (small["gpu_memory_utilization"], small["max_num_seqs"], small["max_num_batched_tokens"]) == (0.9, 256, 2048)
    assert run(gpu="b200", max_model_len=8192).request["max_num_batched_tokens"] == 16384


def test_the_sum_closes_to_the_byte() -> None:
    memory = run(gpu="h100", max_model_len=8192).memory
    parts = (
        memory.weights_bytes + memory.weights_extra_bytes + memory.activation_peak_bytes + memory.non_torch_bytes
        + memory.cuda_graph_bytes + memory.kv_cache_bytes
    )  # fmt: skip
    assert parts == memory.budget_bytes
    assert memory.weights_bytes == 16_060_522_496
    assert memory.num_gpu_blocks == memory.kv_cache_bytes // memory.kv_block_bytes
    assert memory.kv_block_bytes == 16 * 131_072


def test_before_the_graph_estimate_was_subtracted_graphs_come_on_top() -> None:
    memory = run(gpu="h100", max_model_len=8192, vllm_version="0.19.0").memory
    assert not memory.cuda_graph_in_budget
    assert memory.cuda_graph_bytes > 0
    rest = memory.weights_bytes + memory.weights_extra_bytes + memory.activation_peak_bytes + memory.non_torch_bytes
    assert memory.kv_cache_bytes == memory.budget_bytes - rest


def test_pipeline_stages_are_listed_and_the_smallest_decides() -> None:
    memory = run(
        model="meta-llama/Llama-3.1-70B-Instruct", gpu="h100", pipeline_parallel_size=3, max_model_len=16384
    ).memory
    assert [rank.layers for rank in memory.ranks] == [27, 27, 26]
    assert memory.num_gpu_blocks == min(rank.num_gpu_blocks for rank in memory.ranks)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"tensor_parallel_size": 3}, "divisibility"),
        ({"gpu": "v100", "kv_cache_dtype": "fp8"}, "compatibility"),
        ({"block_size": 8}, "compatibility"),
        ({"max_model_len": 200_000}, "context_length"),
        ({"gpu": "l4", "max_model_len": 131_072}, "memory_budget"),
        ({"gpu_memory_utilization": 1.0}, "startup_headroom"),
        ({"max_num_batched_tokens": 64, "max_num_seqs": 128}, "batching"),
        ({"pipeline_parallel_size": 40}, "divisibility"),
    ],
)
def test_what_vllm_refuses_does_not_fit_and_names_its_rule(fields: dict[str, object], rule: str) -> None:
    answer = run(**{"gpu": "h100", "max_model_len": 8192, **fields})
    assert not answer.fits
    assert rule in {violation.rule for violation in answer.violations}
    assert answer.memory.gpu_total_bytes > 0
    assert answer.startup_log


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"concurrency": 100_000}, "concurrency"),
        ({"max_ttft_ms": 0.1}, "ttft"),
        ({"max_tpot_ms": 0.1}, "tpot"),
        ({"min_output_tokens_per_s": 1e9}, "throughput"),
    ],
)
def test_targets_that_are_missed_are_listed_but_it_still_fits(fields: dict[str, object], rule: str) -> None:
    answer = run(gpu="h100", max_model_len=8192, **fields)
    assert answer.fits
    assert [violation.rule for violation in answer.violations] == [rule]


def test_auto_length_is_the_largest_that_starts() -> None:
    fitted = run(gpu="rtx-4090", max_model_len="auto", confidence=0.5)
    length = fitted.request["max_model_len"]
    assert fitted.fits
    assert length == fitted.memory.max_supported_model_len
    assert not run(gpu="rtx-4090", max_model_len=length + 16, max_num_seqs=256, max_num_batched_tokens=2048).fits
    sure = run(gpu="rtx-4090", max_model_len="auto", confidence=0.9)
    assert sure.request["max_model_len"] == length, "vLLM fits what it finds, not what is sure"
    assert sure.memory.max_supported_model_len < length


def test_a_pool_in_bytes_or_blocks_replaces_the_budget() -> None:
    assert run(gpu="h100", max_model_len=8192, kv_cache_memory_bytes=4 * GIB).memory.num_gpu_blocks == 2048
    assert run(gpu="h100", max_model_len=8192, num_gpu_blocks_override=1000).memory.kv_cache_tokens == 16_000
    assert not run(gpu="h100", max_model_len=8192, num_gpu_blocks_override=512).fits
    assert run(gpu="h100", max_model_len=8192, num_gpu_blocks_override=513).fits
    too_large = run(gpu="h100", max_model_len=8192, kv_cache_memory_bytes=200 * GIB)
    assert "out of memory" in too_large.violations[0].message


def test_the_default_load_is_what_flags_and_pool_admit() -> None:
    by_flags = run(gpu="h100", max_model_len=8192, max_num_seqs=16)
    assert by_flags.performance is not None
    assert by_flags.performance.concurrency == 16
    by_pool = run(gpu="l4", max_model_len=16384)
    assert by_pool.performance is not None
    assert by_pool.performance.concurrency == int(by_pool.memory.running_concurrency)
    doubled = run(gpu="h100", max_model_len=8192, max_num_seqs=16, replicas=2)
    assert doubled.performance is not None
    assert doubled.performance.concurrency == 32
    assert doubled.performance.output_tokens_per_s == pytest.approx(2 * by_flags.performance.output_tokens_per_s)
    assert doubled.performance.ttft_ms == by_flags.performance.ttft_ms


def test_users_beyond_what_runs_wait() -> None:
    few = run(gpu="h100", max_model_len=8192, max_num_seqs=16, concurrency=16).performance
    many = run(gpu="h100", max_model_len=8192, max_num_seqs=16, concurrency=64).performance
    assert few is not None
    assert many is not None
    assert not few.saturated
    assert many.saturated
    assert many.ttft_ms > 10 * few.ttft_ms


def test_one_output_token_has_no_tpot() -> None:
    performance = run(gpu="h100", max_model_len=8192, input_tokens=512, output_tokens=1).performance
    assert performance is not None
    assert performance.tpot_ms is None
    assert "tpot_ms" not in performance.interval


def test_reported_memory_can_be_overridden() -> None:
    assert run(gpu="h100", gpu_memory_gib=40, max_model_len=8192).memory.gpu_total_bytes == 40 * GIB


def test_json_has_the_schema_and_no_nan() -> None:
    answer = run(gpu="h100", max_model_len=8192)
    dumped = answer.model_dump(mode="json")
    assert dumped["schema"] == "vllm-opt/estimate/1"
    assert "NaN" not in answer.model_dump_json()
    assert "Infinity" not in answer.model_dump_json()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"gpu": "h101"}, UnknownProfile),
        ({"model": "no/such-model"}, (UnknownProfile, InvalidRequest)),
        ({"quantization": "fp9"}, UnknownProfile),
        ({"max_model_len": -5}, InvalidRequest),
        ({"gpu_memory_utilization": float("nan")}, InvalidRequest),
        ({"gpu_memory_utilization": 1.5}, InvalidRequest),
        ({"tensor_parallel_size": True}, InvalidRequest),
        ({"tensor_parallel_size": [1, 2]}, InvalidRequest),
        ({"max_num_seqs": 10**30}, InvalidRequest),
        ({"tensor_parallel": 2}, InvalidRequest),
    ],
)
def test_bad_input_raises_one_sentence(fields: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        run(**fields)
    assert "\n" not in str(caught.value)


def test_a_list_of_one_is_one_value() -> None:
    assert EstimateRequest(gpu=["h100"], tensor_parallel_size=["2"]).tensor_parallel_size == 2
