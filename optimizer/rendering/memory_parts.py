"""The memory of one GPU cut into the parts that a person asks about."""

from dataclasses import dataclass

from vllm_opt.optimizer.contract.answer import Memory


@dataclass(frozen=True)
class MemoryPart:
    """One part: `key` for styles, words, and exact bytes. Parts outside the budget are marked."""

    key: str
    words: str
    size_bytes: int
    in_budget: bool = True


def memory_parts(memory: Memory) -> tuple[MemoryPart, ...]:
    """Return weights, activation, graphs, other, KV pool and what is free; together at least the whole GPU.

    Before release 0.20 CUDA graphs are captured outside the budget, so they stand beside it.
    """
    graphs = MemoryPart("graphs", "CUDA graphs", memory.cuda_graph_bytes, memory.cuda_graph_in_budget)
    outside = max(0, memory.headroom_needed_bytes - (0 if graphs.in_budget else graphs.size_bytes))
    drafts_and_adapters = memory.draft_bytes + memory.lora_bytes
    parts = (
        MemoryPart("weights", "weights", memory.weights_bytes + memory.weights_extra_bytes),
        *(MemoryPart("weights", "drafter and adapters", held) for held in (drafts_and_adapters,) if held),
        MemoryPart("activation", "activation peak", memory.activation_peak_bytes),
        graphs,
        MemoryPart("other", "other, in the budget", memory.non_torch_bytes),
        MemoryPart("kv", "KV cache pool", memory.kv_cache_bytes),
        MemoryPart("context", "CUDA context, outside the budget", outside, in_budget=False),
    )
    used = sum(part.size_bytes for part in parts)
    free = MemoryPart("free", "free", max(0, memory.gpu_total_bytes - used), in_budget=False)
    return (*parts, free)


def shortfall_bytes(memory: Memory) -> int:
    """Return by how much the parts exceed the GPU; 0 when they fit."""
    return max(0, sum(part.size_bytes for part in memory_parts(memory)) - memory.gpu_total_bytes)


def cells(parts: tuple[MemoryPart, ...], width: int) -> tuple[int, ...]:
    """Divide `width` characters among the parts by largest remainder; a part that is not empty gets at least one."""
    total = sum(part.size_bytes for part in parts) or 1
    exact = [part.size_bytes * width / total for part in parts]
    given = [max(1, int(share)) if part.size_bytes else 0 for share, part in zip(exact, parts, strict=True)]
    while sum(given) < width:
        given[max(range(len(parts)), key=lambda index: exact[index] - given[index])] += 1
    while sum(given) > width:
        given[max(range(len(parts)), key=lambda index: (given[index] > 1, given[index] - exact[index]))] -= 1
    return tuple(given)
