"""The fits behind `startup_fit`, one per term of the start-up memory. The two that need scipy import it when called."""

from collections.abc import Iterable, Sequence
from math import log, sqrt

import numpy as np

from vllm_opt.constraints.decisions.pipeline_stages import stage_layers
from vllm_opt.constraints.decisions.violation import LayoutRefused
from vllm_opt.constraints.memory.activation_widths import StageTerms, stage_terms
from vllm_opt.constraints.memory.ledger import memory_terms
from vllm_opt.constraints.memory.model_runner import runs_on_v2
from vllm_opt.constraints.memory.overheads import capture_sizes, captured_width_bytes, topology_row
from vllm_opt.optimizer.fitting.startup.logs import StartupLog
from vllm_opt.optimizer.fitting.startup.names import GIB
from vllm_opt.optimizer.fitting.startup.scoring import weighted_median, with_startup
from vllm_opt.profiles.nouns.startup_constants import (
    Fitted,
    GraphConstants,
    StartupConstants,
    StartupMemory,
    TopologyBytes,
    release_key,
)

KERNEL_SAMPLER_FROM = "0.17"
"""From this release top-k and top-p run in one kernel instead of sorting the vocabulary
(`v1/sample/ops/topk_topp_sampler.py`)."""
SMALLEST_SPREAD = 0.03
SMALLEST_SPREAD_GIB = 0.10
"""Two hosts with the same card differ by this much: drivers, loaders, a cold compile cache."""
FEW = 3
SMALLEST_GRAPHS_GIB = 0.05
SMALLEST_GRAPH_SPREAD = 0.2
"""vLLM's own estimate, which the budget is charged with, misses the real graphs by a fifth on average."""
MOST_LEFT_UNIFIED_GIB = 4.0
"""More than this left over points to a flag that the log does not print, not to non-torch memory."""


def fit_activation(logs: Sequence[StartupLog], memory: StartupMemory) -> StartupMemory:
    """Fit sampler bytes per logit (sorting and kernel), and base, token bytes and forward factor per engine."""
    used = [item for item in logs if _activation_is_plain(item)]
    eras = {id(item): memory.of(item.engine.engine, item.engine.version) for item in used}
    terms = {id(item): _first_stage(item, eras[id(item)]) for item in used}
    start = np.array([36.0, 12.0, 0.02, 16.0, 1.0, 0.02, 0.1, 1.1])

    def predicted(item: StartupLog, x: np.ndarray) -> float:
        return _activation_gib(item, terms[id(item)], eras[id(item)], x)

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.array([
            sqrt(item.weight) * log(max(1e-3, predicted(item, x)) / item.measured["activation_peak_gib"])
            for item in used
        ])  # fmt: skip

    from scipy.optimize import least_squares

    solution = least_squares(residuals, start, bounds=(0.0, [80.0, 40.0, 0.5, 60.0, 3.0, 0.5, 60.0, 3.0]),
                             loss="soft_l1", f_scale=0.05, x_scale=np.maximum(start, 0.1))  # fmt: skip
    x = solution.x
    return StartupMemory(
        about=memory.about, eras=tuple(_with_activation(era, x, used, predicted) for era in memory.eras)
    )


def _activation_is_plain(item: StartupLog) -> bool:
    """The log prints the peak alone: no graph estimate in it, no encoder of V0, no V2 runner."""
    if not item.measured.get("activation_peak_gib"):
        return False
    if item.engine.engine == "v0":
        return item.model.vision is None
    if item.engine.graphs_in_budget and not item.layout.enforce_eager:
        return False
    return not runs_on_v2(item.model, item.quantization, item.engine)


def _first_stage(item: StartupLog, era: StartupConstants) -> StageTerms:
    bits = item.quantization.activation_bits
    return stage_terms(item.model, item.layout, bits, workspace_persists=era.expert_workspace_persists)[0]


def _activation_gib(item: StartupLog, stage: StageTerms, era: StartupConstants, x: np.ndarray) -> float:
    offset = 5 if item.engine.engine == "v0" else 2
    base, token, factor = x[offset] * GIB, x[offset + 1] * 1e3, x[offset + 2]
    tokens, sequences = item.flags.max_num_batched_tokens, item.flags.max_num_seqs
    kept = base + stage.kept_fixed_bytes + (stage.kept_bytes_per_token + token) * tokens
    forward = kept + stage.transient_fixed_bytes + factor * stage.width_bytes_per_token * tokens
    samples = stage.samples and (era.sampler_runs_with_chunked_prefill or not item.layout.enable_chunked_prefill)
    if not samples:
        return float(forward / GIB)
    logits = (stage.logit_bytes_per_sequence + x[_sampler_of(era)] * stage.vocab_size) * min(sequences, tokens)
    return float(max(forward, kept + stage.hidden_bytes_per_token * tokens + logits) / GIB)


def _sampler_of(era: StartupConstants) -> int:
    kernel = era.engine == "v1" and release_key(era.from_release) >= release_key(KERNEL_SAMPLER_FROM)
    return 1 if kernel else 0


def _with_activation(era: StartupConstants, x: np.ndarray, used: Sequence[StartupLog], predicted) -> StartupConstants:  # type: ignore[no-untyped-def]
    mine = [item for item in used if item.engine.engine == era.engine]
    sampled = [item for item in mine if _sampler_of(item.engine.startup) == _sampler_of(era)]
    errors = [(predicted(item, x) / item.measured["activation_peak_gib"] - 1.0, item.weight) for item in mine]
    spread = max(SMALLEST_SPREAD, 1.4826 * weighted_median([(abs(error), weight) for error, weight in errors]))
    offset = 5 if era.engine == "v0" else 2
    count = len({item.model.id for item in mine})
    return era.model_copy(
        update={
            "sampler_bytes_per_logit": _fitted(x[_sampler_of(era)], 0.02, len({item.model.id for item in sampled})),
            "base_bytes": _fitted(x[offset] * GIB, spread, count),
            "token_bytes": _fitted(x[offset + 1] * 1e3, spread, count),
            "forward_factor": _fitted(x[offset + 2], spread, count),
            "activation_relative_spread": round(spread, 4),
        }
    )


def _fitted(value: float, relative: float, samples: int) -> Fitted:
    return Fitted(
        value=float(f"{value:.6g}"), spread=float(f"{abs(value) * relative:.4g}"), basis="fitted", samples=samples
    )


def fit_topology(logs: Sequence[StartupLog], memory: StartupMemory) -> StartupMemory:
    """Set non-torch memory per era and context memory over all eras to weighted medians, where logs print them."""
    eras = []
    for era in memory.eras:
        mine = [item for item in logs if memory.of(item.engine.engine, item.engine.version) is era]
        values = {id(item): _non_torch_gib(item, era) for item in mine}
        non_torch = _medians(era.non_torch, mine, lambda item: values[id(item)])  # noqa: B023
        context = _medians(era.context, logs, lambda item: item.measured.get("context_gib"))
        eras.append(era.model_copy(update={"non_torch": non_torch, "context": context}))
    return StartupMemory(about=memory.about, eras=tuple(eras))


def _non_torch_gib(item: StartupLog, era: StartupConstants) -> float | None:
    """Printed, else what the budget, the printed weights and pool and the modelled peak leave over.

    A V0 engine up to 0.6.4 charged other processes, too: what is too large there is not used.
    """
    most = MOST_LEFT_UNIFIED_GIB if item.gpu.unified_memory else 1.0 + 0.25 * item.layout.tensor_parallel_size
    printed = item.measured.get("non_torch_gib")
    if printed is not None:
        charges_others = era.engine == "v0" and printed > most
        return None if charges_others else printed
    if item.engine.graphs_in_budget and not item.layout.enforce_eager:
        return None
    weights, pool = item.measured.get("weights_gib"), item.measured.get("available_kv_gib")
    if not weights or not pool:
        return None
    try:
        terms = memory_terms(item.model, item.quantization, item.layout, with_startup(item.engine, era), item.gpu)
    except LayoutRefused:
        return None
    flags = item.flags
    peak = terms.activation_bytes(flags.max_num_batched_tokens, flags.max_num_seqs)[0] / GIB
    left = terms.budget_bytes(flags.gpu_memory_utilization) / GIB - weights - pool - peak
    return left if 0.0 <= left <= most else None


def _medians(rows: tuple[TopologyBytes, ...], logs: Iterable[StartupLog], value_of) -> tuple[TopologyBytes, ...]:  # type: ignore[no-untyped-def]
    by_row: dict[int, list[tuple[float, float]]] = {}
    for item in logs:
        value = value_of(item)
        if value is not None:
            row = topology_row(rows, item.layout, item.gpu)
            by_row.setdefault(rows.index(row), []).append((float(value), item.weight))
    return tuple(_median_row(row, by_row.get(number, [])) for number, row in enumerate(rows))


def _median_row(row: TopologyBytes, pairs: list[tuple[float, float]]) -> TopologyBytes:
    if not pairs:
        return row
    middle = weighted_median(pairs)
    spread = 1.4826 * weighted_median([(abs(value - middle), weight) for value, weight in pairs])
    floor = max(SMALLEST_SPREAD_GIB, 0.05 * abs(middle), 0.3 * abs(middle) if len(pairs) < FEW else 0.0)
    value = max(0.0, middle) * GIB
    fitted = Fitted(value=round(value), spread=round(max(spread, floor) * GIB), basis="measured", samples=len(pairs))
    return row.model_copy(update={"bytes": fitted})


def fit_graphs(logs: Sequence[StartupLog], memory: StartupMemory) -> StartupMemory:
    """Fit the graph law per engine to printed graph memory: robust, relative residuals, non-negative constants.

    Before 0.16 the printed figure is a difference of free memory, and is used for V0 alone.
    """
    eras = []
    for era in memory.eras:
        used = [item for item in logs if item.engine.engine == era.engine and _prints_graphs(item)]
        eras.append(era.model_copy(update={"graphs": _graph_constants(used)}) if len(used) > FEW else era)
    return StartupMemory(about=memory.about, eras=tuple(eras))


def _prints_graphs(item: StartupLog) -> bool:
    recent = item.engine.engine == "v0" or release_key(item.engine.version) >= release_key("0.12")
    large = item.measured.get("cudagraph_gib", 0.0) > SMALLEST_GRAPHS_GIB
    return recent and large and not item.layout.enforce_eager and item.gpu.vendor == "nvidia"


def _graph_constants(used: Sequence[StartupLog]) -> GraphConstants:
    features = [_graph_features(item) for item in used]

    def ratios(x: np.ndarray) -> list[float]:
        return [
            max(1e-3, sum(c * f for c, f in zip(x, row, strict=True)) / item.measured["cudagraph_gib"])
            for row, item in zip(features, used, strict=True)
        ]

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.array([sqrt(item.weight) * log(r) for item, r in zip(used, ratios(x), strict=True)])

    from scipy.optimize import least_squares

    start = np.array([0.05, 0.1, 3.0])
    x = least_squares(residuals, start, bounds=(0.0, [1.0, 5.0, 60.0]), loss="soft_l1", f_scale=0.1).x
    errors = [(abs(ratio - 1.0), item.weight) for item, ratio in zip(used, ratios(x), strict=True)]
    return GraphConstants(
        base_bytes=round(float(x[0]) * GIB),
        bytes_per_graph_layer=round(float(x[1]) * 1e6),
        bytes_per_captured_byte=round(float(x[2]), 3),
        relative_spread=round(max(SMALLEST_GRAPH_SPREAD, 1.4826 * weighted_median(errors)), 3),
        basis="fitted",
        samples=len({item.model.id for item in used}),
    )


def _graph_features(item: StartupLog) -> tuple[float, float, float]:
    """Base in GiB, MB per graph and layer, and bytes per captured byte: what multiplies each constant, in GiB."""
    capture, sequences = item.engine.graph_capture, item.flags.max_num_seqs
    sizes = capture_sizes(capture, capture.max_size, sequences, item.flags.max_num_batched_tokens)
    graphs = len(sizes) + (sum(size <= sequences for size in sizes) if capture.full_graphs else 0)
    layers = len(stage_layers(item.model.num_hidden_layers, item.layout.pipeline_parallel_size)[0])
    captured = sizes[-1] * captured_width_bytes(item.model, item.layout)
    return 1.0, graphs * layers * 1e6 / GIB, captured / GIB
