"""What drafts do to decoding: more tokens per step, and a step that verifies them and waits for the drafter.

    tokens per step  E = 1 + a + a^2 + ... + a^k = (1 - a^(k+1)) / (1 - a)
    verification     T(D sequences, and k D more tokens that attend to nothing new)
    drafting         k passes (DFlash: one) of the drafter, each reading its weights and the head; n-grams: nothing
    speed-up         E T(D, P) / (T_verify(D, E P) + T_draft)

with a the share of drafts that are accepted at each position, given that those before were, k the tokens drafted, and
P the prompt tokens that come into a step without drafts: sequences that end sooner bring their successors' prompts
sooner, so nothing is gained on prompts. A step that waits for weights verifies for nothing; one that multiplies pays
for every token, so a drafter helps few users and hurts many. Source: Leviathan et al., arXiv 2211.17192; vLLM's
metric "mean acceptance length" is E.
"""

from dataclasses import dataclass

import numpy as np

from vllm_opt.constraints.decisions.speculation import WITHOUT_WEIGHTS, Speculation
from vllm_opt.constraints.speed.step_time import (
    LatencyCoefficients,
    Numbers,
    Scalars,
    prefill_attention,
    step_time,
)
from vllm_opt.profiles.elementary import whole_power

LOOKUP_S = 1e-4
"""An n-gram or suffix look-up on the CPU, per step."""
EARLY_PASS_S, EARLY_STEP_S = 0.2e-3, 0.8e-3
"""What releases before 0.11 add per pass and per step, from EAGLE and EAGLE-3 with 2 to 7 tokens on Llama 3.1 8B
(github.com/vllm-project/vllm/issues/20780, July 2025); tables of 0.11 and later leave nothing over."""
LEAN_SINCE = (0, 11)
ONE_PASS: frozenset[str] = frozenset(("dflash",))
"""Methods that draft all tokens in one pass."""


@dataclass(frozen=True)
class DraftCost:
    """What one pass of the drafter reads over what one step of the target reads, and its layers over the target's."""

    weight_share: float
    layer_share: float
    pass_s: float = 0.0
    """What a release adds to every pass of the drafter."""
    step_s: float = 0.0
    """What it adds to every step that verifies drafts."""


def release_cost(version: str) -> tuple[float, float]:
    """Seconds that a release adds per pass of the drafter and per step."""
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return (EARLY_PASS_S, EARLY_STEP_S) if parts < LEAN_SINCE else (0.0, 0.0)


@dataclass(frozen=True)
class Prompts:
    """Prompt tokens computed beside one decode step without drafts, and the tokens each attends to on average."""

    tokens: Scalars = 0.0
    span: Scalars = 0.0


NO_PROMPTS = Prompts()


def tokens_per_step(acceptance: Scalars, num_speculative_tokens: int) -> Numbers:
    """Mean tokens that a sequence gains per step, the accepted drafts and the one that follows."""
    rate = np.asarray(acceptance, dtype=np.float64)
    powers = np.arange(num_speculative_tokens + 1)
    return np.asarray(whole_power(rate[..., None], powers).sum(axis=-1))


def drafting_time(c: LatencyCoefficients, drafts: Speculation, cost: DraftCost, sequences: Scalars) -> Numbers:
    """Seconds that a step spends on drafting."""
    if drafts.method in WITHOUT_WEIGHTS:
        return np.asarray(LOOKUP_S + 0.0 * np.asarray(sequences, dtype=np.float64))
    passes = 1 if drafts.method in ONE_PASS else drafts.num_speculative_tokens
    reads = cost.weight_share * (c.dense_memory_s + c.expert_memory_s) + c.head_memory_s
    width = drafts.query_tokens if drafts.method in ONE_PASS else 1
    tokens = width * np.asarray(sequences, dtype=np.float64)
    compute = cost.weight_share * c.dense_compute_s_per_token * tokens + c.head_compute_s_per_sequence * tokens
    launches = cost.layer_share * c.fixed_s
    return np.asarray(passes * (np.maximum(reads, compute) + launches + cost.pass_s) + cost.step_s)


def verification_time(
    c: LatencyCoefficients, drafts: Speculation, sequences: Scalars, context_tokens: Scalars,
    prompts: Prompts = NO_PROMPTS,
) -> Numbers:  # fmt: skip
    """Seconds of a step that verifies the drafts of `sequences` sequences: they read the cache once for all."""
    decoding = np.asarray(sequences, dtype=np.float64)
    drafted = decoding * drafts.num_speculative_tokens
    head = np.maximum(0.0, c.head_compute_s_per_sequence * drafted - c.head_memory_s)
    attention = prompts.tokens * prefill_attention(c, prompts.span)
    return np.asarray(step_time(c, decoding, context_tokens, drafted + prompts.tokens, 0.0) + head + attention)


def speed_up(
    c: LatencyCoefficients, drafts: Speculation, cost: DraftCost, acceptance: float, sequences: Scalars,
    context_tokens: Scalars, prompts: Prompts = NO_PROMPTS,
) -> Numbers:  # fmt: skip
    """Tokens per second with drafts over those without when `sequences` sequences decode: below 1 they hurt."""
    gained = tokens_per_step(acceptance, drafts.num_speculative_tokens)
    faster = Prompts(gained * prompts.tokens, prompts.span)
    plain = step_time(c, sequences, context_tokens, prompts.tokens, prompts.span)
    drafted = verification_time(c, drafts, sequences, context_tokens, faster)
    return np.asarray(gained * plain / (drafted + drafting_time(c, drafts, cost, sequences)))


def crossover(
    c: LatencyCoefficients, drafts: Speculation, cost: DraftCost, acceptance: float, context_tokens: float, most: int
) -> int | None:
    """The fewest sequences at which drafts no longer help; None when they help up to `most`."""
    counts = np.arange(1.0, max(1, most) + 1.0)
    slower = speed_up(c, drafts, cost, acceptance, counts, context_tokens) < 1.0
    return int(counts[np.argmax(slower)]) if slower.any() else None
