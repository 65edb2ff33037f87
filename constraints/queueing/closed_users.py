"""Percentiles of users in a closed loop, around the means of `constraints/speed/steady_state.py`.

The number in flight is fixed, so what differs between requests is the step that each meets, the prompts that share it
and, with more users than slots, the queue before it:

    samples    `random_arrivals.py` with the closed loop's own D and rate X (1 - 1 / N) of the others
    queue      N - S users wait; a place comes every 1 / X on average, so the wait has mean (N - S) / X and, for
               completions at random, variance (N - S) / X^2
    level      samples are scaled to the mean of the closed loop, which measurements have fitted: there users stay in
               step with each other. Who thinks falls out of step, so of the level l remains l^(T / (T + Z)), T the TTFT

With think time Z, N users have n = N - X(n) Z requests in flight; n is found by bisection. Each user is there or not,
so the others that a request meets have the variance of a binomial law, 1 - n / N of Poisson's. How far all this is
from the event simulation, whose users are less in step than measured ones, stands in docs/traffic.md.
"""

import numpy as np

from vllm_opt.constraints.queueing.demand import Lengths, Stream
from vllm_opt.constraints.queueing.lattice import lattice, mean_of, normal_quantile, poisson_quantile
from vllm_opt.constraints.queueing.mixed_step import lone_step, mixed_step
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.random_arrivals import (
    Flags,
    capacity,
    meeting,
    own_prefill,
    token_times,
    with_lengths,
)
from vllm_opt.constraints.queueing.states import steady_states
from vllm_opt.constraints.speed.first_token import frontend
from vllm_opt.constraints.speed.steady_state import closed_loop_block, prefill_only_block
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers
from vllm_opt.constraints.speed.traffic import Traffic

BISECTIONS = 30


def closed_means(
    c: LatencyCoefficients, traffic: Traffic, users: Numbers, slots: Numbers, single: Flags
) -> tuple[Numbers, Numbers, Numbers]:
    """(TTFT, TPOT, requests/s) of the closed loop; TPOT is NaN for one output token."""
    ttft, tpot, rate, _ = closed_loop_block(c, traffic, users, slots)
    if not single.any():
        return ttft, tpot, rate
    alone = prefill_only_block(c, traffic, users, slots)
    return np.where(single, alone[0], ttft), np.where(single, np.nan, tpot), np.where(single, alone[2], rate)


def in_flight(
    c: LatencyCoefficients, traffic: Traffic, users: Numbers, slots: Numbers, single: Flags, think_s: float
) -> Numbers:
    """Requests in flight of users who think between requests: n + X(n) Z = N."""
    if think_s <= 0:
        return users
    low, high = np.minimum(users, 1e-3), users.copy()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        _, _, rate = closed_means(c, traffic, np.maximum(middle, 1.0), slots, single)
        rate = rate * np.minimum(middle, 1.0)
        below = middle + rate * think_s < users
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2.0)


def lone_prefill(c: LatencyCoefficients, traffic: Traffic, tokens: Numbers) -> Numbers:
    """Seconds to compute a prompt with nobody else there: no request has its first token sooner."""
    chunk = np.minimum(tokens, traffic.budget_tokens)
    _, seconds = mixed_step(c, traffic, np.zeros_like(chunk), chunk)
    return np.asarray(seconds * tokens / chunk / c.pipeline_stages)


def closed_users(
    c: LatencyCoefficients, traffic: Traffic, users: Numbers, slots: Numbers, single: Flags, think_s: float,
    lengths: Lengths,
) -> Outcome:  # fmt: skip
    """Times of the requests of `users` in a closed loop at one engine."""
    flying = in_flight(c, traffic, users, slots, single, think_s)
    ttft_mean, tpot_mean, rate = closed_means(c, traffic, np.maximum(flying, 1.0), slots, single)
    rate = rate * np.minimum(flying, 1.0)
    traffic = with_lengths(traffic, lengths)
    uniform = lattice()[:, :, None]
    inputs, outputs = lengths.at(uniform[5], uniform[7])
    others = rate * (1.0 - 1.0 / np.maximum(flying, 1.0))
    decoders = np.where(single, 0.0, rate * traffic.decode_steps * np.nan_to_num(tpot_mean))
    met = decoders * (1.0 - 1.0 / np.maximum(flying, 1.0))
    chance = np.sqrt(np.maximum(1.0 - flying / np.maximum(users, 1.0), 0.0))
    law, stream = steady_states(c, traffic, others, decoders, chance * np.sqrt(decoders)), Stream(lengths=lengths)
    sequences = met + chance * (poisson_quantile(uniform[7], met) - met)
    found = meeting(c, traffic, others, law, sequences, uniform, inputs, stream)
    own = own_prefill(c, traffic, others, found, uniform[6])
    waiting = np.maximum(flying - np.maximum(slots, 1.0), 0.0)
    queue = np.maximum(waiting + np.sqrt(waiting) * normal_quantile(uniform[0]), 0.0) / rate
    engine = np.minimum(mean_of(queue), ttft_mean)
    absent = np.clip(1.0 - flying / np.maximum(users, 1.0), 0.0, 1.0)
    begin = frontend(c, traffic) + c.frontend_token_s * traffic.input_tokens * (inputs - 1.0)
    begin = begin + c.busy_frontend_s * (1.0 - absent ** np.maximum(users - 1.0, 0.0))
    served = begin + found.residual_s + own
    level = (ttft_mean - engine) / np.maximum(mean_of(served), 1e-300)
    in_step = ttft_mean / np.maximum(ttft_mean + think_s, 1e-300)
    ttft = queue * engine / np.maximum(mean_of(queue), 1e-300) + served * np.maximum(level, 1e-300) ** in_step
    ttft = np.maximum(ttft, c.frontend_s + lone_prefill(c, traffic, found.own))
    steps = np.maximum(traffic.decode_steps * outputs, 1.0)
    tpot = token_times(others, law, sequences, uniform, steps, found, own, stream)
    alone = lone_step(c, traffic, np.ones_like(rate))
    tpot = np.maximum(tpot * tpot_mean / np.maximum(mean_of(tpot), 1e-300), alone)
    tpot = np.where(single, np.nan, tpot)
    e2e = ttft + np.where(single, 0.0, np.nan_to_num(tpot) * steps)
    most = np.maximum(capacity(c, traffic, slots, single), rate)
    return Outcome(ttft, tpot, e2e, rate, most)
