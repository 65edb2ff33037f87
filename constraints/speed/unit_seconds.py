"""What one read, one product and one expert take on a SKU: the parts of which `coefficients.py` is made."""

import math

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.communication_time import busiest_rank
from vllm_opt.constraints.speed.kernel_paths import path_peak
from vllm_opt.constraints.speed.model_work import AttentionGroup, ModelWork
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import (
    GpuConstants,
    KernelPath,
    LatencyConstants,
    SharedConstants,
    Spread,
    version_key,
)
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

FIRST_ASYNCHRONOUS = (0, 14)
LEAST_MISS_LOG = -50.0
"""Stands for log(0): every token passes every expert."""


def kv_element_bytes(layout: Layout, model: ModelProfile) -> float:
    """Bytes of one cached element; `auto` follows the checkpoint, else 16 bit. nvfp4: 4 bits + 1 scale byte per 16.

    What a checkpoint says of its cache holds for that checkpoint only: other weights of the model say nothing.
    """
    name, native = layout.kv_cache_dtype, model.native_quantization
    if name == "auto" and native is not None and native.quantization == layout.quantization:
        name = native.kv_cache_dtype or "auto"
    if name.startswith(("fp8", "int8")):
        return 1.0
    return 0.5625 if name.startswith("nvfp4") else 2.0


def weight_bytes_per_s(gpu: GpuProfile, own: GpuConstants, factor: float) -> float:
    """Bandwidth of weight reads; no kernel reads faster than the datasheet allows."""
    return gpu.memory_bandwidth_bytes_per_s * min(1.0, own.memory_efficiency * factor)


def combined_spread(known: Spread, more: Spread, times: int) -> Spread:
    """Independent relative errors add in quadrature: `more`, so many times, to every metric of `known`."""
    if not times:
        return known

    def total(one: float, other: float) -> float:
        return math.hypot(one, other * math.sqrt(times))

    by_pattern = {
        name: total(value if value is not None else known.ttft, more.ttft)
        for name, value in (
            ("ttft_single", known.ttft_single),
            ("ttft_poisson", known.ttft_poisson),
            ("ttft_burst", known.ttft_burst),
        )
    }
    return Spread(
        tpot=total(known.tpot, more.tpot),
        ttft=total(known.ttft, more.ttft),
        throughput=total(known.throughput, more.throughput),
        **by_pattern,
    )


def decode_seconds(
    group: AttentionGroup, layout: Layout, element_bytes: float, bytes_per_s: float, flops: float, serial_share: float
) -> float:
    """Seconds per cached token and decoding sequence: soft maximum of reading the cache and multiplying by it."""
    ranks = layout.tensor_parallel_size
    heads = 1.0 if group.kv_heads == 0 else max(1.0, group.kv_heads / ranks)
    read = group.layers * heads * group.cached_elements * element_bytes / layout.decode_context_parallel_size
    compute = group.layers * group.decode_flop * max(1.0, group.query_heads / ranks)
    memory_s, compute_s = read / bytes_per_s, compute / flops
    return max(memory_s, compute_s) + serial_share * min(memory_s, compute_s)


def matrix_seconds(
    work: ModelWork, layout: Layout, gpu: GpuProfile, own: GpuConstants, path: KernelPath, quantization: Quantization
) -> tuple[float, float]:
    """Dense matrices: seconds to read them once, and seconds per token to multiply by them."""
    flops = gpu.half_flops_per_s * own.compute_efficiency
    quantized_flops = path_peak(quantization, gpu) * min(1.0, own.compute_efficiency * path.compute_factor)
    stored = work.quantized_dense * work.bytes_per_quantized_weight
    read_s = 2 * work.half_dense / weight_bytes_per_s(gpu, own, 1.0)
    read_s += stored / weight_bytes_per_s(gpu, own, path.memory_factor)
    compute = work.half_dense / flops + work.quantized_dense / quantized_flops
    return read_s / layout.tensor_parallel_size, 2 * compute / layout.tensor_parallel_size


def expert_seconds(
    work: ModelWork,
    layout: Layout,
    gpu: GpuProfile,
    constants: LatencyConstants,
    path: KernelPath,
    quantization: Quantization,
) -> tuple[float, float, float]:
    """Routed experts: seconds to read all of them, seconds per token, and log chance that a token misses one.

    Experts are sharded over TP x DP ranks, and the tokens of all DP peers meet there.
    """
    if not work.moe_layers:
        return 0.0, 0.0, LEAST_MISS_LOG
    own, shared = constants.gpu_constants(gpu), constants.shared
    peers = layout.data_parallel_size
    read = shared.expert_read_efficiency
    if work.experts_quantized:
        read *= path.memory_factor * path.expert_memory_factor
    factor = own.compute_efficiency * shared.expert_compute_efficiency
    flops = (
        path_peak(quantization, gpu) * path.compute_factor * path.expert_compute_factor * factor
        if work.experts_quantized
        else gpu.half_flops_per_s * factor
    )
    memory = work.expert_weights * work.bytes_per_expert_weight / weight_bytes_per_s(gpu, own, read)
    compute = 2 * work.active_expert_weights / flops * busiest_rank(work.experts, layout, shared.routing_shape)
    share = work.experts_per_token / work.experts
    miss = LEAST_MISS_LOG if share >= 1 else max(LEAST_MISS_LOG, math.log1p(-share))
    ranks = layout.tensor_parallel_size
    return memory / (ranks * peers), compute / ranks, miss * peers


def launch_seconds(work: ModelWork, shared: SharedConstants) -> tuple[float, float]:
    """What the CPU needs to launch every kernel of a step, and of it what latent mixers have more than usual ones.

    A latent mixer is taken as a layer's launches more: its low-rank factors, rotations, concatenations and two small
    products (vllm/v1/attention/backends/mla/common.py). Lone prompts of Kimi-K2.5 on an H200 bear it out.
    """
    latent_s = work.latent_layers * shared.eager_layer_s
    layers_s = work.halves / 2 * shared.eager_layer_s + work.moe_layers * shared.eager_moe_layer_s
    return layers_s + latent_s + shared.step_s, latent_s


def latent_seconds(work: ModelWork, shared: SharedConstants, own: GpuConstants) -> float:
    """Fixed time that latent mixers have beyond usual ones: many small kernels between their low-rank factors."""
    return work.latent_layers * (shared.latent_mixer_s if own.latent_mixer_s is None else own.latent_mixer_s)


def steps_ahead(release: str | None) -> float:
    """Steps that are scheduled before the running one ends, of a release (None: today's).

    With asynchronous scheduling, the default since 0.14, the next step is scheduled while one runs
    (`EngineCore.step_with_batch_queue`, vllm/v1/engine/core.py): a prompt that arrives then rides in the one after.
    """
    return 1.0 if release is None or version_key(release) >= FIRST_ASYNCHRONOUS else 0.0


def several_workers(work: ModelWork, layout: Layout) -> bool:
    """Whether the step of one worker waits for others: to be told what to run, or to agree on sizes with DP peers.

    Data-parallel engines that exchange experts agree on batch sizes and CUDA graphs before every step
    (`coordinate_batch_across_dp`, vllm/v1/worker/dp_utils.py).
    """
    return layout.tensor_parallel_size > 1 or (layout.data_parallel_size > 1 and work.moe_layers > 0)


def layer_seconds(work: ModelWork, shared: SharedConstants, path: KernelPath) -> float:
    """Fixed kernel time of all layers of a step, on Hopper."""
    layers_s = work.halves / 2 * shared.layer_s + work.moe_layers * shared.moe_layer_s
    return layers_s + work.state_layers * shared.state_layer_s + format_seconds(work, path)


def format_seconds(work: ModelWork, path: KernelPath) -> float:
    """Fixed time that a weight format adds: two dense products per mixer and feed-forward, and its expert layers."""
    dense = work.halves - work.moe_layers if work.quantized_dense else 0
    experts_s = path.expert_s if work.experts_quantized else 0.0
    return 2 * dense * path.product_s + work.moe_layers * experts_s


def unmeasured_features(layout: Layout) -> int:
    """How many features of the layout no published measurement covers: their speed is formula only.

    Pipeline stages, decode context parallelism, eager mode and adapters each widen the interval; the centre stays
    where the formula puts it.
    """
    stages = layout.pipeline_parallel_size > 1
    adapted = layout.adapters is not None
    return stages + (layout.decode_context_parallel_size > 1) + layout.enforce_eager + adapted
