"""Brute force over a small decision space: every point is judged by the rules' `check` alone.

Nothing of the search is used: no bounds, no grids of replicas, no pruning, no CP-SAT. What the two share is what a
request means (`resolve_solve`), the physics of one point, and the set of values that a flag may take:

- every tensor, pipeline, data, expert and context parallel size within the GPUs allowed; data parallelism inside one
  engine only with experts, without pipeline stages and on a whole part of a node; several nodes only when the link
  between them is stated;
- the default block size and those in which a request takes fewer bytes;
- `max_num_batched_tokens` from `token_grid`, `gpu_memory_utilization` from `utilization_steps`;
- `max_num_seqs` any whole number up to `request.max_num_seqs_limit` or the concurrency, the pinned one where
  the request pins it, when `every_size`; else
  the sizes of CAPTURED, the fewest needed, the most that memory admits and the most that TTFT and TPOT admit.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.decisions.engine_defaults import default_max_num_batched_tokens, prefix_caching_default
from vllm_opt.constraints.judging.deployment import Deployment, PerformanceBound
from vllm_opt.constraints.kv.kv_plan import plan_kv_cache
from vllm_opt.constraints.memory.ledger import MemoryTerms, memory_terms
from vllm_opt.constraints.rules import violations
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.latency import closed_loop, quantile_factor
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.space.host_tier import host_tier_sizes
from vllm_opt.optimizer.space.physics import TOKEN_STEPS, utilization_steps
from vllm_opt.optimizer.space.points import CAPTURED, token_grid
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting, WeightFormat, resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants
from vllm_opt.profiles.nouns.model import Experts, ModelProfile, StateSpace

LARGEST_BATCH = 1024
BLOCK_SIZES = (None, 16, 32, 64, 128)
STATIC_RULES = frozenset({"context_length", "memory_budget", "startup_headroom", "batching", "concurrency"})
LAYOUT_RULES = frozenset({"divisibility", "compatibility"})
TRAFFIC_RULES = frozenset({"quality", "ttft", "tpot", "throughput", "gpu_count", "budget"})


@dataclass(frozen=True)
class Point:
    """One feasible point with what the objectives and the limits see of it."""

    values: tuple[int, ...]
    gpu_count: int
    origin: int
    layout: Layout
    replicas: int
    max_num_batched_tokens: int
    max_num_seqs: int
    bound: PerformanceBound
    speeds: tuple[float, float, float]
    """Central TTFT, TPOT (ms) and output tokens per second of one engine."""
    microusd: int


@dataclass(frozen=True)
class Speeds:
    """Central predictions of one engine at every max_num_seqs, and the factors of the confidence asked."""

    ttft_ms: np.ndarray
    tpot_ms: np.ndarray
    e2e_ms: np.ndarray
    tokens_per_s: np.ndarray
    factors: tuple[float, float, float]


class Oracle:
    """Every feasible point of one request."""

    def __init__(self, request: SolveRequest, catalog: Catalog | None = None, *, every_size: bool = True) -> None:
        catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
        self.setting: SolveSetting = resolve_solve(request, catalog)
        self.every_size = every_size
        self.asked = 0
        self.known: dict[tuple[Layout, int, int], dict[int, Speeds]] = {}
        self.largest = max(
            request.max_num_seqs_limit or LARGEST_BATCH, request.max_num_seqs or 1, self.setting.targets.concurrency
        )
        self.alone = self.setting.targets.model_copy(update={"concurrency": 1})

    def best(self) -> Point | None:
        """The lexicographic optimum; among equals the one with the fewest GPUs, then with a known checkpoint."""
        return min(self.points(), key=lambda point: (point.values, point.gpu_count, point.origin), default=None)

    def points(self) -> Iterator[Point]:
        """Every feasible point."""
        for sku, weights in product(self.setting.gpus, self.setting.formats):
            for layout in self.layouts(sku, weights):
                arguments = self.setting.model, weights.quantization, layout, self.setting.engine, sku.gpu
                if layout.block_size is not None and not self.frugal(layout, sku):
                    continue
                terms = memory_terms(*arguments)
                yield from self.points_of(sku, weights, layout, terms)

    def frugal(self, layout: Layout, sku: PricedGpu) -> bool:
        """Whether a request takes fewer bytes in such blocks than in the default ones, at any width of a step."""
        targets, setting = self.setting.targets, self.setting
        asked = plan_kv_cache(setting.model, layout, setting.engine, sku.gpu)
        default = plan_kv_cache(setting.model, layout.model_copy(update={"block_size": None}), setting.engine, sku.gpu)
        return any(
            asked.blocks_per_request(context, tokens) * small < default.blocks_per_request(context, tokens) * usual
            for context in (targets.target_context, targets.mean_context)
            for tokens in TOKEN_STEPS
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
                )  # fmt: skip
                if self.loads(sku, weights, layout):
                    yield layout

    def loads(self, sku: PricedGpu, weights: WeightFormat, layout: Layout) -> bool:
        """Whether the rules that judge a layout on its own hold."""
        from vllm_opt.constraints.layouts import compatibility, divisibility

        arguments = self.setting.model, weights.quantization, layout, self.setting.engine, sku.gpu
        return not divisibility.violations(*arguments) and not compatibility.violations(*arguments)

    def points_of(self, sku: PricedGpu, weights: WeightFormat, layout: Layout, terms: MemoryTerms) -> Iterator[Point]:
        """Every feasible point of one layout."""
        setting = self.setting
        targets, request = setting.targets, setting.request
        largest = targets.gpus or targets.max_gpus
        for gib, tokens in product(
            host_tier_sizes(setting, sku.gpu, layout.gpus_per_server),
            self.widths(sku.gpu, chunked_prefill=layout.enable_chunked_prefill),
        ):
            fits: dict[int, list[float]] = {}
            for replicas in range(1, largest // layout.gpus_per_server + 1):
                if request.replicas not in (None, replicas):
                    continue
                engines = replicas * layout.data_parallel_size
                parked = self.parked(terms, gib)
                least = max(1, -(-targets.concurrency // engines) - parked)
                most = self.largest
                base = self.deployment(sku, weights, layout, terms, replicas, self.flags(gib, tokens, 1, 0.5))
                for size in range(least, min(most, tokens) + 1):
                    if request.max_num_seqs not in (None, size):
                        fits[size] = []
                    if size not in fits:
                        fits[size] = self.utilizations(base, gib, tokens, size)
                feasible = [size for size in range(least, min(most, tokens) + 1) if fits[size]]
                if feasible:
                    yield from self.judged(base, weights, gib, tokens, least, feasible, fits, parked)

    def utilizations(self, base: Deployment, gib: float, tokens: int, size: int) -> list[float]:
        """The utilisation steps at which memory holds, whatever the traffic asks.

        Wording a refusal takes long, so the pool is compared first; one refusal in fifty is asked of the rules too.
        """
        terms, targets = base.terms, self.setting.targets
        needed = max(
            terms.null_blocks + size * terms.kv.blocks_per_request(targets.mean_context, tokens),
            terms.kv.startup_blocks(targets.target_context, tokens),
        )
        found = []
        for step in utilization_steps(self.setting.request.max_gpu_memory_utilization):
            trial = replace(base, flags=self.flags(gib, tokens, size, step), targets=self.alone)
            self.asked += 1
            if trial.num_gpu_blocks < needed and self.asked % 50:
                continue
            broken = violations(trial, without=LAYOUT_RULES | TRAFFIC_RULES)
            if trial.num_gpu_blocks < needed:
                assert broken
            if not broken:
                found.append(step)
        return found

    def judged(
        self, base: Deployment, weights: WeightFormat, gib: float, tokens: int, least: int, feasible: list[int],
        fits: dict[int, list[float]], parked: int,
    ) -> Iterator[Point]:  # fmt: skip
        """Points of one (layout, T, R) that the traffic's rules let pass."""
        largest = self.largest
        speeds = self.speeds(base, tokens, largest, parked)
        passing: list[tuple[int, int, PerformanceBound, Deployment]] = []
        latency_holds: list[int] = []
        for size in feasible:
            at = size - 1
            ttft, tpot, throughput = speeds.factors
            bound = PerformanceBound(
                ttft_ms=float(speeds.ttft_ms[at]) * ttft,
                tpot_ms=None if self.setting.lengths[1] <= 1 else float(speeds.tpot_ms[at]) * tpot,
                output_tokens_per_s=float(speeds.tokens_per_s[at]) * base.engines * throughput,
            )
            trial = replace(base, flags=self.flags(gib, tokens, size, fits[size][0]), performance=bound)
            found = {violation.rule for violation in violations(trial, without=LAYOUT_RULES)}
            if not found & {"ttft", "tpot"}:
                latency_holds.append(size)
            if not found:
                passing.append((at, size, bound, trial))
        allowed = {*CAPTURED, least, feasible[-1], *latency_holds[-1:]}
        for at, size, bound, trial in passing:
            if self.every_size or size in allowed:
                yield self.point(trial, weights, speeds, at, fits[size], bound)

    def point(
        self, found: Deployment, weights: WeightFormat, speeds: Speeds, at: int, steps: list[float],
        bound: PerformanceBound,
    ) -> Point:  # fmt: skip
        """The objective integers of one feasible point: smaller is better."""
        setting, terms, flags = self.setting, found.terms, found.flags
        price = round((found.usd_per_gpu_hour or 0.0) * 1e6) if setting.priced else 1_000_000
        cost = price * found.gpu_count
        millitokens = math.floor(float(speeds.tokens_per_s[at]) * 1000) * found.engines
        values = {
            "cost": cost,
            "gpus": found.gpu_count,
            "throughput": -millitokens,
            "latency": math.ceil(float(speeds.e2e_ms[at]) * 1000),
            "efficiency": -(millitokens * 3600 * 1_000_000 // max(1, cost)),
        }
        if "concurrency" in setting.request.objective:
            held = []
            for step in steps:
                blocks = terms.num_gpu_blocks(flags.model_copy(update={"gpu_memory_utilization": step}))
                held.append(
                    math.floor(terms.kv.max_concurrency(blocks, flags.max_model_len, flags.max_num_batched_tokens))
                )
            values["concurrency"] = -max(held) * found.engines
        return Point(
            values=tuple(values[name] for name in setting.request.objective),
            gpu_count=found.gpu_count, origin=weights.origin, layout=found.layout, replicas=found.replicas,
            max_num_batched_tokens=flags.max_num_batched_tokens, max_num_seqs=flags.max_num_seqs, bound=bound,
            speeds=(
                float(speeds.ttft_ms[at]), float(speeds.tpot_ms[at]), float(speeds.tokens_per_s[at])
            ),
            microusd=cost,
        )  # fmt: skip

    def speeds(self, base: Deployment, tokens: int, largest: int, parked: int) -> Speeds:
        """Closed-loop predictions of one engine at full admitted load, for 1 to `largest` sequences.

        They depend neither on the block size nor, unless users wait for parked sequences, on the replicas.
        """
        setting = self.setting
        share = -(-setting.targets.concurrency // base.engines) if parked else 1
        layout = base.layout.model_copy(update={"block_size": None})
        key = layout, share, largest
        if key not in self.known:
            self.known[key] = self.predicted(base, layout, share, largest)
        return self.known[key][tokens]

    def predicted(self, base: Deployment, layout: Layout, share: int, largest: int) -> dict[int, Speeds]:
        """The same at every width of a step, in one call."""
        setting = self.setting
        coefficients = latency_coefficients(
            setting.model, base.quantization, layout, base.gpu, default_latency_constants(),
            calibrated=setting.request.calibration,
        )  # fmt: skip
        widths = self.widths(base.gpu, chunked_prefill=layout.enable_chunked_prefill)
        sizes = np.arange(1.0, largest + 1.0)
        load = closed_loop(
            coefficients,
            users=np.maximum(sizes, share),
            max_num_seqs=sizes,
            max_num_batched_tokens=np.array(widths, dtype=float)[:, None],
            input_tokens=float(setting.lengths[0]),
            output_tokens=float(setting.lengths[1]),
            chunked_prefill=layout.enable_chunked_prefill,
            prefix_hit_share=setting.request.prefix_hit_share if layout.enable_prefix_caching else 0.0,
        )
        ttft, tpot, throughput = (
            float(quantile_factor(coefficients, metric, setting.request.confidence))
            for metric in ("ttft", "tpot", "throughput")
        )
        return {
            width: Speeds(
                load.ttft_ms[at],
                load.tpot_ms[at],
                load.e2e_ms[at],
                load.output_tokens_per_s[at],
                (ttft, tpot, throughput),
            )
            for at, width in enumerate(widths)
        }

    def widths(self, gpu: GpuProfile, *, chunked_prefill: bool) -> tuple[int, ...]:
        """The values of max_num_batched_tokens."""
        setting = self.setting
        default = default_max_num_batched_tokens(
            setting.engine, gpu, chunked_prefill=chunked_prefill, max_model_len=setting.targets.target_context,
            max_num_seqs=None,
        )  # fmt: skip
        return token_grid(setting, default, chunked_prefill=chunked_prefill)

    def parked(self, terms: MemoryTerms, gib: float) -> int:
        """Sequences of the mean context that the CPU tier of one engine holds."""
        return terms.host_tier_tokens(self.flags(gib, 1, 1, 0.5)) // self.setting.targets.mean_context if gib else 0

    def flags(self, gib: float, tokens: int, size: int, utilization: float) -> EngineFlags:
        """The flags of a point."""
        engine = self.setting.engine
        swaps = engine.swap_space == "capacity"
        return EngineFlags(
            gpu_memory_utilization=utilization,
            max_model_len=self.setting.targets.target_context,
            max_num_seqs=size,
            max_num_batched_tokens=tokens,
            swap_space_gib=gib if gib and swaps else engine.default_swap_space_gib,
            kv_offloading_size_gib=gib if gib and not swaps else None,
        )

    def deployment(
        self, sku: PricedGpu, weights: WeightFormat, layout: Layout, terms: MemoryTerms, replicas: int,
        flags: EngineFlags,
    ) -> Deployment:  # fmt: skip
        """A point before its speed is known."""
        setting = self.setting
        return Deployment(
            model=setting.model, quantization=weights.quantization, layout=layout, gpu=sku.gpu, engine=setting.engine,
            flags=flags, replicas=replicas, targets=setting.targets, terms=terms,
            usd_per_gpu_hour=sku.price.usd_per_gpu_hour if sku.price else None, quality=weights.quality,
            quality_accepted=weights.accepted, confidence=setting.request.confidence,
        )  # fmt: skip


def pinned_as_asked(request: SolveRequest, tensor: int, pipeline: int, data: int) -> bool:
    """Whether the sizes of a server are those that the request pins."""
    sizes = {"tensor_parallel_size": tensor, "pipeline_parallel_size": pipeline, "data_parallel_size": data}
    return all(getattr(request, field) in (None, size) for field, size in sizes.items())


def caching_choices(setting: SolveSetting, model: ModelProfile) -> tuple[bool, ...]:
    """Prefix caching changes memory only where layers keep a recurrent state."""
    default = prefix_caching_default(setting.engine, model)
    recurrent = any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds)
    return (default, not default) if recurrent else (default,)
