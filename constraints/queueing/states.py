"""How many sequences an engine holds over time when requests arrive at random: a birth-death law on a grid.

Decoders share the engine: n of them finish at mu(n) = n / ((O - 1) T(n)), T(n) the mean step with the prompts that ride
along. Arrivals at random at rate r see the law

    ln pi(n) = sum over k <= n of ln(r / mu(k)) + const,      mu(n) = mu(S) beyond the S that may run

which holds for any law of the answer lengths where service is shared (F. Kelly, Reversibility and Stochastic Networks,
1979, chapter 3: symmetric queues are insensitive). What makes it wider or narrower divides ln pi by the peakedness
z = (1 + (ca2 - 1) / (1 + cs2)) / (1 - q)^2: arrivals that clump or keep distance, as in an infinite-server
queue (A. Eckberg, Generalized peakedness of teletraffic processes, 1983, exact for deterministic and exponential
service), and prompts, each of which halts the leaving of others too (q: share of the time that prompts add).
Beyond S a request waits; the excess is geometric with ratio r / mu(S), and its mean is scaled by
(ca2 + cs2) / 2 / (1 - q)^2 (A. Allen and J. Cunneen's approximation). Beyond S the law of arrivals
that clump falls z times as slowly, as it does below, so that many times more of them wait.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.queueing.mixed_step import LEAST_ROOM_TOKENS, StepLaw, mixed_step, step_law
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import exp, log

CELLS = 24
NEAR = 5.0
"""Standard deviations around the expected number that the grid resolves."""
SETTLING = 12
MOST_RATIO = 0.99
LEAST_DECODERS = 1e-6
MOST_PROMPT_SHARE = 0.75


@dataclass(frozen=True)
class States:
    """The law of the number of decoders, one column per engine. Grid ascending along the first axis."""

    grid: Numbers
    cumulative: Numbers
    """Probability of at most grid[g], given that the request need not wait; ends at 1."""
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
        """Quantile of the number of decoders: whole numbers where the grid holds every one."""
        index = np.minimum((self.cumulative[:, None, :] < uniform[None]).sum(axis=0), len(self.grid) - 1)
        columns = np.arange(self.grid.shape[1])
        width = self.grid[1] - self.grid[0]
        above = self.cumulative[index, columns]
        below = np.where(index > 0, self.cumulative[np.maximum(index - 1, 0), columns], 0.0)
        share = np.clip((uniform - below) / np.maximum(above - below, 1e-300), 0.0, 1.0) - 0.5
        return np.asarray(np.maximum(self.grid[index, columns] + np.where(width > 1.0, share * width, 0.0), 0.0))

    def place(self, decoders: Numbers) -> "Place":
        """Where numbers of decoders lie on the grid."""
        width = np.maximum(self.grid[1] - self.grid[0], 1e-12)
        position = np.clip((decoders - self.grid[0]) / width, 0.0, len(self.grid) - 1.0)
        low = np.minimum(position.astype(np.intp), len(self.grid) - 2)
        return Place(low, position - low, np.arange(self.grid.shape[1]))


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


def grid_around(center: Numbers, most: Numbers, peakedness: Numbers) -> Numbers:
    """Numbers of sequences around the expected one: every whole number where they are few, else evenly spaced."""
    width = NEAR * np.sqrt(np.maximum(center, 1.0) * peakedness) + 3.0
    low = np.floor(np.maximum(center - width, 0.0))
    high = np.minimum(np.ceil(most), np.ceil(center + 1.6 * width))
    low = np.maximum(np.minimum(low, high - CELLS + 1.0), 0.0)
    step = np.maximum((high - low) / (CELLS - 1.0), 1.0)
    return np.asarray(low + np.arange(CELLS)[:, None] * step)


def more_than_one_server(ratio: Numbers, slots: Numbers) -> Numbers:
    """By what many slots lengthen the wait for deterministic service, relative to one (G. Cosmetatos, 1976)."""
    return np.asarray(1.0 + (1.0 - ratio) * (slots - 1.0) * (np.sqrt(4.0 + 5.0 * slots) - 2.0) / (16.0 * ratio * slots))


def states(
    c: LatencyCoefficients, traffic: Traffic, rate: Numbers, slots: Numbers, peakedness: float, wait_factor: float
) -> States:
    """The law for arrivals at `rate` per engine and second with at most `slots` sequences at once."""
    most = np.maximum(slots, 1.0)
    center = expected_sequences(c, traffic, rate, most)
    chunk = np.minimum(traffic.computed_tokens, traffic.budget_tokens)
    chunks = traffic.computed_tokens / chunk
    alone, mixed = mixed_step(c, traffic, np.maximum(center, LEAST_DECODERS), chunk)
    halted = np.minimum(rate * (mixed - alone) * chunks, MOST_PROMPT_SHARE)
    z = peakedness / (1.0 - halted) ** 2
    grid = grid_around(center, most, z)
    law, hold_s = held(c, traffic, np.maximum(np.minimum(grid, most), LEAST_DECODERS), rate)
    answer = traffic.decode_steps * law.mean_s
    decoding = answer / np.maximum(hold_s, 1e-300)
    at_grid, with_prompt = mixed_step(c, traffic, np.maximum(grid, LEAST_DECODERS), chunk)
    leaving = np.maximum(np.minimum(grid, most), 0.5) / np.maximum(hold_s, 1e-12)
    gain = log(np.maximum(rate, 1e-300) / leaving) / z
    width = grid[1] - grid[0]
    rise = np.where(width > 1.0, (gain[:-1] + gain[1:]) / 2.0 * width, gain[1:])
    logs = np.concatenate([np.zeros((1, grid.shape[1])), np.cumsum(rise, axis=0)])
    logs = np.where(grid <= most + 1e-9, logs, -np.inf)
    density = exp(logs - logs.max(axis=0))
    free = density * np.where(grid < most - 1e-9, width, 0.0)
    last = np.argmax(np.where(grid <= most + 1e-9, grid, -1.0), axis=0)
    columns = np.arange(grid.shape[1])
    full = grid[last, columns] >= most - 1e-9
    top = leaving[last, columns]
    ratio = np.minimum(rate / top, MOST_RATIO)
    excess = np.where(full, density[last, columns] / (1.0 - ratio), 0.0)
    filled = np.cumsum(free, axis=0)
    below = filled[-1]
    total = np.maximum(below + excess, 1e-300)
    cumulative = filled / np.maximum(below, 1e-300)
    cumulative = np.where(below > 0, cumulative, 1.0)
    spread = wait_factor / (1.0 - halted) ** 2 * more_than_one_server(ratio, most)
    wait = spread / np.maximum(top * (1.0 - ratio), 1e-12)
    excess = excess * max(peakedness, 1.0)
    total = np.maximum(below + excess, 1e-300)
    return States(
        grid, cumulative, law, decoding, (with_prompt - at_grid) * chunks, excess / total, np.where(full, wait, 0.0)
    )  # fmt: skip


def steady_states(c: LatencyCoefficients, traffic: Traffic, rate: Numbers, decoders: Numbers) -> States:
    """The decoders of a closed loop without pauses in the form of a law: their number is fixed, nobody waits."""
    grid = np.stack([decoders, decoders + 1.0])
    law = step_law(c, traffic, np.maximum(grid, LEAST_DECODERS), rate)
    chunk = np.minimum(traffic.computed_tokens, traffic.budget_tokens)
    alone, mixed = mixed_step(c, traffic, np.maximum(grid, LEAST_DECODERS), chunk)
    added = (mixed - alone) * traffic.computed_tokens / chunk
    ones, none = np.ones_like(grid), np.zeros_like(decoders)
    return States(grid, ones, law, ones, added, none, none)
