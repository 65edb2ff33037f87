"""Requests at random: waits, first tokens and token times of one engine, by quadrature over chance.

Each point of a fixed lattice is one request. It finds D decoders (`states.py`) and a step in progress, met in
proportion to its length: with the share of time in steps with prompts it is one of those, of 1 + Poisson prompts (more
likely, and of more, where arrivals clump: who arrives has others just before). Then

    wait      for a slot, where all are taken: exponential (`states.py`)
    residual  what is left of the step in progress, uniform
    others    prompts that came during it, Poisson with the mean m(elapsed) + m(left) of a renewal process seen from one
              of its own points, m(t) = `seen_from_one`; those before the request are computed first, those after it
              beside it
    backlog   prompt tokens that the step in progress leaves over, where more come than a step takes: above zero with
              probability rho max(exp(-theta C / I), 1 - C / I), then exponential with mean I / theta, and at least the
              rest of a prompt of several steps; C = M - D tokens of a step,
              rho = r I T(D, C) / C, theta = 2 (1 - rho) / (rho s) / (1 + 0.55 (1 - rho) / rho): the decay rate of the
              workload of an M/D/1 queue (root of rho (exp(x) - 1) = x, within 3 %), s = E[I^2] / E[I]^2 (1 + ca2) / 2
    own       T(D, everything in its last step), after as many full steps T(D, C) as the tokens before it take
    TTFT      front end + wait + residual + own
    TPOT      mean step around the request: decoders, averaged over its answer (2/3 of the variance of an instant, for a
              triangular autocovariance); Poisson many prompts that fell into it, each of which lets a / (1 - r a) pass,
              itself and those that come meanwhile (a busy period); and those that came during its own long first step

Validity: means within 10 % and the 95th percentile within 15 % of an event simulation, docs/traffic.md.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.queueing.demand import Lengths, Stream
from vllm_opt.constraints.queueing.lattice import lattice, mean_of, normal_quantile, poisson_quantile
from vllm_opt.constraints.queueing.mixed_step import LEAST_ROOM_TOKENS, mixed_step
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.slots import Slots
from vllm_opt.constraints.queueing.states import States, states
from vllm_opt.constraints.speed.first_token import frontend
from vllm_opt.constraints.speed.steady_state import pipeline_fill, step_mix
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, prefill_attention
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import exp, expm1, log, log1p

Flags = NDArray[np.bool_]
OVER_A_LIFE = float(np.sqrt(2.0 / 3.0))
MOST_LOAD = 0.995
MOST_PROMPT_LOAD = 0.9
ROOT_BEND = 0.55
LEAST_SPREAD = 0.05
LARGE = 0.5
SECOND_TERM = 1.5


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
    """Of `before`: prompts that the step in progress leaves over."""


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
    found = meeting(c, traffic, served, law, sequences, uniform, inputs, stream, queued=queued)
    own = own_prefill(c, traffic, served, found, uniform[6], lengths)
    steps = np.maximum(traffic.decode_steps * outputs, 1.0)
    strangers = np.where(queued & shared.by_pool, 0.0, 1.0)
    tpot = token_times(served, law, sequences, uniform, steps, found, own, stream, strangers)
    tpot = np.where(single, np.nan, tpot)
    begin = frontend(c, traffic) + c.frontend_token_s * traffic.input_tokens * (inputs - 1.0)
    ttft = begin + (sequences > 0.5) * c.busy_frontend_s + waits + found.residual_s + own
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


def seen_from_one(rate: Numbers, seconds: Numbers, variation: float) -> Numbers:
    """Expected other arrivals within so many seconds of an arrival, on one side of it.

    r t and an excess that ends at (ca2 - 1) / 2 (renewal theory, any law). Arrivals that clump (gamma law of shape
    k = 1 / ca2 < 1) start with x^k / Gamma(1 + k) others, x = k r t: far more than in proportion to the time. With the
    next term and its weight the exact sum is met within 9 % for k >= 0.3 and 12 % for 0.25.
    """
    expected = rate * seconds
    most = (variation - 1.0) / 2.0
    if variation == 1.0:
        return np.asarray(expected)
    if variation < 1.0:
        return np.asarray(expected - most * expm1(-2.0 * expected))
    shape = 1.0 / variation
    power = exp(shape * log(np.maximum(shape * expected, 1e-300)))
    start = power / gamma_of_one_more(shape) + SECOND_TERM * power**2 / gamma_of_one_more(2.0 * shape)
    beyond = np.maximum(start - shape * expected * exp(-expected), 0.0)
    return np.asarray(expected - most * expm1(-beyond / most))


def gamma_of_one_more(x: float) -> float:
    """Gamma(1 + x) for 0 <= x <= 2 within 1e-4 (Abramowitz and Stegun, 6.1.35): the same bits everywhere."""
    if x > 1.0:
        return x * gamma_of_one_more(x - 1.0)
    return 1.0 + x * (-0.5748646 + x * (0.9512363 + x * (-0.6998588 + x * (0.4245549 - x * 0.1010678))))


def meeting(
    c: LatencyCoefficients, traffic: Traffic, rate: Numbers, law: States, sequences: Numbers, uniform: Numbers,
    inputs: Numbers, stream: Stream, most_waiting: Numbers | float = np.inf, queued: Flags | bool = False,
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
    large = (computed >= LARGE * room) & ~idle
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
    work = _work_ahead(traffic, mean_of(np.broadcast_to(rate, lasts.shape)), full, room, alone, stream, uniform)
    work = np.minimum(work, most_waiting * computed + computed)
    number = np.where(queued, poisson_quantile(uniform[2], rate * lasts), number)
    large &= mixed & ~np.asarray(queued)
    left_over = np.where(large, np.maximum(work - position * room, 0.0), 0.0)
    drained = np.where(large, np.minimum(lasts * position, alone * position + work * np.maximum(full - alone, 0.0) / room), lasts * position)
    backlog = _backlog(traffic, rate, full, room, share, stream, uniform[3])
    left_over = np.where(mixed & ~large & ~np.asarray(queued), np.minimum(backlog, most_waiting * computed), left_over)
    before_tokens = np.where(large, left_over, _varied(number * earlier, square, uniform[4]) * computed + left_over)
    return Meeting(
        decoders=beside,
        residual_s=drained,
        before=before_tokens,
        after=number * (1.0 - earlier) * computed,
        own=np.maximum(computed * inputs, 1.0),
        room=room,
        full_s=full,
        left_over=left_over,
    )


def more_likely(share: Numbers, times: Numbers) -> Numbers:
    """A probability whose odds are so many times as large."""
    return np.asarray(share * times / (1.0 + share * (times - 1.0)))


def _varied(number: Numbers, square: float, uniform: Numbers) -> Numbers:
    """Prompts of different lengths, relative to the typical one: a lognormal law of their sum."""
    if square <= 1.0:
        return number
    deviation = np.sqrt(log1p((square - 1.0) / np.maximum(number, 1.0)))
    return np.asarray(number * exp(deviation * normal_quantile(uniform) - deviation**2 / 2.0))


def _work_ahead(
    traffic: Traffic, rate: Numbers, full_s: Numbers, room: Numbers, alone_s: Numbers, stream: Stream, uniform: Numbers
) -> Numbers:
    """Prompt tokens ahead of a request that meets a step with prompts, where prompts fill steps."""
    computed = traffic.computed_tokens
    load = np.minimum(rate * computed * full_s / room, MOST_LOAD)
    chunks = computed / room
    rest = 0.5 if stream.lengths.spread else np.ceil(chunks - 1e-9) - chunks
    load = np.minimum(load + (1.0 - load) * rate * rest * alone_s, MOST_LOAD)
    number = np.floor(log(1.0 - uniform[3]) / log(np.maximum(load, 1e-12)))
    first = stream.lengths.residual(uniform[4])
    mean = stream.lengths.input_square / 2.0
    variance = np.maximum(stream.lengths.input_cube / 3.0 - mean**2, 1e-12)
    rest = number * mean + np.sqrt(number * variance) * normal_quantile(uniform[5])
    return np.asarray((first + np.maximum(rest, 0.0)) * of_clumps(load, stream)[1] * computed)


def of_clumps(load: Numbers, stream: Stream) -> tuple[Numbers, Numbers]:
    """(probability that an arrival finds work at one server, that work relative to a Poisson stream's).

    Mean work in services: rho (ca2 + cs2) / (2 (1 - rho)) + p (ca2 - 1) / 3, within 6 % of gamma intervals of shape 0.25
    to 1 before services of equal and of different lengths (Lindley's recursion).
    """
    variation, square = stream.arrival_variation, stream.lengths.input_square
    if variation == 1.0:
        return load, np.ones_like(load)
    busy = more_likely(load, seen_from_one(load, np.ones_like(load), variation) / np.maximum(load, 1e-300))
    least = LEAST_SPREAD * load / (2.0 * (1.0 - load))
    work = load * (variation + square - 1.0) / (2.0 * (1.0 - load)) + busy * (variation - 1.0) / 3.0
    return busy, np.maximum(work, least) * 2.0 * (1.0 - load) / (busy * square)


def _backlog(
    traffic: Traffic, rate: Numbers, full_s: Numbers, room: Numbers, share: Numbers, stream: Stream, uniform: Numbers
) -> Numbers:
    """Prompt tokens that the step in progress leaves over, given that it carries prompts."""
    computed = traffic.computed_tokens
    own_s = computed * full_s / room
    load = np.minimum(rate * own_s, MOST_LOAD)
    slack = (1.0 - load) / np.maximum(load, 1e-9)
    spread = max(stream.arrival_variation + stream.lengths.input_square - 1.0, LEAST_SPREAD)
    decay = 2.0 * slack / spread / (1.0 + ROOT_BEND * slack)
    if stream.arrival_variation != 1.0:
        seen = seen_from_one(rate, own_s, stream.arrival_variation)
        load = more_likely(load, seen / np.maximum(rate * own_s, 1e-300))
    lump = np.maximum(1.0 - room / computed, 0.0)
    likely = load * np.maximum(exp(-decay * room / computed), lump)
    left_over = np.minimum(likely / np.maximum(share, 1e-12), 1.0)
    tail = np.clip((uniform - (1.0 - left_over)) / np.maximum(left_over, 1e-12), 0.0, 1.0 - 1e-6)
    queue = np.maximum(-log1p(-tail) / decay, lump * tail) * computed
    return np.where(uniform > 1.0 - left_over, queue, 0.0)


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
