"""Prompts ahead of a request: others of its clump, and work that steps in progress leave over.

others    of who arrived, within a time t: m(t) of a renewal process seen from one of its own points, `seen_from_one`
work      where prompts fill steps (LARGE and above of a step each) they queue as at one server, s = I T(D, C) / C a
          prompt, C = M - D tokens of a step: with probability rho = r s someone is there, and then the work ahead is
          the sum of 1 + N residual prompts, N geometric with rho (Pollaczek and Khinchin, in the form of V. Benes);
          a last step that is not full takes longer than its share, which nobody behind makes use of
backlog   elsewhere a step leaves something over with probability rho max(exp(-theta C / I), 1 - C / I), then
          exponential with mean I / theta, and at least the rest of a prompt of several steps;
          theta = 2 (1 - rho) / (rho s) / (1 + 0.55 (1 - rho) / rho): the decay rate of the workload of an M/D/1
          queue (root of rho (exp(x) - 1) = x, within 3 %), s = E[I^2] / E[I]^2 (1 + ca2) / 2
"""

import numpy as np

from vllm_opt.constraints.queueing.demand import Stream
from vllm_opt.constraints.queueing.lattice import normal_quantile
from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import exp, expm1, log, log1p

MOST_LOAD = 0.995
ROOT_BEND = 0.55
LEAST_SPREAD = 0.05
LARGE = 0.5
SECOND_TERM = 1.5


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


def more_likely(share: Numbers, times: Numbers) -> Numbers:
    """A probability whose odds are so many times as large."""
    return np.asarray(share * times / (1.0 + share * (times - 1.0)))


def varied(number: Numbers, square: float, uniform: Numbers) -> Numbers:
    """Prompts of different lengths, relative to the typical one: a lognormal law of their sum."""
    if square <= 1.0:
        return number
    deviation = np.sqrt(log1p((square - 1.0) / np.maximum(number, 1.0)))
    return np.asarray(number * exp(deviation * normal_quantile(uniform) - deviation**2 / 2.0))


def work_ahead(
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

    Mean work in services: rho (ca2 + cs2) / (2 (1 - rho)) + p (ca2 - 1) / 3, within 8 % of gamma intervals of shape
    0.25 to 1 before services of equal and of different lengths (Lindley's recursion).
    """
    variation, square = stream.arrival_variation, stream.lengths.input_square
    if variation == 1.0:
        return load, np.ones_like(load)
    busy = more_likely(load, seen_from_one(load, np.ones_like(load), variation) / np.maximum(load, 1e-300))
    least = LEAST_SPREAD * load / (2.0 * (1.0 - load))
    work = load * (variation + square - 1.0) / (2.0 * (1.0 - load)) + busy * (variation - 1.0) / 3.0
    return busy, np.maximum(work, least) * 2.0 * (1.0 - load) / (busy * square)


def backlog(
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
