"""The times of requests at one engine under any traffic: pieces that fit the processor's cache, pipeline stages."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vllm_opt.constraints.queueing.burst import burst
from vllm_opt.constraints.queueing.closed_users import closed_users
from vllm_opt.constraints.queueing.demand import ALIKE, Lengths, Stream
from vllm_opt.constraints.queueing.encoding import outcome_with_encoding
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.random_arrivals import random_arrivals
from vllm_opt.constraints.queueing.slots import Slots
from vllm_opt.constraints.queueing.thinking_users import thinking_users
from vllm_opt.constraints.speed.encoding import encodes
from vllm_opt.constraints.speed.step_time import COEFFICIENT_NAMES, LatencyCoefficients, Numbers, Scalars
from vllm_opt.constraints.speed.traffic import Traffic

Arrivals = Literal["closed", "poisson", "burst", "offline"]
"""N users in a closed loop, a rate of random arrivals, N at once, N prompts of an offline batch."""
BLOCK = 512


@dataclass(frozen=True)
class Demand:
    """How requests come, whatever the number of engines that share them."""

    arrivals: Arrivals = "closed"
    requests_per_s: float | None = None
    burstiness: float = 1.0
    think_s: float = 0.0
    lengths: Lengths = ALIKE

    @property
    def stream(self) -> Stream:
        """The law between random arrivals."""
        return Stream(self.burstiness, self.lengths)


CLOSED = Demand()


def outcome(
    c: LatencyCoefficients,
    demand: Demand,
    load: Scalars,
    max_num_seqs: Scalars,
    max_num_batched_tokens: Scalars,
    input_tokens: Scalars,
    output_tokens: Scalars,
    *,
    chunked_prefill: Scalars | bool = True,
    prefix_hit_share: Scalars = 0.0,
    pool_sequences: Scalars = math.inf,
) -> Outcome:
    """Times of the requests of one engine; every argument may be an array, all broadcast to one dimension.

    `load`: requests per second of the engine for random arrivals, else users or prompts. `pool_sequences`: sequences of
    mean length that the KV pool holds, where those are fewer than `max_num_seqs` (`Slots`).
    """
    columns = [
        np.asarray(item, dtype=np.float64)
        for item in (
            load, max_num_seqs, max_num_batched_tokens, input_tokens, output_tokens, prefix_hit_share, chunked_prefill,
            pool_sequences,
        )
    ]  # fmt: skip
    given = [np.asarray(getattr(c, name), dtype=np.float64) for name in COEFFICIENT_NAMES]
    size = np.broadcast_shapes((1,), *(item.shape for item in (*columns, *given)))
    wide, numbers = [np.broadcast_to(item, size) for item in given], [np.broadcast_to(item, size) for item in columns]
    parts = []
    for start in range(0, size[0], BLOCK):
        part = slice(start, start + BLOCK)
        piece = LatencyCoefficients(*(item[part] for item in wide))
        parts.append(_piece(piece, demand, *(item[part] for item in numbers)))
    ended = [part.run for part in parts if part.run is not None]
    whole = {name: np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in FIELDS}
    return Outcome(**whole, run=np.concatenate(ended) if ended else None, drawn=parts[0].drawn)


FIELDS = ("ttft_s", "tpot_s", "e2e_s", "requests_per_s", "capacity_per_s")


def _piece(
    c: LatencyCoefficients, demand: Demand, load: Numbers, seqs: Numbers, budget: Numbers, inputs: Numbers,
    outputs: Numbers, hit: Numbers, chunked: Numbers, pool: Numbers,
) -> Outcome:  # fmt: skip
    traffic, single = Traffic.of(inputs, outputs, budget, hit, chunked), outputs <= 1.0
    stages = np.asarray(c.pipeline_stages)
    each, slots = load / stages, np.maximum(seqs / stages, 1.0 / stages)
    if demand.arrivals == "poisson":
        found = random_arrivals(c, traffic, each, Slots.of(traffic, slots, pool / stages), single, demand.stream)
    elif demand.arrivals == "closed" and demand.think_s > 0:
        shared = Slots.of(traffic, slots, pool / stages)
        found = thinking_users(c, traffic, each, shared.number, single, demand.think_s, demand.lengths)
    elif demand.arrivals == "closed":
        found = closed_users(c, traffic, each, slots, single, demand.lengths)
    else:
        found = burst(c, traffic, each, slots, single, demand.lengths)
    whole = Outcome(
        found.ttft_s, found.tpot_s, found.e2e_s, found.requests_per_s * stages, found.capacity_per_s * stages,
        None if found.run is None else found.run * stages, found.drawn,
    )  # fmt: skip
    return outcome_with_encoding(c, whole, load, random=demand.arrivals == "poisson") if encodes(c) else whole
