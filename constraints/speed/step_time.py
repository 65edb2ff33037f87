"""Step time: how long one engine step takes on one GPU of a tensor-parallel group, by component.

One step carries D decoding sequences of mean context c and P prefill tokens of mean causal span s; m = D + P.

    T = dense + head + experts + decode attention + prefill attention + communication + overhead
    dense   = soft(bytes / (BW em), m FLOP / (F ec))        soft(a, b) = max(a, b) + serial_share min(a, b)
    experts = soft(hit(m) bytes / (BW em e_m), m FLOP / (F ec e_f))              expected distinct experts hit:
    hit(m)  = 1 - (1 - k/E) (1 - (m - 1) ln(1 - k/E) / g)^-g         popularity follows a gamma law of shape g
    decode attention  = D (a_full c + a_window min(c, w)),  prefill attention = P (b_full s + b_window min(s, w))
    communication     = 2 L (alpha + 2 h m / B) over tensor parallel ranks, plus hops between pipeline stages
    overhead          = L layer_s + L_moe moe_layer_s + L_state state_layer_s + step_s + D sequence_s

L counts half a layer for a mixer and half for a feed-forward, so a block that is only one of them is no whole layer.

Coefficients are seconds, so one evaluation is a dozen multiplications per point. Without CUDA graphs (in eager mode,
and in any step wider than the largest captured one) a step lasts at least as long as the CPU needs to launch its
kernels; eager mode adds a constant for the gaps between them. Validity: vLLM 0.11 to 0.19, docs/latency-accuracy.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllm_opt.profiles.elementary import expm1, log
from vllm_opt.profiles.nouns.latency_constants import LatencyBasis

BASES: tuple[LatencyBasis, ...] = ("measured", "fitted", "datasheet")
BASIS_WORDS = {
    "measured": "measured on this model, GPU and precision",
    "fitted": "fitted on this GPU with other models",
    "datasheet": "from formulas: this GPU, kernel path or layout was never measured, so its interval is wide",
}
Numbers = NDArray[np.float64]
Scalars = float | Numbers

LARGEST_CAPTURE = 512.0
"""vLLM captures CUDA graphs for at most min(2 max_num_seqs, 512) tokens (vllm/config/vllm.py, 0.11 to 0.33)."""


@dataclass(frozen=True)
class LatencyCoefficients:
    """One (model, GPU, weight format, layout) as seconds per unit; floats, or equal-length arrays after `stack`."""

    dense_memory_s: Scalars
    dense_compute_s_per_token: Scalars
    head_memory_s: Scalars
    head_compute_s_per_sequence: Scalars
    expert_memory_s: Scalars
    expert_compute_s_per_token: Scalars
    expert_miss_log: Scalars
    """Natural log of the chance that one token misses a given expert; per token of this rank, DP peers counted in."""
    expert_shape: Scalars
    """Shape of the gamma law of expert popularity: small is skewed, large is uniform."""
    expert_imbalance: Scalars
    """Deviation of what the busiest rank of expert parallelism reads, per root of hit (1 - hit); else 0."""
    decode_s_per_context_token: Scalars
    decode_s_per_window_token: Scalars
    prefill_s_per_span_token: Scalars
    prefill_s_per_window_token: Scalars
    window_tokens: Scalars
    token_s: Scalars
    """Per token: residual-stream traffic and the bandwidth part of communication."""
    sequence_s: Scalars
    """Per decoding sequence: sampling, detokenising, recurrent states."""
    fixed_s: Scalars
    """Layers, step and the start-up part of communication."""
    eager_launch_s: Scalars
    """Least duration of any step in eager mode: the CPU launches the model's kernels, whatever the scheduler."""
    wide_launch_s: Scalars
    """Least duration of a step that is too wide for a CUDA graph."""
    latent_launch_s: Scalars
    """Least duration of a step whose latent attention no CUDA graph holds; twice that beside prompts (`launches`)."""
    eager_s: Scalars
    """What eager mode adds to any step: gaps between kernels and lost fusion."""
    eager: Scalars
    """1 without CUDA graphs, else 0."""
    serial_share: Scalars
    frontend_s: Scalars
    frontend_token_s: Scalars
    """Tokenising and hashing, per prompt token."""
    busy_frontend_s: Scalars
    """What the front end takes longer while many others are served."""
    busy_users: Scalars
    """Others at which half of that is reached."""
    request_s: Scalars
    """What the front end needs for one request while others that came with it wait for their turn."""
    ahead_steps: Scalars
    """Steps that are scheduled before the running one ends: 1 with asynchronous scheduling, else 0."""
    synchrony: Scalars
    """Share of closed-loop users that send in step with each other."""
    prefill_factor: Scalars
    pipeline_stages: Scalars
    tpot_spread: Scalars
    ttft_spread: Scalars
    ttft_single_spread: Scalars
    ttft_poisson_spread: Scalars
    ttft_burst_spread: Scalars
    throughput_spread: Scalars
    basis_rank: Scalars
    """0 measured, 1 fitted, 2 datasheet."""
    largest_capture: Scalars = LARGEST_CAPTURE
    """Tokens of the widest step that a CUDA graph holds."""
    encoder_s: Scalars = 0.0
    """Encoding the images, videos or speech of one request on this engine."""
    load_s: Scalars = 0.0
    """Loading the part of a request's prompt that is found in host memory; nobody else waits for it."""

    @classmethod
    def listed(cls, **coefficients: Scalars) -> "LatencyCoefficients":
        """Like the constructor, but quicker: a search makes thousands. What has a default may be left out."""
        made = object.__new__(cls)
        made.__dict__.update(coefficients)
        return made

    @cached_property
    def row(self) -> tuple[Scalars, ...]:
        """Every coefficient in the order of `COEFFICIENT_NAMES`."""
        return tuple(ALL_COEFFICIENTS(self))

    @property
    def basis(self) -> LatencyBasis:
        """How well one layout is known (scalar coefficients)."""
        return BASES[int(np.asarray(self.basis_rank))]

    @property
    def basis_note(self) -> str:
        """The basis in words."""
        return BASIS_WORDS[self.basis]

    def take(self, index: Any) -> "LatencyCoefficients":
        """The coefficients at these positions of a stack (any numpy index: slice, integers, mask)."""
        parts = zip(COEFFICIENT_NAMES, ALL_COEFFICIENTS(self), strict=True)
        return LatencyCoefficients.listed(**{name: np.asarray(part)[index] for name, part in parts})


COEFFICIENT_NAMES = tuple(item.name for item in fields(LatencyCoefficients))
ALL_COEFFICIENTS = attrgetter(*COEFFICIENT_NAMES)


def stack(coefficients: Sequence[LatencyCoefficients]) -> LatencyCoefficients:
    """Many layouts as one set of arrays, in the given order, so that all are evaluated at once."""
    table = np.array([one.row for one in coefficients], dtype=np.float64).reshape(-1, len(COEFFICIENT_NAMES))
    return LatencyCoefficients(*(np.ascontiguousarray(column) for column in table.T))


def soft_maximum(memory_s: Scalars, compute_s: Scalars, serial_share: Scalars) -> Numbers:
    """Memory and compute time that overlap but for `serial_share` of the shorter one."""
    return np.maximum(memory_s, compute_s) + serial_share * np.minimum(memory_s, compute_s)


def padded_batch(tokens: Scalars) -> Numbers:
    """Tokens rounded up to vLLM's capture sizes: 1, 2, 4, every 8 to 256, every 16 to 512; above, no padding."""
    whole = np.ceil(np.asarray(tokens, dtype=np.float64) - 1e-9)
    gap = np.where(whole <= 4.0, np.where(whole <= 2.0, 1.0, 2.0), np.where(whole <= 256.0, 8.0, 16.0))
    return np.where(whole > LARGEST_CAPTURE, tokens, np.ceil(whole / gap) * gap)


def experts_hit(c: LatencyCoefficients, tokens: Scalars) -> Numbers:
    """Share of a rank's experts that `tokens` tokens reach; exact for one token, never falls with more.

    With expert parallelism every rank waits for the one whose experts were hit most: the hit experts of a rank have
    the deviation of as many draws, so the busiest has `expert_imbalance` sqrt(hit (1 - hit)) more, at most all.
    """
    if not np.any(c.expert_memory_s):  # what is read there is multiplied by the share
        return np.zeros_like(tokens, dtype=np.float64)
    others = np.maximum(np.asarray(tokens) - 1.0, 0.0)
    log_missed = c.expert_miss_log - c.expert_shape * log(1.0 - others * c.expert_miss_log / c.expert_shape)
    hit = np.asarray(-expm1(log_missed))
    return np.minimum(hit + c.expert_imbalance * np.sqrt(hit * (1.0 - hit)), 1.0)


def token_time(c: LatencyCoefficients, tokens: Numbers, sequences: Numbers, routed: Numbers) -> Numbers:
    """Everything but attention: the part that CUDA graphs pad, but for the experts that `routed` tokens reach."""
    dense = soft_maximum(c.dense_memory_s, c.dense_compute_s_per_token * tokens, c.serial_share)
    head = soft_maximum(c.head_memory_s, c.head_compute_s_per_sequence * np.maximum(sequences, 1.0), c.serial_share)
    experts_s = c.expert_memory_s * experts_hit(c, routed)
    experts = soft_maximum(experts_s, c.expert_compute_s_per_token * tokens, c.serial_share)
    return dense + head + experts + c.token_s * tokens + c.sequence_s * sequences + c.fixed_s


def step_time(
    c: LatencyCoefficients,
    sequences: Scalars,
    context_tokens: Scalars,
    prefill_tokens: Scalars,
    span_tokens: Scalars,
    *,
    padding: bool = True,
) -> Numbers:
    """Seconds of one step: `sequences` decode at mean context `context_tokens`, with `prefill_tokens` beside them.

    Without `padding` it is a lower bound: neither rounded up to a captured size nor held up by launches beyond them.
    """
    attention = decode_attention(c, context_tokens), prefill_attention(c, span_tokens)
    return step_time_attending(c, sequences, prefill_tokens, attention, padding=padding)


def step_time_attending(
    c: LatencyCoefficients, sequences: Scalars, prefill_tokens: Scalars, attention: tuple[Numbers, Numbers], *,
    padding: bool = True,
) -> Numbers:  # fmt: skip
    """`step_time` for a caller that asks for many steps of the same lengths: `attention` is `decode_attention` of the
    context, and `prefill_attention` of the span."""
    decoding = np.asarray(sequences, dtype=np.float64)
    tokens = decoding + prefill_tokens
    batch = padded_batch(tokens) if padding else tokens
    time = token_time(c, batch, decoding, tokens)
    per_sequence, per_token = attention
    time = time + decoding * per_sequence
    time = time + prefill_tokens * per_token
    launch = c.eager * c.eager_launch_s
    if padding:
        launch = np.maximum(launch, launches(c, tokens, decoding, prefill_tokens))
    return np.asarray(np.maximum(time, launch) + c.eager * c.eager_s)


def launches(c: LatencyCoefficients, tokens: Scalars, decoding: Numbers, prefill_tokens: Scalars) -> Numbers:
    """What the CPU launches at least in a compiled step: all of it beyond the largest graph, else what none holds.

    Latent attention has one path for prompts and one for decoding sequences; a step with both launches both.
    """
    wide = (np.asarray(tokens) > c.largest_capture) * c.wide_launch_s
    paths = np.minimum(decoding, 1.0) * (np.asarray(prefill_tokens) > 0) + 1.0
    return np.asarray(np.maximum(wide, paths * c.latent_launch_s))


def decode_attention(c: LatencyCoefficients, context_tokens: Scalars) -> Numbers:
    """Seconds per decoding sequence for reading `context_tokens` cached tokens."""
    windowed = np.minimum(context_tokens, c.window_tokens)
    return np.asarray(c.decode_s_per_context_token * context_tokens + c.decode_s_per_window_token * windowed)


def prefill_attention(c: LatencyCoefficients, span_tokens: Scalars) -> Numbers:
    """Seconds per prefill token that attends to `span_tokens` earlier ones on average."""
    windowed = np.minimum(span_tokens, c.window_tokens)
    return np.asarray(c.prefill_s_per_span_token * span_tokens + c.prefill_s_per_window_token * windowed)
