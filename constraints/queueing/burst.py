"""Percentiles of prompts that are all sent at once: the k-th of n has its first token when k prompts are computed.

Prompts are computed in the order of sending, in full steps; who starts early decodes beside the prefills of the rest.
Beyond the slots a further wave starts when one is finished. Means: `constraints/speed/steady_state.py`, burst_block.
"""

import numpy as np

from vllm_opt.constraints.queueing.demand import Lengths
from vllm_opt.constraints.queueing.lattice import lattice
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.random_arrivals import Flags, with_lengths
from vllm_opt.constraints.speed.first_token import burst_prefill, frontend
from vllm_opt.constraints.speed.steady_state import pipeline_fill
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, step_time
from vllm_opt.constraints.speed.traffic import Traffic


def burst(
    c: LatencyCoefficients, traffic: Traffic, prompts: Numbers, slots: Numbers, single: Flags, lengths: Lengths
) -> Outcome:
    """Times of `prompts` sent at once to one engine; served, and its capacity, is the rate of the whole run."""
    traffic = with_lengths(traffic, lengths)
    uniform = lattice()[:, :, None]
    _, outputs = lengths.at(uniform[5], uniform[7])
    together = np.minimum(prompts, np.maximum(slots, 1.0))
    prefill = burst_prefill(c, traffic, together)
    zero = np.zeros_like(together)
    decode = step_time(c, np.maximum(together, 1.0), traffic.context_tokens, zero, zero)
    rank = np.ceil(np.maximum(uniform[0] * prompts, 1e-9))
    wave = np.floor((rank - 1.0) / together)
    place = rank - wave * together
    per_step = np.maximum(traffic.budget_tokens / traffic.computed_tokens, 1.0)
    started = np.minimum(np.ceil(place / per_step) * per_step, together)
    least, everything = prefill.first_s, prefill.everything_s
    computed = least + (everything - least) * (started - 1.0) / np.maximum(together - 1.0, 1.0)
    steps = np.maximum(traffic.decode_steps * outputs, 1.0)
    beside = np.minimum(np.maximum(everything - computed, 0.0) / prefill.step_s, steps)
    tpot = np.where(single, np.nan, decode + beside * prefill.added_s / steps)
    lasts = everything * pipeline_fill(c, np.ones_like(together)) + np.where(single, 0.0, traffic.decode_steps * decode)
    ttft = frontend(c, traffic) + np.maximum(computed, 0.0) + wave * lasts
    e2e = ttft + np.where(single, 0.0, np.nan_to_num(tpot) * steps)
    waves = np.ceil(prompts / together - 1e-9)
    rate = prompts / (frontend(c, traffic) + waves * lasts)
    return Outcome(ttft, tpot, e2e, rate, rate)
