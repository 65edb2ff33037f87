"""Time that one step spends between GPUs: all-reduces, exchange of expert inputs, pipeline hops; waits for a rank."""

import math
from functools import lru_cache

import numpy as np

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.model_work import ModelWork
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import Collective, LatencyConstants

EXCHANGE_START = (1.2, 1.5, 2.1)
"""What an all-gather or a reduce-scatter of NCCL needs to start over vLLM's own all-reduce, at 2, 4 and 8 ranks: 5.3,
7.3 and 10.6 us against 4.5, 4.9 and 5.6 on an H100, alike on B200 (kernel tables of aiconfigurator-core 0.12.0)."""
LARGEST_OF = (0.0, 0.5642, 1.0294, 1.4236, 1.7660, 2.0697, 2.3437)
"""Expected largest of 1, 2, 4, ... 64 standard normal draws (order statistics)."""


@lru_cache(maxsize=1024)
def collective_of(constants_link: Collective, ranks: int) -> tuple[float, float]:
    """All-reduce start-up seconds and bytes/s over `ranks` GPUs; past 8 the start-up time grows in proportion."""
    column = 0 if ranks <= 2 else 1 if ranks <= 4 else 2
    growth = max(1.0, ranks / 8)
    return constants_link.alpha_us[column] * 1e-6 * growth, constants_link.gb_per_s[column] * 1e9


def network_between(layout: Layout, gpu: GpuProfile) -> bool:
    """Whether tensor or expert parallelism crosses nodes that no rack-scale link joins."""
    inside = gpu.interconnect.gpus_joined or 0
    return layout.nodes > 1 and layout.pipeline_parallel_size < layout.nodes and layout.gpus_per_server > inside


def communication(work: ModelWork, layout: Layout, gpu: GpuProfile, constants: LatencyConstants) -> tuple[float, float]:
    """Seconds per step and per token of all-reduces, expert exchange and pipeline hops.

    One all-reduce of the 16-bit residual stream after each mixer and each feed-forward; with data-parallel attention
    the experts' inputs are gathered and their outputs scattered over all ranks; each stage boundary passes the stream
    once. The link is the one that joins as many GPUs as take part.
    """
    shared, ranks = constants.shared, layout.tensor_parallel_size
    network = constants.collectives["network"]
    crossed = network_between(layout, gpu)
    token_bytes, fixed_s, token_s = 2.0 * work.hidden_size, 0.0, 0.0
    if ranks > 1:
        alpha, bytes_per_s = collective_of(network if crossed else constants.collective(gpu, ranks), ranks)
        fixed_s += work.halves * alpha * shared.collective_latency_factor
        token_s += work.halves * token_bytes / (bytes_per_s * shared.collective_bandwidth_factor)
    if layout.data_parallel_size > 1 and work.moe_layers:
        peers = ranks * layout.data_parallel_size
        alpha, bytes_per_s = collective_of(network if crossed else constants.collective(gpu, peers), peers)
        start = alpha * EXCHANGE_START[0 if peers <= 2 else 1 if peers <= 4 else 2]
        fixed_s += 2 * work.moe_layers * start * shared.collective_latency_factor
        gathered = token_bytes * layout.data_parallel_size
        token_s += 2 * work.moe_layers * gathered / (bytes_per_s * shared.collective_bandwidth_factor)
    hops = layout.pipeline_parallel_size - 1
    if hops:
        hop_link = network if layout.nodes > 1 else constants.collective(gpu, layout.gpus_per_engine)
        fixed_s += hops * shared.pipeline_hop_s
        token_s += hops * token_bytes / (hop_link.gb_per_s[0] * 1e9)
    return fixed_s, token_s


@lru_cache(maxsize=1024)
def largest_deviation(ranks: int) -> float:
    """Expected largest of so many standard normal draws."""
    return float(np.interp(math.log2(ranks), range(len(LARGEST_OF)), LARGEST_OF))


def expert_imbalance(experts: int, layout: Layout) -> float:
    """How many more experts the busiest rank reads than the mean one, per root of hit (1 - hit); 0 without sharding.

    Of the E / R experts of a rank each is hit or not: the share hit has the deviation sqrt(hit (1 - hit) R / E), and
    the largest of R ranks is LARGEST_OF[R] deviations above the mean.
    """
    ranks = layout.tensor_parallel_size * layout.data_parallel_size
    if not layout.expert_parallel or ranks == 1:
        return 0.0
    return largest_deviation(ranks) * math.sqrt(ranks / experts)


def busiest_rank(experts: int, layout: Layout, shape: float) -> float:
    """Tokens of the busiest rank over the mean: 1 but for expert parallelism, whose ranks wait for each other.

    A rank holds E / R experts whose popularity follows a gamma law of shape g, so its share of the tokens has the
    relative deviation sqrt(R / (E g)); the largest of R is expected LARGEST_OF[R] deviations above the mean.
    """
    ranks = layout.tensor_parallel_size * layout.data_parallel_size
    if not layout.expert_parallel or ranks == 1:
        return 1.0
    return 1.0 + largest_deviation(ranks) * math.sqrt(ranks / (experts * shape))
