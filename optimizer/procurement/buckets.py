"""What one replica serves of every bar of a length histogram, its flags held."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.latency import closed_loop
from vllm_opt.constraints.speed.spread import quantile_factor
from vllm_opt.constraints.speed.step_time import Numbers, stack
from vllm_opt.optimizer.procurement.columns import MICRO, ReplicaPlan
from vllm_opt.optimizer.space.points import Candidate


def bucket_capacities(
    plan: ReplicaPlan, buckets: Sequence[tuple[int, int]], limits: tuple[float | None, float | None]
) -> tuple[int, ...]:
    """Millionths of a request per second that the plan serves of each bucket alone; 0 where it cannot.

    A bucket is out of reach when it is longer than max_model_len or breaks a limit on TTFT or TPOT at full load.
    """
    found = capacities_of([(plan.candidate, plan.sequences)], buckets, limits, (plan.context, plan.cut))
    return tuple(int(units) for units in found[0])


def capacities_of(
    points: Sequence[tuple[Candidate, int]],
    buckets: Sequence[tuple[int, int]],
    limits: tuple[float | None, float | None],
    server: tuple[int, int],
) -> NDArray[np.int64]:
    """`bucket_capacities` of many points (a candidate and its max_num_seqs), a row each.

    `server`: the maximum context of all of them, and the parts into which their GPUs are cut.
    """
    context, cut = server
    place = {id(candidate): at for at, (candidate, _) in enumerate(points)}
    order = {at: number for number, at in enumerate(sorted(place.values()))}
    stacked = stack([points[at][0].unit.facts.coefficients for at in order])
    row = np.array([order[place[id(candidate)]] for candidate, _ in points])
    c = stacked.take(np.repeat(row, len(buckets)))
    facts = [candidate.unit.facts for candidate, _ in points]
    request = facts[0].setting.request

    def each(values: Sequence[float]) -> Numbers:
        return np.repeat(np.array(values, dtype=np.float64), len(buckets))

    inputs = np.tile(np.array([float(bucket[0]) for bucket in buckets]), len(points))
    outputs = np.tile(np.array([float(bucket[1]) for bucket in buckets]), len(points))
    c = replace(c, load_s=np.asarray(c.load_s) * inputs / facts[0].setting.lengths[0])
    load = closed_loop(
        c,
        users=each([size for _, size in points]),
        max_num_seqs=each([size for _, size in points]),
        max_num_batched_tokens=each([candidate.max_num_batched_tokens for candidate, _ in points]),
        input_tokens=inputs,
        output_tokens=outputs,
        chunked_prefill=each([item.layout.enable_chunked_prefill for item in facts]),
        prefix_hit_share=each([request.hit_share * bool(item.layout.enable_prefix_caching) for item in facts]),
    )
    engines = each([candidate.unit.engines for candidate, _ in points])
    confidence = request.confidence
    rate = load.output_tokens_per_s * quantile_factor(c, "throughput", confidence) * engines / outputs
    fits = (inputs + outputs <= context) & (rate > 0)
    if limits[0] is not None:
        fits &= load.ttft_ms * quantile_factor(c, "ttft", confidence) * cut <= limits[0]
    if limits[1] is not None:
        fits &= (load.tpot_ms * quantile_factor(c, "tpot", confidence) * cut <= limits[1]) | (outputs <= 1)
    units = np.where(fits, np.floor(rate / cut * MICRO), 0.0).astype(np.int64)
    return np.asarray(units.reshape(len(points), len(buckets)))
