"""A user's own measurements applied to latency coefficients: factors on their parts, and narrower spreads.

    memory   weight reads, head reads, expert reads, KV reads
    compute  dense, head and expert products, prefill attention, residual-stream and bandwidth part of communication
    host     per-step, per-sequence and launch time
    frontend HTTP, tokenising

A term of every model on the SKU moves the centre and leaves the spread: other models are not what was measured. A term
of exactly this (shape, path, size) also narrows it: with n points of own spread s and a prior spread p,
sigma^2 = (n s^2 + k p^2) / (n + k), k = 1.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from vllm_opt.constraints.speed.step_time import COEFFICIENT_NAMES, LatencyCoefficients, Scalars
from vllm_opt.profiles.nouns.own_calibration import SpeedTerm

LAUNCHES = tuple(name for name in COEFFICIENT_NAMES if name.endswith("launch_s"))
GROUPS = {
    "memory": (
        "dense_memory_s", "head_memory_s", "expert_memory_s", "decode_s_per_context_token",
        "decode_s_per_window_token",
    ),
    "compute": (
        "dense_compute_s_per_token", "head_compute_s_per_sequence", "expert_compute_s_per_token",
        "prefill_s_per_span_token", "prefill_s_per_window_token", "token_s",
    ),
    "host": ("sequence_s", "fixed_s", "eager_s", *LAUNCHES),
    "frontend": ("frontend_s", "frontend_token_s", "busy_frontend_s", "request_s"),
}  # fmt: skip
"""The parts that one factor multiplies."""
STEP_GROUPS = ("memory", "compute", "host")
SPREADS = {
    "tpot": "tpot_spread",
    "ttft": "ttft_spread",
    "ttft_single": "ttft_single_spread",
    "ttft_poisson": "ttft_poisson_spread",
    "ttft_burst": "ttft_burst_spread",
    "throughput": "throughput_spread",
}
PRIOR_POINTS = 1.0
LEAST_SPREAD = 0.04


def scaled(c: LatencyCoefficients, factors: dict[str, Scalars]) -> LatencyCoefficients:
    """The coefficients with each group multiplied; `step` multiplies all of step time, `prefill` TTFT's prefill."""
    step = factors.get("step", 1.0)
    changes: dict[str, Scalars] = {}
    for group, names in GROUPS.items():
        factor = factors.get(group, 1.0) * (step if group in STEP_GROUPS else 1.0)
        changes.update({name: factor * getattr(c, name) for name in names})
    return replace(c, **changes, prefill_factor=factors.get("prefill", 1.0) * c.prefill_factor)


def with_own(c: LatencyCoefficients, terms: Iterable[SpeedTerm]) -> LatencyCoefficients:
    """One layout's coefficients (scalars) with the terms that apply to it."""
    for term in terms:
        c = scaled(c, {name: value for name, value in term.factors.model_dump().items() if value != 1.0})
        if term.shape is None:
            continue
        known = {name: value for name, value in term.spreads.model_dump().items() if value is not None}
        narrowed = {SPREADS[name]: narrower(float(getattr(c, SPREADS[name])), value, term.points)
                    for name, value in known.items()}  # fmt: skip
        c = replace(c, **narrowed, basis_rank=0.0)
    return c


def narrower(prior: float, own: float, points: int) -> float:
    """What is left of a spread after so many points; never wider than it was by chance, never below 4 %."""
    squared = (points * own * own + PRIOR_POINTS * prior * prior) / (points + PRIOR_POINTS)
    return max(LEAST_SPREAD, math.sqrt(squared))
