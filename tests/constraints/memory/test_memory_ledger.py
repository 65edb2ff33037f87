"""The start-up memory sum, every term by hand: Llama 3.1 8B on an H100, per release, flag and pipeline stage.

What the sizes of the model give is computed from its config. What is fitted is replaced by round numbers, so that the
sums test the ledger and a new fit moves none of them.
"""

import math
from dataclasses import replace
from statistics import NormalDist

import pytest

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.memory.activations import ActivationPeak
from vllm_opt.constraints.memory.ledger import GIB, MemoryTerms, memory_terms
from vllm_opt.constraints.memory.overheads import FittedBytes, GraphMemory
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.engine import EngineProfile, GraphCapture

CATALOG = Catalog()
MODEL, H100, BF16 = CATALOG.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOG.gpu("h100"), CATALOG.quantization("bf16")

EMBEDDING = 128_256 * 4096
ATTENTION = 4096 * (32 + 8 + 8) * 128 + 32 * 128 * 4096
LAYER = ATTENTION + 3 * 4096 * 14_336 + 2 * 4096
ROPE_TABLE = 131_072 * 128 * 2
BLOCK = 2 * 32 * 8 * 128 * 2 * 16
"""Keys and values of 32 layers, 8 heads of 128 elements, 2 bytes, 16 tokens."""
ACTIVATION, NON_TORCH, CUDA_CONTEXT, GRAPHS = 2048 * 100_000, 250_000_000, 500_000_000, 3 * 10_000_000 + 4 * 1_000_000
QUANTILE = NormalDist().inv_cdf(0.95)


def release(version: str) -> EngineProfile:
    return CATALOG.engine(version)[0]


def physical(version: str = "0.33.0", **layout: object) -> MemoryTerms:
    """As the product computes them, fitted terms included."""
    return memory_terms(MODEL, BF16, Layout(gpu=H100.id, **layout), release(version), H100)


def terms(version: str = "0.33.0", **layout: object) -> MemoryTerms:
    """Real weights and KV cache on a GPU of 80,000,000,001 bytes; forward 100,000 per token, sampler 1,000,000 per
    sequence, and graphs of the sizes 1, 2 and 4."""
    found = physical(version, **layout)
    stages = found.stages
    return replace(
        found,
        total_bytes=80_000_000_001,
        activation=ActivationPeak(
            (0,) * stages, (100_000,) * stages, (0,) * stages, (0,) * stages, (0,) * (stages - 1) + (1_000_000,), 0.1
        ),
        non_torch=FittedBytes(NON_TORCH, 10_000_000),
        graphs=None if found.graphs is None else GraphMemory(0, 10_000_000, 1_000_000, GraphCapture(), 4, 0.2),
        context=FittedBytes(CUDA_CONTEXT, 20_000_000),
    )


def flags(**changes: object) -> EngineFlags:
    known = {"max_model_len": 8192, "max_num_seqs": 8, "max_num_batched_tokens": 2048, "gpu_memory_utilization": 0.9}
    return EngineFlags(**{**known, **changes})


def test_what_the_config_gives() -> None:
    found = physical()
    assert found.total_bytes == H100.memory_bytes
    assert found.weights == (2 * (2 * EMBEDDING + 32 * LAYER + 4096),) == (16_060_522_496,)
    assert found.weights_extra == (ROPE_TABLE,) == (33_554_432,)
    assert found.kv.block_bytes == (BLOCK,) == (2_097_152,)
    assert found.kv_bytes_per_token == 131_072


def test_the_fitted_terms_enter_the_sum_unchanged() -> None:
    found = physical()
    shared = found.non_torch.bytes + found.graph_bytes(8192, 256)
    assert found.outside_kv_bytes(8192, 256) == (
        16_060_522_496 + 33_554_432 + found.activation_bytes(8192, 256)[0] + shared,
    )
    assert found.graph_bytes(8192, 256) == found.graphs.bytes(256, 8192) > 0
    assert found.activation_bytes(8192, 256) == found.activation.bytes(8192, 256) > (0,)


def test_tensor_parallelism_divides_matrices_and_cache_but_not_norms() -> None:
    found = physical(tensor_parallel_size=2)
    norms = (2 * 32 + 1) * 4096 * 2
    assert found.weights == ((16_060_522_496 - norms) // 2 + norms,)
    assert found.kv.block_bytes == (BLOCK // 2,)


def test_the_sum_by_hand() -> None:
    found, budget = terms(), math.ceil(80_000_000_001 * 0.9)
    assert (found.activation_bytes(2048, 8), found.graph_bytes(2048, 8)) == ((ACTIVATION,), GRAPHS)
    rest = 16_060_522_496 + 33_554_432 + 204_800_000 + 250_000_000 + 34_000_000
    assert found.outside_kv_bytes(2048, 8) == (rest,) == (16_582_876_928,)
    assert found.available_kv_bytes(flags()) == (budget - rest,) == (55_417_123_073,)
    assert found.num_gpu_blocks(flags()) == 55_417_123_073 // 2_097_152 == 26_424


def test_the_larger_of_forward_and_sampler_is_the_peak() -> None:
    assert terms().activation_bytes(2048, 204) == (204_800_000,)
    assert terms().activation_bytes(2048, 205) == (205_000_000,)
    assert terms().activation_bytes(100, 205) == (100_000_000,), "a step runs no more sequences than tokens"


@pytest.mark.parametrize(
    ("version", "rounding", "budget"),
    [
        ("0.33.0", "ceil", 72_000_000_001),
        ("0.16.0", "ceil", 72_000_000_001),
        ("0.13.0", "floor", 72_000_000_000),
        ("0.8.5", "floor", 72_000_000_000),
    ],
)
def test_the_budget_is_rounded_as_the_release_does(version: str, rounding: str, budget: int) -> None:
    found = terms(version)
    assert found.engine.budget_rounding == rounding
    assert found.budget_bytes(0.9) == budget
    assert found.headroom_bytes(0.9) == 80_000_000_001 - budget
    assert found.budget_bytes(1.0) == 80_000_000_001


def test_eager_mode_has_no_graphs() -> None:
    eager = terms(enforce_eager=True)
    assert eager.graph_bytes(2048, 8) == 0
    assert eager.graph_bytes(2048, 8, 0.95) == 0
    assert terms().outside_kv_bytes(2048, 8)[0] - eager.outside_kv_bytes(2048, 8)[0] == 34_000_000


def test_graphs_move_from_the_headroom_into_the_budget() -> None:
    before, after = terms("0.19.0"), terms("0.21.0")
    assert after.outside_kv_bytes(2048, 8)[0] - before.outside_kv_bytes(2048, 8)[0] == 34_000_000
    assert after.headroom_needed_bytes(2048, 8) == 500_000_000
    assert before.headroom_needed_bytes(2048, 8) == 534_000_000, "V1 warms the sampler up beside its graphs"
    assert before.headroom_needed_bytes(100, 8) == 534_000_000
    assert after.headroom_needed_bytes(100, 8) == 500_000_000
    eager = terms("0.19.0", enforce_eager=True)
    assert eager.headroom_needed_bytes(100, 8) == 500_000_000


def test_a_pool_in_bytes_or_blocks_replaces_the_budget() -> None:
    found = terms()
    by_bytes = flags(kv_cache_memory_bytes=3 * BLOCK - 1)
    assert found.available_kv_bytes(by_bytes) == (3 * BLOCK - 1,)
    assert found.num_gpu_blocks(by_bytes) == 2
    by_blocks = flags(num_gpu_blocks_override=777, kv_cache_memory_bytes=3 * BLOCK)
    assert found.available_kv_bytes(by_blocks) == (777 * BLOCK,)
    assert found.num_gpu_blocks(by_blocks) == 777
    assert found.num_gpu_blocks(by_blocks, 0.99) == 777


def test_offloaded_weights_leave_room_up_to_their_own_size() -> None:
    found, plain = terms(), 55_417_123_073
    assert found.available_kv_bytes(flags(cpu_offload_gib=4.0)) == (plain + 4 * GIB,)
    assert found.available_kv_bytes(flags(cpu_offload_gib=0.3)) == (plain + 322_122_547,), "0.3 GiB rounded down"
    assert found.available_kv_bytes(flags(cpu_offload_gib=100.0)) == (plain + 16_060_522_496,)


@pytest.mark.parametrize(
    ("version", "tier", "tokens"),
    [
        ("0.33.0", {"kv_offloading_size_gib": 8.0}, 8 * 8192),
        ("0.33.0", {"kv_offloading_size_gib": 0.0001}, 0),
        ("0.33.0", {"swap_space_gib": 8.0}, 0),
        ("0.11.0", {"swap_space_gib": 8.0}, 0),
        ("0.11.0", {"kv_offloading_size_gib": 8.0}, 0),
        ("0.7.3", {"swap_space_gib": 4.0}, 4 * 8192),
        ("0.7.3", {"swap_space_gib": 0.0}, 0),
        ("0.33.0", {}, 0),
    ],
)
def test_the_host_tier_holds_131072_bytes_per_token(version: str, tier: dict[str, object], tokens: int) -> None:
    assert terms(version).host_tier_tokens(flags(**tier)) == tokens


def test_swap_space_is_per_gpu_and_offloading_over_all_ranks() -> None:
    offloaded = terms(tensor_parallel_size=2).host_tier_tokens(flags(kv_offloading_size_gib=8.0))
    swapped = terms("0.7.3", tensor_parallel_size=2).host_tier_tokens(flags(swap_space_gib=4.0))
    assert offloaded == 8 * GIB // (65_536 * 2) == 65_536
    assert swapped == 4 * GIB // 65_536 == 65_536


def test_pipeline_stages_have_their_own_sums_and_the_smallest_pool_decides() -> None:
    found = terms(pipeline_parallel_size=2)
    first, last = 2 * (EMBEDDING + 16 * LAYER), 2 * (EMBEDDING + 16 * LAYER + 4096)
    assert found.stages == 2
    assert found.weights == (first, last)
    assert found.kv.block_bytes == (BLOCK // 2, BLOCK // 2)
    shared = ROPE_TABLE + NON_TORCH + GRAPHS
    assert found.outside_kv_bytes(2048, 300) == (first + 204_800_000 + shared, last + 300_000_000 + shared)
    available = tuple(72_000_000_001 - rest for rest in found.outside_kv_bytes(2048, 300))
    assert found.blocks_by_stage(flags(max_num_seqs=300)) == tuple(left // (BLOCK // 2) for left in available)
    assert found.num_gpu_blocks(flags(max_num_seqs=300)) == available[1] // (BLOCK // 2)
    assert found.available_kv_bytes(flags(kv_cache_memory_bytes=GIB)) == (GIB, GIB)


def test_a_stage_without_cache_never_decides() -> None:
    found = terms(pipeline_parallel_size=2)
    stateless = replace(found, kv=replace(found.kv, block_bytes=(0, BLOCK)))
    assert stateless.blocks_by_stage(flags(kv_cache_memory_bytes=10 * BLOCK)) == (2**31, 10)
    assert stateless.num_gpu_blocks(flags(kv_cache_memory_bytes=10 * BLOCK)) == 10


def test_what_does_not_fit_leaves_no_block() -> None:
    small = replace(terms(), total_bytes=16_000_000_000)
    assert small.available_kv_bytes(flags()) == (14_400_000_000 - 16_582_876_928,)
    assert small.num_gpu_blocks(flags()) == 0


def test_demand_rises_with_confidence_and_rounds_up() -> None:
    found = terms()
    assert found.activation_bytes(2048, 8, 0.95) == (math.ceil(204_800_000 * (1 + QUANTILE * 0.1)),)
    assert found.graph_bytes(2048, 8, 0.95) == math.ceil(34_000_000 * (1 + QUANTILE * 0.2))
    upper = 16_094_076_928 + 238_486_603 + 266_448_537 + 45_185_005
    assert found.outside_kv_bytes(2048, 8, 0.95) == (upper,)
    assert found.available_kv_bytes(flags(), 0.95) == (72_000_000_001 - upper,)
    assert found.headroom_needed_bytes(2048, 8, 0.95) == 500_000_000 + math.ceil(QUANTILE * 20_000_000)
    assert found.outside_kv_bytes(2048, 8, 0.5) == found.outside_kv_bytes(2048, 8)
    assert found.outside_kv_bytes(2048, 8, 0.1) == found.outside_kv_bytes(2048, 8)


def test_supply_rounds_down_to_whole_blocks() -> None:
    found = terms()
    for left, blocks in ((5 * BLOCK - 1, 4), (5 * BLOCK, 5), (5 * BLOCK + 1, 5)):
        assert found.num_gpu_blocks(flags(kv_cache_memory_bytes=left)) == blocks


def test_the_null_block_is_held_back_where_the_release_says() -> None:
    assert (terms("0.33.0").null_blocks, terms("0.21.0").null_blocks) == (1, 0)
    assert terms("0.33.0").kv.startup_blocks(8192, 2048) == 1 + 8192 // 16
    assert terms("0.21.0").kv.startup_blocks(8192, 2048) == 8192 // 16
