"""Times of prompts that are all sent at once, in the order of sending.

    prefill   the prompt of rank k has its first token after ceil(W_k / (M - D)) steps, W_k the prompt tokens up to its
              own, each step T(D, M - D) beside the D of the earlier ones that decode by then; the last step carries
              what is left
    slots     beyond S the next starts when one is finished: a wave lasts the prefill of S prompts and the decode steps
              that do not overlap it; where answers differ, slots come free one by one
    answer    of its steps as many are full as the prompts behind it fill, at most those of a wave; beside it decode
              those whose answers overlap its own, of equal ones that start d steps apart the share 1 - d / O
    drain     where answers differ and nobody waits any more, those that are still there after x tokens are P(O > x)
    run       where answers differ, the last one ends it: of n prompts some are left after x tokens with probability
              1 - F^n, so decoding lasts sum (1 - F^n) T(n P(O > x) / (1 - F^n)); with more prompts than slots the batch
              stays full until none waits, then what is left to each is a residual life

Means of a fit of bursts: `constraints/speed/steady_state.py`, burst_block.
"""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.queueing.demand import Lengths
from vllm_opt.constraints.queueing.lattice import lattice
from vllm_opt.constraints.queueing.mixed_step import LEAST_ROOM_TOKENS, lone_step, mixed_step
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.prompts_ahead import varied
from vllm_opt.constraints.queueing.random_arrivals import Flags, with_lengths
from vllm_opt.constraints.speed.first_token import burst_prefill, frontend
from vllm_opt.constraints.speed.steady_state import pipeline_fill
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, step_time
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import whole_power

NODES = 24
"""Answers of different lengths that stand for all where the batch drains."""

MOST_LEVELS = 48
"""Lengths of answer at which the shrinking batch is looked at."""


@dataclass(frozen=True)
class _Answers:
    """Answers relative to the mean one: up to each length the share that is longer than the length before."""

    lengths: Numbers
    longer: Numbers

    @classmethod
    def of(cls, lengths: Lengths) -> "_Answers":
        """Levels evenly spaced among the sorted answers, the longest one among them."""
        ordered = np.sort(lengths.outputs, axis=None)
        kept = np.unique(np.round(np.linspace(0, ordered.size - 1, min(MOST_LEVELS, ordered.size))).astype(np.intp))
        before = np.concatenate([[0], kept[:-1] + 1])
        level = np.array([ordered[low : high + 1].mean() for low, high in zip(before, kept, strict=True)])
        level[-1] = ordered[-1]
        return cls(level, (ordered.size - before) / ordered.size)

    @property
    def steps(self) -> Numbers:
        """From each length to the next, relative to the mean answer."""
        return np.diff(self.lengths, prepend=0.0)

    @property
    def residual(self) -> Numbers:
        """The same of what is left to sequences of a batch that was filled again and again; mean of each level."""
        work = self.longer * self.steps
        left = np.cumsum(work[::-1])[::-1]
        return np.asarray((left - work / 2.0) / left[0])

    def step_s(self, c: LatencyCoefficients, traffic: Traffic, running: Numbers) -> Numbers:
        """One decode step at each level, (levels, engines)."""
        zero, context = np.zeros_like(running), np.broadcast_to(traffic.context_tokens, running.shape)
        return step_time(c, np.maximum(running, 1.0), context, zero, zero)

    def whole_run(
        self, c: LatencyCoefficients, traffic: Traffic, prompts: Numbers, together: Numbers, full_s: Numbers
    ) -> Numbers:
        """Seconds of decoding until the last answer of `prompts` is complete."""
        again = np.clip(prompts / together - 1.0, 0.0, 1.0)
        left = (1.0 - again) * self.longer[:, None] + again * self.residual[:, None]
        some = 1.0 - whole_power(1.0 - left, together)
        times = self.step_s(c, traffic, together * left / np.maximum(some, 1e-12))
        shrinking = _added(self.steps[:, None] * some * times)
        full_steps = np.maximum(prompts / together - _added(self.steps[:, None] * left), 0.0)
        return np.asarray(traffic.decode_steps * (full_steps * full_s + shrinking))


def _added(parts: Numbers) -> Numbers:
    """Sum over the first axis in one fixed order, for one engine as for many."""
    return np.asarray(np.cumsum(parts, axis=0)[-1])


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
    done = varied(place - 1.0, lengths.input_square, uniform[4]) + inputs
    computed, number = queue.seconds(done, place - 1.0, np.maximum(left, done))
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
    whole = e2e.max(axis=0)
    if lengths.spread:
        prefills = prompts / together * burst_prefill(c, traffic, together).everything_s * fill
        decoding = _Answers.of(lengths).whole_run(c, traffic, prompts, together, queue.alone(together))
        whole = frontend(c, traffic) + prefills + np.where(single, 0.0, decoding)
    rate = prompts / np.maximum(whole, 1e-300)
    return Outcome(ttft, tpot, e2e, rate, rate, np.broadcast_to(prompts, rate.shape), lengths.spread)


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
