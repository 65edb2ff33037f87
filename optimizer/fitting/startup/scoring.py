"""How far the predicted start-up memory is from what published logs print, term by term."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vllm_opt.constraints.decisions.violation import LayoutRefused
from vllm_opt.constraints.memory.ledger import MemoryTerms, memory_terms
from vllm_opt.optimizer.fitting.startup.logs import StartupLog
from vllm_opt.optimizer.fitting.startup.names import GIB
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.startup_constants import StartupConstants

TERMS = ("weights", "activation", "kv_pool", "concurrency")
PEER_KV_POOL = (2.37, 1.27)
"""Mean and median absolute error in percent of the nearest peer's KV pool: llm-d-planner 0.3.3 as a library, asked for
50 published start-up logs of vLLM 0.19 on H100 with 80 GiB; 7.8 before its recalibration of August 2026, by its own
table (https://github.com/llm-d-incubation/llm-d-planner/pull/205)."""


@dataclass(frozen=True)
class Scored:
    """One log beside its prediction, GiB of the rank that the log prints."""

    log: StartupLog
    terms: MemoryTerms
    predicted: dict[str, float]
    measured: dict[str, float]
    kv_at_confidence: float
    budget: float

    def error_percent(self, term: str) -> float | None:
        """100 * (predicted - measured) / measured; None where the log does not print the term."""
        if term not in self.measured or self.measured[term] <= 0:
            return None
        return 100.0 * (self.predicted[term] / self.measured[term] - 1.0)


@dataclass(frozen=True)
class ErrorSummary:
    """Absolute errors of one term over a group of logs, in percent; near-twins share one vote."""

    logs: int
    mean: float
    median: float
    bias: float


def with_startup(engine: EngineProfile, constants: StartupConstants) -> EngineProfile:
    """Return the release with other start-up constants than the data file's."""
    copy = engine.model_copy()
    copy.__dict__["startup"] = constants
    return copy


def score(log: StartupLog, constants: StartupConstants | None = None, confidence: float = 0.9) -> Scored | None:
    """Predict one log; None when the product would refuse its layout."""
    engine = log.engine if constants is None else with_startup(log.engine, constants)
    try:
        terms = memory_terms(log.model, log.quantization, log.layout, engine, log.gpu)
    except LayoutRefused:
        return None
    flags = log.flags
    tokens, sequences = flags.max_num_batched_tokens, flags.max_num_seqs
    blocks = terms.num_gpu_blocks(flags)
    predicted = {
        "weights": (terms.weights[0] + terms.weights_extra[0]) / GIB,
        "activation": terms.activation_bytes(tokens, sequences)[0] / GIB,
        "non_torch": terms.non_torch.bytes / GIB,
        "graphs": terms.graph_bytes(tokens, sequences) / GIB,
        "context": terms.context.bytes / GIB,
        "kv_pool": terms.available_kv_bytes(flags)[0] / GIB,
        "concurrency": terms.kv.max_concurrency(blocks, flags.max_model_len, tokens),
    }
    return Scored(
        log, terms, predicted, _printed(log), terms.available_kv_bytes(flags, confidence)[0] / GIB,
        terms.budget_bytes(flags.gpu_memory_utilization) / GIB,
    )  # fmt: skip


def _printed(log: StartupLog) -> dict[str, float]:
    names = {
        "weights_gib": "weights",
        "activation_peak_gib": "activation",
        "non_torch_gib": "non_torch",
        "cudagraph_gib": "graphs",
        "context_gib": "context",
        "available_kv_gib": "kv_pool",
    }
    printed = {term: float(log.measured[name]) for name, term in names.items() if name in log.measured}
    if log.measured.get("max_concurrency_len") == log.flags.max_model_len and "max_concurrency" in log.measured:
        printed["concurrency"] = float(log.measured["max_concurrency"])
    return printed


def score_all(
    logs: Iterable[StartupLog], constants_of: Callable[[StartupLog], StartupConstants] | None = None
) -> tuple[Scored, ...]:
    """Score every log that the product accepts."""
    scored = (score(log, constants_of(log) if constants_of else None) for log in logs)
    return tuple(item for item in scored if item is not None)


def summarise(scored: Sequence[Scored], term: str) -> ErrorSummary | None:
    """Weighted mean, median and bias of a term's errors; None where no log prints it."""
    pairs = [(error, item.log.weight) for item in scored if (error := item.error_percent(term)) is not None]
    if not pairs:
        return None
    total = sum(weight for _, weight in pairs)
    mean = sum(abs(error) * weight for error, weight in pairs) / total
    bias = sum(error * weight for error, weight in pairs) / total
    return ErrorSummary(len(pairs), mean, weighted_median([(abs(error), weight) for error, weight in pairs]), bias)


def weighted_median(pairs: Sequence[tuple[float, float]]) -> float:
    """The value below which half of the weight lies; NaN of nothing."""
    half, seen = sum(weight for _, weight in pairs) / 2.0, 0.0
    for value, weight in sorted(pairs):
        seen += weight
        if seen >= half - 1e-12:
            return value
    return math.nan


def overfull_share(scored: Sequence[Scored]) -> float:
    """Share of logs whose real KV pool is smaller than the one planned at the confidence: those plans fail to start."""
    pairs = [(item.kv_at_confidence > item.measured["kv_pool"], item.log.weight) for item in scored if _has_pool(item)]
    return sum(weight for failed, weight in pairs if failed) / max(1e-12, sum(weight for _, weight in pairs))


def unused_share(scored: Sequence[Scored]) -> float:
    """Median share of the budget that a plan at the confidence leaves unused."""
    pairs = [
        ((item.measured["kv_pool"] - item.kv_at_confidence) / item.budget, item.log.weight)
        for item in scored
        if _has_pool(item)
    ]
    return weighted_median(pairs)


def _has_pool(item: Scored) -> bool:
    return item.measured.get("kv_pool", 0.0) > 0
