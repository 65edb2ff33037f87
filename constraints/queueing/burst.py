"""Times of prompts that are all sent at once, in the order of sending.

    prefill   the prompt of rank k has its first token after ceil(W_k / (M - D)) steps, W_k the prompt tokens up to its
              own, each step T(D, M - D) beside the D of the earlier ones that decode by then; the last step carries
              what is left
    slots     beyond S the next starts when one is finished: a wave lasts the prefill of S prompts and the decode steps
              that do not overlap it; where answers differ, slots come free one by one
    answer    of its steps as many are full as the prompts behind it fill, at most those of a wave; beside it decode
              those whose answers overlap its own, of equal ones that start d steps apart the share 1 - d / O
    drain     where answers differ and nobody waits any more, those that are still there after x tokens are P(O > x)

Means of a fit of bursts: `constraints/speed/steady_state.py`, burst_block.
"""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.queueing.demand import Lengths
from vllm_opt.constraints.queueing.lattice import lattice
from vllm_opt.constraints.queueing.mixed_step import LEAST_ROOM_TOKENS, lone_step, mixed_step
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.random_arrivals import Flags, with_lengths
from vllm_opt.constraints.speed.first_token import frontend
from vllm_opt.constraints.speed.steady_state import pipeline_fill
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers
from vllm_opt.constraints.speed.traffic import Traffic

NODES = 24
"""Answers of different lengths that stand for all where the batch drains."""


@dataclass(frozen=True)
class Queue:
    """Prompts in a row, and the steps that compute them."""

    c: LatencyCoefficients
    traffic: Traffic
    steps: Numbers
    """Decode steps of the mean answer."""

    def room(self, decoders: Numbers) -> Numbers:
        """Prompt tokens of a step beside so many decoders."""
        beside = np.where(self.traffic.chunked, decoders, 0.0)
        return np.asarray(np.maximum(self.traffic.budget_tokens - beside, LEAST_ROOM_TOKENS))

    def decoding(self, started: Numbers) -> Numbers:
        """Of so many that have started in full steps, those whose answers are not complete."""
        per_step = self.traffic.budget_tokens / self.traffic.computed_tokens
        return np.asarray(np.clip(started, 0.0, self.steps * per_step))

    def seconds(self, done: Numbers, earlier: Numbers, everything: Numbers) -> tuple[Numbers, Numbers]:
        """(seconds, steps) until so many prompts are computed, `earlier` whole ones before; `everything` in the row."""
        tokens = self.traffic.computed_tokens
        late = self.decoding(earlier)
        middle = late / 2.0
        number = np.maximum(np.ceil(done * tokens / self.room(middle) - 1e-9), 1.0)
        before = (number - 1.0) * self.room(middle)
        last = np.clip(everything * tokens - before, np.minimum(tokens, 1.0), self.room(late))
        full = self.mixed(middle, self.room(middle))
        final = self.mixed(np.minimum(late, np.maximum(before / tokens, 0.0)), last)
        return (number - 1.0) * full + final, number

    def mixed(self, decoders: Numbers, tokens: Numbers) -> Numbers:
        """Seconds of a step with so many prompt tokens beside so many decoders."""
        return mixed_step(self.c, self.traffic, np.where(self.traffic.chunked, decoders, 0.0), tokens)[1]

    def alone(self, decoders: Numbers) -> Numbers:
        """Seconds of a step without prompt tokens."""
        return lone_step(self.c, self.traffic, np.maximum(decoders, 1.0))


def burst(
    c: LatencyCoefficients, traffic: Traffic, prompts: Numbers, slots: Numbers, single: Flags, lengths: Lengths
) -> Outcome:
    """Times of `prompts` sent at once to one engine; served, and its capacity, is the rate of the whole run."""
    traffic = with_lengths(traffic, lengths)
    uniform = lattice()[:, :, None]
    inputs, outputs = lengths.at(uniform[5], uniform[7])
    steps = np.where(single, 0.0, traffic.decode_steps)
    queue = Queue(c, traffic, steps)
    together = np.minimum(prompts, np.maximum(slots, np.minimum(prompts, 1.0)))
    rank = np.maximum(np.ceil(uniform[0] * prompts - 1e-9), np.minimum(prompts, 1.0))
    wave = np.floor((rank - 1.0) / together)
    place = rank - wave * together
    fill = pipeline_fill(c, np.ones_like(together))
    all_s, all_steps = queue.seconds(together, together - 1.0, together)
    decode = queue.alone(queue.decoding(together))
    lasts = all_s * fill + np.maximum(steps - all_steps, 0.0) * decode
    left = np.minimum(prompts - wave * together, together)
    if lengths.spread:
        wave = np.maximum(rank - together, 0.0) / together
        place, left = np.minimum(rank, together), together
    computed, number = queue.seconds(place - 1.0 + inputs, place - 1.0, np.maximum(left, place - 1.0 + inputs))
    ttft = frontend(c, traffic) + wave * lasts + computed * np.where(single, fill, 1.0)
    own = np.maximum(steps * outputs, 1.0)
    behind = np.minimum(prompts - rank, together - 1.0)
    middle = queue.decoding(together) / 2.0
    beside = (place + behind) * traffic.computed_tokens / queue.room(middle) - number
    beside = np.clip(beside, 0.0, own)
    overlap = _overlap(queue, rank - 1.0, own) + _overlap(queue, prompts - rank, own)
    decoders = 1.0 + np.minimum(overlap, np.maximum(together - 1.0, 0.0))
    mixed, alone = queue.mixed(decoders, queue.room(decoders)), queue.alone(decoders)
    tokens_s = beside * mixed + _drained(queue, lengths, own, own - beside, decoders, alone, prompts, rank, together)
    tpot = np.where(single, np.nan, tokens_s / own)
    e2e = ttft + np.where(single, 0.0, tokens_s)
    rate = prompts / np.maximum(e2e.max(axis=0), 1e-300)
    return Outcome(ttft, tpot, e2e, rate, rate)


def _overlap(queue: Queue, others: Numbers, own: Numbers) -> Numbers:
    """How many of the others before or behind in the row decode beside an answer, over its length on average."""
    per_step = queue.traffic.budget_tokens / queue.traffic.computed_tokens
    reach = np.maximum(per_step * own, 1e-9)
    near = np.clip(others, 0.0, reach)
    return np.asarray(near - near**2 / (2.0 * reach))


def _drained(
    queue: Queue, lengths: Lengths, own: Numbers, plain: Numbers, decoders: Numbers, alone: Numbers, prompts: Numbers,
    rank: Numbers, together: Numbers,
) -> Numbers:  # fmt: skip
    """Seconds of the steps without prompts of an answer: fewer and fewer sequences where answers differ."""
    if not lengths.spread:
        return plain * alone
    nodes = np.quantile(lengths.outputs.ravel(), (np.arange(NODES) + 1.0) / NODES)[:, None, None] * queue.steps
    there = 1.0 - np.arange(NODES)[:, None, None] / NODES
    each = np.stack([
        lone_step(queue.c, queue.traffic, np.maximum(decoders * float(share), 1.0)) for share in there.ravel()
    ])  # fmt: skip
    waits = np.maximum(prompts - np.maximum(rank, together), 0.0) / together * queue.steps
    begin = np.concatenate([np.zeros_like(nodes[:1]), nodes[:-1]])
    lasting = np.maximum(own - waits, 0.0)
    spent = np.clip(np.minimum(lasting, nodes) - begin, 0.0, None)
    drained = (spent * each).sum(axis=0) / np.maximum(lasting, 1e-12)
    mean = np.where(lasting > 0, (np.minimum(own, waits) * alone + lasting * drained) / own, alone)
    return np.asarray(plain * mean)
