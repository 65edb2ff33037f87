"""Columns of a fleet: for every workload and SKU, the plans of one replica that serve the most.

One replica is one `vllm serve`. For every size (GPUs per server) the plan with the largest capacity stays: the most
requests per second, or sequences, that keep TTFT and TPOT within their limits at the asked confidence. Sizes are tried
upwards from the smallest that holds the model, and a SKU is finished when doubling the GPUs no longer doubles the
capacity, because two small replicas then replace the large one. Step widths and batches are tried on a coarse grid:
`solve` tunes them further, a fleet of many replicas gains little from it.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.optimizer.planning.plan import Choice
from vllm_opt.optimizer.search.search import ALL_RULES
from vllm_opt.optimizer.space.admission import Admission
from vllm_opt.optimizer.space.latency_limits import masks
from vllm_opt.optimizer.space.layouts import Shape, shapes
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.points import Candidate, Unit, evaluate
from vllm_opt.optimizer.space.setting import LARGEST_BATCH, PricedGpu, SolveSetting
from vllm_opt.optimizer.space.weights import WeightFormat

STEP_WIDTHS = (2048, 8192)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 384, 512, 768, 1024)
SHARES = (2, 4)
"""a shared GPU is cut in two or four"""
CONTEXT_RESERVE_BYTES = 2 << 30
"""what one server keeps outside its memory budget at most: CUDA context and graphs before 0.20; checked exactly"""
MICRO = 1_000_000


@dataclass(frozen=True, eq=False)
class ReplicaPlan:
    """One way to run one replica, and what it serves."""

    gpu: str
    setting: SolveSetting
    candidate: Candidate
    sequences: int
    capacity: tuple[int, ...]
    """per length bucket: millionths of a request per second, or sequences"""
    cut: int = 1
    """parts that its GPU is cut into"""
    context: int = 0

    @property
    def shape(self) -> Shape:
        """How the replica divides the model."""
        return self.candidate.unit.shape

    def choice(self, replicas: int) -> Choice:
        """The full point, for a number of replicas."""
        from vllm_opt.optimizer.planning.utilization import fitting_utilization

        unit = replace(self.candidate.unit, replicas=replicas)
        utilization = fitting_utilization(self.setting, self.candidate, self.sequences, highest=self.cut > 1)
        return Choice(unit, self.candidate.max_num_batched_tokens, self.sequences, utilization)


class ColumnSearch:
    """The plans of one workload at one maximum context."""

    def __init__(self, setting: SolveSetting, *, by_rate: bool, sharing: bool) -> None:
        self.setting = setting
        self.by_rate = by_rate
        self.sharing = sharing
        self.physics = LayoutPhysics(setting)
        self.dropped: dict[str, Counter[str]] = {}

    def run(self) -> list[ReplicaPlan]:
        """Return the plans of every SKU."""
        waves = {sku.gpu.id: self._waves(sku) for sku in self.setting.gpus}
        best: dict[str, dict[int, ReplicaPlan]] = {name: {} for name in waves}
        shared: list[ReplicaPlan] = []
        while any(waves.values()):
            servers = [server for name in waves if waves[name] for server in waves[name].pop(0)]
            units = [unit for sku, weights, shape in servers for unit in self._units(sku, weights, shape)]
            for plan in self._plans(units, cut=1):
                of_sku = best[plan.gpu]
                rival = of_sku.get(plan.shape.gpus)
                if rival is None or sum(plan.capacity) > sum(rival.capacity):
                    of_sku[plan.shape.gpus] = plan
            if self.sharing:
                single = [unit for unit in units if unit.gpu_count == 1]
                shared += [plan for cut in SHARES for plan in self._plans(single, cut=cut)]
            for name, plans in best.items():
                sizes = sorted(plans)
                if len(sizes) > 1 and _doubles_badly(plans[sizes[-2]], plans[sizes[-1]]):
                    waves[name] = []
        return [plan for plans in best.values() for plan in plans.values()] + _best_shared(shared)

    def _waves(self, sku: PricedGpu) -> list[list[tuple[PricedGpu, WeightFormat, Shape]]]:
        """Servers of one SKU by size, upwards: tensor parallelism in a node, pipelines over whole linked nodes."""
        waves: dict[int, list[tuple[PricedGpu, WeightFormat, Shape]]] = {}
        linked = self.setting.request.internode_gbps is not None
        most = self.setting.targets.max_gpus if linked else min(self.setting.targets.max_gpus, sku.gpu.gpus_per_node)
        for weights in representative_formats(self.setting):
            for shape in shapes(self.setting, sku.gpu.gpus_per_node, most):
                spans = shape.pipeline > 1 and shape.tensor == sku.gpu.gpus_per_node
                if (
                    (shape.pipeline > 1 and not spans)
                    or shape.context > 1
                    or shape.data > 1
                    or not _power(shape.tensor)
                ):
                    continue
                rule = self._refusal(sku, weights, shape)
                if rule is None:
                    waves.setdefault(shape.gpus, []).append((sku, weights, shape))
                else:
                    self.drop(sku.gpu.id, rule)
        return [waves[size] for size in sorted(waves)]

    def drop(self, sku: str, rule: str) -> None:
        """Count one server that a rule ruled out."""
        self.dropped.setdefault(sku, Counter())[rule] += 1

    def _refusal(self, sku: PricedGpu, weights: WeightFormat, shape: Shape) -> str | None:
        if not weights.accepts(shape.kv_cache_dtype, sku.gpu, self.setting.targets.target_context):
            return "quality"
        if self.physics.incompatible(sku.gpu, weights, shape):
            return "compatibility"
        if self.physics.indivisible(sku.gpu, weights, shape):
            return "divisibility"
        plan = self.physics.plan(sku.gpu, weights, shape)
        if isinstance(plan, Violation):
            return plan.rule
        if max(self.physics.load_peak(sku.gpu, weights, shape), default=0) > sku.gpu.memory_bytes:
            return "memory_budget"
        budget = self.physics.budgets(sku.gpu)[-1]
        heaviest = max(self.physics.weight_bytes(sku.gpu, weights, shape))
        per_request = plan.blocks_per_request(self.setting.targets.target_context, 1) * max(plan.block_bytes, default=0)
        return "memory_budget" if heaviest + per_request > budget else None

    def _units(self, sku: PricedGpu, weights: WeightFormat, shape: Shape) -> list[Unit]:
        return [Unit(self.physics.facts(sku, weights, shape), shape, 1)]

    def _plans(self, units: Iterable[Unit], *, cut: int) -> list[ReplicaPlan]:
        """The best plan of every unit; on a cut GPU it has its part of the memory and of the time."""
        pieces = []
        for unit in units:
            mine = unit if cut == 1 else _cut_unit(unit, cut)
            loads = mine is not None and mine.facts.terms.loads(mine.facts.confidence)
            grids = (
                []
                if mine is None or not loads
                else [(mine, width, self._batches(mine, width)) for width in STEP_WIDTHS]
            )
            useful = [piece for piece in grids if piece[2]]
            if not useful and cut == 1:
                self.drop(unit.facts.sku.gpu.id, "memory_budget")
            pieces += useful
        setting = self._cut_setting(cut)
        found: dict[int, ReplicaPlan] = {}
        for candidate in evaluate(setting, pieces, asked=False):
            plan = self._best_point(setting, candidate, cut)
            key = id(candidate.unit)
            if plan and (key not in found or sum(plan.capacity) > sum(found[key].capacity)):
                found[key] = plan
        return list(found.values())

    def _cut_setting(self, cut: int) -> SolveSetting:
        """Limits on latency as the whole GPU must meet them when the server gets one part of its time."""
        targets = self.setting.targets
        changed = {
            name: value / cut
            for name in ("max_ttft_ms", "max_tpot_ms")
            if (value := getattr(targets, name)) is not None
        }
        return replace(self.setting, targets=targets.model_copy(update=changed))

    def _batches(self, unit: Unit, width: int) -> list[int]:
        targets = self.setting.targets
        facts = unit.facts
        if not facts.layout.enable_chunked_prefill and width < targets.target_context:
            return []
        startup = facts.terms.kv.startup_blocks(targets.target_context, width)
        most = Admission(facts, width, startup).largest(1, min(width, LARGEST_BATCH))
        return [] if most < 1 else sorted({*(batch for batch in BATCHES if batch < most), most})

    def _best_point(self, setting: SolveSetting, candidate: Candidate, cut: int) -> ReplicaPlan | None:
        keep = np.ones(len(candidate.sequences), dtype=bool)
        for rule, mask in masks(setting, candidate, ALL_RULES).items():
            keep &= mask
            if not keep.any():
                if cut == 1:
                    self.drop(candidate.unit.facts.sku.gpu.id, rule)
                return None
        engines = candidate.unit.engines
        value = np.where(keep, candidate.bound_tokens_per_s if self.by_rate else candidate.sequences * engines, -1)
        at = int(value.argmax())
        amount = Fraction(float(candidate.bound_tokens_per_s[at])) / self.setting.lengths[1] * MICRO
        capacity = math.floor(amount / cut) if self.by_rate else int(candidate.sequences[at]) * engines
        return ReplicaPlan(
            candidate.unit.facts.sku.gpu.id, self.setting, candidate, int(candidate.sequences[at]), (capacity,), cut,
            self.setting.targets.target_context,
        ) if capacity > 0 else None  # fmt: skip


def _power(size: int) -> bool:
    """Whether a size is a power of two, so that replicas of all sizes fill nodes without waste."""
    return size & (size - 1) == 0


def representative_formats(setting: SolveSetting) -> list[WeightFormat]:
    """One accepted format per kind of arithmetic and size: a known checkpoint before one made at load or by hand."""
    best: dict[tuple[object, ...], WeightFormat] = {}
    for weights in setting.formats:
        kind = weights.quantization
        key = (kind.weight_bits, kind.activation_bits, kind.compute)
        if weights.accepted and (key not in best or _order(weights) < _order(best[key])):
            best[key] = weights
    return list(best.values())


def _order(weights: WeightFormat) -> tuple[int, float, str]:
    return weights.publisher_rank, -(weights.quality.recovery or 0.0), weights.quantization.id


def _doubles_badly(small: ReplicaPlan, large: ReplicaPlan) -> bool:
    copies = large.shape.gpus // small.shape.gpus
    return all(copies * s >= b for s, b in zip(small.capacity, large.capacity, strict=True))


def _cut_unit(unit: Unit, cut: int) -> Unit | None:
    """The unit with one part of its GPU's memory; None when its weights leave no room."""
    facts = unit.facts
    total = facts.terms.total_bytes
    ceiling = total // cut - CONTEXT_RESERVE_BYTES
    rounding = math.ceil if facts.setting.engine.budget_rounding == "ceil" else math.floor
    steps = [step for step in (i * 0.005 for i in range(1, 200)) if rounding(total * step) <= ceiling]
    if not steps or max((*facts.terms.weights, *facts.terms.load_peak)) >= ceiling:
        return None
    steps = [round(step, 3) for step in steps]
    budgets = tuple(rounding(total * step) for step in steps)
    return replace(unit, facts=replace(facts, utilizations=tuple(steps), budgets=budgets))


def _best_shared(plans: list[ReplicaPlan]) -> list[ReplicaPlan]:
    """The best plan per SKU and part, each checked to leave its context room beside its budget."""
    best: dict[tuple[str, int], ReplicaPlan] = {}
    for plan in plans:
        terms = plan.candidate.unit.facts.terms
        width = plan.candidate.max_num_batched_tokens
        outside = terms.headroom_needed_bytes(width, plan.sequences, plan.setting.request.confidence)
        key = plan.gpu, plan.cut
        if outside <= CONTEXT_RESERVE_BYTES and (key not in best or plan.capacity > best[key].capacity):
            best[key] = plan
    return list(best.values())
