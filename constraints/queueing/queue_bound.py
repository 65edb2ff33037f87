"""How long a queue may be so that whoever is let in still has a first token in time.

    requests   slots + floor((limit - base) X): in flight at once, running ones included; X is what an engine finishes
               per second with all slots taken, base the TTFT of a prompt that finds a slot then
    tokens     (limit - front end) (M - D) / T(D, M - D): prompt tokens in their prefill, at the speed of full steps

vLLM counts requests in flight against --max-num-queued-reqs and prompt tokens that are not yet computed against
--max-num-queued-tokens, over all data-parallel ranks of a server, and refuses what comes beyond with HTTP 503
(vllm-project/vllm#49445; first release with the flags: 0.29).
"""

import math
from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.queueing.mixed_step import mixed_step
from vllm_opt.constraints.queueing.random_arrivals import capacity
from vllm_opt.constraints.speed.first_token import frontend
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.constraints.speed.traffic import Traffic


@dataclass(frozen=True)
class QueueBound:
    """The bounds of one engine."""

    requests: int
    tokens: int


def queue_bound(
    c: LatencyCoefficients, lengths: tuple[int, int], max_num_seqs: int, max_num_batched_tokens: int, hit: float,
    limit_s: float,
) -> QueueBound:  # fmt: skip
    """What one engine may hold so that a request that it accepts has its first token within `limit_s`.

    At least what fits into its slots, and one step of prompt tokens: less would refuse work that need not wait.
    """
    ones = np.ones(1)
    traffic = Traffic.of(lengths[0] * ones, lengths[1] * ones, max_num_batched_tokens * ones, hit * ones, ones)
    stages = np.asarray(c.pipeline_stages) * ones
    slots = np.maximum(max_num_seqs / stages, 1.0)
    decoders = np.minimum(slots, traffic.most_decoders)
    room = np.maximum(traffic.budget_tokens - decoders, 1.0)
    alone, prompt = mixed_step(c, traffic, decoders, np.minimum(traffic.computed_tokens, room))
    _, full = mixed_step(c, traffic, decoders, room)
    begin = frontend(c, traffic) + c.busy_frontend_s
    base = begin + alone + prompt * np.maximum(traffic.computed_tokens / room, 1.0)
    rate = capacity(c, traffic, slots, np.zeros(1, dtype=bool)) * stages
    waiting = np.maximum(limit_s - base, 0.0) * rate
    tokens = np.maximum(limit_s - begin, 0.0) * room / full * stages
    return QueueBound(
        requests=max_num_seqs + math.floor(float(waiting[0])),
        tokens=max(max_num_batched_tokens, math.floor(float(tokens[0]))),
    )
