"""TTFT, TPOT and throughput of one engine under load: by the clients' pattern, and of an offline batch.

Every argument may be an array; all broadcast. Pipeline stages work on as many micro-batches in turn. Users beyond
max_num_seqs, or beyond what the token budget can admit, wait outside the batch; that wait is part of TTFT. Formulas:
`steady_state.py` and `step_time.py`. Pipeline parallelism, data-parallel attention and open loop are not validated.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.first_token import Pattern, frontend
from vllm_opt.constraints.speed.spread import interval_factors, quantile_factor, relative_spread
from vllm_opt.constraints.speed.steady_state import (
    burst_block,
    closed_loop_block,
    open_loop_block,
    pipeline_fill,
    prefill_only_block,
)
from vllm_opt.constraints.speed.step_time import COEFFICIENT_NAMES, LatencyCoefficients, Numbers, Scalars, step_time
from vllm_opt.constraints.speed.traffic import Traffic

__all__ = [
    "BatchPrediction",
    "LoadPrediction",
    "Pattern",
    "closed_loop",
    "interval_factors",
    "offline_batch",
    "open_loop",
    "quantile_factor",
    "relative_spread",
    "under_load",
]

BLOCK = 2048
"""Points evaluated together: their temporaries stay in the processor's cache."""


@dataclass(frozen=True)
class LoadPrediction:
    """One engine in steady state. Milliseconds and per-second rates; tpot_ms is NaN for one output token."""

    ttft_ms: Numbers
    tpot_ms: Numbers
    e2e_ms: Numbers
    output_tokens_per_s: Numbers
    total_tokens_per_s: Numbers
    requests_per_s: Numbers
    saturated: NDArray[np.bool_]

    def first(self, points: int) -> "LoadPrediction":
        """The first so many points."""
        return LoadPrediction(*(getattr(self, item.name)[:points] for item in fields(self)))


@dataclass(frozen=True)
class BatchPrediction:
    """Prompts that all arrive at once: time until the last one is finished."""

    makespan_ms: Numbers
    output_tokens_per_s: Numbers
    total_tokens_per_s: Numbers
    requests_per_s: Numbers


Block = Callable[[LatencyCoefficients, Traffic, Numbers, Numbers], tuple[Numbers, ...]]
BLOCKS: dict[Pattern, Block] = {
    "closed": closed_loop_block,
    "single": closed_loop_block,
    "poisson": open_loop_block,
    "burst": burst_block,
}


def predict(c: LatencyCoefficients, block: Block, arguments: tuple[Scalars, ...]) -> LoadPrediction:
    """Broadcast everything, run `block` over cache-sized pieces, and assemble the prediction.

    `arguments`: load, max_num_seqs, max_num_batched_tokens, input tokens, output tokens, hit share, chunked prefill.
    """
    given = [np.asarray(getattr(c, name), dtype=np.float64) for name in COEFFICIENT_NAMES]
    numbers = [np.asarray(argument, dtype=np.float64) for argument in arguments]
    shape = np.broadcast_shapes(*(item.shape for item in (*given, *numbers)))
    wide = [item if item.ndim == 0 else np.broadcast_to(item, shape).reshape(-1) for item in given]
    load, slots, budget, inputs, outputs, hit, chunked = (np.broadcast_to(item, shape).reshape(-1) for item in numbers)
    result = np.empty((4, load.size))
    for start in range(0, load.size, BLOCK):
        part = slice(start, start + BLOCK)
        piece = LatencyCoefficients(*(item if item.ndim == 0 else item[part] for item in wide))
        traffic = Traffic.of(inputs[part], outputs[part], budget[part], hit[part], chunked[part])
        stages = piece.pipeline_stages
        per_stage = load[part] / stages, np.maximum(slots[part] / stages, 1.0 / np.asarray(stages))
        solved = block(piece, traffic, *per_stage)
        single = outputs[part] <= 1.0
        if single.any() and block is not open_loop_block:
            alone = prefill_only_block(piece, traffic, *per_stage)
            solved = tuple(np.where(single, one, many) for one, many in zip(alone, solved, strict=True))
        ttft, tpot, rate, saturated = solved
        result[:, part] = ttft, np.where(single, np.nan, tpot), rate * stages, saturated
    return assemble(result.reshape((4, *shape)), *(item.reshape(shape) for item in (inputs, outputs)))


def assemble(result: Numbers, inputs: Numbers, outputs: Numbers) -> LoadPrediction:
    """Seconds and requests/s to the published units."""
    ttft, tpot, rate, saturated = result
    decoding = np.where(outputs <= 1.0, 0.0, np.nan_to_num(tpot) * np.maximum(outputs - 1.0, 0.0))
    return LoadPrediction(
        ttft_ms=ttft * 1e3,
        tpot_ms=tpot * 1e3,
        e2e_ms=(ttft + decoding) * 1e3,
        output_tokens_per_s=rate * outputs,
        total_tokens_per_s=rate * (inputs + outputs),
        requests_per_s=rate,
        saturated=saturated > 0,
    )


def under_load(
    c: LatencyCoefficients,
    load: Scalars,
    max_num_seqs: Scalars,
    max_num_batched_tokens: Scalars,
    input_tokens: Scalars,
    output_tokens: Scalars,
    *,
    pattern: Pattern = "closed",
    chunked_prefill: Scalars | bool = True,
    prefix_hit_share: Scalars = 0.0,
) -> LoadPrediction:
    """One engine under `load`: users for the patterns closed, single (at most 1 counts) and burst, else requests/s."""
    flags = max_num_seqs, max_num_batched_tokens, input_tokens, output_tokens, prefix_hit_share, chunked_prefill
    alone = np.minimum(np.asarray(load, dtype=np.float64), 1.0) if pattern == "single" else load
    return predict(c, BLOCKS[pattern], (alone, *flags))


def closed_loop(
    c: LatencyCoefficients,
    users: Scalars,
    max_num_seqs: Scalars,
    max_num_batched_tokens: Scalars,
    input_tokens: Scalars,
    output_tokens: Scalars,
    *,
    pattern: Pattern = "closed",
    chunked_prefill: Scalars | bool = True,
    prefix_hit_share: Scalars = 0.0,
) -> LoadPrediction:
    """Steady state of one engine with `users` closed-loop users; multiply rates by replicas x DP.

    TTFT and TPOT never fall when users grow. `saturated`: users wait outside the batch, and that wait is in TTFT.
    """
    return under_load(
        c, users, max_num_seqs, max_num_batched_tokens, input_tokens, output_tokens, pattern=pattern,
        chunked_prefill=chunked_prefill, prefix_hit_share=prefix_hit_share,
    )  # fmt: skip


def open_loop(
    c: LatencyCoefficients,
    requests_per_s: Scalars,
    max_num_seqs: Scalars,
    max_num_batched_tokens: Scalars,
    input_tokens: Scalars,
    output_tokens: Scalars,
    *,
    chunked_prefill: Scalars | bool = True,
    prefix_hit_share: Scalars = 0.0,
) -> LoadPrediction:
    """Steady state of one engine at a Poisson arrival rate.

    When `saturated`, requests_per_s is what the engine can serve and TTFT is a lower bound: the queue grows for ever.
    """
    return under_load(
        c, requests_per_s, max_num_seqs, max_num_batched_tokens, input_tokens, output_tokens, pattern="poisson",
        chunked_prefill=chunked_prefill, prefix_hit_share=prefix_hit_share,
    )  # fmt: skip


def offline_batch(
    c: LatencyCoefficients,
    num_prompts: Scalars,
    max_num_seqs: Scalars,
    max_num_batched_tokens: Scalars,
    input_tokens: Scalars,
    output_tokens: Scalars,
    *,
    prefix_hit_share: Scalars = 0.0,
) -> BatchPrediction:
    """N prompts at once: prefill in full steps, then decode in waves of max_num_seqs.

    makespan = frontend + (N I / M) T(0, 0, M, I/2) + (O - 1) (waves T(max_num_seqs) + T(rest)).
    """
    prompts, slots, budget, inputs, outputs, hit = np.broadcast_arrays(
        *(np.asarray(item, dtype=np.float64) for item in (num_prompts, max_num_seqs, max_num_batched_tokens)),
        *(np.asarray(item, dtype=np.float64) for item in (input_tokens, output_tokens, prefix_hit_share)),
    )
    stages = c.pipeline_stages
    traffic = Traffic.of(inputs, outputs, budget, hit, np.ones_like(inputs))
    work = prompts * traffic.computed_tokens
    batch = np.minimum(work, traffic.budget_tokens)
    zero = np.zeros_like(batch)
    prefill = step_time(c, zero, zero, batch, traffic.span_tokens) * c.prefill_factor * work / batch
    waves = np.floor(prompts / slots)
    rest = prompts - waves * slots
    whole = step_time(c, np.maximum(slots / stages, 1.0), traffic.context_tokens, zero, zero)
    last = step_time(c, np.maximum(rest / stages, 1.0), traffic.context_tokens, zero, zero)
    decode = np.maximum(outputs - 1.0, 0.0) * (waves * whole + np.where(rest > 0, last, 0.0))
    makespan = frontend(c, traffic) + prefill * pipeline_fill(c, work / batch) + decode
    rate = prompts / makespan
    return BatchPrediction(makespan * 1e3, rate * outputs, rate * (inputs + outputs), rate)
