"""Which operating points meet the latency limits, and the largest batch between two captured sizes that does."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.space.points import Candidate, Unit, evaluate
from vllm_opt.optimizer.space.setting import SolveSetting

Numbers = NDArray[np.float64]
Piece = tuple[Unit, int, list[int]]
COLUMNS = (
    "sequences", "ttft_ms", "tpot_ms", "e2e_ms", "engine_tokens_per_s", "ttft_bound_ms", "tpot_bound_ms",
    "bound_tokens_per_s",
)  # fmt: skip


def latency_rules(setting: SolveSetting, active: frozenset[str]) -> bool:
    """Whether any latency rule with a limit is active."""
    targets = setting.targets
    limits = {
        "ttft": targets.max_ttft_ms, "tpot": targets.max_tpot_ms, "throughput": targets.min_output_tokens_per_s
    }  # fmt: skip
    return any(limit is not None and rule in active for rule, limit in limits.items())


def limits_kept(
    setting: SolveSetting, bounds: Sequence[Numbers], active: frozenset[str]
) -> dict[str, NDArray[np.bool_]]:
    """Per active latency rule with a limit: which points satisfy it, compared as `check` does.

    `bounds`: TTFT, TPOT and the rate of all engines, each at the confidence asked.
    """
    targets = setting.targets
    ttft_ms, tpot_ms, tokens_per_s = bounds
    found: dict[str, NDArray[np.bool_]] = {}
    if targets.max_ttft_ms is not None and "ttft" in active:
        found["ttft"] = ttft_ms <= targets.max_ttft_ms
    if targets.max_tpot_ms is not None and "tpot" in active and setting.lengths[1] > 1:
        found["tpot"] = tpot_ms <= targets.max_tpot_ms
    if targets.min_output_tokens_per_s is not None and "throughput" in active:
        found["throughput"] = tokens_per_s >= targets.min_output_tokens_per_s
    return found


def masks(setting: SolveSetting, candidate: Candidate, active: frozenset[str]) -> dict[str, NDArray[np.bool_]]:
    """`limits_kept` of the points of a candidate."""
    bounds = candidate.ttft_bound_ms, candidate.tpot_bound_ms, candidate.bound_tokens_per_s
    return limits_kept(setting, bounds, active)


def within_latency(setting: SolveSetting, candidate: Candidate, active: frozenset[str]) -> NDArray[np.bool_]:
    """Which points meet the TTFT and TPOT limits."""
    found = masks(setting, candidate, active & {"ttft", "tpot"})
    return np.logical_and.reduce(list(found.values())) if found else np.ones(len(candidate.sequences), dtype=bool)


def feasible_part(
    setting: SolveSetting, candidate: Candidate, active: frozenset[str]
) -> tuple[Candidate | None, str | None]:
    """The candidate with only its feasible points, or None and the first rule that no point meets."""
    if len(candidate.sequences) == 1:
        broken = next((rule for rule, mask in masks(setting, candidate, active).items() if not mask[0]), None)
        return (candidate, None) if broken is None else (None, broken)
    keep = np.ones(len(candidate.sequences), dtype=bool)
    broken = None
    for rule, mask in masks(setting, candidate, active).items():
        keep &= mask
        if broken is None and not keep.any():
            broken = rule
    if not keep.any():
        return None, broken
    if keep.all():
        return candidate, None
    return points_where(candidate, keep), None


def points_where(candidate: Candidate, keep: NDArray[np.bool_]) -> Candidate:
    """The candidate with some of its points."""
    return replace(candidate, **{name: getattr(candidate, name)[keep] for name in COLUMNS})


def refined_pieces(
    setting: SolveSetting,
    candidates: list[Candidate],
    active: frozenset[str],
) -> list[Piece]:
    """The largest max_num_seqs under TTFT and TPOT limits, where the load is free and it lies between two of the grid.

    TTFT and TPOT never fall when sequences grow, so the last feasible grid point and the next one enclose it; all
    candidates are bisected together. Percentiles need not be monotone, so with them the grid is all that is tried.
    """
    if setting.load_is_asked(active) or setting.request.needs_queueing:
        return []
    upper_rules = active & {"ttft", "tpot"}
    open_ranges: list[tuple[int, int, int]] = []
    for position, candidate in enumerate(candidates):
        limits = masks(setting, candidate, frozenset(upper_rules))
        if not limits:
            return []
        holds = np.logical_and.reduce(list(limits.values()))
        if not holds.any() or holds.all():
            continue
        last = int(np.flatnonzero(holds)[-1])
        low, high = int(candidate.sequences[last]), int(candidate.sequences[min(last + 1, len(holds) - 1)])
        if high - low > 1:
            open_ranges.append((position, low, high))
    solved: list[Piece] = []
    while open_ranges:
        middles = [(position, (low + high) // 2) for position, low, high in open_ranges]
        probes = evaluate(
            setting,
            [(candidates[p].unit, candidates[p].max_num_batched_tokens, [middle]) for p, middle in middles],
            asked=False,
        )
        following = []
        for (position, low, high), (_, middle), probe in zip(open_ranges, middles, probes, strict=True):
            holds = np.logical_and.reduce(list(masks(setting, probe, frozenset(upper_rules)).values()))
            low, high = (middle, high) if bool(holds[0]) else (low, middle)  # noqa: PLW2901 - bisection
            if high - low > 1:
                following.append((position, low, high))
            else:
                known = candidates[position]
                solved.append((known.unit, known.max_num_batched_tokens, [low]))
        open_ranges = following
    return solved
