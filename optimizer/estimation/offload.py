"""What a KV offload tier is good for: prefixes that come back, never sequences that run."""

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.constraints.kv.offload import offload_tier


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
