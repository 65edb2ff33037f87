"""One step of continuous batching as queueing sees it: decoders, and prompt tokens that ride along."""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, Scalars, step_time
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.elementary import expm1

LEAST_ROOM_TOKENS = 1.0


def lone_step(c: LatencyCoefficients, traffic: Traffic, decoders: Numbers) -> Numbers:
    """Seconds of a step of decoders only; none without decoders."""
    zero = np.zeros_like(decoders)
    return np.where(decoders > 0, step_time(c, decoders, traffic.context_tokens, zero, traffic.span_tokens), 0.0)


def with_prompts(
    c: LatencyCoefficients, traffic: Traffic, decoders: Numbers, prompt_tokens: Numbers, alone_s: Numbers
) -> Numbers:
    """Seconds of a step that carries prompt tokens beside its decoders; `alone_s` is `lone_step` of the decoders.

        T(D, P) = T(D, 0) + (T(D, P) - T(D, 0)) prefill_factor

    What prompts add is scaled as the fit scales a prompt's own prefill (`steady_state.step_mix`).
    """
    mixed = step_time(c, decoders, traffic.context_tokens, prompt_tokens, traffic.span_tokens)
    return np.where(prompt_tokens > 0, alone_s + (mixed - alone_s) * c.prefill_factor, alone_s)


def mixed_step(
    c: LatencyCoefficients, traffic: Traffic, decoders: Scalars, prompt_tokens: Scalars
) -> tuple[Numbers, Numbers]:
    """(seconds without the prompt tokens, seconds with them) of a step."""
    running, tokens = np.broadcast_arrays(
        np.asarray(decoders, dtype=np.float64), np.asarray(prompt_tokens, dtype=np.float64)
    )
    alone = lone_step(c, traffic, running)
    return alone, with_prompts(c, traffic, running, tokens, alone)


@dataclass(frozen=True)
class StepLaw:
    """The steps of an engine at which prompts arrive at a rate, with a fixed number of decoders."""

    alone_s: Numbers
    """A step without prompts."""
    mixed_s: Numbers
    """A step with the prompts that it carries on average, given that it carries any."""
    mixed_share: Numbers
    """Share of the steps that carry prompts."""

    @property
    def mean_s(self) -> Numbers:
        """Mean duration of a step: what a decoder waits per token."""
        return np.asarray(self.alone_s + self.mixed_share * (self.mixed_s - self.alone_s))

    @property
    def mixed_time_share(self) -> Numbers:
        """Share of the time that passes in steps with prompts: what an arrival meets."""
        return np.asarray(self.mixed_share * self.mixed_s / np.maximum(self.mean_s, 1e-300))


ROUNDS = 4
STEEPEST = 0.98
"""Share of a step that prompts may add to it: full steps are what bounds it then."""


def step_law(
    c: LatencyCoefficients,
    traffic: Traffic,
    decoders: Numbers,
    rate: Numbers,
    rounds: int = ROUNDS,
    *,
    settled: bool = True,
) -> StepLaw:
    """Steps with `decoders` sequences when prompts come at `rate` per second.

        f = max(1 - exp(-rate T), rate T I / (M - D)),   T = (1 - f) T(D, 0) + f T(D, rate T I / f)

    A step carries the prompts that came during the one before it (gated service), at most M - D tokens of them. Without
    chunked prefill decoders stand still while prompts are computed. Solved by iteration from the lone step:
    each takes the chord from there, T = T(D, 0) / (1 - what prompts added / T), so that it settles where prompts nearly
    fill the steps too; not `settled`, plain substitution, which measurements of closed loops were fitted with.
    """
    computed = traffic.computed_tokens
    room = np.maximum(traffic.budget_tokens - decoders, LEAST_ROOM_TOKENS)
    beside = np.where(traffic.chunked, decoders, 0.0)
    alone = lone_step(c, traffic, decoders)
    alone_beside = np.where(traffic.chunked, alone, 0.0)
    stalled, decodes = alone - alone_beside, decoders > 0
    mixed = with_prompts(c, traffic, beside, np.minimum(computed, room), alone_beside) + stalled
    added = rate * np.maximum(mixed - alone, 0.0) * np.maximum(computed / room, 1.0)
    mean = alone / np.maximum(1.0 - added, 0.25)
    share = np.zeros_like(alone)
    full = with_prompts(c, traffic, beside, room, alone_beside) + stalled if settled else mixed
    for number in range(rounds):
        comes = rate * np.where(decodes, mean, mixed)
        share = np.minimum(np.maximum(-expm1(-comes), comes * computed / room), 1.0)
        tokens = np.minimum(comes * computed / np.maximum(share, 1e-12), room)
        mixed = with_prompts(c, traffic, beside, np.maximum(tokens, 1e-9), alone_beside) + stalled
        found = np.where(decodes, (1.0 - share) * alone + share * mixed, mixed)
        if not settled or number == rounds - 1:
            mean = found
            continue
        grows = np.clip((found - alone) / np.maximum(mean, 1e-300), 0.0, STEEPEST)
        mean = np.clip(alone / (1.0 - grows), alone, np.maximum(full, alone))
    share = np.where(decodes, share, 1.0)
    return StepLaw(alone, mixed, share)
