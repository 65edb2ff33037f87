"""Backend choice by GPU, head size, KV dtype and block size, and the block size that follows."""

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import LayoutRefused
from vllm_opt.constraints.kv.attention_backend import (
    AttentionNeed,
    check_mixed_layouts,
    choose_backend,
    preferred_block_size,
)
from vllm_opt.constraints.kv.attention_backends import (
    FLASH_ATTN,
    FLASHINFER,
    FLASHINFER_MLA,
    INDEXER,
    TRITON_ATTN,
    TURBOQUANT,
    AttentionBackend,
)
from vllm_opt.constraints.kv.kv_plan import plan_kv_cache
from vllm_opt.profiles.catalogues.catalog import Catalog

HOPPER, AMPERE, ADA, BLACKWELL, TURING, GEFORCE = (9, 0), (8, 0), (8, 9), (10, 0), (7, 5), (12, 0)


@pytest.mark.parametrize(
    ("capability", "head_size", "dtype", "sinks", "name"),
    [
        (HOPPER, 128, "auto", False, "FLASH_ATTN"),
        (HOPPER, 128, "fp8", False, "FLASH_ATTN"),
        (HOPPER, 128, "fp8_e5m2", False, "TRITON_ATTN"),
        (HOPPER, 64, "auto", True, "FLASH_ATTN"),
        (HOPPER, 128, "int8_per_token_head", False, "TRITON_ATTN"),
        (HOPPER, 100, "auto", False, "TRITON_ATTN"),
        (HOPPER, 128, "turboquant_k8v4", False, "TURBOQUANT"),
        (AMPERE, 128, "auto", False, "FLASH_ATTN"),
        (AMPERE, 64, "auto", True, "TRITON_ATTN"),
        (AMPERE, 512, "auto", False, "TRITON_ATTN"),
        (ADA, 128, "fp8", False, "TRITON_ATTN"),
        (TURING, 128, "auto", False, "TRITON_ATTN"),
        (BLACKWELL, 128, "auto", False, "FLASHINFER"),
        (BLACKWELL, 128, "nvfp4", False, "FLASHINFER"),
        (BLACKWELL, 96, "fp8", False, "FLASH_ATTN"),
        (BLACKWELL, 192, "fp8", False, "TRITON_ATTN"),
        (GEFORCE, 128, "auto", False, "FLASH_ATTN"),
        (None, 128, "fp8", False, "TRITON_ATTN"),
    ],
)
def test_choice(capability: tuple[int, int] | None, head_size: int, dtype: str, *, sinks: bool, name: str) -> None:
    need = AttentionNeed(head_size=head_size, kv_cache_dtype=dtype, capability=capability, sinks=sinks)
    assert choose_backend(need).name == name


@pytest.mark.parametrize(
    ("capability", "dtype", "block_size", "name", "resolved"),
    [
        (HOPPER, "auto", None, "FLASH_ATTN_MLA", 16),
        (HOPPER, "fp8", None, "FLASHMLA", 64),
        (HOPPER, "fp8", 128, "FLASHMLA", 128),
        (BLACKWELL, "auto", None, "FLASHINFER_MLA", 32),
        (BLACKWELL, "auto", 16, "TRITON_MLA", 16),
        (AMPERE, "auto", None, "TRITON_MLA", 16),
        (GEFORCE, "auto", None, "TRITON_MLA", 16),
    ],
)
def test_latent_choice(
    capability: tuple[int, int], dtype: str, block_size: int | None, name: str, resolved: int
) -> None:
    need = AttentionNeed(head_size=576, kv_cache_dtype=dtype, capability=capability, block_size=block_size, latent=True)
    backend = choose_backend(need)
    assert backend.name == name
    assert (block_size or preferred_block_size((backend,), 16)) == resolved


def test_flashinfer_mla_needs_its_key_widths() -> None:
    need = AttentionNeed(head_size=576, kv_cache_dtype="auto", capability=BLACKWELL, latent=True, qk_nope_head_dim=100)
    assert choose_backend(need).name == "CUTLASS_MLA"


def test_sparse_choice_and_the_block_it_shares_with_its_indexer() -> None:
    hopper = AttentionNeed(head_size=576, kv_cache_dtype="auto", capability=HOPPER, latent=True, sparse=True)
    assert choose_backend(hopper).name == "FLASHMLA_SPARSE"
    blackwell = AttentionNeed(
        head_size=576, kv_cache_dtype="fp8", capability=BLACKWELL, latent=True, sparse=True, query_heads=128
    )
    backend = choose_backend(blackwell)
    assert backend.name == "FLASHINFER_MLA_SPARSE"
    assert preferred_block_size((backend, INDEXER), 16) == 64
    with pytest.raises(LayoutRefused, match="compute capability not supported"):
        choose_backend(AttentionNeed(head_size=576, kv_cache_dtype="auto", capability=AMPERE, latent=True, sparse=True))


@pytest.mark.parametrize(("block_size", "accepted"), [(8, False), (16, True), (24, False), (48, True), (256, True)])
def test_explicit_block_size_on_hopper(block_size: int, *, accepted: bool) -> None:
    need = AttentionNeed(head_size=128, kv_cache_dtype="auto", capability=HOPPER, block_size=block_size)
    if accepted:
        assert choose_backend(need) is FLASH_ATTN
        return
    with pytest.raises(LayoutRefused, match="block_size not supported") as refusal:
        choose_backend(need)
    assert refusal.value.violation.rule == "compatibility"


def test_nvfp4_needs_blackwell() -> None:
    with pytest.raises(LayoutRefused, match="No valid attention backend found for cuda"):
        choose_backend(AttentionNeed(head_size=128, kv_cache_dtype="nvfp4", capability=HOPPER))


def test_context_parallel_leaves_triton_out() -> None:
    with pytest.raises(LayoutRefused, match="DCP not supported"):
        choose_backend(AttentionNeed(head_size=128, kv_cache_dtype="auto", capability=TURING, context_parallel=True))


def test_images_that_attend_both_ways() -> None:
    def backend(capability: tuple[int, int], head_size: int) -> str:
        need = AttentionNeed(
            head_size=head_size, kv_cache_dtype="auto", capability=capability, bidirectional_images=True
        )
        return choose_backend(need).name

    assert backend(BLACKWELL, 256) == "TRITON_FLASHINFER"
    assert backend(BLACKWELL, 128) == "FLASH_ATTN"
    assert backend(AMPERE, 128) == "TRITON_ATTN"


def test_large_pages_need_grouped_queries_on_blackwell() -> None:
    need = AttentionNeed(head_size=128, kv_cache_dtype="auto", capability=BLACKWELL, query_heads=32)
    assert choose_backend(need, kv_heads=8).largest_kernel_block(256) == 256
    assert choose_backend(need, kv_heads=32).largest_kernel_block(256) == 64


@pytest.mark.parametrize(
    ("backend", "within", "largest"), [(TRITON_ATTN, 40, 32), (TRITON_ATTN, 8, 16), (FLASHINFER, 40, 32)]
)
def test_largest_kernel_block(backend: AttentionBackend, within: int, largest: int) -> None:
    assert backend.largest_kernel_block(within) == largest


def test_backends_without_a_common_block_are_refused() -> None:
    odd = AttentionBackend("ODD", frozenset({"auto"}), (7,))
    assert preferred_block_size((odd, FLASHINFER_MLA), 16) == 7 * 32
    with pytest.raises(LayoutRefused, match="No KV cache layout"):
        check_mixed_layouts((TURBOQUANT, FLASHINFER))


def test_fp8_on_ampere_is_served_by_flashinfer() -> None:
    assert choose_backend(AttentionNeed(head_size=128, kv_cache_dtype="fp8", capability=(8, 0))) is FLASHINFER
    assert choose_backend(AttentionNeed(head_size=128, kv_cache_dtype="auto", capability=(8, 0))) is FLASH_ATTN


def test_fp8_on_volta_is_refused_in_triton_words() -> None:
    catalog = Catalog()
    gpu = catalog.gpu("v100")
    engine, _ = catalog.engine("0.33")
    model = catalog.model("meta-llama/Llama-3.1-8B-Instruct")
    with pytest.raises(LayoutRefused, match=r"\(compute capability 7\.0\); native FP8 \(fp8e4nv\) requires SM89\+"):
        plan_kv_cache(model, Layout(gpu=gpu.id, kv_cache_dtype="fp8"), engine, gpu)
