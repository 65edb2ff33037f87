"""vLLM's own words when it refuses to start, so that a reader can search for them.

Sources: vLLM 0.33 `v1/worker/utils.py:request_memory`, `v1/core/kv_cache_planning.py`, `config/model.py`; 0.19 and 0.11
`v1/core/kv_cache_utils.py`, `v1/worker/gpu_worker.py`; 0.8.5 `v1/core/kv_cache_utils.py`, `worker/worker.py` (V0).
"""

from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.profiles.nouns.engine import EngineProfile

GIB = 1 << 30
_DOCUMENTATION = "See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."


def format_gib(size_bytes: int) -> str:
    """Return GiB as 0.33 prints them: rounded to two decimals, trailing zeros dropped ('1.0', '0.9', '24.51')."""
    return f"{round(size_bytes / GIB, 2)}"


def _gib(size_bytes: int, engine: EngineProfile) -> str:
    return format_gib(size_bytes) if engine.startup_texts in ("0.19", "0.33") else f"{size_bytes / GIB:.2f}"


def free_memory_below_request(free_bytes: int, total_bytes: int, utilization: float, requested_bytes: int) -> str:
    """Return the text for a GPU whose free memory does not cover total x utilisation (V1 since 0.11)."""
    return (
        f"Free memory on device cuda:0 ({format_gib(free_bytes)}/{format_gib(total_bytes)} GiB) on startup is less "
        f"than desired GPU memory utilization ({utilization}, {format_gib(requested_bytes)} GiB). Decrease GPU memory "
        "utilization or reduce GPU memory used by other processes."
    )


def no_cache_memory(engine: EngineProfile) -> str:
    """Return the text for a budget that weights and activations use up."""
    text = (
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine"
    )
    if engine.startup_texts == "0.33":
        reach = "(this flag also controls CPU memory reservation on the CPU backend, despite its name)"
        return f"{text} {reach}. {_DOCUMENTATION}"
    return f"{text}. {_DOCUMENTATION}" if engine.startup_texts == "0.19" else f"{text}."


def context_does_not_fit(
    max_model_len: int, needed_bytes: int, available_bytes: int, estimated_max_len: int, engine: EngineProfile
) -> str:
    """Return the text for a pool that cannot hold one request of `max_model_len` tokens.

    `available_bytes` is what the release compares with: in 0.33 the KV memory less the null block.
    `estimated_max_len` is the longest length that fits; 0 leaves the sentence out.
    """
    if engine.startup_texts == "v0":
        return (
            f"The model's max seq len ({max_model_len}) is larger than the maximum number of tokens that can be stored "
            f"in KV cache ({estimated_max_len}). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` "
            "when initializing the engine."
        )
    owner = "model's" if engine.startup_texts == "0.33" else "models's"
    text = (
        f"To serve at least one request with the {owner} max seq len ({max_model_len}), "
        f"({_gib(needed_bytes, engine)} GiB KV cache is needed, which is larger than the available KV cache memory "
        f"({_gib(available_bytes, engine)} GiB). "
    )
    if estimated_max_len > 0 and engine.startup_texts == "0.8.5":
        # That release forgot to join the second half of its sentence.
        text += "Based on the available memory,  "
    elif estimated_max_len > 0:
        text += f"Based on the available memory, the estimated maximum model length is {estimated_max_len}. "
    if engine.startup_texts == "0.33":
        remedy = "(which also controls CPU memory on the CPU backend) or decreasing `max_model_len` when initializing"
        return f"{text}Try increasing `gpu_memory_utilization` {remedy} the engine. {_DOCUMENTATION}"
    text += "Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
    return f"{text} {_DOCUMENTATION}" if engine.startup_texts == "0.19" else text


def kv_cache_refusal(
    plan: KvPlan, available_bytes: tuple[int, ...], max_model_len: int, max_num_batched_tokens: int
) -> str | None:
    """Return what vLLM raises when one request does not fit in `available_bytes` per stage; None when it starts.

    The stages are checked in order and the first that is short speaks, with its own estimate.
    """
    engine = plan.engine
    if engine.startup_texts == "v0":
        blocks = plan.num_gpu_blocks(available_bytes)
        held = blocks // len(plan.block_bytes) * plan.block_size
        if blocks <= 0:
            return no_cache_memory(engine)
        return None if held >= max_model_len else context_does_not_fit(max_model_len, 0, 0, held, engine)
    needed = plan.needed_bytes(max_model_len, max_num_batched_tokens)
    for available, block, need in zip(available_bytes, plan.block_bytes, needed, strict=True):
        usable = available - block if engine.null_block_in_fit_check else available
        if block and usable <= 0:
            return no_cache_memory(engine)
        if block and need > usable:
            estimate = plan.max_supported_model_len(available // block, max_num_batched_tokens, max_model_len)
            return context_does_not_fit(max_model_len, need, usable, estimate, engine)
    return None


def too_few_state_blocks(max_num_seqs: int, num_gpu_blocks: int) -> str:
    """Return the text for a model with states whose pool has fewer blocks than max_num_seqs (0.20 and later)."""
    return (
        f"max_num_seqs ({max_num_seqs}) exceeds available Mamba cache blocks ({num_gpu_blocks}). Each decode sequence "
        "requires one Mamba cache block, so CUDA graph capture cannot proceed. Please lower max_num_seqs to at most "
        f"{num_gpu_blocks} or increase gpu_memory_utilization."
    )


def too_few_blocks_to_capture(batch: int, num_gpu_blocks: int) -> str:
    """Return the text for a delta net of which more sequences are captured than it has blocks (0.11 to 0.16)."""
    return (
        f"assert num_cache_lines >= batch: CUDA graphs are captured for {batch} sequences, and the pool has "
        f"{num_gpu_blocks} blocks. Lower max_num_seqs to at most {num_gpu_blocks} or increase gpu_memory_utilization."
    )


def auto_fit_failed() -> str:
    """Return the text of `--max-model-len auto` when not even one token fits."""
    return (
        "Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token. "
        "Try increasing `gpu_memory_utilization`."
    )


def length_above_derived(max_model_len: int, derived_max_model_len: int, engine: EngineProfile) -> str:
    """Return the text for `--max-model-len` above what the model's config allows."""
    derived = f"{derived_max_model_len}.0" if engine.startup_texts == "0.33" else str(derived_max_model_len)
    return (
        f"User-specified max_model_len ({max_model_len}) is greater than the derived max_model_len "
        f"(max_position_embeddings={derived} or model_max_length=None in model's config.json). To allow overriding "
        "this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1."
    )
