"""The attention backends of vLLM: KV dtypes they read, kernel block sizes they have.

Source: vLLM 0.33 `v1/attention/backends/*.py` and `backends/mla/*.py`: `supported_kv_cache_dtypes`,
`get_supported_kernel_block_sizes`, `supports_dcp`.
"""

from dataclasses import dataclass

from vllm_opt.constraints.kv.pages import TURBOQUANT_BITS

HALF_DTYPES = frozenset({"auto", "float16", "bfloat16"})
FP8_DTYPES = frozenset({"fp8", "fp8_e4m3"})
PER_TOKEN_HEAD_DTYPES = frozenset({"int4_per_token_head", "int8_per_token_head", "fp8_per_token_head"})


@dataclass(frozen=True)
class AttentionBackend:
    """One backend: the KV dtypes it reads and the kernel block sizes it has."""

    name: str
    kv_cache_dtypes: frozenset[str]
    kernel_block_sizes: tuple[int, ...]
    any_multiple: bool = False
    latent: bool = False
    sparse: bool = False
    context_parallel: bool = True

    def supports_block_size(self, block_size: int) -> bool:
        """Tell whether a block is a whole number of some kernel block."""
        return any(block_size % size == 0 for size in self.kernel_block_sizes)

    def largest_kernel_block(self, within: int) -> int:
        """Return the largest kernel block of at most `within` tokens, or the smallest there is."""
        if self.any_multiple:
            return max(max(size, within // size * size) for size in self.kernel_block_sizes)
        fitting = [size for size in self.kernel_block_sizes if size <= within]
        return max(fitting) if fitting else min(self.kernel_block_sizes)


FLASH_ATTN = AttentionBackend("FLASH_ATTN", HALF_DTYPES | FP8_DTYPES, (16,), any_multiple=True)
FLASH_ATTN_512 = AttentionBackend("FLASH_ATTN", HALF_DTYPES | FP8_DTYPES, (64,))
FLASHINFER_DTYPES = HALF_DTYPES | FP8_DTYPES | {"fp8_e5m2", "nvfp4", "nvfp4_4over6"}
FLASHINFER = AttentionBackend("FLASHINFER", FLASHINFER_DTYPES, (16, 32, 64))
FLASHINFER_LARGE_PAGES = AttentionBackend("FLASHINFER", FLASHINFER_DTYPES, (16, 32, 64, 128, 256, 512, 1024))
TRITON_ATTN = AttentionBackend(
    "TRITON_ATTN",
    HALF_DTYPES | FP8_DTYPES | {"fp8_e5m2"} | PER_TOKEN_HEAD_DTYPES,
    (16,),
    any_multiple=True,
    context_parallel=False,
)
TRITON_FLASHINFER = AttentionBackend("TRITON_FLASHINFER", HALF_DTYPES | FP8_DTYPES | {"fp8_e5m2"}, (64,))
TURBOQUANT = AttentionBackend("TURBOQUANT", frozenset(TURBOQUANT_BITS), (16, 32, 64, 128), context_parallel=False)
UNEQUAL_HEADS = AttentionBackend("FLASH_ATTN_DIFFKV", HALF_DTYPES | FP8_DTYPES, (16,), any_multiple=True)
"""Chosen by the model itself where value heads differ from key heads (`models/mimo_v2.py`)."""

FLASH_ATTN_MLA = AttentionBackend("FLASH_ATTN_MLA", HALF_DTYPES, (16,), any_multiple=True, latent=True)
FLASHMLA = AttentionBackend("FLASHMLA", HALF_DTYPES | FP8_DTYPES, (64,), latent=True)
FLASHINFER_MLA = AttentionBackend("FLASHINFER_MLA", HALF_DTYPES | FP8_DTYPES, (32, 64), latent=True)
CUTLASS_MLA = AttentionBackend("CUTLASS_MLA", HALF_DTYPES | FP8_DTYPES, (128,), latent=True)
TRITON_MLA = AttentionBackend("TRITON_MLA", HALF_DTYPES | FP8_DTYPES, (16,), any_multiple=True, latent=True)
FLASHMLA_SPARSE = AttentionBackend(
    "FLASHMLA_SPARSE",
    frozenset({"auto", "bfloat16", "fp8_ds_mla", "fp8", "nvfp4_ds_mla"}),
    (64,),
    any_multiple=True,
    latent=True,
    sparse=True,
)
FLASHINFER_MLA_SPARSE = AttentionBackend(
    "FLASHINFER_MLA_SPARSE", HALF_DTYPES | FP8_DTYPES, (32,), any_multiple=True, latent=True, sparse=True
)
INDEXER = AttentionBackend("DEEPSEEK_V32_INDEXER", frozenset({"auto"}), (64,), latent=True, sparse=True)

BLOCK_SELECTOR = AttentionBackend("MINIMAX_M3_SPARSE", frozenset({"auto"}), (128,))
"""The sparse attention of MiniMax M3 and its selector (`models/minimax_m3/common/`, vLLM 0.33)."""


def any_backend(*, latent: bool) -> AttentionBackend:
    """Return the backend that stands for engines whose choice restricts neither block size nor KV dtype (V0)."""
    return TRITON_MLA if latent else TRITON_ATTN
