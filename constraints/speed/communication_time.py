"""Time that one step spends between GPUs: all-reduces, exchange of expert inputs, and pipeline hops."""

from functools import lru_cache

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.model_work import ModelWork
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import Collective, LatencyConstants


@lru_cache(maxsize=1024)
def collective_of(constants_link: Collective, ranks: int) -> tuple[float, float]:
    """All-reduce start-up seconds and bytes/s over `ranks` GPUs; past 8 the start-up time grows in proportion."""
    column = 0 if ranks <= 2 else 1 if ranks <= 4 else 2
    growth = max(1.0, ranks / 8)
    return constants_link.alpha_us[column] * 1e-6 * growth, constants_link.gb_per_s[column] * 1e9


def communication(work: ModelWork, layout: Layout, gpu: GpuProfile, constants: LatencyConstants) -> tuple[float, float]:
    """Seconds per step and per token of all-reduces, expert exchange and pipeline hops.

    Two all-reduces of the 16-bit residual stream per layer; with data-parallel attention the experts' inputs are
    gathered and their outputs scattered over all ranks; each stage boundary passes the stream once.
    """
    shared, ranks = constants.shared, layout.tensor_parallel_size
    link = constants.collective(gpu)
    if layout.nodes > 1 and layout.pipeline_parallel_size < layout.nodes:
        link = constants.collectives["ethernet"]
    token_bytes, fixed_s, token_s = 2.0 * work.hidden_size, 0.0, 0.0
    slowdown = constants.gpu_constants(gpu).collective_factor
    slowdown *= 1.0 if constants.has_switch(gpu) else shared.pcie_collective_factor
    if ranks > 1:
        alpha, bytes_per_s = collective_of(link, ranks)
        fixed_s += 2 * work.layers * alpha * shared.collective_latency_factor
        token_s += 2 * work.layers * token_bytes / (bytes_per_s * shared.collective_bandwidth_factor)
    if layout.data_parallel_size > 1 and work.moe_layers:
        alpha, bytes_per_s = collective_of(link, ranks * layout.data_parallel_size)
        fixed_s += 2 * work.moe_layers * alpha * shared.collective_latency_factor
        gathered = token_bytes * layout.data_parallel_size
        token_s += 2 * work.moe_layers * gathered / (bytes_per_s * shared.collective_bandwidth_factor)
    fixed_s, token_s = fixed_s * slowdown, token_s * slowdown
    hops = layout.pipeline_parallel_size - 1
    if hops:
        hop_link = constants.collectives["ethernet"] if layout.nodes > 1 else link
        fixed_s += hops * shared.pipeline_hop_s
        token_s += hops * token_bytes / (hop_link.gb_per_s[0] * 1e9)
    return fixed_s, token_s
