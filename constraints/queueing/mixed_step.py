"""One step of continuous batching as queueing sees it: decoders, and prompt tokens that ride along."""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, Scalars, step_time
from vllm_opt.constraints.speed.traffic import Traffic

LEAST_ROOM_TOKENS = 1.0


def mixed_step(
    c: LatencyCoefficients, traffic: Traffic, decoders: Scalars, prompt_tokens: Scalars
) -> tuple[Numbers, Numbers]:
    """(seconds without the prompt tokens, seconds with them) of a step.

        T(D, P) = T(D, 0) + (T(D, P) - T(D, 0)) prefill_factor

    What prompts add is scaled as the fit scales a prompt's own prefill (`steady_state.step_mix`).
    """
    running = np.asarray(decoders, dtype=np.float64)
    tokens = np.asarray(prompt_tokens, dtype=np.float64)
    zero = np.zeros(np.broadcast_shapes(running.shape, tokens.shape, np.shape(traffic.context_tokens)))
    alone, mixed = step_time(
        c, np.stack([running + zero, running + zero]), traffic.context_tokens, np.stack([zero, tokens + zero]),
        traffic.span_tokens,
    )  # fmt: skip
    alone = np.where(running + zero > 0, alone, 0.0)
    with_prompts = np.where(alone > 0, alone + (mixed - alone) * c.prefill_factor, mixed * c.prefill_factor)
    return alone, np.where(tokens + zero > 0, with_prompts, alone)


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


ROUNDS = 5


def step_law(c: LatencyCoefficients, traffic: Traffic, decoders: Numbers, rate: Numbers) -> StepLaw:
    """Steps with `decoders` sequences when prompts come at `rate` per second.

        f = max(1 - exp(-rate T), rate T I / (M - D)),   T = (1 - f) T(D, 0) + f T(D, rate T I / f)

    A step carries the prompts that came during the one before it (gated service), at most M - D tokens of them. Without
    chunked prefill decoders stand still while prompts are computed. Solved by iteration from above the lone step.
    """
    computed = traffic.computed_tokens
    room = np.maximum(traffic.budget_tokens - decoders, LEAST_ROOM_TOKENS)
    beside = np.where(traffic.chunked, decoders, 0.0)
    alone, mixed = mixed_step(c, traffic, decoders, np.minimum(computed, room))
    share = np.zeros_like(alone)
    stalled = np.where(traffic.chunked, 0.0, alone)
    mean = np.maximum(alone, 0.0)
    for _ in range(ROUNDS):
        comes = rate * np.where(decoders > 0, mean, mixed)
        share = np.minimum(np.maximum(-np.expm1(-comes), comes * computed / room), 1.0)
        tokens = np.minimum(comes * computed / np.maximum(share, 1e-12), room)
        _, ridden = mixed_step(c, traffic, beside, np.maximum(tokens, 1e-9))
        mixed = ridden + stalled
        mean = np.where(decoders > 0, (1.0 - share) * alone + share * mixed, mixed)
    share = np.where(decoders > 0, share, 1.0)
    return StepLaw(alone, mixed, share)
