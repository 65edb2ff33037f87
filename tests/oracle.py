"""Brute force over a small decision space: every point is judged by the rules' `check` alone.

Nothing of the search is used: no bounds, no grids of replicas, no pruning, no CP-SAT. What the two share is what a
request means (`resolve_solve`), the physics of one point, and the set of values that a flag may take:

- every tensor, pipeline, data, expert and context parallel size within the GPUs allowed; data parallelism inside one
  engine only with experts, without pipeline stages and on a whole part of a node; several nodes only when the link
  between them is stated; no pipeline stages inside a fast link where tensor parallelism divides the same GPUs, nor
  over an uneven part of a node unless the request says how many GPUs or stages;
- off CUDA, the layouts that the platform documents;
- the default block size and those in which a request takes fewer bytes;
- `max_num_batched_tokens` from `token_grid`, `gpu_memory_utilization` from `utilization_steps`;
- `max_num_seqs`: what is pinned; at the load asked a few from the fewest needed on (speed does not depend on it); where
  the load is free or what is admitted is an objective, the sizes of CAPTURED, the fewest, the most that memory admits,
  the most that TTFT and TPOT admit, and the most of full contexts that the pool holds.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import product

import numpy as np

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.decisions.engine_defaults import default_max_num_batched_tokens, prefix_caching_default
from vllm_opt.constraints.judging.deployment import Deployment, PerformanceBound
from vllm_opt.constraints.kv.kv_plan import KvPlan, plan_kv_cache
from vllm_opt.constraints.layouts.platforms import undocumented
from vllm_opt.constraints.memory.encoder_peak import media_items
from vllm_opt.constraints.memory.ledger import MemoryTerms, memory_terms
from vllm_opt.constraints.rules import RULE_NAMES, violations
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.latency import LoadPrediction, closed_loop, quantile_factor
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.estimation.performance import Engines, bound_at, predict
from vllm_opt.optimizer.space.cache_plans import TOKEN_STEPS
from vllm_opt.optimizer.space.default_limits import Bends
from vllm_opt.optimizer.space.layout_facts import utilization_steps
from vllm_opt.optimizer.space.platforms import asked_features
from vllm_opt.optimizer.space.points import CAPTURED, token_grid
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting, WeightFormat, resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants
from vllm_opt.profiles.nouns.model import Attention, Experts, LatentAttention, ModelProfile, StateSpace
from vllm_opt.profiles.nouns.price import Offer

UNPRICED, FREE = 2**50, 2**51
BLOCK_SIZES = (None, 16, 32, 64, 128)
STATIC_RULES = frozenset({"context_length", "memory_budget", "startup_headroom", "batching", "concurrency"})
LAYOUT_RULES = frozenset({"divisibility", "compatibility"})
TRAFFIC_RULES = frozenset({"quality", "ttft", "tpot", "throughput", "gpu_count", "budget"})
HELD_BY_FITS = STATIC_RULES - {"concurrency"}
NOT_LATENCY = frozenset(RULE_NAMES) - {"ttft", "tpot"}


@dataclass(frozen=True)
class Point:
    """One feasible point; `values` are the integers that decide, smaller is better."""

    values: dict[str, int]
    gpu_count: int
    layout: Layout
    replicas: int
    max_num_batched_tokens: int
    max_num_seqs: int
    bound: PerformanceBound
    speeds: tuple[float, float, float]
    """Central TTFT, TPOT (ms) and output tokens per second of one engine."""
    microusd: int


@dataclass(frozen=True)
class Best:
    """The optimum of each objective in its turn, and the points that nothing distinguishes but preference."""

    optima: dict[str, int]
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Speeds:
    """Central predictions of one engine, and the factors of the confidence asked."""

    ttft_ms: float
    tpot_ms: float
    e2e_ms: float
    tokens_per_s: float
    factors: tuple[float, float, float]
    bound: PerformanceBound | None = None
    """At the confidence and percentile asked, where more than the means of a closed loop is asked."""


class RememberedTerms(MemoryTerms):
    """The memory terms of a layout: what one width of a step and one batch take is added up once."""

    @cached_property
    def _sums(self) -> dict[tuple[int, int, float | None], tuple[int, ...]]:
        return {}

    def outside_kv_bytes(self, tokens: int, sequences: int, confidence: float | None = None) -> tuple[int, ...]:
        key = tokens, sequences, confidence
        if key not in self._sums:
            self._sums[key] = super().outside_kv_bytes(*key)
        return self._sums[key]

    @cached_property
    def _stages(self) -> dict[tuple[int, int, float, float | None], tuple[int, ...]]:
        return {}

    def blocks_by_stage(self, flags: EngineFlags, confidence: float | None = None) -> tuple[int, ...]:
        key = flags.max_num_batched_tokens, flags.max_num_seqs, flags.gpu_memory_utilization, confidence
        if key not in self._stages:
            self._stages[key] = super().blocks_by_stage(flags, confidence)
        return self._stages[key]

    @classmethod
    def of(cls, terms: MemoryTerms) -> "RememberedTerms":
        """The same terms."""
        return cls(**{item.name: getattr(terms, item.name) for item in fields(MemoryTerms)})


@dataclass
class Known:
    """What requests that differ in their limits on speed alone have in common."""

    layouts: dict[tuple[str, str, str | None], list[tuple[Layout, MemoryTerms]]] = field(default_factory=dict)
    coefficients: dict[Layout, LatencyCoefficients] = field(default_factory=dict)
    speeds: dict[tuple[Layout, int, float], "Speeds"] = field(default_factory=dict)
    fits: dict[tuple[Layout, int], dict[int, list[float]]] = field(default_factory=dict)
    """Utilisation steps at which memory holds a batch, for a layout and a width of a step."""


def last_true(low: int, high: int, holds: Callable[[int], bool]) -> int | None:
    """The last of low … high for which a monotone predicate holds."""
    if low > high or not holds(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def place_of(point: Point) -> tuple[Layout, int, int]:
    """What a point and its twin in eager mode have in common, but for the batch."""
    layout = point.layout.model_copy(update={"enforce_eager": False})
    return layout, point.replicas, point.max_num_batched_tokens


class Oracle:
    """Every feasible point of one request."""

    def __init__(
        self, request: SolveRequest, catalog: Catalog | None = None, *, reserve: bool = True, known: Known | None = None
    ) -> None:  # fmt: skip
        catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
        self.setting: SolveSetting = resolve_solve(request, catalog, Bends(reserve=not reserve))
        self.asked = 0
        self.known = known or Known()
        self.beyond_graphs: dict[tuple[Layout, int, int], int] = {}
        """The largest batch with CUDA graphs: eager mode is looked at from the next one on."""
        alone = {"concurrency": 1, "admission_reserve": False}
        self.alone = self.setting.targets.model_copy(update=alone)

    def best(self) -> Best | None:
        """The best points by the order that is documented: objectives with their slack, the publisher, TTFT.

        Written out once more on purpose: nothing of `search/order.py` is used.
        """
        left = self.points()
        if not left:
            return None
        request = self.setting.request
        tolerance, names = request.tolerance, list(request.objective)
        if tolerance > 0 and "cost" not in names and "gpus" not in names and "efficiency" not in names:
            names.append("cost")
        if tolerance > 0 and names in (["cost"], ["gpus"], ["efficiency"]):
            names.append("throughput")
        slacks = [tolerance, 0.02 if tolerance > 0 else 0.0, *([0.0] * len(names))]
        optima = {}
        for at, (name, slack) in enumerate(zip(names, slacks, strict=False)):
            optimum = min(point.values[name] for point in left)
            optima[name] = optimum
            amount = abs(optimum - kind_of(name, optimum))
            left = [point for point in left if point.values[name] <= optimum + int(amount * slack)]
            if at == 0 and tolerance > 0:
                first = min(point.values["publisher"] for point in left)
                left = [point for point in left if point.values["publisher"] == first]
        if tolerance > 0:
            soonest = min(point.values["ttft"] for point in left)
            left = [point for point in left if point.values["ttft"] == soonest]
        fewest = min((point.gpu_count, point.values["publisher"]) for point in left)
        kept = [point for point in left if (point.gpu_count, point.values["publisher"]) == fewest]
        return Best(optima, tuple(kept))

    def points(self) -> list[Point]:
        """Every feasible point, but for eager mode where CUDA graphs admit the batch too."""
        found = list(self._every_point())
        captured: dict[tuple[Layout, int, int], list[int]] = {}
        for point in found:
            if not point.layout.enforce_eager:
                captured.setdefault(place_of(point), []).append(point.max_num_seqs)
        ranges = {place: (min(sizes), max(sizes)) for place, sizes in captured.items()}

        def has_twin(point: Point) -> bool:
            low, high = ranges.get(place_of(point), (1, 0))
            return point.layout.enforce_eager and low <= point.max_num_seqs <= high

        return [point for point in found if not has_twin(point)]

    def _every_point(self) -> Iterator[Point]:
        for sku, weights in product(self.setting.gpus, self.setting.formats):
            key = sku.gpu.id, weights.quantization.id, weights.checkpoint
            if key not in self.known.layouts:
                self.known.layouts[key] = list(self.layouts_with_terms(sku, weights))
            for layout, terms in self.known.layouts[key]:
                yield from self.points_of(sku, weights, layout, terms)

    def layouts_with_terms(self, sku: PricedGpu, weights: WeightFormat) -> Iterator[tuple[Layout, MemoryTerms]]:
        """Every layout that starts, in blocks that are worth a look, and its memory."""
        every = list(self.layouts(sku, weights))
        for layout in every:
            if layout.pipeline_parallel_size > 1 and self.split_over_tensors(sku.gpu, layout) in every:
                continue
            if layout.block_size is None or self.frugal(layout, sku, weights):
                arguments = weights.model, weights.quantization, layout, self.setting.engine, sku.gpu
                yield layout, RememberedTerms.of(memory_terms(*arguments))

    def split_over_tensors(self, gpu: GpuProfile, layout: Layout) -> Layout | None:
        """The same GPUs as one tensor-parallel group, which takes the place of pipeline stages inside a fast link."""
        request, mixers = self.setting.request, [kind.mixer for kind in self.setting.model.layer_kinds]
        interactive = not self.setting.targets.load_free and "concurrency" not in request.objective
        ranks = layout.tensor_parallel_size * layout.pipeline_parallel_size
        heads = [mixer.num_key_value_heads for mixer in mixers if isinstance(mixer, Attention)]
        linked = gpu.interconnect.kind in ("nvlink", "infinity_fabric")
        within = ranks <= gpu.gpus_per_node and ranks <= (gpu.interconnect.gpus_joined or ranks)
        latent = any(isinstance(mixer, LatentAttention) for mixer in mixers)
        if request.pipeline_parallel_size or layout.decode_context_parallel_size > 1 or latent or not heads:
            return None
        if not (interactive and linked and within) or min(heads) % ranks:
            return None
        return layout.model_copy(update={"tensor_parallel_size": ranks, "pipeline_parallel_size": 1})

    def frugal(self, layout: Layout, sku: PricedGpu, weights: WeightFormat) -> bool:
        """Whether a request takes fewer bytes in such blocks than in the default ones, at any width of a step."""
        targets, setting = self.setting.targets, self.setting
        asked = plan_kv_cache(weights.model, layout, setting.engine, sku.gpu)
        default = plan_kv_cache(weights.model, layout.model_copy(update={"block_size": None}), setting.engine, sku.gpu)
        full, mean = targets.target_context, targets.mean_context
        return any(
            ours * small < theirs * usual
            for tokens in TOKEN_STEPS
            for ours, theirs in zip(
                appetite(asked, full, mean, tokens), appetite(default, full, mean, tokens), strict=True
            )
            for small, usual in zip(asked.block_bytes, default.block_bytes, strict=True)
        )

    def layouts(self, sku: PricedGpu, weights: WeightFormat) -> Iterator[Layout]:
        """Every layout that divisibility and compatibility let pass."""
        setting, node = self.setting, sku.gpu.gpus_per_node
        model, engine, most = setting.model, setting.engine, setting.targets.gpus or setting.targets.max_gpus
        experts = any(isinstance(kind.feed_forward, Experts) for kind in model.layer_kinds)
        sizes = range(1, most + 1)
        for tensor, pipeline, data, context in product(sizes, sizes, sizes, (1, 2, 4, 8)):
            ranks = tensor * pipeline
            nodes = -(-ranks // node)
            if ranks * data > most or tensor % context or pipeline > model.num_hidden_layers:
                continue
            if nodes > 1 and (not setting.request.internode_gbps or ranks % node):
                continue
            if pipeline > 1 and nodes == 1 and node % ranks and not says_how_many(setting.request):
                continue
            pinned = setting.request.data_parallel_size
            if data > 1 and pinned is None and (not experts or pipeline > 1 or node % (tensor * data)):
                continue
            if data > 1 and ranks * data > node:
                continue
            if not pinned_as_asked(setting.request, tensor, pipeline, data):
                continue
            for expert, kv_dtype, caching, chunked, block, eager in product(
                (False, True) if experts else (False,),
                ("auto", "fp8") if setting.request.kv_cache_dtype == "any" else (setting.request.kv_cache_dtype,),
                caching_choices(setting, model),
                (True, False) if engine.engine == "v0" else (True,),
                BLOCK_SIZES,
                (False, True),
            ):
                layout = Layout(
                    gpu=sku.gpu.id, tensor_parallel_size=tensor, pipeline_parallel_size=pipeline,
                    data_parallel_size=data, decode_context_parallel_size=context, expert_parallel=expert,
                    quantization=weights.quantization.id, checkpoint=weights.checkpoint, kv_cache_dtype=kv_dtype,
                    block_size=block, enforce_eager=eager, enable_prefix_caching=caching,
                    enable_chunked_prefill=chunked, async_scheduling=engine.async_scheduling_default, nodes=nodes,
                    media=media_items(model.vision, setting.targets.target_context, {}),
                )  # fmt: skip
                if self.loads(sku, weights, layout):
                    yield layout

    def loads(self, sku: PricedGpu, weights: WeightFormat, layout: Layout) -> bool:
        """Whether the rules that judge a layout on its own hold."""
        from vllm_opt.constraints.layouts import compatibility, divisibility

        arguments = weights.model, weights.quantization, layout, self.setting.engine, sku.gpu
        request = self.setting.request
        if sku.gpu.platform is not None and not request.undocumented_layouts:
            asked = asked_features(request)
            if tuple(undocumented(layout, sku.gpu, asked, format_asked=bool(request.quantization))):
                return False
        return not divisibility.violations(*arguments) and not compatibility.violations(*arguments)

    def points_of(self, sku: PricedGpu, weights: WeightFormat, layout: Layout, terms: MemoryTerms) -> Iterator[Point]:
        """Every feasible point of one layout."""
        targets = self.setting.targets
        largest = targets.gpus or targets.max_gpus
        for tokens in self.widths(sku.gpu, chunked_prefill=layout.enable_chunked_prefill):
            fits = self.known.fits.setdefault((layout, tokens), {})
            for replicas in range(1, largest // layout.gpus_per_server + 1):
                if self.setting.request.replicas not in (None, replicas):
                    continue
                base = self.deployment(sku, weights, layout, terms, replicas, self.flags(tokens, 1, 0.5))
                place = layout.model_copy(update={"enforce_eager": False}), replicas, tokens
                tried = set(self.sizes(base, tokens, fits))
                if layout.enforce_eager and "concurrency" in self.setting.request.objective and len(tried) > 1:
                    tried |= {min(max(tried), self.beyond_graphs.get(place, 0) + 1)} - {1}
                sizes = [size for size in sorted(tried) if self.fits(base, tokens, size, fits)]
                for point in self.judged(base, weights, tokens, sizes, fits) if sizes else ():
                    if not layout.enforce_eager:
                        self.beyond_graphs[place] = max(self.beyond_graphs.get(place, 0), point.max_num_seqs)
                    yield point

    def fits(self, base: Deployment, tokens: int, size: int, known: dict[int, list[float]]) -> bool:
        """Whether memory holds at any utilisation step."""
        if size not in known:
            known[size] = self.utilizations(base, tokens, size)
        return bool(known[size])

    def sizes(self, base: Deployment, tokens: int, fits: dict[int, list[float]]) -> list[int]:
        """The values of max_num_seqs that are looked at: at the load asked a few, else the grid and its ends."""
        setting = self.setting
        targets, pinned = setting.targets, setting.request.max_num_seqs
        share = max(1, math.ceil(targets.concurrency / base.engines))
        reserve = max(1, math.ceil(share / 10)) if targets.admission_reserve else 0
        least = share + reserve
        if pinned:
            return [pinned] if share <= pinned <= tokens else []
        random = setting.request.pattern == "poisson"
        if not targets.load_free and not random and "concurrency" not in setting.request.objective:
            return [size for size in (least, least + 1, least + 3) if size <= tokens]
        largest = last_true(least, tokens, lambda size: self.fits(base, tokens, size, fits))
        if largest is None:
            monotone = base.engine.graphs_in_budget
            tried = [1 << power for power in range(11)] if random else CAPTURED
            return [] if monotone else [size for size in tried if least <= size <= tokens]
        if random:
            low = max(least, min(16, largest))
            return sorted({low, largest, *(1 << power for power in range(11) if low < 1 << power < largest)})
        crossing = last_true(least, largest, lambda size: self.held(base, tokens, size, fits.get(size)) >= size)
        return sorted(
            {least, largest, *([crossing] if crossing else []), *(c for c in CAPTURED if least < c < largest)}
        )

    def held(self, base: Deployment, tokens: int, size: int, steps: list[float] | None) -> int:
        """floor(running_concurrency) at the highest utilisation that memory admits; 0 where it admits none."""
        steps = self.utilizations(base, tokens, size) if steps is None else steps
        counts = []
        for step in steps:
            flags = self.flags(tokens, size, step)
            blocks = base.terms.num_gpu_blocks(flags)
            counts.append(math.floor(base.terms.kv.running_concurrency(blocks, flags.max_model_len)))
        return max(counts, default=0)

    def utilizations(self, base: Deployment, tokens: int, size: int) -> list[float]:
        """The utilisation steps at which memory holds, whatever the traffic asks.

        Wording a refusal takes long, so the pool is compared first; one refusal in fifty is asked of the rules too.
        """
        terms, targets = base.terms, self.setting.targets
        needed = max(
            self.blocks_held(terms, tokens, size),
            terms.kv.startup_blocks(targets.target_context, tokens),
        )
        found = []
        for step in utilization_steps(self.setting.request.max_gpu_memory_utilization):
            flags = self.flags(tokens, size, step)
            short = terms.num_gpu_blocks(flags, base.confidence) < needed
            self.asked += 1
            if short and self.asked % 50:
                continue
            trial = replace(base, flags=flags, targets=self.alone)
            broken = violations(trial, without=LAYOUT_RULES | TRAFFIC_RULES)
            if short:
                assert broken
            if not broken:
                found.append(step)
        return found

    def blocks_held(self, terms: MemoryTerms, tokens: int, size: int) -> int:
        """KV blocks of `size` sequences: all at the mean context, or by the distribution of typical lengths."""
        targets, kv = self.setting.targets, terms.kv
        typical = targets.contexts_in_flight
        if typical is None:
            return kv.sequence_blocks(targets.mean_context, tokens).needed(size)
        full = kv.sequence_blocks(targets.target_context, tokens)
        each = math.ceil(typical.mean_tokens + typical.quantile * typical.deviation_tokens / math.sqrt(size))
        each = min(targets.target_context, each + kv.block_size // 2)
        return min(full.needed(size), kv.sequence_blocks(each, tokens).needed(size) + full.each)

    def judged(
        self, base: Deployment, weights: WeightFormat, tokens: int, sizes: list[int], fits: dict[int, list[float]],
    ) -> Iterator[Point]:  # fmt: skip
        """Points of one (layout, T, R) that the traffic's rules let pass."""
        if self.setting.targets.load_free and not self.setting.request.needs_queueing:
            self.learn(base, tokens, [float(size) for size in sizes])
        sizes = sorted({*sizes, *self.largest_in_time(base, tokens, sizes, fits)})
        for size in sizes:
            speeds = self.speeds(base, tokens, size)
            trial = replace(base, flags=self.flags(tokens, size, fits[size][0]), performance=self.bound(base, speeds))
            if not violations(trial, without=LAYOUT_RULES | HELD_BY_FITS):
                yield self.point(trial, weights, speeds, fits[size])

    def largest_in_time(
        self, base: Deployment, tokens: int, sizes: list[int], fits: dict[int, list[float]]
    ) -> list[int]:
        """Where the load is free, the largest batch between those of the grid that meets the latency limits."""
        request = self.setting.request
        if not self.setting.targets.load_free or request.max_num_seqs or request.needs_queueing:
            return []

        def holds(size: int) -> bool:
            bound = self.bound(base, self.speeds(base, tokens, size))
            trial = replace(base, flags=self.flags(tokens, size, 0.5), performance=bound)
            return not violations(trial, without=NOT_LATENCY)

        last = last_true(sizes[0], sizes[-1], holds)
        return [last] if last and self.fits(base, tokens, last, fits) else []

    def bound(self, base: Deployment, speeds: "Speeds") -> PerformanceBound:
        """What the latency rules compare."""
        ttft, tpot, throughput = speeds.factors
        if speeds.bound is not None:
            return speeds.bound
        return PerformanceBound(
            ttft_ms=speeds.ttft_ms * ttft,
            tpot_ms=None if self.setting.lengths[1] <= 1 else speeds.tpot_ms * tpot,
            output_tokens_per_s=speeds.tokens_per_s * base.engines * throughput,
        )

    def point(self, found: Deployment, weights: WeightFormat, speeds: "Speeds", steps: list[float]) -> Point:
        """The objective integers of one feasible point: smaller is better."""
        setting, flags = self.setting, found.flags
        bill = whole_machines(found.offers, found.replicas, found.layout.gpus_per_server, found.layout.nodes)
        cost = UNPRICED + 1_000_000 * found.gpu_count if bill is None else bill
        millitokens = math.floor(speeds.tokens_per_s * 1000) * found.engines
        values = {
            "cost": cost,
            "gpus": found.gpu_count,
            "throughput": -millitokens,
            "latency": math.ceil(speeds.e2e_ms * 1000),
            "efficiency": efficiency(millitokens, bill, found.gpu_count),
            "ttft": math.ceil(speeds.ttft_ms * 1000) + (10**12 if found.layout.enforce_eager else 0),
            "publisher": weights.publisher_rank,
        }
        if "concurrency" in setting.request.objective:
            held = self.held(found, flags.max_num_batched_tokens, flags.max_num_seqs, steps)
            values["concurrency"] = -min(flags.max_num_seqs, held) * found.engines
        return Point(
            values=values, gpu_count=found.gpu_count, layout=found.layout, replicas=found.replicas,
            max_num_batched_tokens=flags.max_num_batched_tokens, max_num_seqs=flags.max_num_seqs,
            bound=self.bound(found, speeds),
            speeds=(speeds.ttft_ms, speeds.tpot_ms, speeds.tokens_per_s),
            microusd=cost,
        )  # fmt: skip

    def speeds(self, base: Deployment, tokens: int, size: int) -> "Speeds":
        """Central predictions of one engine: the fullest one's times and the average one's rate at the load asked."""
        if self.setting.request.needs_queueing:
            return self.queued(base, tokens, size)
        targets = self.setting.targets
        share = float(size) if targets.load_free else targets.concurrency / base.engines
        if (base.layout, tokens, share) not in self.known.speeds:
            self.learn(base, tokens, [share])
        return self.known.speeds[base.layout, tokens, share]

    def learn(self, base: Deployment, tokens: int, shares: list[float]) -> None:
        """The speeds of engines with so many users each, all in one call."""
        if base.layout not in self.known.coefficients:
            self.known.coefficients[base.layout] = self.coefficients(base)
        coefficients, confidence = self.known.coefficients[base.layout], self.setting.request.confidence
        load = self.closed(coefficients, base, tokens, shares)
        ttft, tpot, throughput = (
            float(quantile_factor(coefficients, metric, confidence)) for metric in ("ttft", "tpot", "throughput")
        )
        for at, share in enumerate(shares):
            self.known.speeds[base.layout, tokens, share] = Speeds(
                float(load.ttft_ms[0, at]), float(load.tpot_ms[0, at]), float(load.e2e_ms[0, at]),
                float(load.output_tokens_per_s[1, at]), (ttft, tpot, throughput),
            )  # fmt: skip

    def coefficients(self, base: Deployment) -> LatencyCoefficients:
        """Seconds per unit of a layout, whatever its blocks."""
        found = latency_coefficients(
            base.model, base.quantization, base.layout.model_copy(update={"block_size": None}), base.gpu,
            default_latency_constants(), calibrated=self.setting.request.calibration,
            release=self.setting.engine.version,
        )  # fmt: skip
        share = self.setting.request.offload_hit_share if base.layout.enable_prefix_caching else 0.0
        if not share:
            return found
        loaded = self.setting.lengths[0] * share * math.ceil(max(base.terms.kv.bytes_per_token, default=0))
        return replace(found, load_s=loaded / (base.gpu.host_link_bytes_per_s * 0.8))

    def closed(
        self, coefficients: LatencyCoefficients, base: Deployment, tokens: int, shares: list[float]
    ) -> LoadPrediction:  # fmt: skip
        """The fullest (first row) and the average engine (second) of closed loops."""
        setting, layout = self.setting, base.layout
        fullest = [float(math.ceil(share)) for share in shares]
        return closed_loop(
            coefficients,
            users=np.array([fullest, shares]),
            max_num_seqs=np.array(fullest),
            max_num_batched_tokens=float(tokens),
            input_tokens=float(setting.lengths[0]),
            output_tokens=float(setting.lengths[1]),
            chunked_prefill=layout.enable_chunked_prefill,
            prefix_hit_share=setting.request.hit_share if layout.enable_prefix_caching else 0.0,
        )

    def queued(self, base: Deployment, tokens: int, size: int) -> "Speeds":
        """The same under any other traffic, by the prediction that a plan shows, one point at a time."""
        setting, request = self.setting, self.setting.request
        coefficients = self.coefficients(base)
        served = Engines(
            coefficients, base.engines, size, tokens, setting.lengths, base.layout.enable_chunked_prefill,
            request.hit_share if base.layout.enable_prefix_caching else 0.0,
        )  # fmt: skip
        users = size * base.engines if setting.targets.load_free else setting.targets.concurrency
        found = predict(served, users, request.demand, request.asked_percentiles)
        bound = bound_at(
            coefficients, found, request.confidence, (request.ttft_percentile, request.tpot_percentile),
            served.doubt(request.demand, found),
        )  # fmt: skip
        rate = request.requests_per_s
        if request.pattern == "closed" and not request.think_time_s:
            tokens_per_s = self.closed(coefficients, base, tokens, [users / base.engines]).output_tokens_per_s[1, 0]
        else:
            each = math.ceil(users / base.engines) if rate is None else rate / base.engines
            tokens_per_s = served.outcome(request.demand, each).requests_per_s[0] * setting.lengths[1]
        return Speeds(found.ttft_ms, found.tpot_ms or 0.0, found.e2e_ms, float(tokens_per_s), (1, 1, 1), bound)

    def widths(self, gpu: GpuProfile, *, chunked_prefill: bool) -> tuple[int, ...]:
        """The values of max_num_batched_tokens."""
        setting = self.setting
        default = default_max_num_batched_tokens(
            setting.engine, gpu, chunked_prefill=chunked_prefill, max_model_len=setting.targets.target_context,
            max_num_seqs=None,
        )  # fmt: skip
        return token_grid(setting, default, chunked_prefill=chunked_prefill)

    def flags(self, tokens: int, size: int, utilization: float) -> EngineFlags:
        """The flags of a point."""
        return EngineFlags(
            gpu_memory_utilization=utilization,
            max_model_len=self.setting.targets.target_context,
            max_num_seqs=size,
            max_num_batched_tokens=tokens,
            swap_space_gib=self.setting.engine.default_swap_space_gib,
        )

    def deployment(
        self, sku: PricedGpu, weights: WeightFormat, layout: Layout, terms: MemoryTerms, replicas: int,
        flags: EngineFlags,
    ) -> Deployment:  # fmt: skip
        """A point before its speed is known."""
        setting = self.setting
        return Deployment(
            model=weights.model, quantization=weights.quantization, layout=layout, gpu=sku.gpu, engine=setting.engine,
            flags=flags, replicas=replicas, targets=setting.targets, terms=terms,
            offers=sku.offers,
            quality=weights.plan_quality(layout.kv_cache_dtype, sku.gpu, setting.targets.target_context),
            quality_accepted=weights.accepts(layout.kv_cache_dtype, sku.gpu, setting.targets.target_context),
            confidence=setting.request.confidence,
        )  # fmt: skip


def appetite(plan: KvPlan, full: int, mean: int, tokens: int) -> tuple[int, ...]:
    """Blocks of one request: planned and running at the full context, running and starting at the mean one."""
    return (
        plan.blocks_per_request(full, tokens), plan.running_blocks_per_request(full),
        plan.running_blocks_per_request(mean), plan.admission_blocks(mean, tokens),
    )  # fmt: skip


def kind_of(name: str, value: int) -> int:
    """The offset of a kind of cost or efficiency, which no tolerance is a share of."""
    if name == "cost" and value >= UNPRICED:
        return UNPRICED
    if name == "efficiency" and (value <= -FREE or value > 0):
        return -FREE if value < 0 else FREE
    return 0


def whole_machines(offers: tuple[Offer, ...], replicas: int, server_gpus: int, nodes: int) -> int | None:
    """Millionths of a dollar per hour of the cheapest offer, its machines filled one server after the other."""
    costs = []
    for offer in offers:
        size, part = offer.up_to_gpus or offer.gpus, server_gpus // nodes
        left = size * replicas * nodes if offer.stock_gpus is None else offer.stock_gpus
        machines: list[int] = []
        for _ in range(replicas * nodes):
            at = next((at for at, room in enumerate(machines) if room >= part), None)
            if at is None:
                at = len(machines)
                machines.append(min(size, left))
                left -= machines[at]
            machines[at] -= part
        if min(machines) >= 0:
            billed = replicas * server_gpus if offer.up_to_gpus else len(machines)
            costs.append(round(offer.usd_per_hour * 1e6) * billed)
    return min(costs, default=None)


def efficiency(millitokens: int, bill: int | None, gpus: int) -> int:
    """Tokens per USD; owned machines before everything by tokens/s per GPU, those without a price last by GPU-hour."""
    if bill == 0:
        return -(FREE + millitokens // gpus)
    if bill is None:
        return FREE - min(FREE, millitokens * 3600 // gpus)
    return -min(FREE - 1, millitokens * 3600 * 1_000_000 // bill)


def says_how_many(request: SolveRequest) -> bool:
    """Whether the request counts the GPUs or the stages: then an uneven part of a node may be one server."""
    return bool(request.gpus or request.max_gpus or request.owned or request.pipeline_parallel_size)


def pinned_as_asked(request: SolveRequest, tensor: int, pipeline: int, data: int) -> bool:
    """Whether the sizes of a server are those that the request pins."""
    sizes = {"tensor_parallel_size": tensor, "pipeline_parallel_size": pipeline, "data_parallel_size": data}
    return all(getattr(request, field) in (None, size) for field, size in sizes.items())


def caching_choices(setting: SolveSetting, model: ModelProfile) -> tuple[bool, ...]:
    """Prefix caching changes memory only where layers keep a recurrent state."""
    default = prefix_caching_default(setting.engine, model)
    recurrent = any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds)
    return (default, not default) if recurrent else (default,)
