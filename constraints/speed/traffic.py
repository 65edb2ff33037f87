"""Traffic: the lengths of the typical request and the flags that shape steps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.step_time import Numbers


@dataclass(frozen=True)
class Traffic:
    """Lengths of the typical request and the flags that shape steps; per micro-batch of a pipeline."""

    input_tokens: Numbers
    computed_tokens: Numbers
    span_tokens: Numbers
    context_tokens: Numbers
    decode_steps: Numbers
    budget_tokens: Numbers
    chunked: NDArray[np.bool_]

    @classmethod
    def of(
        cls, input_tokens: Numbers, output_tokens: Numbers, budget: Numbers, hit: Numbers, chunked: Numbers
    ) -> "Traffic":
        """A hit prefix is not computed, but the rest of the prompt still attends to it."""
        return cls(
            input_tokens=input_tokens,
            computed_tokens=np.maximum(1.0, input_tokens * (1.0 - hit)),
            span_tokens=input_tokens * (1.0 + hit) / 2.0,
            context_tokens=input_tokens + output_tokens / 2.0,
            decode_steps=np.maximum(output_tokens - 1.0, 1.0),
            budget_tokens=np.maximum(budget, 2.0),
            chunked=chunked.astype(bool),
        )

    @property
    def most_decoders(self) -> Numbers:
        """Decoders at which decode and prefill tokens together fill every step."""
        chunked = self.budget_tokens / (1.0 + self.computed_tokens / self.decode_steps)
        return np.where(self.chunked, chunked, self.budget_tokens)
