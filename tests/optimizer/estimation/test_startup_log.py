"""What vLLM would print at start-up: the wording of each release, and which refusal speaks first."""

import pytest

from vllm_opt.optimizer import EstimateRequest, estimate
from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
GIB = 2**30


def run(**fields: object) -> Estimate:
    return estimate(EstimateRequest(**{"gpu": "h100", "max_model_len": 8192, **fields}), CATALOG)


def pool(version: str, **fields: object) -> tuple[str, ...]:
    """The lines of a pool of 2,048 blocks of 16 tokens: 4 GiB of 2 MiB each, four requests of 8,192 tokens."""
    return run(vllm_version=version, kv_cache_memory_bytes=4 * GIB, **fields).startup_log


def test_0_33_says_tokens_and_concurrency_in_one_line() -> None:
    for version in ("0.33.0", "0.26.0"):
        assert pool(version) == (
            "Available KV cache memory: 4.00 GiB",
            "GPU KV cache size: 32,768 tokens, Maximum concurrency for 8,192 tokens per request: 4.00x",
        )


@pytest.mark.parametrize("version", ["0.21.0", "0.19.0", "0.11.0", "0.8.5"])
def test_older_releases_say_them_in_two(version: str) -> None:
    assert pool(version) == (
        "Available KV cache memory: 4.00 GiB",
        "GPU KV cache size: 32,768 tokens",
        "Maximum concurrency for 8,192 tokens per request: 4.00x",
    )


def test_v0_counts_blocks_on_the_gpu_and_in_swap_space() -> None:
    concurrency = "Maximum concurrency for 8192 tokens per request: 4.00x"
    override = {"vllm_version": "0.7.3", "num_gpu_blocks_override": 2048}
    assert run(**override).startup_log == ("# GPU blocks: 2048, # CPU blocks: 2048", concurrency)
    assert run(**override, swap_space=1).startup_log == ("# GPU blocks: 2048, # CPU blocks: 512", concurrency)
    assert run(**override, swap_space=0).startup_log == ("# GPU blocks: 2048, # CPU blocks: 0", concurrency)


def test_sizes_are_rounded_to_two_decimals() -> None:
    lines = run(kv_cache_memory_bytes=5_000_000_000).startup_log
    assert lines[0] == "Available KV cache memory: 4.66 GiB"
    assert "38,144 tokens" in lines[1], "2,384 whole blocks"
    assert lines[1].endswith("4.66x")


HEADS = {"tensor_parallel_size": 3}
LENGTH = {"max_model_len": 200_000}
STEP = {"max_num_batched_tokens": 64, "max_num_seqs": 128}
FREE = {"gpu_memory_utilization": 1.0}
POOL = {"num_gpu_blocks_override": 512}


def test_refusals_in_the_order_of_vllm() -> None:
    """One fault after the other is mended, and the next one speaks."""
    faults = [
        (HEADS, "Total number of attention heads (32) must be divisible by tensor parallel size (3)."),
        ({"block_size": 8}, "No valid attention backend found for cuda with head_size=128"),
        (LENGTH, "User-specified max_model_len (200000) is greater than the derived max_model_len"),
        (STEP, "max_num_batched_tokens (64) must be greater than or equal to max_num_seqs (128)"),
        (FREE, "Free memory on device cuda:0"),
        (POOL, "To serve at least one request with the model's max seq len (8192)"),
    ]
    for first, (_, words) in enumerate(faults):
        fields: dict[str, object] = {}
        for fault, _ in reversed(faults[first:]):
            fields |= fault
        log = run(**fields).startup_log
        assert len(log) == 1
        assert log[0].startswith("ValueError: ")
        assert words in log[0]


def test_free_memory_speaks_in_gib_of_both_sides() -> None:
    answer = run(**FREE)
    free = answer.memory.gpu_total_bytes - answer.memory.headroom_needed_bytes
    assert answer.memory.budget_bytes == answer.memory.gpu_total_bytes
    assert answer.startup_log == (
        f"ValueError: Free memory on device cuda:0 ({round(free / GIB, 2)}/79.1 GiB) on startup is less than desired "
        "GPU memory utilization (1.0, 79.1 GiB). Decrease GPU memory utilization or reduce GPU memory used by other "
        "processes.",
    )


def test_a_pool_that_is_one_block_short_says_what_fits() -> None:
    needed = 512 * 2 * 2**20
    (line,) = run(kv_cache_memory_bytes=needed).startup_log
    assert line.startswith(
        "ValueError: To serve at least one request with the model's max seq len (8192), (1.0 GiB KV cache is needed, "
        "which is larger than the available KV cache memory (1.0 GiB). Based on the available memory, the estimated "
        "maximum model length is 8176. "
    )
    assert run(kv_cache_memory_bytes=needed + 2 * 2**20).startup_log[0] == "Available KV cache memory: 1.00 GiB"


def test_refusals_of_a_pool_in_the_words_of_the_release() -> None:
    short = {"kv_cache_memory_bytes": GIB - 1}
    assert "with the models's max seq len (8192)" in run(vllm_version="0.19.0", **short).startup_log[0]
    assert "See https://docs.vllm.ai" in run(vllm_version="0.19.0", **short).startup_log[0]
    assert "See https://docs.vllm.ai" not in run(vllm_version="0.11.0", **short).startup_log[0]
    (v0,) = run(vllm_version="0.7.3", num_gpu_blocks_override=511).startup_log
    assert v0.startswith(
        "ValueError: The model's max seq len (8192) is larger than the maximum number of tokens that can be stored in "
        "KV cache (8176)."
    )


def test_auto_length_that_fits_nothing_has_its_own_words() -> None:
    (line,) = run(max_model_len="auto", kv_cache_memory_bytes=2**20).startup_log
    assert line == (
        "ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token. Try "
        "increasing `gpu_memory_utilization`."
    )


def test_targets_that_are_missed_refuse_nothing() -> None:
    assert run(kv_cache_memory_bytes=4 * GIB, max_ttft_ms=0.001).startup_log == pool("0.33.0")
