"""What vLLM would print at start-up with this configuration, or the error it would raise."""

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.memory.startup_errors import auto_fit_failed, free_memory_below_request
from vllm_opt.optimizer.contract.answer import Memory
from vllm_opt.optimizer.estimation.resolution import Setting

GIB = 1 << 30


def startup_log(
    setting: Setting, flags: EngineFlags, memory: Memory, found: tuple[Violation, ...], terms: MemoryTerms | None
) -> tuple[str, ...]:
    """The lines that matter for memory, in the release's wording.

    The first refusal speaks alone, in the order in which vLLM checks: the layout, the length, free memory, the pool.
    """
    for rule in ("divisibility", "compatibility", "context_length", "batching"):
        refusal = next((violation.message for violation in found if violation.rule == rule), None)
        if refusal is not None:
            borrowed = rule == "context_length" and setting.model.context_of is not None
            return () if borrowed else (f"ValueError: {refusal}",)
    if terms is None:
        return ()
    if any(violation.rule == "startup_headroom" for violation in found) and terms.engine.graphs_in_budget:
        free = max(0, memory.gpu_total_bytes - memory.headroom_needed_bytes)
        text = free_memory_below_request(
            free, memory.gpu_total_bytes, flags.gpu_memory_utilization, memory.budget_bytes
        )
        return (f"ValueError: {text}",)
    for violation in found:
        if violation.rule == "memory_budget" and not terms.loads():
            return (f"torch.OutOfMemoryError: {violation.message}",)
        if violation.rule == "memory_budget":
            text = auto_fit_failed() if setting.auto_model_len else violation.message
            return (f"ValueError: {text}",)
    lines = _pool_lines(setting, flags, memory, terms)
    # The pool is there and printed before graphs are captured.
    error = "ValueError" if setting.engine.state_blocks_cover_sequences else "AssertionError"
    states = (f"{error}: {violation.message}" for violation in found if violation.rule == "state_blocks")
    return (*lines, *states)


def _pool_lines(setting: Setting, flags: EngineFlags, memory: Memory, terms: MemoryTerms) -> tuple[str, ...]:
    concurrency = f"Maximum concurrency for {flags.max_model_len:,} tokens per request: {memory.max_concurrency:.2f}x"
    if setting.engine.startup_texts == "v0":
        per_block = terms.kv.block_bytes[0] if terms.kv.block_bytes else 0
        on_host = int((flags.swap_space_gib or 0) * GIB) // per_block if per_block else 0
        return (
            f"# GPU blocks: {memory.num_gpu_blocks}, # CPU blocks: {on_host}",
            concurrency.replace(f"{flags.max_model_len:,}", str(flags.max_model_len)),
        )
    if not terms.kv.keeps_cache:
        return (f"Available KV cache memory: {memory.kv_cache_bytes / GIB:.2f} GiB",)
    available = f"Available KV cache memory: {memory.kv_cache_bytes / GIB:.2f} GiB"
    tokens = f"GPU KV cache size: {memory.kv_cache_tokens:,} tokens"
    if setting.engine.startup_texts == "0.33":
        return available, f"{tokens}, {concurrency}"
    return available, tokens, concurrency
