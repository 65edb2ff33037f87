"""What vLLM would print at start-up with this configuration, or the error it would raise."""

from vllm_opt.constraints.configuration import EngineFlags
from vllm_opt.constraints.memory_ledger import MemoryTerms
from vllm_opt.constraints.violation import Violation
from vllm_opt.optimizer.answer import Memory
from vllm_opt.optimizer.resolution import Setting

GIB = 1 << 30


def startup_log(
    setting: Setting, flags: EngineFlags, memory: Memory, found: tuple[Violation, ...], terms: MemoryTerms | None
) -> tuple[str, ...]:
    """The lines that matter for memory, in the release's wording."""
    if terms is None or any(v.rule in ("memory_budget", "context_length") for v in found):
        return tuple(v.message for v in found)
    return (
        f"Available KV cache memory: {memory.kv_cache_bytes / GIB:.2f} GiB",
        f"GPU KV cache size: {memory.kv_cache_tokens:,} tokens",
        f"Maximum concurrency for {flags.max_model_len:,} tokens per request: {memory.max_concurrency:.2f}x",
    )
