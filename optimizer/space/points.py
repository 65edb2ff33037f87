"""Operating points: for one (layout, max_num_batched_tokens, replicas), every max_num_seqs worth trying, with tables.

At the load asked, speed is that of its users, whatever more the flags admit, so one max_num_seqs is enough. Where the
load is free, speed is that of all that the flags admit, and max_num_seqs is tried at every size up to 8, at the batch
sizes that CUDA graphs are captured for, at the fewest sequences that the replicas need, and at the most that memory or
a latency limit admits. Between two captured sizes a step is padded to the upper one, so nothing in between is faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.money.bill import Bill
from vllm_opt.constraints.speed.latency import closed_loop
from vllm_opt.constraints.speed.spread import quantile_factor
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, stack
from vllm_opt.optimizer.space.cache_plans import TOKEN_STEPS
from vllm_opt.optimizer.space.layout_facts import LayoutFacts
from vllm_opt.optimizer.space.layouts import Shape
from vllm_opt.optimizer.space.queued import queued
from vllm_opt.optimizer.space.setting import LARGEST_BATCH, SolveSetting

FEWEST_SLOTS = 16
CAPTURED = (*range(1, 9), *range(16, 256, 8), *range(256, 513, 16), *range(576, LARGEST_BATCH + 1, 64))


@dataclass(frozen=True, eq=False)
class Unit:
    """One layout with a number of replicas."""

    facts: LayoutFacts
    shape: Shape
    replicas: int

    @cached_property
    def bill(self) -> Bill | None:
        """The cheapest whole machines that hold it; None without a price."""
        layout = self.facts.layout
        return self.facts.sku.bill(self.replicas, layout.gpus_per_server, layout.nodes)

    @property
    def engines(self) -> int:
        """Engines that share the concurrency."""
        return self.replicas * self.facts.layout.data_parallel_size

    @property
    def gpu_count(self) -> int:
        """GPUs in all."""
        return self.replicas * self.facts.layout.gpus_per_server


@dataclass(frozen=True, eq=False)
class Candidate:
    """One (unit, max_num_batched_tokens) and its points: parallel arrays, one entry per max_num_seqs, ascending."""

    unit: Unit
    max_num_batched_tokens: int
    sequences: NDArray[np.int64]
    ttft_ms: NDArray[np.float64]
    tpot_ms: NDArray[np.float64]
    e2e_ms: NDArray[np.float64]
    engine_tokens_per_s: NDArray[np.float64]
    """Output tokens per second of one engine."""
    ttft_bound_ms: NDArray[np.float64]
    tpot_bound_ms: NDArray[np.float64]
    bound_tokens_per_s: NDArray[np.float64]


def token_grid(setting: SolveSetting, default_tokens: int, *, chunked_prefill: bool) -> tuple[int, ...]:
    """The values of max_num_batched_tokens that are tried."""
    length, pinned = setting.targets.target_context, setting.request.max_num_batched_tokens
    if pinned is not None:
        return (pinned,) if chunked_prefill or pinned >= length else ()
    values = {*TOKEN_STEPS, default_tokens}
    if not chunked_prefill:
        return tuple(sorted({value for value in values if value >= length} | {max(length, default_tokens), length}))
    return tuple(sorted(values))


def slot_grid(least: int, most: int) -> list[int]:
    """The values of max_num_seqs that are tried for random arrivals: more slots shorten waits and lengthen steps.

    Fewer than FEWEST_SLOTS only where memory admits no more: clumps of requests come at any rate.
    """
    low = max(least, min(FEWEST_SLOTS, most))
    powers = (1 << power for power in range(LARGEST_BATCH.bit_length()))
    return sorted({low, most} | {size for size in powers if low < size < most})


def sequence_grid(least: int, most: int) -> list[int]:
    """The values of max_num_seqs that are tried between the fewest needed and the most that fit."""
    return sorted({least, most} | {size for size in CAPTURED if least < size < most})


@dataclass(frozen=True)
class Asked:
    """What is asked of many layouts at once, one entry per point: flags, engines, and switches."""

    sequences: NDArray[np.int64]
    tokens: NDArray[np.float64]
    engines: NDArray[np.float64]
    chunked: NDArray[np.bool_]
    cached: NDArray[np.bool_]

    def take(self, index: NDArray[np.int64]) -> "Asked":
        """Some of the points."""
        return Asked(
            self.sequences[index], self.tokens[index], self.engines[index], self.chunked[index], self.cached[index]
        )


def speeds_at(
    setting: SolveSetting, coefficients: LatencyCoefficients, points: Asked, *, asked: bool
) -> tuple[NDArray[np.float64], ...]:
    """(TTFT, TPOT, end to end, tokens/s of one engine, bound on TTFT, on TPOT, on tokens/s of all) at every point.

    `asked`: at the load asked, spread evenly: times are those of the fullest engine, rates those of the average one.
    Otherwise every engine runs as many users as it admits.
    """
    average = setting.targets.concurrency / points.engines if asked else points.sequences.astype(np.float64)
    users = np.ceil(average)

    uneven = np.flatnonzero(average != users)
    part = np.concatenate([np.arange(len(users)), uneven])
    both = closed_loop(
        coefficients.take(part),
        users=np.concatenate([users, average[uneven]]),
        max_num_seqs=points.sequences[part].astype(np.float64),
        max_num_batched_tokens=points.tokens[part],
        input_tokens=float(setting.lengths[0]),
        output_tokens=float(setting.lengths[1]),
        chunked_prefill=points.chunked[part].astype(np.float64),
        prefix_hit_share=np.where(points.cached[part], setting.request.hit_share, 0.0),
    )
    load = both.first(len(users))
    rate = load.output_tokens_per_s.copy()
    rate[uneven] = both.output_tokens_per_s[len(users) :]
    confidence = setting.request.confidence
    if setting.request.needs_queueing:
        slots = points.sequences.astype(np.float64), points.tokens, points.chunked.astype(np.float64), points.cached
        return queued(setting, coefficients, points.engines, users, slots).columns(load, rate, points.engines)
    return (
        load.ttft_ms,
        load.tpot_ms,
        load.e2e_ms,
        rate,
        load.ttft_ms * quantile_factor(coefficients, "ttft", confidence),
        load.tpot_ms * quantile_factor(coefficients, "tpot", confidence),
        rate * points.engines * quantile_factor(coefficients, "throughput", confidence),
    )


def evaluate(
    setting: SolveSetting,
    pieces: Sequence[tuple[Unit, int, list[int]]],
    *,
    asked: bool,
) -> list[Candidate]:
    """Predict speed at every (unit, tokens, sequences) in one vectorised call (`speeds_at`)."""
    if not pieces:
        return []
    sizes = np.array([len(sequences) for _, _, sequences in pieces])
    index = np.repeat(np.arange(len(pieces)), sizes)
    stacked = stack([unit.facts.coefficients for unit, _, _ in pieces]).take(index)
    sequences = np.concatenate([np.asarray(values, dtype=np.int64) for _, _, values in pieces])
    points = Asked(
        sequences=sequences,
        tokens=np.array([budget for _, budget, _ in pieces], dtype=np.float64)[index],
        engines=np.array([unit.engines for unit, _, _ in pieces], dtype=np.float64)[index],
        chunked=np.array([unit.facts.layout.enable_chunked_prefill for unit, _, _ in pieces])[index],
        cached=np.array([unit.facts.layout.enable_prefix_caching for unit, _, _ in pieces])[index],
    )
    columns = sequences, *speeds_at(setting, stacked, points, asked=asked)
    ends = np.cumsum(sizes).tolist()
    return [
        Candidate(unit, budget, *(column[start:end] for column in columns))
        for (unit, budget, _), start, end in zip(pieces, (0, *ends[:-1]), ends, strict=True)
    ]
