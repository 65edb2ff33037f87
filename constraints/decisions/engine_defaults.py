"""What vLLM fills in when a flag is not given: defaults depend on the release, the GPU, and the other flags.

Source: vLLM 0.33 `engine/arg_utils.py:get_batch_defaults` and `_set_default_max_num_seqs_and_batched_tokens_args`;
older releases through the fields of their `EngineProfile`.
"""

from vllm_opt.profiles.nouns.engine import BatchDefaults, EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile, StateSpace

GIB = 1 << 30
LONG_CONTEXT_TOKENS = 32768
DISPATCHED_BATCH_TOKENS = 256


def batch_defaults(engine: EngineProfile, gpu: GpuProfile) -> BatchDefaults:
    """Return the tier of the GPU: by total memory, device name and capability, first match wins."""
    names = " ".join((gpu.name, *gpu.vllm_device_names)).lower()
    for tier in engine.batch_defaults:
        excluded = any(part in names for part in tier.excluded_names) or (
            gpu.compute_capability in tier.excluded_capabilities
        )
        named = not tier.required_names or any(part in names for part in tier.required_names)
        if gpu.memory_bytes >= tier.min_memory_gib * GIB and named and not excluded:
            return tier
    return engine.batch_defaults[-1]


def chunked_prefill_default(engine: EngineProfile, max_model_len: int, model: ModelProfile | None = None) -> bool:
    """Whether prompts are cut by default; V0 cut them only above 32K tokens of context, encoders never do."""
    if model is not None and not model.cuts_prompts:
        return False
    if engine.chunked_prefill_default == "on_above_32k":
        return max_model_len > LONG_CONTEXT_TOKENS
    return engine.chunked_prefill_default == "on"


def prefix_caching_default(engine: EngineProfile, model: ModelProfile) -> bool:
    """Whether prefixes are cached by default; hybrids follow a switch of their own, encoders have none."""
    if not model.cuts_prompts:
        return False
    hybrid = any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds)
    return engine.prefix_caching_default_hybrid if hybrid else engine.prefix_caching_default


def async_scheduling_default(engine: EngineProfile, model: ModelProfile) -> bool:
    """Whether steps are scheduled ahead of their results by default; a pooling server never does."""
    return engine.async_scheduling_default and model.runner != "pooling"


def default_max_num_batched_tokens(
    engine: EngineProfile,
    gpu: GpuProfile,
    *,
    chunked_prefill: bool,
    max_model_len: int,
    max_num_seqs: int | None,
    dispatches_batches: bool = False,
    doubled: bool = False,
) -> int:
    """Tokens per step: the tier's value, at least max_model_len without chunked prefill, at most S x max_model_len.

    `dispatches_batches`: experts of data-parallel ranks are reached by a backend that sends whole batches, which lowers
    the default to 256 (0.33). `doubled`: --performance-mode throughput, which doubles what is not given.
    """
    tier = batch_defaults(engine, gpu)
    tokens = DISPATCHED_BATCH_TOKENS if dispatches_batches else tier.max_num_batched_tokens
    if chunked_prefill and engine.chunked_prefill_batched_tokens is not None:
        tokens = engine.chunked_prefill_batched_tokens
    factor = 2 if doubled else 1
    tokens *= factor
    if not chunked_prefill:
        tokens = max(tokens, max_model_len)
    sequences = max_num_seqs or tier.max_num_seqs * factor
    return max(1, min(tokens, sequences * max_model_len))


def default_max_num_seqs(
    engine: EngineProfile, gpu: GpuProfile, max_num_batched_tokens: int, *, doubled: bool = False
) -> int:
    """Sequences per step: the tier's value, twice that with --performance-mode throughput, at most T."""
    return min(batch_defaults(engine, gpu).max_num_seqs * (2 if doubled else 1), max_num_batched_tokens)
