"""How many sequences run at once: max_num_seqs, or what the KV pool holds while answers grow.

vLLM admits a prompt when the pool has blocks for it. What is free then lies between nothing and a prompt, and until the
next sequence leaves the others grow by about an answer: with exponential times between departures they outgrow it with
probability

    p = O / I (1 - exp(-I / O))

and one of them is computed again. Saturated runs of the event simulation finish as many requests as

    S = n (0.98 - 0.06 p)

slots would, n the sequences of mean length that the pool holds, within 10 % from 4 to 65 of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import expm1

KEPT, COMPUTED_AGAIN = 0.98, 0.06


@dataclass(frozen=True)
class Slots:
    """What bounds the batch of one engine."""

    number: Numbers
    by_pool: NDArray[np.bool_]
    """Where the pool is what bounds it: who waits is let in as others leave, one by one."""

    @classmethod
    def of(cls, traffic: Traffic, most: Numbers, pool: Numbers) -> "Slots":
        """`pool`: sequences of mean length that it holds."""
        growth = traffic.decode_steps / traffic.input_tokens
        outgrown = growth * -expm1(-1.0 / growth)
        held = np.maximum(pool * (KEPT - COMPUTED_AGAIN * outgrown), 1.0)
        return cls(np.minimum(most, held), held < most)
