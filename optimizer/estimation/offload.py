"""What host memory is good for: prefixes that come back, never sequences that run, and a server that sleeps."""

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.constraints.kv.offload import offload_tier
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.optimizer.contract.quantities import size


def offload_notes(plan: KvPlan, layout: Layout, flags: EngineFlags) -> tuple[str, ...]:
    """Say how many prefix tokens the tier of one engine keeps, and what it does not do."""
    if not flags.kv_offloading_size_gib or not plan.engine.kv_offloading:
        return ()
    tier = offload_tier(plan, layout, flags.kv_offloading_size_gib)
    words = (
        f"the KV offload tier of {flags.kv_offloading_size_gib:g} GiB keeps {tier.num_chunks:,} chunks of "
        f"{tier.chunk_bytes:,} bytes, prefixes of {tier.prefix_tokens:,} tokens: a later prompt that shares one loads "
        "it instead of computing it; what runs at once is unchanged"
    )
    if not layout.enable_prefix_caching:
        return (words, "without prefix caching nothing can hit the KV offload tier: leave prefix caching on")
    return (words,)


def sleep_notes(request: Features, terms: MemoryTerms, gpus_per_node: int) -> tuple[str, ...]:
    """Say what a server that sleeps needs of the host: at level 1 its weights go there, at level 2 they are dropped."""
    if not request.enable_sleep_mode:
        return ()
    layout = terms.layout
    ranks = layout.tensor_parallel_size * layout.data_parallel_size
    total = ranks * sum(terms.weights[stage] + terms.weights_extra[stage] for stage in range(terms.stages))
    share = total * min(1.0, gpus_per_node / (ranks * terms.stages))
    return (
        f"sleep mode: at level 1 the weights go to host memory, {size(int(share))} per node, and the KV cache is "
        "dropped; at level 2 both are dropped",
    )
