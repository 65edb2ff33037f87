"""KV-cache planning by hand: pages, groups, blocks per request, and what older releases do otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import LayoutRefused
from vllm_opt.constraints.kv.groups import CacheLayer, group_layers, promote_windows
from vllm_opt.constraints.kv.kv_plan import KvPlan, plan_kv_cache
from vllm_opt.constraints.kv.pages import (
    head_row_bytes,
    indexer_token_bytes,
    kv_heads_per_rank,
    latent_token_bytes,
    state_bytes,
)
from vllm_opt.constraints.memory import startup_errors
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, LatentAttention, ModelProfile, StateSpace

CATALOG = Catalog()
H100 = CATALOG.gpu("h100-sxm")
GIB = 2**30


def _engine(version: str, engine: str | None = None) -> EngineProfile:
    profile, _ = CATALOG.engine(version, engine)  # type: ignore[arg-type]
    return profile


NOW = _engine("0.33")


def _attention(kv_heads: int, head_dim: int, window: int | None = None) -> DecoderLayer:
    return DecoderLayer(
        mixer=Attention(
            kind="sliding_window" if window else "full",
            num_attention_heads=32,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            v_head_dim=head_dim,
            window_tokens=window,
        )
    )


def _model(kinds: tuple[DecoderLayer, ...], pattern: tuple[int, ...], model_type: str = "llama") -> ModelProfile:
    return ModelProfile(
        id="test",
        model_type=model_type,
        architecture="LlamaForCausalLM",
        hidden_size=4096,
        vocab_size=128_256,
        max_model_len=131_072,
        layer_kinds=kinds,
        layer_pattern=pattern,
        final_norm_parameters=4096,
    )


LLAMA_8B = _model((_attention(8, 128),), (0,) * 32)
GEMMA_27B = _model((_attention(16, 128, 1024), _attention(16, 128)), tuple(1 if i % 6 == 5 else 0 for i in range(62)))
LATENT = LatentAttention(
    num_attention_heads=128,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    q_lora_rank=1536,
)
DEEPSEEK = _model((DecoderLayer(mixer=LATENT),), (0,) * 61)


def _plan(model: ModelProfile, engine: EngineProfile = NOW, **layout: object) -> KvPlan:
    return plan_kv_cache(model, Layout(gpu="h100-sxm", **layout), engine, H100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dtype", "bytes_per_head"),
    [
        ("auto", 512),
        ("bfloat16", 512),
        ("fp8", 256),
        ("fp8_e5m2", 256),
        ("int8_per_token_head", 256 + 8),
        ("fp8_per_token_head", 256 + 8),
        ("int4_per_token_head", 128 + 8),
        ("nvfp4", 144),
        ("turboquant_k8v4", 128 + 64 + 4),
        ("turboquant_4bit_nc", 64 + 2 + 64 + 4),
        ("turboquant_k3v4_nc", 48 + 2 + 64 + 4),
        ("turboquant_3bit_nc", 48 + 2 + 48 + 4),
    ],
)
def test_row_of_one_head_of_128(dtype: str, bytes_per_head: int) -> None:
    assert head_row_bytes(128, 128, dtype) == bytes_per_head


def test_unequal_value_head_and_float32() -> None:
    assert head_row_bytes(192, 128, "auto") == 640
    assert head_row_bytes(128, 128, "auto", element_bytes=4) == 1024


def test_unknown_dtype_is_an_error_not_sixteen_bits() -> None:
    with pytest.raises(KeyError):
        head_row_bytes(128, 128, "fp6")


@pytest.mark.parametrize(
    ("kv_heads", "ranks", "held"), [(8, 1, 8), (8, 2, 4), (8, 8, 1), (8, 16, 1), (1, 4, 1), (10, 2, 5)]
)
def test_heads_are_replicated_never_halved(kv_heads: int, ranks: int, held: int) -> None:
    assert kv_heads_per_rank(kv_heads, ranks) == held


def test_latent_rows() -> None:
    assert latent_token_bytes(LATENT, "auto") == 1152
    assert latent_token_bytes(LATENT, "fp8") == 576
    assert latent_token_bytes(LATENT, "fp8_ds_mla") == 656
    sparse = LATENT.model_copy(update={"index_head_dim": 128, "index_n_heads": 64})
    assert indexer_token_bytes(sparse) == 132
    assert indexer_token_bytes(LATENT) == 0


def test_state_of_gated_delta_net_on_four_ranks() -> None:
    # Qwen3-Next: conv 3 x (2*2048 + 4096) / 4 x 2 bytes, matrix 8 x 128 x 128 x 2 bytes.
    mixer = StateSpace(kind="gated_delta_net", num_heads=32, head_dim=128, state_size=128, num_groups=16, conv_kernel=4)
    assert state_bytes(mixer, 4) == 3 * 2048 * 2 + 8 * 128 * 128 * 2 == 274_432


def test_state_of_mamba2_enlarges_its_groups() -> None:
    mixer = StateSpace(kind="mamba2", num_heads=8, head_dim=64, state_size=16, num_groups=1, conv_kernel=4)
    assert state_bytes(mixer, 4) == 3 * (512 + 2 * 4 * 16) // 4 * 2 + 2 * 64 * 16 * 2


def test_llama_8b() -> None:
    plan = _plan(LLAMA_8B)
    assert plan.block_size == 16
    assert plan.block_bytes == (2 * 2**20,)
    assert plan.bytes_per_token == (131_072,)
    assert plan.blocks_per_request(8192, 8192) == 512
    assert plan.startup_blocks(8192, 8192) == 513
    assert plan.num_gpu_blocks(GIB) == 512
    assert plan.max_supported_model_len(512, 8192, 131_072) == 511 * 16
    assert plan.printed_tokens(513, 8192, 8192) == 8208


def test_whole_blocks_make_printed_tokens_depend_on_length() -> None:
    plan = _plan(LLAMA_8B, block_size=64)
    assert plan.blocks_per_request(10_000, 8192) == 157
    assert plan.printed_tokens(1536, 10_000, 8192) == 97_834


def test_pipeline_stage_with_most_layers_counts() -> None:
    plan = _plan(_model((_attention(8, 128),), (0,) * 80), pipeline_parallel_size=3)
    assert plan.block_bytes == (27 * 65_536, 27 * 65_536, 26 * 65_536)
    assert plan.num_gpu_blocks((27 * 65_536 * 10, 27 * 65_536 * 12, 26 * 65_536 * 9)) == 9


def test_windows_reserve_batches_in_flight() -> None:
    # 52 windowed and 10 full layers: groups of 10, so six windowed groups beside one full group.
    plan = _plan(GEMMA_27B, tensor_parallel_size=2)
    assert [group.num_layers for group in plan.groups] == [9, 9, 9, 9, 8, 8, 10]
    windowed = -(-(1023 + 2 * 8192) // 16) + 1
    assert windowed == 1089
    assert plan.blocks_per_request(131_072, 8192) == 6 * windowed + 8192
    slow = _plan(GEMMA_27B, tensor_parallel_size=2, async_scheduling=False)
    assert slow.blocks_per_request(131_072, 2048) == 6 * 193 + 8192


def test_without_hybrid_manager_windows_cost_as_much_as_full_layers() -> None:
    plan = _plan(GEMMA_27B, disable_hybrid_kv_cache_manager=True)
    assert len(plan.groups) == 1
    assert plan.block_bytes == (62 * 131_072,)
    assert plan.blocks_per_request(131_072, 8192) == 8192


def test_older_releases_reserve_one_batch_and_check_layers() -> None:
    plan = _plan(GEMMA_27B, _engine("0.11.0"))
    windowed = -(-(1023 + 8192) // 16) + 1
    assert plan.blocks_per_request(131_072, 8192) == 6 * windowed + 8192
    # The check sums the layers' own pages: 52 windowed and 10 full, in a pool of 10 layers' pages.
    assert plan.startup_blocks(131_072, 8192) == -(-(52 * windowed + 10 * 8192) // 10)
    assert plan.printed_tokens(70_001, 131_072, 8192) == 10_000 * 16


def test_release_085_prints_the_pool() -> None:
    plan = _plan(LLAMA_8B, _engine("0.8.5", "v1"))
    assert plan.startup_blocks(8192, 8192) == 512
    assert plan.printed_tokens(1000, 8192, 8192) == 16_000
    assert plan.max_concurrency(1000, 8192, 8192) == 16_000 / 8192


def test_v0_compares_the_length_with_the_pool_of_one_stage() -> None:
    plan = _plan(LLAMA_8B, _engine("0.6.6"), pipeline_parallel_size=2)
    assert plan.startup_blocks(8192, 8192) == 1024
    assert plan.printed_tokens(1000, 8192, 8192) == 16_000


def test_latent_cache_by_release() -> None:
    assert _plan(DEEPSEEK, tensor_parallel_size=8).block_bytes == (61 * 16 * 1152,)
    flash_mla = _plan(DEEPSEEK, tensor_parallel_size=8, kv_cache_dtype="fp8")
    assert (flash_mla.block_size, flash_mla.block_bytes) == (64, (61 * 64 * 576,))
    assert _plan(DEEPSEEK, _engine("0.11.0")).block_size == 64
    # 0.7.3 padded 576 elements to 640; 0.6.6 kept keys and values of every head, 256 wide.
    assert _plan(DEEPSEEK, _engine("0.7.3")).bytes_per_token == (78_080,)
    assert _plan(DEEPSEEK, _engine("0.6.6"), tensor_parallel_size=16, nodes=2).bytes_per_token == (
        61 * 8 * 2 * 256 * 2,
    )


def test_decode_context_parallel_shards_tokens() -> None:
    plan = _plan(DEEPSEEK, tensor_parallel_size=8, decode_context_parallel_size=8, block_size=64)
    assert plan.blocks_per_request(32_768, 8192) == 64
    assert plan.bytes_per_token == (61 * 1152 // 8,)


def test_hybrid_block_holds_a_state() -> None:
    state = DecoderLayer(
        mixer=StateSpace(
            kind="mamba2", num_heads=128, head_dim=64, state_size=128, num_groups=8, conv_kernel=4, ssm_dtype="float32"
        )
    )
    model = _model((state, _attention(8, 128)), (0,) * 24 + (1,) * 4)
    with_caching = _plan(model)
    # 3 x (8192 + 2048) x 2 + 8192 x 128 x 4 bytes of state in pages of 4096 bytes per token: 1040 tokens.
    assert with_caching.block_size == 16 * -(-(3 * 10_240 * 2 + 8192 * 128 * 4) // (16 * 4096)) == 1040
    assert with_caching.blocks_per_request(8192, 8192) == 6 * 3 + 8
    assert _plan(model, enable_prefix_caching=False).blocks_per_request(8192, 8192) == 6 + 8
    with pytest.raises(LayoutRefused, match="Failed to promote"):
        _plan(model, disable_hybrid_kv_cache_manager=True)


def test_smaller_pages_grow_their_block() -> None:
    model = _model((_attention(8, 128, 4096), _attention(4, 128)), (0, 1) * 12)
    plan = _plan(model, async_scheduling=False)
    assert plan.block_bytes == (12 * 65_536,)
    assert plan.blocks_per_request(8192, 2048) == (-(-(4095 + 2048) // 16) + 1) + 8192 // 32


def test_page_that_does_not_divide_is_padded() -> None:
    layers = [CacheLayer("full", 16, 48_000, (6,), own_bytes=48_000)] * 2
    layers += [CacheLayer("sliding_window", 16, 64_000, (8,), window_tokens=128, own_bytes=64_000)] * 2
    groups = group_layers(layers, [range(4)])
    assert {group.layer.page_bytes for group in groups} == {64_000}
    latent = [CacheLayer("latent", 16, 48_000, (6,), own_bytes=48_000), *layers[2:]]
    with pytest.raises(LayoutRefused, match="does not divide"):
        group_layers(latent, [range(3)])


def test_layers_of_one_kind_are_dealt_round_robin() -> None:
    full = CacheLayer("full", 16, 1000, own_bytes=1000)
    window = CacheLayer("sliding_window", 16, 1000, window_tokens=64, own_bytes=1000)
    groups = group_layers([full, window, window, full, window, window], [range(3), range(3, 6)])
    assert [group.stage_bytes for group in groups] == [(1000, 1000), (1000, 1000), (1000, 1000)]


def test_uniform_windows_stay_windows_without_hybrid_manager() -> None:
    window = CacheLayer("sliding_window", 16, 1000, window_tokens=64, own_bytes=1000)
    assert promote_windows([window, window]) == [window, window]


def test_turboquant_keeps_the_ends_unpacked() -> None:
    plan = _plan(LLAMA_8B, kv_cache_dtype="turboquant_4bit_nc")
    assert plan.block_size == 32
    assert plan.bytes_per_token == (4 * 8 * 512 + 28 * 8 * 134,) == (46_400,)


def test_gemma_on_turing_runs_in_float32() -> None:
    t4 = CATALOG.gpu("t4")
    gemma = GEMMA_27B.model_copy(update={"model_type": "gemma3_text"})
    assert plan_kv_cache(gemma, Layout(gpu="t4"), NOW, t4).block_bytes == (10 * 16 * 16 * 256 * 4,)
    assert plan_kv_cache(LLAMA_8B, Layout(gpu="t4"), NOW, t4).bytes_per_token == (131_072,)


def test_checkpoint_that_asks_for_fp8_keys_gets_them() -> None:
    model = CATALOG.model("nvidia/Llama-3.1-70B-Instruct-FP8")
    native = model.native_quantization
    assert native is not None
    assert native.kv_cache_dtype is not None
    plan = _plan(model, quantization=native.quantization, tensor_parallel_size=8)
    assert plan.bytes_per_token == (80 * 256,)
    assert _plan(model, quantization="bf16", tensor_parallel_size=8).bytes_per_token == (80 * 512,)
    old = _plan(model, _engine("0.11.0"), quantization=native.quantization, tensor_parallel_size=8)
    assert old.bytes_per_token == (80 * 512,)


@given(
    length=st.integers(1, 131_072),
    tokens=st.sampled_from([256, 2048, 8192]),
    blocks=st.integers(0, 40_000),
    model=st.sampled_from([LLAMA_8B, GEMMA_27B, DEEPSEEK]),
)
def test_longest_length_is_the_longest_that_starts(length: int, tokens: int, blocks: int, model: ModelProfile) -> None:
    plan = _plan(model)
    longest = plan.max_supported_model_len(blocks, tokens, length)
    assert 0 <= longest <= length
    if longest:
        assert plan.startup_blocks(longest, tokens) <= blocks
    if longest < length:
        assert plan.startup_blocks(longest + 1, tokens) > blocks


@given(st.integers(1, 131_000), st.sampled_from([LLAMA_8B, GEMMA_27B, DEEPSEEK]))
def test_longer_requests_never_take_fewer_blocks(length: int, model: ModelProfile) -> None:
    plan = _plan(model)
    assert plan.blocks_per_request(length, 8192) <= plan.blocks_per_request(length + 1, 8192)


def test_refusals_in_the_words_of_each_release() -> None:
    gib = GIB
    assert startup_errors.kv_cache_refusal(_plan(LLAMA_8B), (gib + 2**21,), 8192, 8192) is None
    text = startup_errors.kv_cache_refusal(_plan(LLAMA_8B), (gib,), 8192, 8192)
    assert text is not None
    assert "the model's max seq len (8192), (1.0 GiB KV cache is needed" in text
    assert "the estimated maximum model length is 8176. Try" in text
    old = startup_errors.kv_cache_refusal(_plan(LLAMA_8B, _engine("0.11.0")), (gib // 2,), 8192, 8192)
    assert old == (
        "To serve at least one request with the models's max seq len (8192), (1.00 GiB KV cache is needed, which is "
        "larger than the available KV cache memory (0.50 GiB). Based on the available memory, the estimated maximum "
        "model length is 4096. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing "
        "the engine."
    )
    v0 = startup_errors.kv_cache_refusal(_plan(LLAMA_8B, _engine("0.6.6")), (gib // 2,), 8192, 8192)
    assert v0 == (
        "The model's max seq len (8192) is larger than the maximum number of tokens that can be stored in KV cache "
        "(4096). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
    )
    assert startup_errors.kv_cache_refusal(_plan(LLAMA_8B), (0,), 8192, 8192) == startup_errors.no_cache_memory(NOW)


def test_free_memory_text() -> None:
    assert startup_errors.free_memory_below_request(70 * GIB, 80 * GIB, 0.92, 79_027_000_000).startswith(
        "Free memory on device cuda:0 (70.0/80.0 GiB) on startup is less than desired GPU memory utilization "
        "(0.92, 73.6 GiB)."
    )


def test_length_above_derived_text() -> None:
    assert "(200000) is greater than the derived max_model_len (max_position_embeddings=131072.0" in (
        startup_errors.length_above_derived(200_000, 131_072, NOW)
    )
