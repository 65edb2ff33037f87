"""A question about feasibility, and the points that answer it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.rules import RULE_NAMES
from vllm_opt.optimizer.questions.landscape import Landscape
from vllm_opt.optimizer.questions.pools import Integers
from vllm_opt.optimizer.questions.speed_table import Speed
from vllm_opt.optimizer.space.setting import SolveSetting

ALL_RULES = frozenset(RULE_NAMES)
LatencyRule = Literal["ttft", "tpot", "throughput"]
LATENCY_RULES: tuple[LatencyRule, ...] = ("ttft", "tpot", "throughput")
UNLIMITED = 2**31 - 1
"""Replicas when neither the number of GPUs nor money is limited."""


@dataclass(frozen=True)
class Question:
    """A (changed) setting and the rules that hold."""

    setting: SolveSetting
    active: frozenset[str] = ALL_RULES
    skus: frozenset[str] | None = None

    def without(self, *rules: str) -> "Question":
        """The same question with some rules dropped."""
        return Question(self.setting, self.active - set(rules), self.skus)

    def limit(self, rule: LatencyRule) -> float | None:
        """The limit of a latency rule, None when there is none or the rule is dropped."""
        targets = self.setting.targets
        limits = {
            "ttft": targets.max_ttft_ms,
            "tpot": targets.max_tpot_ms if self.setting.lengths[1] > 1 else None,
            "throughput": targets.min_output_tokens_per_s,
        }
        return limits[rule] if rule in self.active else None


@dataclass(frozen=True, eq=False)
class Points:
    """Points of one landscape: parallel arrays. Speeds are None where no rule asked for them."""

    landscape: Landscape
    rows: Integers
    tokens: Integers
    sequences: Integers
    replicas: Integers
    speed: Speed | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray[np.generic]) -> "Points":
        """Some of the points, without speeds."""
        arrays = (self.rows, self.tokens, self.sequences, self.replicas)
        return Points(self.landscape, *(array[index] for array in arrays))

    @property
    def engines(self) -> Integers:
        """Engines that share the concurrency."""
        engines: Integers = self.replicas * self.landscape.data[self.rows]
        return engines
