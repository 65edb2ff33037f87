"""Percentiles of prompts that are all sent at once: the k-th of n has its first token when k prompts are computed.

Prompts are computed in the order of sending, in full steps; who starts early decodes beside the prefills of the rest.
Beyond the slots a further wave starts when one is finished. Means: `constraints/speed/steady_state.py`, burst_block.

Where answers differ, the batch shrinks as they end, and the last one ends the run: after x steps n S(x) of n are left,
S the share of longer answers, and some are left at all with probability 1 - F(x)^n, so that

    decoding = sum over x of (1 - F^n) T(n S / (1 - F^n))

With more prompts than slots the batch stays full until none waits; those that run then have stationary residual lives,
as far as the slots were filled again, and the full steps are what is left of the work.
"""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.queueing.demand import Lengths
from vllm_opt.constraints.queueing.lattice import lattice
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.random_arrivals import Flags, with_lengths
from vllm_opt.constraints.speed.first_token import burst_prefill, frontend
from vllm_opt.constraints.speed.steady_state import pipeline_fill
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, step_time
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import whole_power

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

    def mean_step(self, c: LatencyCoefficients, traffic: Traffic, together: Numbers, answers: Numbers) -> Numbers:
        """Mean decode step of requests with these answers, (requests, engines): beside it the others end."""
        inside = np.clip(answers - (self.lengths - self.steps), 0.0, self.steps)
        times = self.step_s(c, traffic, 1.0 + (together - 1.0) * self.longer[:, None])
        return _added(inside.T[:, :, None] * times[:, None]) / np.maximum(_added(inside.T)[:, None], 1e-300)

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
    full_s = step_time(c, np.maximum(together, 1.0), traffic.context_tokens, zero, zero)
    ends = _Answers.of(lengths)
    decode = full_s
    if lengths.spread:
        decode = np.where(prompts > together, full_s, ends.mean_step(c, traffic, together, outputs))
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
    prefills = everything * pipeline_fill(c, np.ones_like(together))
    lasts = prefills + np.where(single, 0.0, traffic.decode_steps * full_s)
    ttft = frontend(c, traffic) + np.maximum(computed, 0.0) + wave * lasts
    e2e = ttft + np.where(single, 0.0, np.nan_to_num(tpot) * steps)
    whole = np.ceil(prompts / together - 1e-9) * lasts
    if lengths.spread:
        decoding = ends.whole_run(c, traffic, prompts, together, full_s)
        whole = prompts / together * prefills + np.where(single, 0.0, decoding)
    rate = prompts / (frontend(c, traffic) + whole)
    return Outcome(ttft, tpot, e2e, rate, rate)
