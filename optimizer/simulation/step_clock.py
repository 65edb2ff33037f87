"""How long each simulated step lasts: the step-time model of `constraints/speed`, one step at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from vllm_opt.constraints.speed.step_time import (
    LatencyCoefficients,
    launches,
    padded_batch,
    token_time,
)


@dataclass(frozen=True)
class Batch:
    """What one step carries. Sums run over sequences, so attention, which is linear in them, is exact."""

    decoders: int
    context_tokens: float
    """Cached tokens that the decoders read."""
    windowed_tokens: float
    """The same, each sequence cut at the sliding window."""
    prompt_tokens: int
    span_tokens: float
    """Tokens that the prompt tokens attend to, summed over them."""
    windowed_span_tokens: float


@dataclass
class StepClock:
    """Seconds of a step, with everything that does not depend on context lengths remembered."""

    coefficients: LatencyCoefficients
    _known: dict[tuple[int, int], tuple[float, float, float]] = field(default_factory=dict)
    window_tokens: float = field(init=False)
    _rates: tuple[float, float, float, float] = field(init=False)
    _prompt_factor: float = field(init=False)

    def __post_init__(self) -> None:
        c = self.coefficients
        self.window_tokens = float(np.asarray(c.window_tokens))
        self._rates = (
            float(np.asarray(c.decode_s_per_context_token)), float(np.asarray(c.decode_s_per_window_token)),
            float(np.asarray(c.prefill_s_per_span_token)), float(np.asarray(c.prefill_s_per_window_token)),
        )  # fmt: skip
        self._prompt_factor = float(np.asarray(c.prefill_factor))

    def seconds(self, batch: Batch) -> float:
        """T(batch): without prompt tokens as it is, with them `constraints/queueing/mixed_step.py`."""
        alone = self._plain(batch.decoders, batch.context_tokens, batch.windowed_tokens, 0, 0.0, 0.0)
        if not batch.prompt_tokens:
            return alone
        mixed = self._plain(
            batch.decoders, batch.context_tokens, batch.windowed_tokens, batch.prompt_tokens, batch.span_tokens,
            batch.windowed_span_tokens,
        )  # fmt: skip
        start = alone if batch.decoders else 0.0
        return start + (mixed - start) * self._prompt_factor

    def decode_law(self, decoders: int) -> Callable[[float, float], float]:
        """Seconds of a step of so many decoders, by the tokens that they read."""
        base, floor, extra = self._base(decoders, 0)
        context_s, window_s = self._rates[:2]
        return lambda context, windowed: max(base + context * context_s + windowed * window_s, floor) + extra

    def _plain(
        self, decoders: int, context: float, windowed: float, prompt: int, span: float, windowed_span: float
    ) -> float:
        base, floor, extra = self._base(decoders, prompt)
        by_context, by_window, by_span, by_windowed_span = self._rates
        time = base + context * by_context + windowed * by_window + span * by_span + windowed_span * by_windowed_span
        return max(time, floor) + extra

    def _base(self, decoders: int, prompt: int) -> tuple[float, float, float]:
        """(seconds but for attention, least seconds, what eager mode adds)."""
        key = decoders, prompt
        if key not in self._known:
            c, tokens = self.coefficients, np.asarray(float(decoders + prompt))
            base = float(token_time(c, padded_batch(tokens), np.asarray(float(decoders)), tokens))
            eager = float(np.asarray(c.eager))
            compiled = float(launches(c, tokens, np.asarray(float(decoders)), float(prompt)))
            launch = max(eager * float(np.asarray(c.eager_launch_s)), compiled)
            self._known[key] = base, launch, eager * float(np.asarray(c.eager_s))
        return self._known[key]
