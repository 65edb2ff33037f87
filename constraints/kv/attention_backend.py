"""Which attention backend vLLM picks for a layer, and the block size that follows.

Sources: vLLM 0.33 `platforms/cuda.py:_get_backend_priorities`, `platforms/interface.py:update_block_size_for_backend`
and the `supports_*` methods of `v1/attention/backends`.
"""

from dataclasses import dataclass, replace
from itertools import product
from math import lcm

from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.kv.attention_backends import (
    CUTLASS_MLA,
    FLASH_ATTN,
    FLASH_ATTN_512,
    FLASH_ATTN_MLA,
    FLASHINFER,
    FLASHINFER_LARGE_PAGES,
    FLASHINFER_MLA,
    FLASHINFER_MLA_SPARSE,
    FLASHMLA,
    FLASHMLA_SPARSE,
    FP8_DTYPES,
    TRITON_ATTN,
    TRITON_FLASHINFER,
    TRITON_MLA,
    TURBOQUANT,
    UNEQUAL_HEADS,
    AttentionBackend,
)
from vllm_opt.constraints.kv.pages import is_quantized

Capability = tuple[int, int]

CUSTOM = "CUSTOM"
"""vLLM's name for a backend that somebody registers (`v1/attention/backends/registry.py:AttentionBackendEnum`)."""
HOPPER: Capability = (9, 0)
"""Where every kind of layer has a backend: the cache of a registered one is taken to be laid out as there."""


@dataclass(frozen=True)
class AttentionNeed:
    """What one kind of layer asks of its backend."""

    head_size: int
    kv_cache_dtype: str
    capability: Capability | None
    block_size: int | None = None
    latent: bool = False
    sparse: bool = False
    sinks: bool = False
    sliding_window: bool = False
    context_parallel: bool = False
    query_heads: int = 0
    qk_nope_head_dim: int = 128
    index_topk: int = 0
    unequal_value_heads: bool = False
    bidirectional_images: bool = False
    backend: str | None = None
    """What `--attention-backend` names; None: the first in vLLM's order that accepts the layer."""


def _major(need: AttentionNeed) -> int:
    return need.capability[0] if need.capability is not None else 0


def _flash_attention(need: AttentionNeed) -> AttentionBackend | str:
    major = _major(need)
    if major < 8:
        return "compute capability not supported"
    if need.head_size % 8 or need.head_size > (512 if major in (9, 10, 11) else 256):
        return "head_size not supported"
    if need.sinks and major < 9:
        return "sink not supported on compute capability < 9.0"
    return _flash_attention_fp8(need) if is_quantized(need.kv_cache_dtype) else FLASH_ATTN


def _flash_attention_fp8(need: AttentionNeed) -> AttentionBackend | str:
    if need.kv_cache_dtype not in FP8_DTYPES:
        return "kv_cache_dtype not supported"
    if _major(need) == 9 and need.head_size == 512:
        return FLASH_ATTN_512
    widest = {9: 256, 10: 128}.get(_major(need), 0)
    if need.head_size <= widest:
        return FLASH_ATTN
    return "FP8 KV cache requires FA3 on SM90, FA4 with head_size=512 on SM90, or FA4 on SM100"


def _only_flashinfer_reads_fp8(need: AttentionNeed) -> bool:
    """Tell whether the card is Ampere with an fp8 cache: FlashAttention and Triton refuse it below 8.9.

    Source: vLLM 0.33 `v1/attention/backends/flashinfer.py:supports_compute_capability` (8.0 to 12.1); a real
    installation has FlashInfer, which is tried before Triton.
    """
    below = need.capability is not None and (8, 0) <= need.capability < (8, 9)
    return below and is_quantized(need.kv_cache_dtype)


def _flashinfer(need: AttentionNeed, kv_heads: int) -> AttentionBackend | str:
    major = _major(need)
    if need.head_size not in (64, 128, 256, 512):
        return "head_size not supported"
    if need.kv_cache_dtype not in FLASHINFER.kv_cache_dtypes:
        return "kv_cache_dtype not supported"
    if need.kv_cache_dtype.startswith("nvfp4") and major != 10:
        return "kv_cache_dtype not supported"
    if need.sinks and major < 9:
        return "sink not supported on compute capability < 9.0"
    if major != 10 and not _only_flashinfer_reads_fp8(need) and need.backend != FLASHINFER.name:
        return "preferred only on compute capability 10.x"
    large_pages = kv_heads > 0 and need.query_heads // kv_heads > 1
    return FLASHINFER_LARGE_PAGES if large_pages else FLASHINFER


def _triton(need: AttentionNeed) -> AttentionBackend | str:
    if need.head_size < 32:
        return "head_size not supported"
    if need.kv_cache_dtype not in TRITON_ATTN.kv_cache_dtypes:
        return "kv_cache_dtype not supported"
    return TRITON_ATTN


def _turboquant(need: AttentionNeed) -> AttentionBackend | str:
    if need.kv_cache_dtype not in TURBOQUANT.kv_cache_dtypes:
        return "kv_cache_dtype not supported"
    if need.sinks:
        return "attention sinks not supported"
    return "sliding window not supported" if need.sliding_window else TURBOQUANT


def _dense_candidates(need: AttentionNeed, kv_heads: int) -> list[tuple[str, AttentionBackend | str]]:
    if need.unequal_value_heads:
        accepted = need.kv_cache_dtype in UNEQUAL_HEADS.kv_cache_dtypes
        return [(UNEQUAL_HEADS.name, UNEQUAL_HEADS if accepted else "kv_cache_dtype not supported")]
    flash = ("FLASH_ATTN", _flash_attention(need))
    flashinfer = ("FLASHINFER", _flashinfer(need, kv_heads))
    if need.bidirectional_images and _major(need) != 9:
        return _image_candidates(need)
    first = [flashinfer, flash] if _major(need) == 10 else [flash, flashinfer]
    return [*first, ("TRITON_ATTN", _triton(need)), ("TURBOQUANT", _turboquant(need))]


def _image_candidates(need: AttentionNeed) -> list[tuple[str, AttentionBackend | str]]:
    """Return the backends that let image tokens attend both ways, off Hopper (where FlashAttention serves the rest)."""
    candidates: list[tuple[str, AttentionBackend | str]] = []
    if _major(need) == 10:
        accepted = need.head_size in (256, 512) and need.kv_cache_dtype in TRITON_FLASHINFER.kv_cache_dtypes
        candidates.append((TRITON_FLASHINFER.name, TRITON_FLASHINFER if accepted else "head_size not supported"))
        if need.head_size <= 128:
            candidates.append((FLASH_ATTN.name, _flash_attention(need)))
    return [*candidates, (TRITON_ATTN.name, _triton(need))]


def _latent_candidates(need: AttentionNeed) -> list[tuple[str, AttentionBackend | str]]:
    major = _major(need)
    if need.sparse:
        return _sparse_candidates(need)
    supported = {
        9: (FLASH_ATTN_MLA, FLASHMLA, TRITON_MLA),
        10: (FLASHINFER_MLA, CUTLASS_MLA, FLASHMLA, TRITON_MLA),
    }.get(major, (TRITON_MLA,))
    return [(backend.name, _latent_reason(backend, need)) for backend in supported]


def _latent_reason(backend: AttentionBackend, need: AttentionNeed) -> AttentionBackend | str:
    if need.kv_cache_dtype not in backend.kv_cache_dtypes:
        return "kv_cache_dtype not supported"
    if backend is FLASHINFER_MLA and need.qk_nope_head_dim not in (64, 128, 192):
        return f"FlashInfer MLA kernel requires qk_nope_head_dim in [64, 128, 192], but got {need.qk_nope_head_dim}"
    if backend in (FLASHMLA, CUTLASS_MLA, FLASHINFER_MLA) and need.head_size not in (320, 512, 576):
        return "head_size not supported"
    return backend


def _sparse_candidates(need: AttentionNeed) -> list[tuple[str, AttentionBackend | str]]:
    major = _major(need)
    if major == 10:
        flashinfer_first = is_quantized(need.kv_cache_dtype) or need.query_heads <= 16
        order = (
            [FLASHINFER_MLA_SPARSE, FLASHMLA_SPARSE] if flashinfer_first else [FLASHMLA_SPARSE, FLASHINFER_MLA_SPARSE]
        )
    elif major == 9:
        order = [FLASHMLA_SPARSE]
    else:
        return [("FLASHMLA_SPARSE", "compute capability not supported")]
    return [(backend.name, _latent_reason(backend, need)) for backend in order]


def _off_cuda(need: AttentionNeed) -> tuple[str, AttentionBackend | str]:
    """Return the Triton backends as the stand-in for AMD and Intel, whose own all take multiples of 16 tokens."""
    if need.latent:
        return ("TRITON_MLA", _latent_reason(TRITON_MLA, need))
    return ("TRITON_ATTN", _triton(need))


def _only(
    need: AttentionNeed, candidates: list[tuple[str, AttentionBackend | str]]
) -> list[tuple[str, AttentionBackend | str]]:
    """Return the candidates that the user named; one that serves no such layer here is refused with that reason."""
    named = [(name, backend) for name, backend in candidates if name == need.backend]
    kind = "latent attention" if need.latent else "attention"
    return named or [(str(need.backend)[:60], f"no backend for {kind} on this compute capability")]


def choose_backend(need: AttentionNeed, kv_heads: int = 0) -> AttentionBackend:
    """Return the first backend in vLLM's order that accepts the layer; a registered one is not checked.

    Raises:
        LayoutRefused: none accepts it; the message carries each backend's reason, as vLLM's does.
    """
    if need.backend == CUSTOM:
        need = replace(need, backend=None, capability=HOPPER)
    if need.capability is None:
        candidates: list[tuple[str, AttentionBackend | str]] = [_off_cuda(need)]
    else:
        candidates = _latent_candidates(need) if need.latent else _dense_candidates(need, kv_heads)
    reasons: list[str] = []
    if need.backend is not None:
        candidates = _only(need, candidates)
    for name, backend in candidates:
        if isinstance(backend, str):
            reasons.append(f"{name}: [{backend}]")
        elif need.block_size is not None and not backend.supports_block_size(need.block_size):
            reasons.append(f"{name}: [block_size not supported]")
        elif need.context_parallel and not backend.context_parallel:
            reasons.append(f"{name}: [DCP not supported]")
        else:
            _check_sparse_context_parallel(backend, need)
            return backend
    raise LayoutRefused(
        Violation(
            rule="compatibility",
            message=(
                f"No valid attention backend found for cuda with head_size={need.head_size}, "
                f"kv_cache_dtype={need.kv_cache_dtype}, block_size={need.block_size}, use_mla={need.latent}. "
                f"Reasons: {{{', '.join(reasons)}}}."
            ),
        )
    )


def _check_sparse_context_parallel(backend: AttentionBackend, need: AttentionNeed) -> None:
    if backend is FLASHMLA_SPARSE and need.context_parallel and not is_quantized(need.kv_cache_dtype):
        message = (
            "DCP for FlashMLA sparse requires an fp8_ds_mla kv-cache; the bf16 sparse path is not supported under DCP."
        )
        raise LayoutRefused(Violation(rule="compatibility", message=message))


def preferred_block_size(backends: tuple[AttentionBackend, ...], default: int) -> int:
    """Return the default block if every backend takes it, else the smallest size that all of them accept.

    Raises:
        LayoutRefused: the backends share no block size.
    """
    if all(backend.supports_block_size(default) for backend in backends):
        return default
    if len(backends) == 1:
        return min(backends[0].kernel_block_sizes)
    candidates = sorted({lcm(*sizes) for sizes in product(*(b.kernel_block_sizes for b in backends))})
    for candidate in candidates:
        if all(backend.supports_block_size(candidate) for backend in backends):
            return candidate
    names = ", ".join(backend.name for backend in backends)
    message = f"The attention backends share no supported KV cache block size ({names})."
    raise LayoutRefused(Violation(rule="compatibility", message=message))


def check_mixed_layouts(backends: tuple[AttentionBackend, ...]) -> None:
    """Refuse backends of one model that share no memory layout: FlashInfer on 10.x (LBHNC) beside TurboQuant (LBNHC).

    Raises:
        LayoutRefused: with the text of `v1/attention/backends/utils.py:get_supported_kv_cache_layouts`.
    """
    if TURBOQUANT in backends and any(backend.name == FLASHINFER.name for backend in backends):
        message = "No KV cache layout satisfies every supported set: [['LBHNC', 'BLHNC'], ['LBNHC']]."
        raise LayoutRefused(Violation(rule="compatibility", message=message))
