"""The block size that all attention layers of one layout agree on.

Source: vLLM 0.33 `platforms/interface.py:update_block_size_for_backend`: the backends' preferred size, then the hybrid
alignment (an attention page must hold a recurrent state), then the alignment of mixed KV dtypes.
"""

from dataclasses import dataclass
from functools import cached_property
from math import lcm

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.kv.attention_backend import preferred_block_size
from vllm_opt.constraints.kv.attention_backends import BLOCK_SELECTOR, INDEXER, AttentionBackend
from vllm_opt.constraints.kv.pages import attention_token_bytes, ceil_div, latent_token_bytes, state_bytes
from vllm_opt.constraints.kv.platform_blocks import platform_block_size
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import Attention, LatentAttention, ModelProfile, StateSpace

TokenMixer = Attention | LatentAttention
Backends = dict[TokenMixer, AttentionBackend]

GATED_DELTA_CHECKPOINT_TOKENS = 64
"""FlashInfer's gated-delta-net prefill exports states at multiples of this (`gdn_attn.py`)."""

FIRST_LAYER_KERNEL_TOKENS = 16
"""Smallest kernel block of the backends that serve layers left unpacked."""

LATENT_HYBRID_BLOCK_TOKENS = 128
"""Hybrid models with MLA keep blocks in multiples of this (`_align_hybrid_block_size`)."""


@dataclass(frozen=True)
class CacheContext:
    """One layout with everything that its cache depends on."""

    model: ModelProfile
    layout: Layout
    engine: EngineProfile
    gpu: GpuProfile
    kv_cache_dtype: str
    element_bytes: int

    @property
    def tp(self) -> int:
        """Tensor-parallel ranks."""
        return self.layout.tensor_parallel_size

    @cached_property
    def mixers(self) -> tuple[TokenMixer, ...]:
        """Distinct mixers with a cache per token."""
        used = set(self.model.layer_pattern)
        mixers = (self.model.layer_kinds[kind].mixer for kind in sorted(used))
        kept = (mixer for mixer in mixers if isinstance(mixer, Attention | LatentAttention))
        return tuple(mixer for mixer in kept if not isinstance(mixer, Attention) or mixer.causal)

    @cached_property
    def states(self) -> tuple[StateSpace, ...]:
        """Distinct mixers with a recurrent state."""
        mixers = (self.model.layer_kinds[kind].mixer for kind in sorted(set(self.model.layer_pattern)))
        return tuple(mixer for mixer in mixers if isinstance(mixer, StateSpace))

    @cached_property
    def first(self) -> TokenMixer:
        """The mixer that stands for the model's head sizes: the first one that keeps every token."""
        full = [mixer for mixer in self.mixers if not isinstance(mixer, Attention) or mixer.kind == "full"]
        return (full or list(self.mixers))[0]

    def token_bytes(self, mixer: TokenMixer, kv_cache_dtype: str) -> int:
        """Return bytes per token of one layer on one rank."""
        if isinstance(mixer, LatentAttention):
            return latent_token_bytes(mixer, kv_cache_dtype, self.element_bytes)
        return attention_token_bytes(mixer, kv_cache_dtype, self.tp, self.element_bytes)


def resolve_block_size(context: CacheContext, backends: Backends, mixed_dtypes: bool) -> int:
    """Return tokens per block of the attention layers.

    Raises:
        LayoutRefused: the backends share no block size, or the flag's value is no choice of the release.
    """
    default = context.engine.default_block_size
    if context.engine.attention_blocks == "platform":
        block_size = platform_block_size(context.mixers, context.layout, context.engine, context.gpu)
    elif not backends:
        return context.layout.block_size or default
    elif context.layout.block_size is not None:
        block_size = context.layout.block_size
        _check_block_selector(backends, block_size)
    else:
        block_size = preferred_block_size(_distinct_backends(backends), default)
    if context.states and backends and context.engine.hybrid_kv_cache:
        block_size = max(block_size, _hybrid_block_size(context, backends, block_size))
    if mixed_dtypes:
        block_size = max(block_size, _mixed_dtype_block_size(context, block_size))
    return block_size


def _distinct_backends(backends: Backends) -> tuple[AttentionBackend, ...]:
    distinct = dict.fromkeys(backends.values())
    if any(isinstance(mixer, LatentAttention) and mixer.index_head_dim is not None for mixer in backends):
        distinct[INDEXER] = None
    if any(isinstance(mixer, Attention) and mixer.index_head_dim is not None for mixer in backends):
        distinct[BLOCK_SELECTOR] = None
    return tuple(distinct)


def _check_block_selector(backends: Backends, block_size: int) -> None:
    if BLOCK_SELECTOR in _distinct_backends(backends) and not BLOCK_SELECTOR.supports_block_size(block_size):
        message = f"No common block size for {block_size}: {BLOCK_SELECTOR.name} has blocks of 128 only."
        raise LayoutRefused(Violation(rule="compatibility", message=message, needed=128, available=block_size))


def _hybrid_block_size(context: CacheContext, backends: Backends, block_size: int) -> int:
    """Return the smallest aligned block whose attention page holds the largest recurrent state."""
    mixer = context.first
    token = context.token_bytes(mixer, context.kv_cache_dtype)
    drafts = context.layout.speculation
    ahead = drafts.num_speculative_tokens if drafts is not None else 0
    state = max(state_bytes(state, context.tp, context.element_bytes, ahead) for state in context.states)
    smallest_kernel = min(backends[mixer].kernel_block_sizes)
    step = max(smallest_kernel, block_size)
    if isinstance(mixer, LatentAttention):
        step = max(step, LATENT_HYBRID_BLOCK_TOKENS)
    if context.layout.enable_prefix_caching:
        step = lcm(step, checkpoint_tokens(context))
    aligned = step * ceil_div(state, step * token)
    common = lcm(*(min(backend.kernel_block_sizes) for backend in _distinct_backends(backends)))
    return common * ceil_div(aligned, common)


def checkpoint_tokens(context: CacheContext) -> int:
    """Return the token grid on which recurrent layers export prefix checkpoints; 1 when none is imposed."""
    exported = all(_exports_gated_delta(state, context.gpu) for state in context.states)
    return GATED_DELTA_CHECKPOINT_TOKENS if exported and context.engine.state_checkpoint_page else 1


def _exports_gated_delta(state: StateSpace, gpu: GpuProfile) -> bool:
    capability = gpu.compute_capability
    if state.kind != "gated_delta_net" or capability is None:
        return False
    return capability == (9, 0) or (capability[0] in (10, 12) and state.state_size == 128)


def _mixed_dtype_block_size(context: CacheContext, block_size: int) -> int:
    """Return a block whose page, at one byte per element, covers the page of a layer that stays 16-bit.

    vLLM measures with the backend of the first layer, which is one of the layers left unpacked.
    """
    mixer = context.first
    native = context.token_bytes(mixer, "auto")
    step = max(FIRST_LAYER_KERNEL_TOKENS, block_size)
    return step * ceil_div(native * FIRST_LAYER_KERNEL_TOKENS, step * context.token_bytes(mixer, "fp8"))
