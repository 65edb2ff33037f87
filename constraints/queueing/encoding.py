"""The times of an engine's requests with what its encoder does: `constraints/speed/encoding.py`, request by request."""

from dataclasses import replace

import numpy as np

from vllm_opt.constraints.queueing.lattice import mean_of
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.speed.encoding import stretched
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers


def outcome_with_encoding(c: LatencyCoefficients, found: Outcome, load: Numbers, *, random: bool) -> Outcome:
    """Every time lengthened and shifted alike; the capacity is that of an engine that also encodes."""
    e2e = mean_of(found.e2e_s)
    factor = stretched(e2e, found.requests_per_s * e2e if random else load, c.encoder_s)
    capacity = 1.0 / (1.0 / found.capacity_per_s + c.encoder_s)
    served = found.requests_per_s * e2e / (e2e * factor + c.encoder_s + c.load_s)
    return replace(
        found,
        ttft_s=found.ttft_s * factor + c.encoder_s + c.load_s,
        tpot_s=found.tpot_s * factor,
        e2e_s=found.e2e_s * factor + c.encoder_s + c.load_s,
        requests_per_s=np.minimum(found.requests_per_s, capacity) if random else served,
        capacity_per_s=capacity,
    )
