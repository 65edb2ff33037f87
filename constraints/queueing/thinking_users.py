"""Users who think between two requests: a closed network of thinkers and one engine.

N users, each thinks for Z on average and then sends. With n of them at the engine the others send at (N - n) / Z, and
the engine finishes mu(n): the machine repairman's law, with the engine as one server whose speed depends on its load
(flow equivalence; K. Chandy, U. Herzog, L. Woo, Parametric analysis of queuing networks, 1975)

    pi(n) ~ product over k <= n of (N - k + 1) / (Z mu(k)),      mu(n) = min(n / H(n), most),   n at most S in H

(`crossings.py`, with prompts that halt others as batches), H the time that a sequence holds its slot beside n - 1
others, most = (M - D) / (I T(D, M - D)) prompts that full steps compute. Who sends finds what a stranger finds among
N - 1 users (M. Reiser, S. Lavenberg, Mean-value analysis of closed multichain queuing networks, 1980), and waits for

    wait(n) = (n + 1) / mu(n + 1) - H(n + 1)

by Little's law: for a slot where all are taken, for its turn where prompts fill the steps; where lengths differ, so
does what is ahead. X = N / (Z + E).
"""

from dataclasses import dataclass, replace

import numpy as np

from vllm_opt.constraints.queueing.crossings import Levels, level_law
from vllm_opt.constraints.queueing.demand import Lengths, Stream
from vllm_opt.constraints.queueing.lattice import lattice, mean_of
from vllm_opt.constraints.queueing.mixed_step import LEAST_ROOM_TOKENS, StepLaw, mixed_step
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.queueing.prompts_ahead import varied
from vllm_opt.constraints.queueing.random_arrivals import (
    Flags,
    capacity,
    meeting,
    own_prefill,
    token_times,
    with_lengths,
)
from vllm_opt.constraints.queueing.states import (
    LEAST_DECODERS,
    MOST_PROMPT_SHARE,
    States,
    coarse,
    held,
    place_on,
)
from vllm_opt.constraints.speed.first_token import frontend
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers
from vllm_opt.constraints.speed.traffic import Traffic

HALVINGS = 12
WAITING_PROMPTS, MOST_WAITING = 4.0, 0.5
"""Prompts that wait for others, at most: so many times those not yet decoding, and this share of all there."""
KNEE = 3.0
"""Standard deviations above the expected number at which the engine's slope is looked at once more."""


@dataclass(frozen=True)
class Engine:
    """One engine as a server whose speed depends on how many requests it holds."""

    c: LatencyCoefficients
    traffic: Traffic
    slots: Numbers
    single: Flags
    most_per_s: Numbers

    def running(self, requests: Numbers) -> Numbers:
        """Those of so many that have a slot."""
        return np.asarray(np.maximum(np.minimum(requests, self.slots), LEAST_DECODERS))

    def at(self, requests: Numbers, rate: Numbers) -> tuple[StepLaw, Numbers, Numbers]:
        """(steps, seconds that a slot is held, requests finished per second) with so many requests there."""
        running = self.running(requests)
        law, hold = held(self.c, self.traffic, running, rate)
        hold = np.where(self.single, 1.0 / self.most_per_s, hold)
        return law, hold, np.minimum(running / np.maximum(hold, 1e-12), self.prompts_per_s(running))

    def prompts_per_s(self, running: Numbers) -> Numbers:
        """Prompts that full steps compute per second beside so many decoders."""
        beside = np.where(
            self.traffic.chunked & ~self.single, np.minimum(running, self.traffic.budget_tokens / 2.0), 0.0
        )
        room = np.maximum(self.traffic.budget_tokens - beside, LEAST_ROOM_TOKENS)
        _, full = mixed_step(self.c, self.traffic, beside, room)
        return np.asarray(room / (full * self.traffic.computed_tokens))


def expected(engine: Engine, others: Numbers, think_s: float) -> Numbers:
    """Of so many other users, those at the engine: as many send as are served."""
    low, high = np.zeros_like(others), others.copy()
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        sends = (others - middle) / think_s
        _, _, served = engine.at(middle, np.minimum(sends, engine.most_per_s))
        low, high = np.where(sends > served, middle, low), np.where(sends > served, high, middle)
    return (low + high) / 2.0


def finite_source(engine: Engine, others: Numbers, think_s: float) -> tuple[States, Numbers, Numbers]:
    """(law of the other users that a request finds at the engine, its wait for each number)."""
    traffic = engine.traffic
    center = expected(engine, others, think_s)
    sends = np.clip((others - center) / think_s, 1e-6 * engine.most_per_s, engine.most_per_s)
    chunk = np.minimum(traffic.computed_tokens, traffic.budget_tokens)
    chunks = traffic.computed_tokens / chunk
    alone, mixed = mixed_step(engine.c, traffic, engine.running(center), chunk)
    peakedness = 1.0 / (1.0 - np.minimum(sends * (mixed - alone) * chunks, MOST_PROMPT_SHARE)) ** 2
    reach = _reach(engine, center, sends, think_s) * np.sqrt(peakedness)
    levels = Levels.around(center, reach, others)
    numbers = levels.numbers
    grid = coarse(numbers, others + 1.0)
    law, _, served = engine.at(grid, sends)
    _, hold_more, served_more = engine.at(grid + 1.0, sends)
    wait = np.maximum((grid + 1.0) / served_more - hold_more, 0.0)
    answer = traffic.decode_steps * law.mean_s
    decoding = np.minimum(served * answer / np.maximum(np.minimum(grid, engine.slots), 1.0), 1.0)
    alone, mixed = mixed_step(engine.c, traffic, engine.running(grid), chunk)
    none = np.zeros_like(others)
    finish = np.maximum(place_on(grid, numbers).of(served), 1e-300)
    sent = np.maximum(others - numbers, 0.0) / think_s
    density = level_law(levels, sent, finish, 1.0, peakedness)
    seen = np.cumsum(density, axis=0)
    cumulative = seen / np.maximum(seen[-1], 1e-300)
    return States(grid, numbers, cumulative, law, decoding, (mixed - alone) * chunks, none, none), wait, hold_more


def _reach(engine: Engine, center: Numbers, sends: Numbers, think_s: float) -> Numbers:
    """Deviation of the number around the expected one: its variance is X / (mu' + 1 / Z) near a balance.

    The slope is looked at next to the expected number and as far as slots may be taken, where it ends.
    """
    _, _, here = engine.at(center, sends)

    def deviation(distance: Numbers) -> Numbers:
        rise = np.maximum(engine.at(center + distance, sends)[2] - here, 0.0) / distance
        return np.asarray(np.sqrt(np.maximum(sends, 1e-12) / (rise + 1.0 / think_s)))

    near = deviation(np.ones_like(center))
    return np.asarray(np.maximum(near, deviation(KNEE * near + 1.0)))


def thinking_users(
    c: LatencyCoefficients, traffic: Traffic, users: Numbers, slots: Numbers, single: Flags, think_s: float,
    lengths: Lengths,
) -> Outcome:  # fmt: skip
    """Times of the requests of `users` who think for `think_s` on average between an answer and the next request."""
    traffic = with_lengths(traffic, lengths)
    most = capacity(c, traffic, slots, single)
    engine = Engine(c, traffic, np.maximum(slots, 1.0), single, most)
    engine = replace(engine, most_per_s=np.maximum(most, engine.prompts_per_s(np.zeros_like(most))))
    others = np.maximum(users - 1.0, 0.0)
    law, wait_s, hold_s = finite_source(engine, others, think_s)
    uniform = lattice()[:, :, None]
    inputs, outputs = lengths.at(uniform[5], uniform[7])
    found_there = np.minimum(law.at(uniform[0]), others)
    place = law.place(found_there)
    waits = place.of(wait_s)
    ahead = waits * (found_there + 1.0) / np.maximum(waits + place.of(hold_s), 1e-12)
    either = 1.0 + min(1.0, lengths.input_square + lengths.output_square - 2.0)
    waits = (
        waits * varied(np.maximum(ahead, 1e-9), either, uniform[2]) / np.maximum(ahead, 1e-9) if either > 1 else waits
    )
    thinking = mean_of(np.where(waits > 0, 0.0, others - found_there)) / np.maximum(others, 1e-9)
    sequences = np.where(single, 0.0, np.minimum(found_there, engine.slots))
    rate = np.clip((others - found_there) / think_s, 1e-9 * most, engine.most_per_s)
    stream = Stream(lengths=lengths)
    not_yet = 1.0 - place.of(law.decoding)
    most_waiting = np.minimum(WAITING_PROMPTS * not_yet, MOST_WAITING) * found_there
    found = meeting(c, traffic, rate, law, sequences, uniform, inputs, stream, most_waiting)
    waits = np.maximum(waits - found.left_over * found.full_s / found.room, 0.0)
    own = own_prefill(c, traffic, rate, found, uniform[6], lengths)
    steps = np.maximum(traffic.decode_steps * outputs, 1.0)
    tpot = token_times(rate, law, sequences, uniform, steps, found, own, stream, thinking)
    tpot = np.where(single, np.nan, tpot)
    begin = frontend(c, traffic) + c.frontend_token_s * traffic.input_tokens * (inputs - 1.0)
    planned = np.maximum(found.planned_s - waits, 0.0)
    ttft = begin + (found_there > 0.5) * c.busy_frontend_s + waits + found.residual_s + planned + own
    e2e = ttft + np.where(single, 0.0, np.nan_to_num(tpot) * steps)
    return Outcome(ttft, tpot, e2e, users / (think_s + mean_of(e2e)), most)
