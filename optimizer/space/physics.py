"""Memory and latency of layouts, each shared part computed once per search.

Two layouts that differ only in the SKU share their weights and often their KV plan; the caches live as long as the
search, so nothing is remembered between requests.
"""

import math
from dataclasses import replace
from functools import cached_property
from typing import Any

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.constraints.layouts import compatibility
from vllm_opt.constraints.layouts.platforms import release_gap, undocumented
from vllm_opt.constraints.memory.activations import ActivationPeak, activation_peak
from vllm_opt.constraints.memory.cold_compile import compile_kept_bytes
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.memory.load_peak import load_peak_bytes
from vllm_opt.constraints.memory.model_runner import engine_as_run
from vllm_opt.constraints.memory.overheads import FittedBytes, GraphMemory, cuda_graphs
from vllm_opt.constraints.memory.sampler_warmup import sampler_warmup
from vllm_opt.constraints.speed.coefficients import CardSpeed
from vllm_opt.constraints.speed.model_work import ModelWork, model_work
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.constraints.weights.parameter_bytes import WeightTable, weight_extra_bytes
from vllm_opt.optimizer.estimation.compilation import graph_choice
from vllm_opt.optimizer.space.cache_plans import CachePlans
from vllm_opt.optimizer.space.divisions import Divisions
from vllm_opt.optimizer.space.known_overheads import KnownOverheads
from vllm_opt.optimizer.space.layout_facts import LayoutFacts, fed, fed_key, utilization_steps
from vllm_opt.optimizer.space.layouts import Shape, layout_of
from vllm_opt.optimizer.space.platforms import asked_features, is_named
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting
from vllm_opt.optimizer.space.shared import KnownCoefficients, KnownGraphs, SharedLayouts
from vllm_opt.optimizer.space.weights import WeightFormat
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants


class LayoutPhysics:
    """Computes `LayoutFacts`; remembers parts for one search, or for all that are handed the same `shared`."""

    def __init__(self, setting: SolveSetting, shared: SharedLayouts | None = None) -> None:
        shared = shared or SharedLayouts()
        self.setting, self.shared, self._constants = setting, shared, default_latency_constants()
        self.utilizations = utilization_steps(setting.request.max_gpu_memory_utilization)
        self._tables, self._weights, self._loads = shared.tables, shared.weights, shared.loads
        self._choices, self._layers, self._divisions = shared.choices, shared.layers, Divisions(setting, shared)
        self._captures, self._coefficients = shared.captures, shared.coefficients
        self.plans = CachePlans(setting, shared)
        self._budgets: dict[int, tuple[int, ...]] = {}
        self._shares_caches = compatibility.shares_caches(setting.model)
        self._works: dict[str, ModelWork] = {}
        self._engines: dict[str, EngineProfile] = {}
        self._cards: dict[tuple[int, str], CardSpeed] = {}
        self._timed: dict[tuple[str, Shape, int], Layout] = {}
        self._overheads = KnownOverheads()
        self.stacked: Any = None  # the table of `search/stacked.py`
        self.reaches: dict[frozenset[str], Any] = {}  # what `search/reach.py` knows, by the rules that hold

    def incompatible(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> tuple[Violation, ...]:
        """What compatibility says of a weight format and KV dtype on a SKU, before a backend is chosen."""
        key = (
            gpu.id, gpu.compute_capability, weights.quantization.id, shape.kv_cache_dtype,
            shape.pipeline if self._shares_caches else 1, shape.block_size,
        )  # fmt: skip
        if key not in self._choices:
            layout = layout_of(self.setting, gpu, weights, shape)
            self._choices[key] = compatibility.choice_violations(
                weights.model, weights.quantization, layout, self.setting.engine, gpu
            )
        return self._choices[key]

    def undocumented(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> tuple[Violation, ...]:
        """What the SKU's platform does not document, unless the request names it."""
        request = self.setting.request
        if gpu.platform is None or request.undocumented_layouts:
            return ()
        gap = "" if is_named(gpu, request) else release_gap(gpu, self.setting.engine)
        if gap:
            return (Violation(rule="compatibility", message=f"{gap}; name {gpu.id} with --gpu to have it."),)
        layout = layout_of(self.setting, gpu, weights, shape)
        return tuple(undocumented(layout, gpu, asked_features(request), format_asked=bool(request.quantization)))

    def indivisible(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> tuple[Violation, ...]:
        """What divisibility says of a shape."""
        return self._divisions.of(gpu, weights, shape)

    def better_split(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> Shape | None:
        """What takes the place of a server with pipeline stages (`across_tensors`); None where vLLM refuses it."""
        other = self._divisions.across_tensors(gpu, shape)
        if other is None or self.indivisible(gpu, weights, other) or self.incompatible(gpu, weights, other):
            return None
        if self.undocumented(gpu, weights, other) or isinstance(self.plan(gpu, weights, other), Violation):
            return None
        return other

    def plan(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> KvPlan | Violation:
        """The KV plan, or why the attention backends refuse it."""
        return self.plans.of(gpu, weights, shape)

    def block_sizes(
        self, gpu: GpuProfile, weights: WeightFormat, shape: Shape, *, at_any_context: bool = False
    ) -> tuple[int | None, ...]:
        """The block sizes worth trying, for the contexts of this request or for whatever may be asked instead."""
        return self.plans.block_sizes(gpu, weights, shape, at_any_context=at_any_context)

    def weight_bytes(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> tuple[int, ...]:
        """Parameter bytes per stage."""
        key = (*self._parallel_key(weights, shape), gpu.compute_capability, gpu.vendor)
        if key not in self._weights:
            name = weights.quantization.id
            if name not in self._tables:
                self._tables[name] = WeightTable(weights.model, weights.quantization)
            layout = layout_of(self.setting, gpu, weights, shape)
            self._weights[key] = self._tables[name].parameter_bytes(layout, gpu)
        return self._weights[key]

    def load_peak(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> tuple[int, ...]:
        """Weights per stage at the peak of loading; empty where loading has none."""
        if self.setting.engine.online_quantization == "streamed":
            return ()
        key = (*self._parallel_key(weights, shape), weights.checkpoint, gpu.compute_capability, gpu.vendor)
        if key not in self._loads:
            arguments = weights.model, weights.quantization, layout_of(self.setting, gpu, weights, shape)
            self._loads[key] = load_peak_bytes(*arguments, self.setting.engine, gpu)
        return self._loads[key]

    def budgets(self, gpu: GpuProfile) -> tuple[int, ...]:
        """Budget bytes at every utilisation step."""
        total = gpu.memory_bytes
        if total not in self._budgets:
            rounded = math.ceil if self.setting.engine.budget_rounding == "ceil" else math.floor
            self._budgets[total] = tuple(rounded(total * step) for step in self.utilizations)
        return self._budgets[total]

    def facts(self, sku: PricedGpu, weights: WeightFormat, shape: Shape) -> LayoutFacts:
        """Every memory term of a layout with CUDA graphs.

        Raises:
            LayoutRefused: the attention backends refuse it; ask `plan` first.
        """
        setting, gpu = self.setting, sku.gpu
        plan = self.plan(gpu, weights, shape)
        if isinstance(plan, Violation):
            raise LayoutRefused(plan)
        layout = layout_of(setting, gpu, weights, shape)
        extra, activation = self._layer_terms(gpu, weights, shape, layout)
        engine = self._engine(weights)
        kept = compile_kept_bytes(weights.model, weights.quantization, layout, engine)
        graphs, known_graphs = self._graphs(gpu, shape, layout, engine)
        inside, outside = self._overheads.of(layout, engine, gpu, kept)
        terms = MemoryTerms(
            layout=layout,
            engine=engine,
            total_bytes=gpu.memory_bytes,
            weights=self.weight_bytes(gpu, weights, shape),
            weights_extra=extra,
            activation=activation,
            non_torch=inside,
            graphs=graphs,
            context=outside,
            kv=plan,
            taken_at_start_bytes=gpu.taken_at_start_bytes,
            load_peak=self.load_peak(gpu, weights, shape),
            warmup=sampler_warmup(weights.model, shape.tensor, engine),
        )
        return LayoutFacts(
            setting, layout, sku, weights, terms, self.utilizations, self.budgets(gpu), self._constants,
            known_graphs, self._known_coefficients(sku, weights, shape), self._card(gpu, weights),
        )  # fmt: skip

    def _engine(self, weights: WeightFormat) -> EngineProfile:
        """The release as it sums up the memory of a weight format (`engine_as_run`)."""
        name = weights.quantization.id
        if name not in self._engines:
            self._engines[name] = engine_as_run(weights.model, weights.quantization, self.setting.engine)
        return self._engines[name]

    def coefficients(self, sku: PricedGpu, weights: WeightFormat, shape: Shape) -> LatencyCoefficients:
        """Latency coefficients with CUDA graphs; they do not depend on block size, prefix caching or chunks."""
        known = self._known_coefficients(sku, weights, shape)
        eager = self._eager
        if eager not in known:
            layout = self._timed_layout(sku.gpu, weights, shape)
            plain = self._card(sku.gpu, weights).of(layout)
            known[eager] = fed(self.setting, plain, layout, lambda: self.plan(sku.gpu, weights, shape), sku.gpu)
        return known[eager]

    @cached_property
    def _eager(self) -> bool:
        """Whether the request leaves CUDA graphs out."""
        return graph_choice(self.setting.request, self.setting.model).enforce_eager

    def _timed_layout(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> Layout:
        """A layout for speed alone, which hangs on the SKU but not on its name: one for all of them."""
        key = weights.quantization.id, shape, gpu.gpus_per_node
        if key not in self._timed:
            self._timed[key] = layout_of(self.setting, gpu, weights, shape)
        return self._timed[key]

    def _card(self, gpu: GpuProfile, weights: WeightFormat) -> CardSpeed:
        """The speed of one weight format on one SKU, which it keeps, so that no other takes its place."""
        key = id(gpu), weights.quantization.id
        if key not in self._cards:
            self._cards[key] = CardSpeed(
                weights.model, weights.quantization, gpu, self._constants, calibrated=self.setting.request.calibration,
                release=self.setting.engine.version, work=self._work(weights),
            )  # fmt: skip
        return self._cards[key]

    def _work(self, weights: WeightFormat) -> ModelWork:
        """What a token costs in a weight format: the same for all its layouts."""
        name = weights.quantization.id
        if name not in self._works:
            self._works[name] = model_work(weights.model, weights.quantization)
        return self._works[name]

    def _known_coefficients(self, sku: PricedGpu, weights: WeightFormat, shape: Shape) -> KnownCoefficients:
        asked = fed_key(self.setting, shape.prefix_caching, shape.block_size)
        key = (sku.gpu.id, *self._parallel_key(weights, shape), shape.kv_cache_dtype, asked)
        return self._coefficients.setdefault(key, {})

    def _layer_terms(
        self, gpu: GpuProfile, weights: WeightFormat, shape: Shape, layout: Layout
    ) -> tuple[tuple[int, ...], ActivationPeak]:
        """Weight extras and activation peak: functions of the layers, the same on every SKU."""
        key = (*self._parallel_key(weights, shape), shape.chunked_prefill, gpu.compute_capability, _own(gpu))
        if key not in self._layers:
            arguments = (weights.model, weights.quantization, layout)
            self._layers[key] = (
                weight_extra_bytes(*arguments, gpu),
                activation_peak(*arguments, self.setting.engine, gpu),
            )
        return self._layers[key]

    def _graphs(
        self, gpu: GpuProfile, shape: Shape, layout: Layout, engine: EngineProfile
    ) -> tuple[GraphMemory, KnownGraphs]:
        """Graph memory, and what is known of it: the same on every SKU of one generation."""
        key = (
            shape.tensor, shape.pipeline, shape.data, shape.experts, gpu.compute_capability, engine.graphs_in_budget,
            _own(gpu),
        )  # fmt: skip
        if key not in self._captures:
            self._captures[key] = cuda_graphs(self.setting.model, layout, engine, gpu), {}
        return self._captures[key]

    def eager_facts(self, captured: LayoutFacts) -> LayoutFacts:
        """The same layout without CUDA graphs: their memory, what was fitted apart for them, and the speed differ."""
        layout = captured.layout.model_copy(update={"enforce_eager": True})
        inside, outside = self.eager_overheads(captured)
        peak = replace(captured.terms.activation, compile_bytes=0)
        terms = replace(
            captured.terms, layout=layout, graphs=None, warmup=None, activation=peak, non_torch=inside, context=outside
        )
        return replace(captured, layout=layout, terms=terms)

    def facts_with_blocks(self, facts: LayoutFacts, shape: Shape) -> LayoutFacts:
        """The facts of a layout of which nothing but the block size differs: its cache does.

        Raises:
            LayoutRefused: the attention backends refuse it.
        """
        gpu, weights = facts.sku.gpu, facts.weights
        plan = self.plan(gpu, weights, shape)
        if isinstance(plan, Violation):
            raise LayoutRefused(plan)
        layout = facts.layout.model_copy(update={"block_size": shape.block_size})
        known = self._known_coefficients(facts.sku, weights, shape)
        return replace(
            facts, layout=layout, terms=replace(facts.terms, layout=layout, kv=plan), known_coefficients=known
        )

    def eager_overheads(self, captured: LayoutFacts) -> tuple[FittedBytes, FittedBytes]:
        """What a layout takes outside PyTorch without CUDA graphs: inside the budget, and outside."""
        return self._overheads.in_eager_mode(captured.layout, captured.terms.engine, captured.sku.gpu)

    @staticmethod
    def _parallel_key(weights: WeightFormat, shape: Shape) -> tuple[object, ...]:
        return (
            weights.quantization.id, shape.tensor, shape.pipeline, shape.data, shape.context, shape.experts
        )  # fmt: skip


def _own(gpu: GpuProfile) -> str | None:
    """The SKU where the user's own logs set it apart from others of its generation."""
    return gpu.id if gpu.own is not None and gpu.own.memory else None
