"""The steady state of one engine: how many sequences decode at once, and what follows for TPOT, TTFT and rate.

Closed loop: C users, each sends its next request when the last one is finished. D decode at a time, so per step
r = D I / (O - 1) prompt tokens ride along (I = prompt tokens to compute, O = output tokens, M = tokens per step):

    f    = max(1 - exp(-x), r / (M - D)),  x = D max(1, I/M) / (O - 1)       share of steps that carry prefill
    TPOT = (1 - g) T(D, c, 0) + g T(D, c, r / f),       c = input + O / 2,  g = 1 - (1 - f)^stages
    S    = the prompt's own chunks, riding with the other decoders
    TTFT = frontend + S + what `first_token.py` says of the clients' pattern + wait for a free slot
    X    = D / ((O - 1) TPOT),       users(D) = D + X TTFT                   Little's law, solved for D

D is found by bisection on a grid that does not depend on the number of users, so D, TPOT and TTFT never fall when users
are added: the optimiser's own bisection relies on it. T is the step time of `step_time.py`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.first_token import ClosedWait, burst_prefill, frontend, poisson_wait
from vllm_opt.constraints.speed.step_time import (
    LatencyCoefficients,
    Numbers,
    decode_attention,
    prefill_attention,
    step_time,
    step_time_attending,
)
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import exp, expm1, log, whole_power

CELLS = 2**11
"""of the geometric grid of decoders"""
TOGETHER = (16, 6), (48, 4), (160, 3), (512, 2)
"""(points, halvings that share one evaluation up to so many)"""
LEAST_DECODERS = 1e-5


class StepMix:
    """`step_mix` of one set of layouts and lengths for many numbers of decoders: what they share is worked out once."""

    def __init__(self, c: LatencyCoefficients, traffic: Traffic) -> None:
        self._c, self._traffic = c, traffic
        self._attention = decode_attention(c, traffic.context_tokens), prefill_attention(c, traffic.span_tokens)
        self._whole = np.minimum(traffic.computed_tokens, traffic.budget_tokens)
        least_chunks = np.where(traffic.chunked, traffic.computed_tokens / self._whole, 1.0)
        self._fill = pipeline_fill(c, least_chunks)
        self._chunked, self._staged = bool(traffic.chunked.all()), bool(np.any(np.not_equal(c.pipeline_stages, 1.0)))

    def __call__(self, decoders: Numbers) -> tuple[Numbers, Numbers]:
        """As `step_mix`."""
        c, traffic, whole = self._c, self._traffic, self._whole
        running, others = np.maximum(decoders, 1.0), np.maximum(decoders - 1.0, 0.0)
        room = np.maximum(traffic.budget_tokens - decoders, 1.0)
        riding = others * traffic.computed_tokens / traffic.decode_steps
        chunks_per_step = np.maximum(riding / whole, 1e-9)
        share = np.minimum(np.maximum(-expm1(-chunks_per_step), riding / room), 1.0)
        beside, chunk, decoding = np.minimum(riding / share, room), np.minimum(whole, room), others
        if not self._chunked:
            beside, decoding = np.where(traffic.chunked, beside, 0.0), np.where(traffic.chunked, others, 0.0)
            chunk = np.where(traffic.chunked, chunk, traffic.computed_tokens)
        prompts = np.stack([np.zeros_like(running), beside, chunk])
        times = step_time_attending(c, np.stack([running, running, decoding]), prompts, self._attention)
        prefill = times[2] * traffic.computed_tokens / chunk * c.prefill_factor
        lone = 1.0 - share
        delayed = 1.0 - (whole_power(lone, c.pipeline_stages) if self._staged else lone)
        tpot = times[0] + delayed * (times[1] - times[0])
        if not self._chunked:
            halted = times[0] + others / traffic.decode_steps * prefill
            tpot = np.where(traffic.chunked, tpot, halted)
        return tpot, prefill * self._fill


def step_mix(c: LatencyCoefficients, traffic: Traffic, decoders: Numbers) -> tuple[Numbers, Numbers]:
    """(TPOT, one request's own prefill) in seconds when `decoders` sequences decode on average.

    Pipeline stages pass their micro-batches on together, so a step takes what the slowest of the q in flight takes: it
    is one with prefill with probability 1 - (1 - f)^q.
    """
    return StepMix(c, traffic)(decoders)


def pipeline_fill(c: LatencyCoefficients, chunks: Numbers) -> Numbers:
    """A prompt of n chunks passes q stages in (n + q - 1) / (n q) of the time of n undivided steps.

    Callers give the fewest chunks possible, so that the time does not fall when decoders make chunks smaller.
    """
    return np.asarray((chunks + c.pipeline_stages - 1.0) / (chunks * c.pipeline_stages))


def bisect_decoders(load: Callable[[Numbers], Numbers], wanted: Numbers, most: Numbers) -> tuple[Numbers, Numbers]:
    """(D with load(D) = wanted, load(most)): bisection over a geometric grid, then linear interpolation in its cell.

    The grid depends on `most` alone, so D never falls when `wanted` grows, whatever the shape of `load`. The middles
    that several halvings in a row may ask for are evaluated together: a few points cost little more than one.
    """
    least = LEAST_DECODERS * np.minimum(most, 1.0)
    growth = log(most / least) / CELLS

    def at(cells: NDArray[np.int64]) -> Numbers:
        return np.where(cells < CELLS, least * exp(growth * cells), most)

    together = halvings_together(most.size)
    low, width = np.zeros(most.shape, dtype=np.int64), CELLS
    ends = load(np.stack([least, most]))
    low_load, high_load = ends[0], ends[1]
    while width > 1:
        halvings = min(together, width.bit_length() - 1)
        middles = 2**halvings - 1
        unit = width >> halvings
        steps = np.arange(1, middles + 1).reshape(-1, *(1,) * most.ndim)
        loads = load(at(low + unit * steps))
        found = np.zeros(most.shape, dtype=np.int64)
        for halving in range(halvings):
            half = 2 ** (halvings - halving - 1)
            middle_load = np.take_along_axis(loads, (found + half - 1)[None], axis=0)[0]
            right = middle_load < wanted
            found = np.where(right, found + half, found)
            low_load = np.where(right, middle_load, low_load)
            high_load = np.where(right, high_load, middle_load)
        low, width = low + unit * found, unit
    rise = np.maximum(high_load - low_load, 1e-300)
    start = at(low)
    return start + np.clip((wanted - low_load) / rise, 0.0, 1.0) * (at(low + 1) - start), ends[1]


def halvings_together(points: int) -> int:
    """How many halvings share one evaluation, so that its arrays neither waste calls nor outgrow the cache."""
    return next((halvings for most, halvings in TOGETHER if points <= most), 1)


def closed_loop_block(c: LatencyCoefficients, traffic: Traffic, users: Numbers, slots: Numbers) -> tuple[Numbers, ...]:
    """(TTFT s, TPOT s, requests/s, saturated) of one micro-batch."""
    waiting, before, mix = ClosedWait.of(c, traffic), frontend(c, traffic), StepMix(c, traffic)

    def users_at(decoders: Numbers) -> Numbers:
        tpot, prefill = mix(decoders)
        rate = decoders / (traffic.decode_steps * tpot)
        uncrowded = decoders + rate * (before + prefill)
        return decoders + rate * (before + prefill + waiting.seconds(uncrowded, tpot))

    admitted = np.minimum(users, slots)
    decoders, most_users = bisect_decoders(users_at, admitted, traffic.most_decoders)
    tpot, prefill = mix(decoders)
    resident = np.minimum(admitted, most_users)
    rate = decoders / (traffic.decode_steps * tpot)
    ttft = before + prefill + waiting.seconds(resident, tpot) + (users - resident) / rate
    return ttft, tpot, rate, (users > resident * (1.0 + 1e-9)).astype(np.float64)


def prefill_only_block(c: LatencyCoefficients, traffic: Traffic, users: Numbers, slots: Numbers) -> tuple[Numbers, ...]:
    """(TTFT s, NaN, requests/s, saturated) when each request ends with its first token."""
    alone = np.minimum(traffic.computed_tokens, traffic.budget_tokens)
    zero = np.zeros_like(alone)
    one = step_time(c, zero, zero, alone, traffic.span_tokens) * traffic.computed_tokens / alone * c.prefill_factor
    full = step_time(c, zero, zero, traffic.budget_tokens, traffic.span_tokens) * c.prefill_factor
    least = full * traffic.computed_tokens / traffic.budget_tokens
    others = np.maximum(np.minimum(users, slots) - 1.0, 0.0)
    engine = one * pipeline_fill(c, traffic.computed_tokens / alone) + others * least
    ttft = frontend(c, traffic) + np.maximum(engine, users * least)
    return ttft, np.full_like(ttft, np.nan), users / ttft, (users > slots).astype(np.float64)


def open_loop_block(c: LatencyCoefficients, traffic: Traffic, rate: Numbers, slots: Numbers) -> tuple[Numbers, ...]:
    """(TTFT s, TPOT s, requests/s, saturated) of one micro-batch at a Poisson arrival rate."""
    mix = StepMix(c, traffic)

    def rate_at(decoders: Numbers) -> Numbers:
        tpot, _ = mix(decoders)
        return np.asarray(decoders / (traffic.decode_steps * tpot))

    most = np.minimum(traffic.most_decoders, slots)
    decoders, most_rate = bisect_decoders(rate_at, rate, most)
    tpot, prefill = mix(decoders)
    wait, load = poisson_wait(c, traffic, rate, decoders, tpot)
    ttft = frontend(c, traffic) + prefill + wait
    return ttft, tpot, np.minimum(rate, most_rate), ((rate > most_rate) | (load >= 1.0)).astype(np.float64)


def burst_block(c: LatencyCoefficients, traffic: Traffic, users: Numbers, slots: Numbers) -> tuple[Numbers, ...]:
    """(mean TTFT s, mean TPOT s, requests/s, saturated) when all users send at once, and only once.

    They are prefilled in full steps, then decode together; users beyond the slots run in further waves. Who has its
    first token early decodes beside the others' prefills.
    """
    together = np.minimum(users, slots)
    prompts = burst_prefill(c, traffic, together)
    zero = np.zeros_like(together)
    decode = step_time(c, np.maximum(together, 1.0), traffic.context_tokens, zero, zero)
    tpot = decode + prompts.beside(traffic.decode_steps) * prompts.added_s / traffic.decode_steps
    wave = prompts.whole_s * pipeline_fill(c, np.ones_like(together)) + traffic.decode_steps * decode
    waves = np.maximum(users / together, 1.0)
    ttft = frontend(c, traffic) + prompts.mean_s + (waves - 1.0) / 2.0 * wave
    rate = users / (frontend(c, traffic) + np.ceil(waves - 1e-9) * wave)
    return ttft, tpot, rate, (users > slots * (1.0 + 1e-9)).astype(np.float64)
