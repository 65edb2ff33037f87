"""How many sequences an engine holds when requests arrive at random: the law of `crossings.py`.

Decoders share the engine: n of them finish at mu(n) = n / ((O - 1) T(n)), T(n) the mean step with the prompts that ride
along, and arrivals at random see a birth-death law with these rates, for any law of the answer lengths where service is
shared (F. Kelly, Reversibility and Stochastic Networks, 1979, chapter 3: symmetric queues are insensitive). It is wider
where arrivals clump, by the peakedness 1 + (ca2 - 1) / (1 + cs2) of an infinite-server queue (A. Eckberg, Generalized
peakedness of teletraffic processes, 1983, exact for deterministic and exponential service), and where a prompt halts
the leaving of others while more come: those are batches of dispersion 1 / (1 - q)^2, q the share of the time that
prompts add (the busy periods of an M/D/1 queue). Beyond S a request waits, on average for

    (ca2 + cs2) / 2 / (1 - q)^2 / (mu(S) - r)

(A. Allen and J. Cunneen's approximation; by 1 - q instead of its square where the KV pool is what bounds the batch:
there prompts are let in one by one as others leave), times what many slots make of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.queueing.crossings import Levels, level_law
from vllm_opt.constraints.queueing.mixed_step import LEAST_ROOM_TOKENS, StepLaw, mixed_step, step_law
from vllm_opt.constraints.queueing.slots import Slots
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import exp, log

CELLS = 24
SETTLING = 12
MOST_RATIO = 0.99
LEAST_DECODERS = 1e-6
MOST_PROMPT_SHARE = 0.75


@dataclass(frozen=True)
class States:
    """The law of the number of decoders, one column per engine. Grid ascending along the first axis."""

    grid: Numbers
    levels: Numbers
    cumulative: Numbers
    """Probability that a request finds at most so many, given that it need not wait; ends at 1."""
    law: StepLaw
    """Steps at each grid value."""
    decoding: Numbers
    """Share of the sequences that decode, at each grid value; the others are in their prefill."""
    added_s: Numbers
    """What one prompt adds to a step, at each grid value."""
    waits: Numbers
    """Probability that all S are taken."""
    wait_s: Numbers
    """Mean wait of a request that waits."""

    def at(self, uniform: Numbers) -> Numbers:
        """Quantile of the number of decoders: whole numbers where the levels hold every one."""
        asked = np.broadcast_to(uniform, (len(uniform), self.cumulative.shape[1]))
        index = np.stack([
            np.searchsorted(column, wanted) for column, wanted in zip(self.cumulative.T, asked.T, strict=True)
        ], axis=1)  # fmt: skip
        index = np.minimum(index, len(self.levels) - 1)
        columns = np.arange(self.grid.shape[1])
        width = self.levels[1] - self.levels[0]
        above = self.cumulative[index, columns]
        below = np.where(index > 0, self.cumulative[np.maximum(index - 1, 0), columns], 0.0)
        share = np.clip((uniform - below) / np.maximum(above - below, 1e-300), 0.0, 1.0) - 0.5
        return np.asarray(np.maximum(self.levels[index, columns] + np.where(width > 1.0, share * width, 0.0), 0.0))

    def place(self, decoders: Numbers) -> "Place":
        """Where numbers of decoders lie on the grid."""
        return place_on(self.grid, decoders)


def place_on(grid: Numbers, decoders: Numbers) -> "Place":
    """Where numbers of decoders lie on an evenly spaced grid."""
    width = np.maximum(grid[1] - grid[0], 1e-12)
    position = np.clip((decoders - grid[0]) / width, 0.0, len(grid) - 1.0)
    low = np.minimum(position.astype(np.intp), len(grid) - 2)
    return Place(low, position - low, np.arange(grid.shape[1]))


@dataclass(frozen=True)
class Place:
    """Positions on a grid: whole index, share of the way to the next, column."""

    low: NDArray[np.intp]
    share: Numbers
    columns: NDArray[np.intp]

    def of(self, table: Numbers) -> Numbers:
        """Linear interpolation in a table of the grid."""
        left, right = table[self.low, self.columns], table[self.low + 1, self.columns]
        return np.asarray(left + self.share * (right - left))


def prefill_seconds(traffic: Traffic, decoders: Numbers, mixed_s: Numbers) -> Numbers:
    """How long a request holds its slot before its first token: the steps that its prompt takes."""
    room = np.maximum(traffic.budget_tokens - decoders, LEAST_ROOM_TOKENS)
    return np.asarray(mixed_s * np.maximum(traffic.computed_tokens / room, 1.0))


def held(c: LatencyCoefficients, traffic: Traffic, sequences: Numbers, rate: Numbers) -> tuple[StepLaw, Numbers]:
    """(steps, seconds that a request holds its slot) with so many sequences, those in their prefill included.

    Of n sequences n L / (L + P) decode, with L the time to generate an answer and P that to compute a prompt.
    """
    law = step_law(c, traffic, np.maximum(sequences, LEAST_DECODERS), rate, 2)
    prefill = prefill_seconds(traffic, sequences, law.mixed_s)
    answer = traffic.decode_steps * law.mean_s
    decoders = sequences * answer / np.maximum(answer + prefill, 1e-300)
    law = step_law(c, traffic, np.maximum(decoders, LEAST_DECODERS), rate)
    return law, traffic.decode_steps * law.mean_s + prefill_seconds(traffic, sequences, law.mixed_s)


def expected_sequences(c: LatencyCoefficients, traffic: Traffic, rate: Numbers, most: Numbers) -> Numbers:
    """The number at which as many finish as arrive, by bisection; `most` where arrivals are faster than that."""
    low, high = np.zeros_like(most), most.copy()
    for _ in range(SETTLING):
        middle = (low + high) / 2.0
        law = step_law(c, traffic, np.maximum(middle, LEAST_DECODERS), rate, 2)
        taken = rate * (traffic.decode_steps * law.mean_s + prefill_seconds(traffic, middle, law.mixed_s))
        low, high = np.where(taken > middle, middle, low), np.where(taken > middle, high, middle)
    return (low + high) / 2.0


def more_than_one_server(ratio: Numbers, slots: Numbers) -> Numbers:
    """By what many slots lengthen the wait for deterministic service, relative to one (G. Cosmetatos, 1976)."""
    return np.asarray(1.0 + (1.0 - ratio) * (slots - 1.0) * (np.sqrt(4.0 + 5.0 * slots) - 2.0) / (16.0 * ratio * slots))


def states(
    c: LatencyCoefficients, traffic: Traffic, rate: Numbers, slots: Slots, peakedness: float, wait_factor: float
) -> States:
    """The law for arrivals at `rate` per engine and second with so many slots."""
    most = np.maximum(slots.number, 1.0)
    center = expected_sequences(c, traffic, rate, most)
    chunk = np.minimum(traffic.computed_tokens, traffic.budget_tokens)
    chunks = traffic.computed_tokens / chunk
    alone, mixed = mixed_step(c, traffic, np.maximum(center, LEAST_DECODERS), chunk)
    halted = np.minimum(rate * (mixed - alone) * chunks, MOST_PROMPT_SHARE)
    z = peakedness / (1.0 - halted) ** 2
    levels = Levels.around(center, np.sqrt(np.maximum(center, 1.0) * z), most)
    numbers = levels.numbers
    grid = coarse(numbers, most)
    law, hold_s = held(c, traffic, np.maximum(np.minimum(grid, most), LEAST_DECODERS), rate)
    answer = traffic.decode_steps * law.mean_s
    decoding = answer / np.maximum(hold_s, 1e-300)
    at_grid, with_prompt = mixed_step(c, traffic, np.maximum(grid, LEAST_DECODERS), chunk)
    place = place_on(grid, numbers)
    finish = np.minimum(numbers, most) / np.maximum(place.of(hold_s), 1e-12)
    there = numbers <= np.ceil(most) + 1e-9
    halts = 1.0 / (1.0 - halted) ** 2
    density = level_law(levels, np.broadcast_to(rate, numbers.shape), np.maximum(finish, 1e-300), peakedness, halts)
    below = np.where(numbers < np.ceil(most) - 1e-9, density, 0.0)
    last = np.maximum(there.sum(axis=0) - 1, 1)
    columns = np.arange(grid.shape[1])
    full = numbers[last, columns] >= most - 1e-9
    top = finish[last, columns]
    ratio = np.minimum(rate / top, MOST_RATIO)
    slow = exp(log(ratio) / peakedness)
    above = density[last, columns] * halts / (1.0 - slow) / levels.width
    waiting = np.where(full, above, 0.0)
    cumulative = np.cumsum(below, axis=0)
    free = np.maximum(cumulative[-1], 1e-300)
    spread = wait_factor * np.where(slots.by_pool, np.sqrt(halts), halts) * more_than_one_server(ratio, most)
    wait = spread / np.maximum(top * (1.0 - ratio), 1e-12)
    return States(
        grid, numbers, cumulative / free, law, decoding, (with_prompt - at_grid) * chunks,
        waiting / (waiting + free), np.where(full, wait, 0.0),
    )  # fmt: skip


def coarse(levels: Numbers, most: Numbers) -> Numbers:
    """Numbers of sequences at which steps are looked at: evenly spaced over the levels."""
    high = np.minimum(levels[-1], np.maximum(np.ceil(most), levels[0] + CELLS - 1.0))
    return np.asarray(levels[0] + np.arange(CELLS)[:, None] * np.maximum((high - levels[0]) / (CELLS - 1.0), 1.0))


def steady_states(c: LatencyCoefficients, traffic: Traffic, rate: Numbers, decoders: Numbers) -> States:
    """The decoders of a closed loop without pauses in the form of a law: their number is fixed, nobody waits."""
    grid = np.stack([decoders, decoders + 1.0])
    law = step_law(c, traffic, np.maximum(grid, LEAST_DECODERS), rate, settled=False)
    chunk = np.minimum(traffic.computed_tokens, traffic.budget_tokens)
    alone, mixed = mixed_step(c, traffic, np.maximum(grid, LEAST_DECODERS), chunk)
    added = (mixed - alone) * traffic.computed_tokens / chunk
    ones, none = np.ones_like(grid), np.zeros_like(decoders)
    return States(grid, grid, ones, law, ones, added, none, none)
