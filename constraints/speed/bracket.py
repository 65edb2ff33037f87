"""Between what TTFT, TPOT and the rate of a closed loop lie, without solving for its decoders.

`steady_state.closed_loop_block` finds the decoders D of U users by bisection; whoever only compares with a limit needs
no more than numbers on either side. No more decode than there are users, and with T the time to the first token

    D + X T(D) = U,  X = D / ((O - 1) TPOT(D))   so   D >= U / (1 + T(U) / decode),  X <= U / ((O - 1) TPOT(D) + T(D))

where `decode` is a lone request's. TPOT and T never fall when D grows, so their values at both ends of D enclose them:
two evaluations of a step instead of fourteen. D is interpolated in a cell of a grid, so that it may be CELL off, and
never below the grid's first one.
"""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.speed.first_token import ClosedWait, frontend
from vllm_opt.constraints.speed.steady_state import LEAST_DECODERS, StepMix
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers
from vllm_opt.constraints.speed.traffic import Traffic

CELL = 1.02
"""A cell of the grid of decoders is at most 1.1 % wide."""
ROUNDING = 1e-6
"""Relative slack for rounding in both this and the prediction."""
TOGETHER = 2048
"""Points evaluated together: their temporaries stay in the processor's cache."""


@dataclass(frozen=True)
class Bracket:
    """Seconds, and requests per second of one engine; `closed_loop` with the same arguments lies between."""

    least_ttft_s: Numbers
    most_ttft_s: Numbers
    """Infinite where requests may wait for a slot or for room in a step."""
    least_tpot_s: Numbers
    most_tpot_s: Numbers
    most_requests_per_s: Numbers


def closed_loop_bracket(
    c: LatencyCoefficients, users: Numbers, max_num_seqs: Numbers, max_num_batched_tokens: Numbers,
    lengths: tuple[int, int], chunked_prefill: Numbers, prefix_hit_share: Numbers,
) -> Bracket:  # fmt: skip
    """One entry per point, for answers of more than one token and without what an encoder adds."""
    inputs, outputs = (np.full(len(users), float(length)) for length in lengths)
    found = np.empty((5, len(users)))
    for start in range(0, len(users), TOGETHER):
        part = slice(start, start + TOGETHER)
        traffic = Traffic.of(
            inputs[part], outputs[part], max_num_batched_tokens[part], prefix_hit_share[part], chunked_prefill[part]
        )
        found[:, part] = _bracket(c.take(part), traffic, users[part], max_num_seqs[part])
    return Bracket(*found)


def _bracket(c: LatencyCoefficients, traffic: Traffic, users: Numbers, slots: Numbers) -> tuple[Numbers, ...]:
    stages = np.asarray(c.pipeline_stages)
    wanted = np.minimum(users, np.maximum(slots, 1.0)) / stages
    waiting, before, mix = ClosedWait.of(c, traffic), frontend(c, traffic), StepMix(c, traffic)
    fewest = LEAST_DECODERS * np.minimum(traffic.most_decoders, 1.0)
    most = np.minimum(CELL * np.maximum(wanted, fewest), traffic.most_decoders)
    most_tpot, most_prefill = mix(most)
    crowd = most * (1.0 + (before + most_prefill) / waiting.decode_s)
    longest = before + most_prefill + waiting.seconds(crowd, most_tpot)
    least = np.minimum(wanted / (1.0 + longest / waiting.decode_s), traffic.most_decoders) / CELL
    least_tpot, least_prefill = mix(least)
    soonest = before + least_prefill
    least_ttft = soonest + waiting.seconds(np.minimum(wanted, traffic.most_decoders), least_tpot)
    most_ttft = before + most_prefill + waiting.seconds(wanted, most_tpot)
    waits = (users > slots) | (CELL * wanted > traffic.most_decoders)
    passed = traffic.decode_steps * least_tpot + soonest + waiting.seconds(least, least_tpot)
    rate = CELL * np.maximum(wanted, fewest * (1.0 + longest / waiting.decode_s)) / passed * stages
    low, high = 1.0 - ROUNDING, 1.0 + ROUNDING
    return least_ttft * low, np.where(waits, np.inf, most_ttft * high), least_tpot * low, most_tpot * high, rate * high
