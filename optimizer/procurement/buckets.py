"""What one replica serves of every bar of a length histogram, its flags held."""

import math
from collections.abc import Sequence

import numpy as np

from vllm_opt.constraints.speed.latency import closed_loop
from vllm_opt.constraints.speed.spread import quantile_factor
from vllm_opt.constraints.speed.step_time import stack
from vllm_opt.optimizer.procurement.columns import MICRO, ReplicaPlan


def bucket_capacities(
    plan: ReplicaPlan, buckets: Sequence[tuple[int, int]], limits: tuple[float | None, float | None]
) -> tuple[int, ...]:
    """Millionths of a request per second that the plan serves of each bucket alone; 0 where it cannot.

    A bucket is out of reach when it is longer than max_model_len or breaks a limit on TTFT or TPOT at full load.
    """
    unit, setting = plan.candidate.unit, plan.setting
    inputs = np.array([float(bucket[0]) for bucket in buckets])
    outputs = np.array([float(bucket[1]) for bucket in buckets])
    stacked = stack([unit.facts.coefficients]).take(np.zeros(len(buckets), dtype=np.int64))
    layout = unit.facts.layout
    each = np.ones(len(buckets))
    cached = setting.request.prefix_hit_share if layout.enable_prefix_caching else 0.0
    load = closed_loop(
        stacked,
        users=each * plan.sequences,
        max_num_seqs=each * plan.sequences,
        max_num_batched_tokens=each * plan.candidate.max_num_batched_tokens,
        input_tokens=inputs,
        output_tokens=outputs,
        chunked_prefill=each * layout.enable_chunked_prefill,
        prefix_hit_share=each * cached,
    )
    confidence = setting.request.confidence
    rate = load.output_tokens_per_s * quantile_factor(stacked, "throughput", confidence) * unit.engines / outputs
    ttft = load.ttft_ms * quantile_factor(stacked, "ttft", confidence) * plan.cut
    tpot = load.tpot_ms * quantile_factor(stacked, "tpot", confidence) * plan.cut
    fits = inputs + outputs <= plan.context
    if limits[0] is not None:
        fits &= ttft <= limits[0]
    if limits[1] is not None:
        fits &= (tpot <= limits[1]) | (outputs <= 1)
    return tuple(math.floor(x / plan.cut * MICRO) if ok and x > 0 else 0 for x, ok in zip(rate, fits, strict=True))
