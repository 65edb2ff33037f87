"""From start-up logs to corrections of the fitted memory terms.

- activation and graphs: measured over predicted, per model, SKU, engine and size; median, shrunk by a quarter point;
- where a log prints only the pool, what the pool misses or has over is taken to be the activation peak's;
- non-torch memory: bytes, for every model on the SKU at that size, upwards only: less than predicted on one model
  promises nothing to another, and demand rounds up.

Weights, pages and the budget are formulas: a difference there is shown and never learned.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from vllm_opt.optimizer.calibration.startup_compare import GIB, ComparedStart
from vllm_opt.profiles.nouns.own_calibration import LARGEST_CORRECTION_BYTES, MemoryTerm

SHRINKAGE = 0.25
LEAST_FACTOR, LARGEST_FACTOR = 0.25, 4.0
WEIGHTS_TOLERANCE = 0.05
"""A log whose weights differ by more ran something else than what is predicted: it teaches nothing."""


def learned_memory(starts: Iterable[ComparedStart]) -> dict[str, tuple[MemoryTerm, ...]]:
    """The corrections of every SKU that the logs name."""
    groups: dict[tuple[str, str, str, int], list[ComparedStart]] = defaultdict(list)
    for start in starts:
        if trusted(start):
            groups[start.key].append(start)
    found: dict[str, list[MemoryTerm]] = defaultdict(list)
    growth: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for (gpu, engine, model, ranks), logs in sorted(groups.items()):
        found[gpu].append(
            MemoryTerm(
                model=model, engine="v0" if engine == "v0" else "v1", tensor_parallel_size=ranks,
                activation=shrunk([ratio for log in logs for ratio in activation_ratio(log)]),
                graphs=shrunk([ratio for log in logs for ratio in graph_ratio(log)]),
                non_torch_bytes=0, logs=len(logs),
            )
        )  # fmt: skip
        growth[gpu, engine, ranks] += [value for log in logs for value in more_non_torch(log)]
    for (gpu, engine, ranks), values in sorted(growth.items()):
        extra = math.ceil(max(0.0, median(values)) * len(values) / (len(values) + SHRINKAGE)) if values else 0
        extra = min(extra, LARGEST_CORRECTION_BYTES)
        same = [one for one in found[gpu] if (one.engine, one.tensor_parallel_size) == (engine, ranks)]
        general = MemoryTerm(
            engine="v0" if engine == "v0" else "v1", tensor_parallel_size=ranks, non_torch_bytes=extra,
            logs=sum(one.logs for one in same),
        )  # fmt: skip
        if extra:
            found[gpu].append(general)
    return {gpu: tuple(terms) for gpu, terms in found.items()}


def trusted(start: ComparedStart) -> bool:
    """Whether the weights are those predicted, where the log prints them."""
    measured, predicted = start.measured.get("weights_gib"), start.predicted.memory.weights_bytes
    return measured is None or abs(measured * GIB - predicted) <= WEIGHTS_TOLERANCE * predicted + 0.2 * GIB


def ratio_of(start: ComparedStart, name: str, predicted: str) -> list[float]:
    """Measured over predicted of one term, where both are there."""
    value, expected = start.measured.get(name), getattr(start.predicted.memory, predicted)
    return [value * GIB / expected] if value is not None and value > 0 and expected > 0 else []


def graph_ratio(start: ComparedStart) -> list[float]:
    """Of what capture took."""
    return ratio_of(start, "graph_gib", "cuda_graph_actual_bytes")


def activation_ratio(start: ComparedStart) -> list[float]:
    """As printed; else what is missing in the pool against the prediction, the printed weights taken out."""
    printed = ratio_of(start, "activation_gib", "activation_peak_bytes")
    memory, pool = start.predicted.memory, start.measured.get("kv_gib")
    if printed or pool is None or memory.activation_peak_bytes <= 0 or memory.kv_cache_bytes <= 0:
        return printed
    weights = start.measured.get("weights_gib")
    more_weights = 0.0 if weights is None else weights * GIB - memory.weights_bytes
    missing = memory.kv_cache_bytes - pool * GIB - more_weights
    return [(memory.activation_peak_bytes + missing) / memory.activation_peak_bytes]


def more_non_torch(start: ComparedStart) -> list[float]:
    """Bytes by which non-torch memory exceeds the prediction."""
    value = start.measured.get("non_torch_gib")
    return [] if value is None else [value * GIB - start.predicted.memory.non_torch_bytes]


def shrunk(ratios: Sequence[float]) -> float:
    """The median in logarithms, n / (n + 0.25) of the way from 1, within the bounds."""
    kept = [math.log(min(LARGEST_FACTOR, max(LEAST_FACTOR, ratio))) for ratio in ratios]
    if not kept:
        return 1.0
    return round(math.exp(median(kept) * len(kept) / (len(kept) + SHRINKAGE)), 4)
