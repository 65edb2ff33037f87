"""Workload and Targets: the traffic that a deployment serves, and what must hold while it does."""

import math
from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun

RESERVE_SHARE = 10
"""One more sequence is admitted for each ten (at least one): users arrive while others are still being answered."""


class Workload(Noun):
    """The typical request and how many are in flight."""

    input_tokens: int = Field(gt=0, description="prompt tokens of the typical request")
    output_tokens: int = Field(gt=0, description="generated tokens of the typical request")
    concurrency: int = Field(gt=0, description="requests held at once, in all replicas together")
    prefix_hit_share: float = Field(0.0, ge=0, lt=1, description="share of prompt tokens found in the prefix cache")


class ContextsInFlight(Noun):
    """Tokens that sequences hold at a moment of a busy server, as a distribution.

    A sequence is met in mid-life with a chance that grows with its length (renewal theory: the inspection paradox), at
    a uniform point of it. With prompts of mean I and answers of mean O whose coefficients of variation are a and b
    (gamma distributed),

        mean      = I + O (1 + b^2) / 2                                  E[O^2] / (2 E[O]) of the answer is there
        variance  = (a I)^2 + O^2 ((1 + b^2)(1 + 2 b^2) / 3 - (1 + b^2)^2 / 4)

    and the sum over n independent sequences stays below n mean + z sqrt(n variance) with the confidence of z (central
    limit theorem). Source: D. R. Cox, Renewal Theory (1962), chapter 5; checked by simulation in the tests.
    """

    mean_tokens: float = Field(gt=0, description="tokens that one sequence holds on average")
    deviation_tokens: float = Field(ge=0, description="standard deviation of the same")
    quantile: float = Field(ge=0, description="standard normal quantile of the confidence asked")

    @classmethod
    def of_lengths(
        cls, input_tokens: float, output_tokens: float, *, quantile: float, input_variation: float = 1.0,
        output_variation: float = 1.0,
    ) -> "ContextsInFlight":  # fmt: skip
        """The distribution for gamma distributed lengths with these coefficients of variation; 1 is exponential."""
        square = output_variation**2
        age = output_tokens * (1 + square) / 2
        spread = output_tokens**2 * ((1 + square) * (1 + 2 * square) / 3 - (1 + square) ** 2 / 4)
        deviation = math.sqrt((input_variation * input_tokens) ** 2 + spread)
        return cls(mean_tokens=input_tokens + age, deviation_tokens=deviation, quantile=max(0.0, quantile))

    def tokens_each(self, sequences: int) -> int:
        """What each of `sequences` may hold on average with the confidence asked; rounded up."""
        return math.ceil(self.mean_tokens + self.quantile * self.deviation_tokens / math.sqrt(max(1, sequences)))

    def overflow_probability(self, sequences: int, pool_tokens: float) -> float:
        """The chance that so many sequences hold more than the pool at a moment: preemption risk."""
        deviation = self.deviation_tokens * math.sqrt(max(1, sequences))
        beyond = pool_tokens - sequences * self.mean_tokens
        if deviation == 0:
            return 0.0 if beyond >= 0 else 1.0
        return 0.5 * math.erfc(beyond / deviation / math.sqrt(2))


class Targets(Noun):
    """Limits. None means no limit."""

    target_context: int = Field(gt=0, description="tokens (prompt + output) that each sequence may reach")
    concurrency: int = Field(gt=0, description="sequences held at once, in all replicas together")
    mean_context: int = Field(gt=0, description="tokens that a running sequence holds on average")
    contexts_in_flight: ContextsInFlight | None = Field(
        None, description="sizes the KV pool by the lengths that are typical; None: mean_context for every sequence"
    )
    load_free: bool = Field(False, description="no load was asked: what the flags admit is the load")
    admission_reserve: bool = Field(False, description="max_num_seqs admits max(1, 10 %) more than the load asked")
    max_ttft_ms: float | None = Field(None, gt=0)
    max_tpot_ms: float | None = Field(None, gt=0)
    ttft_percentile: float | None = Field(None, description="over requests, at which max_ttft_ms holds; None: the mean")
    tpot_percentile: float | None = Field(None, description="over requests, at which max_tpot_ms holds; None: the mean")
    requests_per_s: float | None = Field(None, gt=0, description="random arrivals that must be kept up with")
    min_output_tokens_per_s: float | None = Field(None, gt=0)
    max_hourly_cost: float | None = Field(None, gt=0, description="USD per hour")
    min_quality: float = Field(0.98, ge=0, le=1.5, description="lowest accepted recovery against 16-bit")
    gpus: int | None = Field(None, gt=0, description="exactly this many GPUs")
    max_gpus: int = Field(16, gt=0, description="at most this many GPUs")

    @property
    def kv_sizing(self) -> Literal["typical", "full"] | None:
        """What the KV pool is sized for: typical lengths, full contexts; None where `mean_context` says it."""
        if self.contexts_in_flight is not None:
            return "typical"
        return "full" if self.mean_context >= self.target_context else None

    def share_of(self, engines: int) -> int:
        """Sequences of the fullest engine when the load spreads evenly: ceil(concurrency / engines)."""
        return max(1, -(-self.concurrency // engines))

    def sequences_admitted(self, engines: int) -> int:
        """The fewest sequences that each engine must admit: its share, and the reserve where one is kept."""
        share = self.share_of(engines)
        return share + (self._reserve_of(share) if self.admission_reserve else 0)

    @staticmethod
    def _reserve_of(share: int) -> int:
        return max(1, -(-share // RESERVE_SHARE))

    def most_asked_of(self, admitted: int) -> int:
        """The largest share whose admission, reserve included, is at most `admitted`; the inverse of the above."""
        if not self.admission_reserve:
            return admitted
        share = max(0, admitted * RESERVE_SHARE // (RESERVE_SHARE + 1))
        while share > 0 and share + self._reserve_of(share) > admitted:
            share -= 1
        while share + 1 + self._reserve_of(share + 1) <= admitted:
            share += 1
        return share
