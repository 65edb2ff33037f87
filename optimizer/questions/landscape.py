"""Every layout that an explanation may speak about, as rows of arrays: also what the request itself rules out.

`Search` looks for the best point and drops early; an explanation asks which limit is in the way, so it keeps layouts
that vLLM refuses, formats below the quality floor and weights that no budget holds, each part built when it is asked.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.speed.step_time import COEFFICIENT_NAMES, LatencyCoefficients
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.questions.labels import Labels, per_row
from vllm_opt.optimizer.questions.pools import Integers, MemoryTable
from vllm_opt.optimizer.space.fare import Fare
from vllm_opt.optimizer.space.layout_facts import LayoutFacts, utilization_steps
from vllm_opt.optimizer.space.layouts import Shape, odd_stages, odd_stages_asked, query_heads, shapes, usual_data_size
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.points import Unit
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting
from vllm_opt.optimizer.space.weights import WeightFormat
from vllm_opt.profiles.nouns.gpu import GpuProfile

Part = Literal["candidates", "rejected", "refused", "oversized"]
CAPABLE = (((9, 0), "hopper"), ((10, 0), "blackwell"))
"""Generations that stand in, in this order, where a SKU cannot run a KV dtype, to ask what would be if it could."""
PINNED_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
FARE_BITS = 24
"""of a number that holds a fare and a number of replicas"""
MOST_SERVER_GPUS = 64
"""GPUs of one server over several nodes, when the rule gpu_count is dropped."""


@dataclass(frozen=True, eq=False)
class Place:
    """One layout (with CUDA graphs); `refused` holds what vLLM says against it."""

    facts: LayoutFacts
    shape: Shape
    refused: tuple[Violation, ...]


class TimeIsUp(Exception):  # noqa: N818 - nothing is wrong
    """The deadline came before a question was answered."""


class Landscape:
    """The layouts of one part and their arrays.

    Rows come in pairs: row 2 i is place i with CUDA graphs, row 2 i + 1 the same place in eager mode.
    """

    def __init__(
        self, setting: SolveSetting, physics: LayoutPhysics, part: Part, check_time: Callable[[], None]
    ) -> None:
        self.places = list(_places(setting, physics, part, check_time))
        layouts = [place.facts.layout for place in self.places]
        self.gpus = per_row([layout.gpus_per_server for layout in layouts], np.int64)
        self.data = per_row([layout.data_parallel_size for layout in layouts], np.int64)
        self.sku = Labels([layout.gpu for layout in layouts])
        self.quantization = Labels([layout.quantization for layout in layouts])
        self.kv_dtype = Labels([place.shape.kv_cache_dtype for place in self.places])
        self.stored = Labels([stored_as(place) for place in self.places])
        self._sizes = {
            field: per_row([getattr(layout, field) for layout in layouts], np.int64) for field in PINNED_SIZES
        }
        self._usual = {
            "tensor_parallel_size": per_row([_divides(setting, place) for place in self.places], bool),
            "data_parallel_size": per_row([_usual_data(setting, place) for place in self.places], bool),
            "pipeline_parallel_size": per_row([_best_split(physics, place) for place in self.places], bool),
        }
        self._odd = per_row([_odd_stages(place) for place in self.places], bool)
        self.chunked = per_row([layout.enable_chunked_prefill for layout in layouts], bool)
        self.cached = per_row([layout.enable_prefix_caching for layout in layouts], bool)
        self.kind, self.kinds = _kinds(self.places)
        self.fare, self.fares = _fares(self.places)
        self._by_fare: dict[tuple[object, ...], dict[int, int]] = {}
        self._alike: dict[bool, Integers] = {}
        self.refused = {
            rule: per_row([any(said.rule == rule for said in place.refused) for place in self.places], bool)
            for rule in ("compatibility", "divisibility")
        }
        self.unbroken = frozenset(rule for rule, broken in self.refused.items() if not broken.any())
        """rules of vLLM's that no layout here breaks"""
        self._stored: dict[tuple[object, ...], tuple[SolveSetting, NDArray[np.bool_]]] = {}
        self._physics = physics
        self.memory = MemoryTable(
            [place.facts.terms for place in self.places],
            [physics.eager_overheads(place.facts) for place in self.places],
            setting.request.confidence,
        )
        self._coefficients = np.empty((2 * len(self.places), len(COEFFICIENT_NAMES)))
        self._known = np.zeros(2 * len(self.places), dtype=bool)

    def by_fare(
        self, fares: Integers, name: tuple[object, ...], value: Callable[[Fare, int], int], most: Integers
    ) -> Integers:
        """A value of each fare and a number of its replicas, computed once for equal ones; `name` tells which."""
        known = self._by_fare.setdefault(name, {})
        pairs, index = np.unique(most << FARE_BITS | fares, return_inverse=True)
        numbers = pairs.tolist()
        for pair in numbers:
            if pair not in known:
                known[pair] = value(self.fares[pair & ((1 << FARE_BITS) - 1)], pair >> FARE_BITS)
        found: Integers = np.array([known[pair] for pair in numbers], dtype=np.int64)[index.reshape(-1)]
        return found

    def alike(self, *, hits: bool) -> Integers:
        """Per row the first one with its speed, and so its SKU and sizes; caching counts where prompts `hits` it."""
        if hits not in self._alike:
            known: dict[tuple[int, bool, bool], int] = {}
            first = []
            for at, place in enumerate(self.places):
                shape = place.shape
                key = id(place.facts.known_coefficients), shape.chunked_prefill, hits and shape.prefix_caching
                first.append(known.setdefault(key, at))
            self._alike[hits] = 2 * per_row(first, np.int64) + self.rows % 2
        return self._alike[hits]

    @property
    def rows(self) -> Integers:
        """Every row."""
        return np.arange(2 * len(self.places), dtype=np.int64)

    def accepted(self, setting: SolveSetting, storage: Callable[[SolveSetting], Collection[str]]) -> NDArray[np.bool_]:
        """Which rows store weights and cache so that the quality asked is kept (`storage` names them)."""
        key = storage_key(setting)
        if key not in self._stored:
            self._stored[key] = setting, self.stored.within(storage(setting))
        return self._stored[key][1]

    def matches(self, request: SolveRequest) -> NDArray[np.bool_]:
        """Which rows have the sizes that a request pins; sizes that only a pin brings in need that pin."""
        keep = np.ones(2 * len(self.places), dtype=bool)
        for field, sizes in self._sizes.items():
            pinned = getattr(request, field)
            if pinned is not None:
                keep &= sizes == pinned
            elif field == "pipeline_parallel_size" and request.tensor_parallel_size is not None:
                continue
            elif field in self._usual:
                keep &= self._usual[field]
        return keep if odd_stages_asked(request) else keep & ~self._odd

    def unit(self, setting: SolveSetting, row: int, replicas: int) -> Unit:
        """The layout of a row with a number of replicas, as it is under a (changed) setting."""
        place = self.places[row // 2]
        steps = utilization_steps(setting.request.max_gpu_memory_utilization)
        facts = replace(
            self._physics.eager_facts(place.facts) if row % 2 else place.facts,
            setting=setting,
            utilizations=steps,
            budgets=tuple(place.facts.terms.budget_bytes(step) for step in steps),
        )
        return Unit(facts, place.shape, replicas)

    def coefficients(self, rows: Integers) -> LatencyCoefficients:
        """Latency coefficients of these rows, stacked."""
        missing = rows[~self._known[rows]]
        for row in np.unique(missing).tolist() if len(missing) else ():
            facts = self.places[row // 2].facts
            self._coefficients[row] = (facts.coefficients_in(eager=True) if row % 2 else facts.coefficients).row
            self._known[row] = True
        return LatencyCoefficients(*self._coefficients[rows].T)


def _places(
    setting: SolveSetting, physics: LayoutPhysics, part: Part, check_time: Callable[[], None]
) -> Iterator[Place]:
    """Every layout of one part: SKU by SKU, format by format, shape by shape."""
    targets, by_node = setting.targets, dict[int, tuple[Shape, ...]]()
    for sku in setting.gpus:
        node = sku.gpu.gpus_per_node
        if node not in by_node:
            most = MOST_SERVER_GPUS if setting.request.internode_gbps else node
            reach = max(most, targets.gpus or targets.max_gpus)
            by_node[node] = tuple(dict.fromkeys((*shapes(_open(setting), node, reach), *shapes(setting, node, reach))))
        for weights in setting.formats:
            check_time()
            accepts: dict[str, bool] = {}
            for shape in by_node[node]:
                if part == "oversized" and not plain(shape):
                    continue
                dtype = shape.kv_cache_dtype
                if dtype not in accepts:
                    accepts[dtype] = weights.accepts(dtype, sku.gpu, targets.target_context)
                accepted = accepts[dtype]
                if (part == "candidates" and not accepted) or (part == "rejected" and accepted):
                    continue
                yield from _places_of(physics, sku, weights, shape, part, accepted=accepted)


def _open(setting: SolveSetting) -> SolveSetting:
    """The same setting with every size open: questions drop pins one by one, or state a number of GPUs."""
    request = setting.request
    most = request.max_gpus or request.gpus or setting.targets.max_gpus
    return replace(setting, request=request.replaced(**dict.fromkeys(request.pins), gpus=None, max_gpus=most))


def _divides(setting: SolveSetting, place: Place) -> bool:
    return query_heads(setting.model) % place.shape.tensor == 0


def _usual_data(setting: SolveSetting, place: Place) -> bool:
    shape, node = place.shape, place.facts.sku.gpu.gpus_per_node
    return usual_data_size(setting.model, shape.tensor, shape.pipeline, shape.data, node)


def _odd_stages(place: Place) -> bool:
    return odd_stages(place.shape.tensor, place.shape.pipeline, place.facts.sku.gpu.gpus_per_node)


def _best_split(physics: LayoutPhysics, place: Place) -> bool:
    facts = place.facts
    return physics.better_split(facts.sku.gpu, facts.weights, place.shape) is None


def _places_of(
    physics: LayoutPhysics, sku: PricedGpu, weights: WeightFormat, shape: Shape, part: Part, *, accepted: bool
) -> Iterator[Place]:
    gpu = sku.gpu
    refused = (
        *physics.incompatible(gpu, weights, shape),
        *physics.undocumented(gpu, weights, shape),
        *physics.indivisible(gpu, weights, shape),
    )
    if refused and part in ("candidates", "rejected"):
        return
    plan = physics.plan(gpu, weights, shape)
    if isinstance(plan, Violation):
        refused = (*refused, plan)
        gpu = next((one for one in _capable(gpu) if not isinstance(physics.plan(one, weights, shape), Violation)), gpu)
    oversized = max(physics.weight_bytes(gpu, weights, shape)) > gpu.memory_bytes
    mine: Part = "candidates" if accepted else "rejected"
    if part != ("oversized" if oversized else "refused" if refused else mine):
        return
    if isinstance(physics.plan(gpu, weights, shape), Violation):
        return
    facts: LayoutFacts | None = None
    for size in physics.block_sizes(gpu, weights, shape, at_any_context=True):
        sized, card = shape if size is None else replace(shape, block_size=size), PricedGpu(gpu, sku.offers)
        facts = physics.facts_with_blocks(facts, sized) if facts else physics.facts(card, weights, sized)
        yield Place(facts, sized, refused)


def storage_key(setting: SolveSetting) -> tuple[object, ...]:
    """What the storage that is accepted hangs on, as long as the setting is kept."""
    context = setting.targets.target_context
    long = tuple(context > item.floor.long_context_tokens for item in setting.formats)
    return id(setting.formats), id(setting.gpus), setting.request.kv_cache_dtype, long


def stored_as(place: Place) -> str:
    """What quality depends on: weight format, KV dtype and the card."""
    layout = place.facts.layout
    return f"{layout.quantization} {layout.kv_cache_dtype} {layout.gpu}"


def plain(shape: Shape) -> bool:
    """Tensor and pipeline parallel only: enough to say by how much weights are too large."""
    return shape.data == shape.context == 1 and not shape.experts and shape.block_size is None


def _capable(gpu: GpuProfile) -> Iterator[GpuProfile]:
    """The same card as if it were of a generation that runs the KV dtype: 4-bit caches need the later one."""
    for capability, architecture in CAPABLE:
        changes = {"compute_capability": capability, "vendor": "nvidia", "architecture": architecture}
        yield gpu.model_copy(update=changes)


def _fares(places: list[Place]) -> tuple[Integers, list[Fare]]:
    """Per row, the position of its (SKU, server size, nodes) in the list of distinct ones: they decide the cost."""
    known: dict[tuple[str, int, int], int] = {}
    fares: list[Fare] = []
    index = []
    for place in places:
        layout, sku = place.facts.layout, place.facts.sku
        at = known.setdefault((layout.gpu, layout.gpus_per_server, layout.nodes), len(fares))
        if at == len(fares):
            fares.append(Fare(sku, layout.gpus_per_server, layout.nodes))
        index.append(at)
    return np.repeat(np.array(index, dtype=np.int64), 2), fares


def _kinds(places: list[Place]) -> tuple[Integers, list[tuple[GpuProfile, bool]]]:
    """Per row, the position of its (SKU, chunked prefill) in the list of distinct ones: they decide step widths."""
    known: dict[tuple[str, bool], int] = {}
    kinds: list[tuple[GpuProfile, bool]] = []
    index = []
    for place in places:
        layout = place.facts.layout
        at = known.setdefault((layout.gpu, layout.enable_chunked_prefill), len(kinds))
        if at == len(kinds):
            kinds.append((place.facts.sku.gpu, layout.enable_chunked_prefill))
        index.append(at)
    return np.repeat(np.array(index, dtype=np.int64), 2), kinds
