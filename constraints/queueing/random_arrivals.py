"""Requests at random: waits, first tokens and token times of one engine, by quadrature over chance.

Each point of a fixed lattice is one request. It finds D decoders (`states.py`) and a step in progress, met in
proportion to its length: with the share of time in steps with prompts it is one of those, of 1 + Poisson prompts (more
likely, and of more, where arrivals clump: who arrives has others just before). Then

    wait      for a slot, where all are taken: exponential (`states.py`)
    residual  what is left of the step in progress, uniform
    others    prompts that came during it, Poisson with the mean m(elapsed) + m(left); those before the request are
              computed first, those after it beside it
    ahead     where prompts fill steps the work of all before it instead, and what the step in progress leaves over
              elsewhere (`prompts_ahead.py`); whoever waited for a slot finds others let in one by one
    planned   with asynchronous scheduling, the step after that too, which was planned before the request came: with
              prompts or without, or with what was left over
    own       T(D, everything in its last step), after as many full steps T(D, C) as the tokens before it take
    TTFT      front end + wait + residual + planned + own
    TPOT      mean step around the request: decoders, averaged over its answer (2/3 of the variance of an instant, for a
              triangular autocovariance); Poisson many prompts that fell into it, each of which lets a / (1 - r a) pass,
              itself and those that come meanwhile (a busy period); and those that came during its own long first step

Validity: means within 10 % and the 95th percentile within 15 % of an event simulation, docs/traffic.md.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.queueing.demand import Lengths, Stream
from vllm_opt.constraints.queueing.lattice import lattice, mean_of, poisson_quantile
from vllm_opt.constraints.queueing.mixed_step import LEAST_ROOM_TOKENS, mixed_step
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.prompts_ahead import (
    LARGE,
    MOST_LOAD,
    backlog,
    more_likely,
    of_clumps,
    seen_from_one,
    varied,
    work_ahead,
)
from vllm_opt.constraints.queueing.slots import Slots
from vllm_opt.constraints.queueing.states import States, states
from vllm_opt.constraints.speed.first_token import frontend
from vllm_opt.constraints.speed.steady_state import pipeline_fill, step_mix
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, prefill_attention
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import expm1, log1p

Flags = NDArray[np.bool_]
OVER_A_LIFE = float(np.sqrt(2.0 / 3.0))
MOST_PROMPT_LOAD = 0.9


def with_lengths(traffic: Traffic, lengths: Lengths) -> Traffic:
    """What decoders and prompt tokens read on average where lengths differ: long ones are met more often.

    Context: E[I O] / E[O] + E[O^2] / (2 E[O]); span: that of a prompt's own tokens, E[I^2] / (2 E[I]).
    """
    if not lengths.spread:
        return traffic
    answer = (traffic.context_tokens - traffic.input_tokens) * lengths.output_square
    return replace(
        traffic,
        context_tokens=traffic.input_tokens * lengths.held_input + answer,
        span_tokens=traffic.span_tokens * lengths.input_square,
    )


def capacity(c: LatencyCoefficients, traffic: Traffic, slots: Numbers, single: Flags) -> Numbers:
    """Requests per second that one engine finishes at most, all slots taken."""
    held = np.maximum(slots, 1e-6)
    most = np.minimum(held, traffic.most_decoders)
    tpot, prefill = step_mix(c, traffic, most)
    for _ in range(3):
        answer = traffic.decode_steps * tpot
        most = np.minimum(held * answer / (answer + prefill), traffic.most_decoders)
        tpot, prefill = step_mix(c, traffic, most)
    many = most / (traffic.decode_steps * tpot)
    _, full = mixed_step(c, traffic, np.zeros_like(slots), traffic.budget_tokens)
    only_prompts = traffic.budget_tokens / (full * traffic.computed_tokens)
    return np.where(single, only_prompts, np.minimum(many, only_prompts))


@dataclass(frozen=True)
class Meeting:
    """What the request of each lattice point finds, in tokens and seconds."""

    decoders: Numbers
    residual_s: Numbers
    before: Numbers
    after: Numbers
    own: Numbers
    room: Numbers
    full_s: Numbers
    left_over: Numbers
    """Prompts that the step in progress leaves over."""
    planned_s: Numbers
    """The step that was planned when the request came; what of `left_over` it computes is no part of `before`."""


def random_arrivals(
    c: LatencyCoefficients, traffic: Traffic, rate: Numbers, shared: Slots, single: Flags, stream: Stream
) -> Outcome:
    """Times of requests that arrive at `rate` per second at one engine (one micro-batch of a pipeline).

    Beyond the capacity the queue grows without end: times are those just below it.
    """
    traffic, slots = with_lengths(traffic, stream.lengths), shared.number
    most = capacity(c, traffic, slots, single)
    served = np.minimum(rate, MOST_LOAD * most)
    lengths, variation = stream.lengths, stream.arrival_variation
    answer = lengths.output_square - 1.0
    z = max(1.0 + (variation - 1.0) / (1.0 + answer), 0.05)
    law = states(c, traffic, served, shared, z, max((variation + answer) / 2.0, 0.05))
    uniform = lattice()[:, :, None]
    inputs, outputs = lengths.at(uniform[5], uniform[7])
    waits, sequences = _slot_wait(law, uniform, slots, single)
    queued = waits > 0.0
    found = meeting(c, traffic, served, law, sequences, uniform, inputs, stream, queued=queued & shared.by_pool)
    waits = np.maximum(waits - found.left_over * found.full_s / found.room, 0.0)
    own = own_prefill(c, traffic, served, found, uniform[6], lengths)
    steps = np.maximum(traffic.decode_steps * outputs, 1.0)
    strangers = np.where(queued & shared.by_pool, 0.0, 1.0)
    tpot = token_times(served, law, sequences, uniform, steps, found, own, stream, strangers)
    tpot = np.where(single, np.nan, tpot)
    begin = frontend(c, traffic) + c.frontend_token_s * traffic.input_tokens * (inputs - 1.0)
    planned = np.maximum(found.planned_s - waits, 0.0)
    ttft = begin + (sequences > 0.5) * c.busy_frontend_s + waits + found.residual_s + planned + own
    e2e = ttft + np.where(single, 0.0, np.nan_to_num(tpot) * steps)
    return Outcome(ttft, tpot, e2e, np.minimum(rate, most), most)


def _slot_wait(law: States, uniform: Numbers, slots: Numbers, single: Flags) -> tuple[Numbers, Numbers]:
    """(seconds until a slot is free, decoders then): the upper tail of the first coordinate waits."""
    place = uniform[0]
    free = np.maximum(1.0 - law.waits, 1e-12)
    tail = np.clip((place - free) / np.maximum(law.waits, 1e-12), 0.0, 1.0 - 1e-6)
    waits = np.where(place > free, -log1p(-tail) * law.wait_s, 0.0)
    decoders = law.at(np.minimum(place / free, 1.0))
    full = np.where(place > free, np.maximum(slots - 1.0, 0.0), decoders)
    return np.where(single, 0.0, waits), np.where(single, 0.0, full)


def meeting(
    c: LatencyCoefficients, traffic: Traffic, rate: Numbers, law: States, sequences: Numbers, uniform: Numbers,
    inputs: Numbers, stream: Stream, most_waiting: Numbers | float = np.inf, queued: Flags | bool = False,
    in_a_row: bool = True,
) -> Meeting:  # fmt: skip
    """What the request of each lattice point finds when it arrives; at most so many prompts are left over."""
    computed, square, variation = traffic.computed_tokens, stream.lengths.input_square, stream.arrival_variation
    place = law.place(sequences)
    decoders = sequences * place.of(law.decoding)
    alone, mean_s = place.of(law.law.alone_s), place.of(law.law.mean_s)
    beside = np.where(traffic.chunked, decoders, 0.0)
    room = np.maximum(traffic.budget_tokens - beside, LEAST_ROOM_TOKENS)
    idle = sequences < 0.5
    comes = np.where(idle, 0.0, seen_from_one(rate, mean_s, variation))
    carried = computed * (square + poisson_quantile(uniform[6], comes))
    _, with_prompts = mixed_step(c, traffic, beside, np.minimum(carried, room))
    mixed_s = with_prompts + np.where(traffic.chunked | idle, 0.0, alone)
    share = np.where(idle, np.minimum(rate * mixed_s, 1.0), place.of(law.law.mixed_time_share))
    if variation != 1.0:
        share = more_likely(share, seen_from_one(rate, mixed_s, variation) / np.maximum(rate * mixed_s, 1e-300))
    _, full = mixed_step(c, traffic, beside, room)
    large = (computed >= LARGE * room) & ~idle & in_a_row
    if variation != 1.0:
        share = np.where(large, of_clumps(np.minimum(rate * computed * full / room, MOST_LOAD), stream)[0], share)
    mixed = uniform[1] < share
    in_plain = (uniform[1] - share) / np.maximum(1.0 - share, 1e-12)
    position = np.where(mixed, uniform[1] / np.maximum(share, 1e-12), in_plain)
    lasts = np.where(mixed, mixed_s, np.where(idle, 0.0, alone))
    before = seen_from_one(rate, lasts * (1.0 - position), variation)
    after = seen_from_one(rate, lasts * position, variation)
    came = before + after
    clump = max(1.0, (1.0 + variation) / 2.0)
    number = clump * poisson_quantile(uniform[2], came / clump)
    earlier = before / np.maximum(came, 1e-12)
    work = work_ahead(traffic, mean_of(np.broadcast_to(rate, lasts.shape)), full, room, alone, stream, uniform)
    work = np.minimum(work, most_waiting * computed + computed)
    number = np.where(queued, poisson_quantile(uniform[2], rate * lasts), number)
    large &= mixed & ~np.asarray(queued)
    left_over = np.where(large, np.maximum(work - position * room, 0.0), 0.0)
    drained = np.where(
        large,
        np.minimum(lasts * position, alone * position + work * np.maximum(full - alone, 0.0) / room),
        lasts * position,
    )
    over = backlog(traffic, rate, full, room, share, stream, uniform[3])
    left_over = np.where(mixed & ~large & ~np.asarray(queued), np.minimum(over, most_waiting * computed), left_over)
    ahead = np.where(idle, 0.0, np.asarray(c.ahead_steps))
    done = np.minimum(left_over, room) * ahead
    planned = alone + np.maximum(full - alone, 0.0) * done / room
    planned = np.where(done > 0.0, planned, np.where(uniform[3] < -expm1(-comes), mixed_s, alone))
    rest = left_over - done
    before_tokens = np.where(large, rest, varied(number * earlier, square, uniform[4]) * computed + rest)
    return Meeting(
        decoders=beside,
        residual_s=drained,
        before=before_tokens,
        after=number * (1.0 - earlier) * computed,
        own=np.maximum(computed * inputs, 1.0),
        room=room,
        full_s=full,
        left_over=left_over,
        planned_s=ahead * planned,
    )


def own_prefill(
    c: LatencyCoefficients, traffic: Traffic, rate: Numbers, found: Meeting, uniform: Numbers,
    lengths: Lengths | None = None,
) -> Numbers:  # fmt: skip
    """Seconds from the end of the step in progress to the end of the one that completes the prompt."""
    ahead = found.before + found.own
    whole = np.floor(np.maximum(ahead - 1.0, 0.0) / found.room)
    later = poisson_quantile(uniform, rate * whole * found.full_s) * traffic.computed_tokens
    last = np.minimum(ahead - whole * found.room + found.after + later, found.room)
    _, final = mixed_step(c, traffic, found.decoders, last)
    chunks = np.maximum(traffic.computed_tokens / traffic.budget_tokens, 1.0)
    longer = 0.0 if lengths is None or not lengths.spread else longer_spans(c, traffic, found.own, lengths)
    return np.asarray((whole * found.full_s + final + longer) * pipeline_fill(c, chunks))


def longer_spans(c: LatencyCoefficients, traffic: Traffic, own: Numbers, lengths: Lengths) -> Numbers:
    """What a prompt's tokens take longer than the mean one's, as they attend to more of them."""
    mean = traffic.span_tokens
    spans = mean / lengths.input_square * own / traffic.computed_tokens
    return np.asarray(own * (prefill_attention(c, spans) - prefill_attention(c, mean)) * c.prefill_factor)


def token_times(
    rate: Numbers, law: States, sequences: Numbers, uniform: Numbers, steps: Numbers, found: Meeting, own: Numbers,
    stream: Stream, thinking: Numbers | float = 1.0,
) -> Numbers:  # fmt: skip
    """Mean time per token of each request: decoders around it, itself included, and prompts that fell in.

    `thinking`: the share of all users that may send while others are halted; of strangers all.
    """
    middle = mean_of(sequences)
    around = np.minimum(middle + OVER_A_LIFE * (sequences - middle) + 1.0, law.grid[-1])
    place = law.place(around)
    step, alone, added = place.of(law.law.mean_s), place.of(law.law.alone_s), place.of(law.added_s)
    load = np.minimum(rate * added * thinking, MOST_PROMPT_LOAD)
    variation = stream.arrival_variation
    clump, expected = max(1.0, variation), seen_from_one(rate, steps * step, variation)
    fell_in = clump * poisson_quantile(uniform[4], expected / clump) - rate * steps * step
    even = min(1.0, np.sqrt(variation)) * np.sqrt(stream.lengths.input_square)
    mixed_up = min(1.0, 100.0 * (stream.lengths.output_square - 1.0)) ** 0.5
    noise = fell_in * even * added * (thinking + (1.0 - thinking) * mixed_up) / (1.0 - load)
    first = np.maximum(own - step, 0.0) * load / (1.0 - load)
    most = np.maximum(found.full_s, step)
    return np.asarray(np.clip(step + (noise + first) / steps, alone, most))
