"""What the latency model predicts for published measurements: one vectorised call per kind of load."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.queueing.demand import ALIKE, Lengths
from vllm_opt.constraints.queueing.engine import Demand, outcome
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.kernel_paths import effective_path
from vllm_opt.constraints.speed.latency import Pattern, offline_batch, under_load
from vllm_opt.constraints.speed.model_work import model_work
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, stack
from vllm_opt.constraints.speed.unit_seconds import kv_element_bytes
from vllm_opt.optimizer.fitting.latency.observation import Observation
from vllm_opt.optimizer.fitting.latency.waves import sent_one_by_one, with_first_wave
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import UnknownProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

METRICS = ("tpot", "ttft", "throughput", "e2e")
UTILIZATION = 0.93
RESERVED_BYTES = 3e9
"""Activations, graphs and the CUDA context, roughly: only to see which measurements the KV pool limited."""
POOL_TOLERANCE = 1.3
"""The rough balance may be this far off before a stated number of users is doubted."""
LEVELS = 16
"""Lengths that stand for an even law."""
NEARLY_FULL = 0.8
"""Beyond this share of the pool a measured TTFT is the client's queue."""

LayoutKey = tuple[str, str, Layout, str, str]
PATTERNS: dict[str, Pattern] = {"closed": "closed", "open": "poisson", "burst": "burst"}


class Nouns:
    """The catalogue's nouns, each read once however many observations name it."""

    def __init__(self, catalog: Catalog) -> None:
        self.model = cache(catalog.model)
        self.gpu = cache(catalog.gpu)
        self.quantization = cache(catalog.quantization)


@dataclass(frozen=True)
class Replay:
    """Observations with everything that does not depend on the constants worked out once."""

    observations: tuple[Observation, ...]
    catalog: Nouns

    @cached_property
    def keys(self) -> list[LayoutKey]:
        """(model, format, layout, release, release of the host's speed) of each observation."""
        return [
            (
                one.checkpoint or one.model,
                one.quantization,
                layout_of(one),
                one.release,
                one.host_release or one.release,
            )
            for one in self.observations
        ]

    @cached_property
    def unique_keys(self) -> list[LayoutKey]:
        """Each layout once."""
        return list(dict.fromkeys(self.keys))

    @cached_property
    def unique_nouns(self) -> list[tuple[ModelProfile, Quantization, Layout, GpuProfile, str, str]]:
        """The catalogue's nouns for each layout."""
        find = self.catalog
        return [
            (find.model(model), find.quantization(quantization), layout, find.gpu(layout.gpu), release, host)
            for model, quantization, layout, release, host in self.unique_keys
        ]

    @cached_property
    def paths(self) -> list[str]:
        """The kernel path of each observation."""
        unique = [effective_path(quantization, gpu) for _, quantization, _, gpu, *_ in self.unique_nouns]
        return [unique[index] for index in self.position]

    @cached_property
    def position(self) -> Numbers:
        """Index of each observation's layout in `unique_keys`."""
        order = {key: index for index, key in enumerate(self.unique_keys)}
        return np.array([order[key] for key in self.keys], dtype=np.intp)

    @cached_property
    def columns(self) -> dict[str, Numbers]:
        """The numbers of each observation as arrays."""
        names = ("load", "max_num_batched_tokens", "input_tokens", "output_tokens", "prefix_hit_share")
        table = {name: np.array([getattr(one, name) for one in self.observations]) for name in names}
        table["pool"] = np.array([self.pool_sequences(one) for one in self.observations])
        finite = [one.kind == "closed" and one.load > 1 for one in self.observations]
        once = np.array([1.0 / one.prompts_per_user for one in self.observations])
        table["first_wave"] = np.where(finite, np.minimum(once, 1.0), 0.0)
        table["arrival_s"] = np.array([one.arrival_s for one in self.observations])
        table["mean_ttft"] = np.array([one.mean_ttft for one in self.observations])
        table["slots"] = np.array([self.running_sequences(one) for one in self.observations])
        return table

    @cached_property
    def streams(self) -> dict[tuple[float, float], NDArray[np.intp]]:
        """Rows under random arrivals by (burstiness, range of lengths)."""
        found: dict[tuple[float, float], list[int]] = {}
        for index, one in enumerate(self.observations):
            if one.kind == "open":
                found.setdefault((one.burstiness, one.length_range), []).append(index)
        return {shape: np.array(rows, dtype=np.intp) for shape, rows in found.items()}

    def measured(self, metric: str) -> Numbers:
        """Measured values of one metric; NaN where a row has none, and for the TTFT of a pool that is nearly full."""
        values = np.array([one.measured.get(metric, np.nan) for one in self.observations])
        if metric == "ttft":
            users = np.array([one.kind != "open" for one in self.observations])
            values[users & (self.columns["load"] > NEARLY_FULL * self.columns["pool"])] = np.nan
        return values

    def running_sequences(self, one: Observation) -> float:
        """Sequences that run at once: max_num_seqs, or what the KV pool holds where the load asks for more."""
        pool = self.pool_sequences(one)
        return min(one.max_num_seqs, pool if one.memory_bound_load else POOL_TOLERANCE * pool)

    def pool_sequences(self, one: Observation) -> float:
        """Sequences of mean length that the KV pool holds, from a rough memory balance; 0 when weights do not fit."""
        model, gpu = self.catalog.model(one.stored_as), self.catalog.gpu(one.gpu)
        work = model_work(model, self.catalog.quantization(one.quantization))
        layout = layout_of(one)
        ranks = layout.tensor_parallel_size
        weights = work.expert_weights * work.bytes_per_expert_weight / layout.data_parallel_size
        weights += (
            2 * (work.half_dense + 2 * work.head_weights) + work.quantized_dense * work.bytes_per_quantized_weight
        )
        free = (UTILIZATION * gpu.memory_bytes - RESERVED_BYTES) * ranks - weights
        mean = one.input_tokens + one.output_tokens / 2
        elements = sum(
            group.layers * max(group.kv_heads, ranks) * group.cached_elements * min(mean, group.window_tokens)
            for group in work.attention
        )
        return max(0.0, free / max(elements * kv_element_bytes(layout, model), 1.0))

    def coefficients(self, constants: LatencyConstants, *, calibrated: bool) -> LatencyCoefficients:
        """Coefficients of every observation."""
        unique = [
            latency_coefficients(
                model,
                quantization,
                layout,
                gpu,
                constants,
                calibrated=calibrated,
                release=release,
                host_release=host,
            )
            for model, quantization, layout, gpu, release, host in self.unique_nouns
        ]
        captured, squared = (
            np.array([getattr(one, name) for one in self.observations])
            for name in ("largest_capture", "squared_lengths")
        )
        found = stack(unique).take(self.position)
        spans = squared * found.prefill_s_per_span_token
        return replace(found, largest_capture=captured, prefill_s_per_span_token=spans)

    def predict(self, constants: LatencyConstants, *, calibrated: bool = False) -> dict[str, Numbers]:
        """Predicted ttft, tpot, e2e (ms) and throughput (output tokens/s per engine) of every observation."""
        return predict_all(self.coefficients(constants, calibrated=calibrated), self)


def layout_of(one: Observation) -> Layout:
    """The layout that an observation ran on."""
    return Layout(
        gpu=one.gpu,
        tensor_parallel_size=one.tensor_parallel_size,
        data_parallel_size=one.data_parallel_size,
        expert_parallel=one.expert_parallel,
        quantization=one.quantization,
        kv_cache_dtype=one.kv_cache_dtype,
        enforce_eager=one.enforce_eager,
    )


def predict_all(c: LatencyCoefficients, replay: Replay, *, queued: bool = True) -> dict[str, Numbers]:
    """Evaluate each kind of load for its own observations.

    `queued`: random arrivals as `constraints/queueing` answers them, with the burstiness and lengths that a row states;
    else by the smooth formula of means (`constraints/speed`), which a regression can differentiate.
    """
    table, kinds = replay.columns, np.array([one.kind for one in replay.observations])
    result = {metric: np.full(len(kinds), np.nan) for metric in METRICS}

    def arguments(mask: Numbers | NDArray[np.intp]) -> tuple[Numbers, ...]:
        names = ("load", "slots", "max_num_batched_tokens", "input_tokens", "output_tokens")
        return tuple(table[name][mask] for name in names)

    for kind, pattern in PATTERNS.items():
        mask = kinds == kind
        hit = table["prefix_hit_share"][mask]
        load = under_load(c.take(mask), *arguments(mask), pattern=pattern, prefix_hit_share=hit)
        result["tpot"][mask], result["ttft"][mask] = load.tpot_ms, load.ttft_ms
        result["e2e"][mask], result["throughput"][mask] = load.e2e_ms, load.output_tokens_per_s
    for shape, rows in replay.streams.items() if queued else ():
        result["tpot"][rows], result["ttft"][rows], result["e2e"][rows] = under_random_arrivals(
            c.take(rows), shape, {name: values[rows] for name, values in table.items()}
        )
    spread = np.flatnonzero(table["arrival_s"])
    for metric, values in sent_one_by_one(
        c.take(spread), {name: values[spread] for name, values in table.items()}
    ).items():
        result[metric][spread] = values
    counted = np.flatnonzero(table["first_wave"])
    result["ttft"][counted] = with_first_wave(
        c.take(counted), {name: values[counted] for name, values in table.items()}, result["ttft"][counted]
    )
    mask = kinds == "offline"
    batch = offline_batch(c.take(mask), *arguments(mask))
    result["throughput"][mask], result["e2e"][mask] = batch.output_tokens_per_s, batch.makespan_ms
    return result


def under_random_arrivals(
    c: LatencyCoefficients, shape: tuple[float, float], table: dict[str, Numbers]
) -> tuple[Numbers, Numbers, Numbers]:
    """TPOT, TTFT (medians where medians were measured) and mean end-to-end time, ms."""
    burstiness, length_range = shape
    times = outcome(
        c, Demand("poisson", burstiness=burstiness, lengths=evenly_drawn(length_range)), table["load"], table["slots"],
        table["max_num_batched_tokens"], table["input_tokens"], table["output_tokens"],
        prefix_hit_share=table["prefix_hit_share"],
    )  # fmt: skip
    means = table["mean_ttft"].astype(bool)
    tpot = np.where(means, times.tpot_ms(None), times.tpot_ms(50))
    return tpot, np.where(means, times.ttft_ms(None), times.ttft_ms(50)), times.e2e_ms(None)


def evenly_drawn(length_range: float) -> Lengths:
    """Prompts and answers drawn evenly and independently from 1 - range to 1 + range times the mean."""
    if not length_range:
        return ALIKE
    levels = 1.0 + length_range * (2.0 * np.arange(LEVELS) + 1.0 - LEVELS) / LEVELS
    inputs, outputs = np.meshgrid(levels, levels)
    return Lengths.of_pairs(inputs.ravel(), outputs.ravel())


def log_errors(replay: Replay, predicted: dict[str, Numbers]) -> dict[str, Numbers]:
    """ln(measured / predicted) per metric; NaN where nothing was measured."""
    return {metric: np.log(replay.measured(metric) / predicted[metric]) for metric in METRICS}


def usable(rows: Sequence[Observation], nouns: Nouns) -> tuple[Replay, Counter[str]]:
    """Observations whose GPU and model the catalogue knows and whose weights fit; the others are counted."""
    kept, skipped = [], Counter[str]()
    for one in rows:
        try:
            fits = Replay((one,), nouns).pool_sequences(one) >= 1
        except UnknownProfile as error:
            skipped[str(error)] += 1
            continue
        if fits:
            kept.append(one)
        else:
            skipped["weights and one sequence do not fit the stated GPUs"] += 1
    return Replay(tuple(kept), nouns), skipped


def share_of(replay: Replay, chosen: Sequence[bool] | Numbers) -> Replay:
    """The chosen observations only."""
    kept = tuple(one for one, keep in zip(replay.observations, chosen, strict=True) if keep)
    return Replay(kept, replay.catalog)
