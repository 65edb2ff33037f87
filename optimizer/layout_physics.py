"""Memory and latency of layouts, each shared part computed once per search.

Two layouts that differ only in the SKU share their weights and often their KV plan; the caches live as long as the
search, so nothing is remembered between requests.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from vllm_opt.constraints import compatibility, divisibility
from vllm_opt.constraints.activations import activation_peak
from vllm_opt.constraints.configuration import Layout
from vllm_opt.constraints.kv_cache import KvPlan, plan_kv_cache
from vllm_opt.constraints.latency_coefficients import latency_coefficients
from vllm_opt.constraints.memory_ledger import MemoryTerms
from vllm_opt.constraints.overheads import context_and_communication, cuda_graphs, non_torch
from vllm_opt.constraints.step_time import LatencyCoefficients
from vllm_opt.constraints.violation import LayoutRefused, Violation
from vllm_opt.constraints.weights import WeightTable, weight_extra_bytes
from vllm_opt.optimizer.solve_setting import PricedGpu, SolveSetting, WeightFormat
from vllm_opt.profiles.latency_constants import default_latency_constants

UTILIZATION_STEP = 0.005
LOWEST_UTILIZATION = 0.5


def utilization_steps(ceiling: float) -> tuple[float, ...]:
    """The values of gpu_memory_utilization that are tried: every 0.5 % up to the ceiling, which is one of them."""
    first = min(LOWEST_UTILIZATION, ceiling)
    count = math.floor((ceiling - first) / UTILIZATION_STEP + 1e-9)
    steps = {round(first + index * UTILIZATION_STEP, 3) for index in range(count + 1)}
    return tuple(sorted(steps | {ceiling}))


@dataclass(frozen=True)
class LayoutFacts:
    """One layout with its physics, and the largest batch that its memory admits."""

    layout: Layout
    sku: PricedGpu
    weights: WeightFormat
    terms: MemoryTerms
    utilizations: tuple[float, ...]
    confidence: float

    @cached_property
    def budgets(self) -> tuple[int, ...]:
        """Budget bytes at every utilisation step, ascending."""
        return tuple(self.terms.budget_bytes(utilization) for utilization in self.utilizations)

    def highest_budget(self, headroom_needed: int) -> int:
        """The largest budget that leaves the headroom; -1 when even the lowest step does not."""
        index = bisect_right(self.budgets, self.terms.total_bytes - headroom_needed)
        return self.budgets[index - 1] if index else -1

    def blocks_needed(self, sequences: int, tokens: int, context: int) -> int:
        """KV blocks for `sequences` sequences of `context` tokens, the null block included."""
        return self.terms.null_blocks + sequences * self.terms.kv.blocks_per_request(context, tokens)

    def holds(self, sequences: int, tokens: int, blocks: int) -> bool:
        """Whether some utilisation step fits `blocks` KV blocks beside everything else, headroom kept."""
        terms, confidence = self.terms, self.confidence
        budget = self.highest_budget(terms.headroom_needed_bytes(tokens, sequences, confidence))
        outside = terms.outside_kv_bytes(tokens, sequences, confidence)
        return all(budget >= rest + blocks * block for rest, block in zip(outside, terms.kv.block_bytes, strict=True))


class LayoutPhysics:
    """Computes `LayoutFacts`; remembers shared parts for one search."""

    def __init__(self, setting: SolveSetting) -> None:
        self.setting = setting
        self.utilizations = utilization_steps(setting.request.max_gpu_memory_utilization)
        self._constants = default_latency_constants()
        self._tables: dict[str, WeightTable] = {}
        self._weights: dict[tuple[object, ...], tuple[int, ...]] = {}
        self._plans: dict[tuple[object, ...], KvPlan | Violation] = {}
        self._refusals: dict[tuple[object, ...], tuple[Violation, ...]] = {}
        self._coefficients: dict[Layout, LatencyCoefficients] = {}

    def refusals(self, layout: Layout, sku: PricedGpu, weights: WeightFormat) -> tuple[Violation, ...]:
        """What divisibility and compatibility say of a layout."""
        gpu = sku.gpu
        parallel = self._parallel_key(layout)
        key = (
            parallel, gpu.compute_capability, gpu.vendor, gpu.gpus_per_node, layout.kv_cache_dtype, layout.block_size,
        )  # fmt: skip
        if key not in self._refusals:
            arguments = (self.setting.model, weights.quantization, layout, self.setting.engine, gpu)
            self._refusals[key] = (*divisibility.violations(*arguments), *compatibility.violations(*arguments))
        return self._refusals[key]

    def facts(self, layout: Layout, sku: PricedGpu, weights: WeightFormat) -> LayoutFacts | Violation:
        """Every memory term of a layout, or why vLLM refuses it."""
        plan = self._plan(layout, sku)
        if isinstance(plan, Violation):
            return plan
        setting, gpu = self.setting, sku.gpu
        terms = MemoryTerms(
            layout=layout,
            engine=setting.engine,
            total_bytes=gpu.memory_bytes,
            weights=self._weight_bytes(layout, sku, weights),
            weights_extra=weight_extra_bytes(setting.model, weights.quantization, layout, gpu),
            activation=activation_peak(setting.model, weights.quantization, layout, setting.engine, gpu),
            non_torch=non_torch(layout, setting.engine, gpu),
            graphs=None if layout.enforce_eager else cuda_graphs(setting.model, layout, setting.engine, gpu),
            context=context_and_communication(layout, setting.engine, gpu),
            kv=plan,
        )
        return LayoutFacts(layout, sku, weights, terms, self.utilizations, setting.request.confidence)

    def coefficients(self, facts: LayoutFacts) -> LatencyCoefficients:
        """Latency coefficients of a layout."""
        if facts.layout not in self._coefficients:
            self._coefficients[facts.layout] = latency_coefficients(
                self.setting.model, facts.weights.quantization, facts.layout, facts.sku.gpu, self._constants,
                calibrated=self.setting.request.calibration,
            )  # fmt: skip
        return self._coefficients[facts.layout]

    def _parallel_key(self, layout: Layout) -> tuple[object, ...]:
        return (
            layout.quantization, layout.tensor_parallel_size, layout.pipeline_parallel_size,
            layout.data_parallel_size, layout.expert_parallel, layout.decode_context_parallel_size,
        )  # fmt: skip

    def _weight_bytes(self, layout: Layout, sku: PricedGpu, weights: WeightFormat) -> tuple[int, ...]:
        key = (self._parallel_key(layout), sku.gpu.compute_capability, sku.gpu.vendor)
        if key not in self._weights:
            name = weights.quantization.id
            if name not in self._tables:
                self._tables[name] = WeightTable(self.setting.model, weights.quantization)
            self._weights[key] = self._tables[name].parameter_bytes(layout, sku.gpu)
        return self._weights[key]

    def _plan(self, layout: Layout, sku: PricedGpu) -> KvPlan | Violation:
        gpu = sku.gpu
        key = (
            layout.tensor_parallel_size, layout.pipeline_parallel_size, layout.decode_context_parallel_size,
            layout.kv_cache_dtype, layout.block_size, layout.enable_prefix_caching, layout.async_scheduling,
            gpu.compute_capability, gpu.vendor, gpu.architecture,
        )  # fmt: skip
        if key not in self._plans:
            try:
                self._plans[key] = plan_kv_cache(self.setting.model, layout, self.setting.engine, gpu)
            except LayoutRefused as refusal:
                self._plans[key] = refusal.violation
        return self._plans[key]


def with_block_size(layout: Layout, block_size: int | None) -> Layout:
    """The same layout with another block size."""
    return layout.model_copy(update={"block_size": block_size})


__all__ = ["LayoutFacts", "LayoutPhysics", "utilization_steps", "with_block_size"]
