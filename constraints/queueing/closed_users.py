"""Percentiles of users in a closed loop, around the means of `constraints/speed/steady_state.py`.

The number in flight is fixed, so what differs between requests is the step that each meets, the prompts that share it
and, with more users than slots, the queue before it:

    samples    `random_arrivals.py` with the closed loop's own D and rate X (1 - 1 / N) of the others
    queue      N - S users wait; a place comes every 1 / X on average, so the wait has mean (N - S) / X and, for
               completions at random, variance (N - S) / X^2
    level      samples are scaled to the mean of the closed loop, which measurements have fitted: there users stay in
               step with each other

Where answers are equally long nothing mixes the users: they keep the order in which they began, so one simulation that
starts them together and one that starts them apart differ for ever, and the mean lies between. Users who pause:
`thinking_users.py`. How far all this is from the event simulation stands in docs/traffic.md.
"""

import numpy as np

from vllm_opt.constraints.queueing.demand import Lengths, Stream
from vllm_opt.constraints.queueing.lattice import FEW_POINTS, lattice, mean_of, normal_quantile
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


def closed_means(
    c: LatencyCoefficients, traffic: Traffic, users: Numbers, slots: Numbers, single: Flags
) -> tuple[Numbers, Numbers, Numbers]:
    """(TTFT, TPOT, requests/s) of the closed loop; TPOT is NaN for one output token."""
    ttft, tpot, rate, _ = closed_loop_block(c, traffic, users, slots)
    if not single.any():
        return ttft, tpot, rate
    alone = prefill_only_block(c, traffic, users, slots)
    return np.where(single, alone[0], ttft), np.where(single, np.nan, tpot), np.where(single, alone[2], rate)


def lone_prefill(c: LatencyCoefficients, traffic: Traffic, tokens: Numbers) -> Numbers:
    """Seconds to compute a prompt with nobody else there: no request has its first token sooner."""
    chunk = np.minimum(tokens, traffic.budget_tokens)
    _, seconds = mixed_step(c, traffic, np.zeros_like(chunk), chunk)
    return np.asarray(seconds * tokens / chunk / c.pipeline_stages)


def closed_users(
    c: LatencyCoefficients, traffic: Traffic, users: Numbers, slots: Numbers, single: Flags, lengths: Lengths
) -> Outcome:
    """Times of the requests of `users` in a closed loop at one engine."""
    ttft_mean, tpot_mean, rate = closed_means(c, traffic, np.maximum(users, 1.0), slots, single)
    rate = rate * np.minimum(users, 1.0)
    traffic = with_lengths(traffic, lengths)
    uniform = lattice(FEW_POINTS)[:, :, None]
    inputs, outputs = lengths.at(uniform[5], uniform[7])
    apart = 1.0 - 1.0 / np.maximum(users, 1.0)
    others = rate * apart
    decoders = np.where(single, 0.0, rate * traffic.decode_steps * np.nan_to_num(tpot_mean))
    sequences = np.broadcast_to(decoders * apart, (len(uniform[0]), len(decoders)))
    law, stream = steady_states(c, traffic, others, decoders), Stream(lengths=lengths)
    found = meeting(c, traffic, others, law, sequences, uniform, inputs, stream, in_a_row=False)
    own = own_prefill(c, traffic, others, found, uniform[6])
    waiting = np.maximum(users - np.maximum(slots, 1.0), 0.0)
    queue = np.maximum(waiting + np.sqrt(waiting) * normal_quantile(uniform[0]), 0.0) / rate
    engine = np.minimum(mean_of(queue), ttft_mean)
    begin = frontend(c, traffic) + c.frontend_token_s * traffic.input_tokens * (inputs - 1.0)
    served = begin + c.busy_frontend_s * (users > 1.0) + found.residual_s + own
    level = (ttft_mean - engine) / np.maximum(mean_of(served), 1e-300)
    ttft = queue * engine / np.maximum(mean_of(queue), 1e-300) + served * np.maximum(level, 1e-300)
    ttft = np.maximum(ttft, c.frontend_s + lone_prefill(c, traffic, found.own))
    steps = np.maximum(traffic.decode_steps * outputs, 1.0)
    tpot = token_times(others, law, sequences, uniform, steps, found, own, stream)
    alone = lone_step(c, traffic, np.ones_like(rate))
    tpot = np.maximum(tpot * tpot_mean / np.maximum(mean_of(tpot), 1e-300), alone)
    tpot = np.where(single, np.nan, tpot)
    e2e = ttft + np.where(single, 0.0, np.nan_to_num(tpot) * steps)
    most = np.maximum(capacity(c, traffic, slots, single), rate)
    return Outcome(ttft, tpot, e2e, rate, most)
