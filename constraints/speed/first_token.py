"""How long a request waits for its first token beyond its own prefill, by the pattern in which clients send.

    single   nobody else: no wait
    closed   N users, each sends when its last answer is complete. Another user is in its prefill a share
             phi = A / (A + Z) of the time, with A = what one prompt adds to the engine's work and Z = the time between
             first and last token but for the prefills of others, which stretch both alike; users that run in step
             with each other meet in their prefills half of the time:
                 wait = busy TPOT (1/2 + a) + b (N - 1) / (N - 1 + u) + (N - 1) (A + F) (phi + (1 - phi) synchrony / 2)
             with busy = 1 - 1 / N, a = steps that are scheduled ahead of the running one, and F = what the front end
             needs for one request: it serves them one by one
    poisson  requests arrive at random at rate r; rho = r A:
                 wait = busy TPOT (1/2 + a) + b D / (D + u) + A rho / (2 (1 - rho)),               busy = 1 - exp(-D)
    burst    N at once: the idle engine begins with the first prompt alone, before the front end has passed on the
             others; they wait for it, and for half of their own prefills on average, in full steps

b is what the front end takes longer while many others are served, u how many others make half of it. A counts
arithmetic alone: prompts that share a step share its weight reads. Z grows linearly with the users, so waits in a
closed loop never fall when users are added.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, Scalars, prefill_attention, step_time
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import expm1

Pattern = Literal["closed", "single", "poisson", "burst"]
"""How clients send: N users in a closed loop, one user, random arrivals at a rate, or everything at once."""
MOST_UTILISATION = 0.99
CHORD_USERS = 64.0
"""TPOT's growth with users is taken as the chord between 1 and this many."""


def frontend(c: LatencyCoefficients, traffic: Traffic) -> Numbers:
    """Seconds before the engine sees a request and after it has its first token."""
    return np.asarray(c.frontend_s + c.frontend_token_s * traffic.input_tokens)


def added_work(c: LatencyCoefficients, traffic: Traffic) -> Numbers:
    """Seconds that one prompt adds to steps that run anyway: its arithmetic and its share of the links."""
    each = c.dense_compute_s_per_token + c.expert_compute_s_per_token + c.token_s
    each = each + prefill_attention(c, traffic.span_tokens)
    return np.asarray(traffic.computed_tokens * each * c.prefill_factor)


@dataclass(frozen=True)
class ClosedWait:
    """The parts of a closed loop's wait that do not depend on the number of users."""

    added_s: Numbers
    decode_s: Numbers
    """First to last token of a lone user."""
    growth_s: Numbers
    """What every further user adds to that."""
    synchrony: Scalars
    busy_s: Scalars
    busy_users: Scalars
    request_s: Scalars = 0.0
    """The front end's time for one request: HTTP, tokenising."""
    ahead_steps: Scalars = 0.0

    @classmethod
    def of(cls, c: LatencyCoefficients, traffic: Traffic) -> "ClosedWait":
        """Work out the parts for one typical request."""
        zero, one = np.zeros_like(traffic.input_tokens), np.ones_like(traffic.input_tokens)
        alone, crowded = step_time(
            c, np.stack([one, CHORD_USERS * one]), traffic.context_tokens, np.stack([zero, zero]),
            traffic.span_tokens, padding=False,
        )  # fmt: skip
        added = added_work(c, traffic)
        growth = np.maximum(crowded - alone, 0.0) / (CHORD_USERS - 1.0) * traffic.decode_steps
        decode = alone * traffic.decode_steps
        request = np.asarray(c.request_s + c.frontend_token_s * traffic.input_tokens)
        return cls(added, decode, growth, c.synchrony, c.busy_frontend_s, c.busy_users, request, c.ahead_steps)

    def seconds(self, users: Numbers, tpot: Numbers) -> Numbers:
        """Wait of one of `users`; never falls with users or TPOT."""
        others = np.maximum(users - 1.0, 0.0)
        meeting = self.added_s / np.maximum(self.added_s + self.decode_s + self.growth_s * others, 1e-300)
        together = meeting + (1.0 - meeting) * np.asarray(self.synchrony) / 2.0
        step = others / np.maximum(users, 1.0) * (0.5 + np.asarray(self.ahead_steps)) * tpot
        crowd = others / np.maximum(others + self.busy_users, 1e-300)
        return np.asarray(step + crowd * self.busy_s + others * together * (self.added_s + self.request_s))


def poisson_wait(
    c: LatencyCoefficients, traffic: Traffic, rate: Numbers, decoders: Numbers, tpot: Numbers
) -> tuple[Numbers, Numbers]:
    """(wait, utilisation by prefills) at random arrivals."""
    added = added_work(c, traffic)
    load = rate * added
    busy = np.minimum(load, MOST_UTILISATION)
    crowd = decoders / (decoders + c.busy_users)
    step = -expm1(-decoders) * tpot * (0.5 + c.ahead_steps)
    wait = step + crowd * c.busy_frontend_s + added * busy / (2.0 * (1.0 - busy))
    return np.asarray(wait), np.asarray(load)


@dataclass(frozen=True)
class BurstPrefill:
    """The prefills of prompts that were all sent at once, in full steps; seconds."""

    first_s: Numbers
    """Until the first full step is computed."""
    whole_s: Numbers
    """Until all are, the first one alone."""
    step_s: Numbers
    """One full step."""
    added_s: Numbers
    """What it takes longer than a step without prompts, which reads the same weights."""
    mean_s: Numbers
    """Mean time to the first token."""
    everything_s: Numbers
    """All of them in full steps from the beginning, as an offline batch is computed that was there before."""

    def beside(self, steps: Numbers) -> Numbers:
        """How many full steps of the others an answer of so many tokens meets on average.

        A request whose prompt is done at t meets min((whole - t) / step, tokens) of them: an answer that ends
        before all prompts are computed meets no more than it has tokens. t is spread evenly, so with R full steps
        after the first prompts the mean is R / 2, or beyond R = tokens, tokens - tokens^2 / (2 R).
        """
        most = (self.whole_s - self.first_s) / self.step_s
        return np.where(most <= steps, most / 2.0, steps - steps**2 / (2.0 * np.maximum(most, 1e-300)))


def burst_prefill(c: LatencyCoefficients, traffic: Traffic, together: Numbers) -> BurstPrefill:
    """The prefills of `together` prompts sent at once."""
    zero = np.zeros_like(together)
    chunk = np.minimum(traffic.computed_tokens, traffic.budget_tokens)
    alone = step_time(c, zero, zero, chunk, traffic.span_tokens) * c.prefill_factor * traffic.computed_tokens / chunk
    others = np.maximum(together - 1.0, 0.0)
    work = others * traffic.computed_tokens
    whole = np.clip(work, chunk, traffic.budget_tokens)
    full = step_time(c, zero, zero, whole, traffic.span_tokens) * c.prefill_factor
    rest = full * work / whole
    until = alone + rest
    mean = (alone + others * (alone + (np.minimum(full, rest) + rest) / 2.0)) / np.maximum(together, 1.0)
    first = np.minimum(np.maximum(alone, full), until)
    added = np.maximum(full - step_time(c, np.ones_like(together), zero, zero, zero), 0.0)
    tokens = together * traffic.computed_tokens
    wide = np.minimum(tokens, traffic.budget_tokens)
    everything = step_time(c, zero, zero, wide, traffic.span_tokens) * c.prefill_factor * tokens / wide
    return BurstPrefill(*(np.asarray(item) for item in (first, until, full, added, mean, everything)))
