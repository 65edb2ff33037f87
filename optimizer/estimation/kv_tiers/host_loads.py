"""Prefixes that come back from the KV offload tier: what loading them takes, and what computing them would."""

from dataclasses import replace

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.speed.host_link import LINK_SHARE, link_bytes_per_s, load_seconds
from vllm_opt.constraints.speed.latency import closed_loop
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.contract.prefix_hits import check_hits
from vllm_opt.optimizer.contract.quantities import size
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.gpu import GpuProfile

WHOLE = 0.999
"""Stands for a prompt that is all prefix: vLLM computes its last token in any case."""


def check_loads(request: EstimateRequest, layout: Layout, flags: EngineFlags) -> None:
    """Refuse hits in a tier that is not there.

    Raises:
        InvalidRequest: no tier, no prefix caching, or more hits than tokens.
    """
    try:
        check_hits(request.prefix_hit_share, request.offload_hit_share, flags.kv_offloading_size_gib)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    if request.offload_hit_share and not layout.enable_prefix_caching:
        raise InvalidRequest("offload_hit_share: without prefix caching nothing can hit the tier; leave it on")


def with_loads(
    coefficients: LatencyCoefficients, offload_hit_share: float, prompt_tokens: int, kv_bytes_per_token: int,
    gpu: GpuProfile,
) -> LatencyCoefficients:  # fmt: skip
    """Return the speed of an engine whose requests load a part of their prompts from host memory.

    Raises:
        InvalidRequest: prompts hit the tier, and how fast this SKU reaches host memory is not known.
    """
    if not offload_hit_share:
        return coefficients
    seconds = load_seconds(gpu, prompt_tokens * offload_hit_share, kv_bytes_per_token)
    if seconds is None:
        raise InvalidRequest(
            f"offload_hit_share: how fast {gpu.id} reaches host memory is not known; give the prefix_hit_share alone"
        )
    return replace(coefficients, load_s=seconds)


def load_notes(
    coefficients: LatencyCoefficients, request: EstimateRequest, lengths: tuple[int, int], terms: MemoryTerms,
    flags: EngineFlags, gpu: GpuProfile,
) -> tuple[str, ...]:  # fmt: skip
    """Price a hit in the tier of the typical prompt: all of it, or the share that was given."""
    rate = link_bytes_per_s(gpu)
    if not flags.kv_offloading_size_gib or not terms.engine.kv_offloading or not terms.layout.enable_prefix_caching:
        return ()
    if rate is None:
        return (f"how fast {gpu.id} reaches host memory is not known, so a hit in the tier is not priced",)
    share = request.offload_hit_share or WHOLE
    tokens = round(lengths[0] * (request.offload_hit_share or 1.0))
    loaded = load_seconds(gpu, tokens, terms.kv_bytes_per_token) or 0.0
    plain = replace(coefficients, load_s=0.0)
    first = [
        float(closed_loop(plain, 1.0, 1.0, flags.max_num_batched_tokens, *lengths, prefix_hit_share=hit).ttft_ms)
        for hit in (0.0, share)
    ]
    computed = max(0.0, first[0] - first[1])
    return (
        f"a hit of {tokens:,} prompt tokens in the tier loads {size(tokens * terms.kv_bytes_per_token)} per GPU in "
        f"{1e3 * loaded:,.1f} ms, at {rate / 1e9:.0f} GB/s ({LINK_SHARE:.0%} of the host link, assumed); computing "
        f"them takes {computed:,.1f} ms",
    )
