"""Which servers a search may visit: what vLLM would start, with the fewest and the most replicas that bounds allow."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.money.bill import microusd
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.result import SearchResult
from vllm_opt.optimizer.search.units import exact_replicas, fewest_replicas
from vllm_opt.optimizer.space.fare import Fare
from vllm_opt.optimizer.space.layouts import Shape, shapes
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting
from vllm_opt.optimizer.space.weights import WeightFormat
from vllm_opt.profiles.nouns.gpu import GpuProfile

Startable = tuple[WeightFormat, Shape, dict[object, Any], object]
"""With what its servers on all SKUs of one chip share (`Server.alike`), and what those of a SKU do (`Server.timed`)."""
Outcome = tuple[int, int, str | None]
"""The fewest and the most replicas, or the rule by which there are none."""
UNLIMITED_GPUS = 1024
"""GPUs that a search may use when the rule gpu_count is dropped for an explanation."""


class Servers:
    """The servers of each SKU, listed once; what a rule excludes is counted in `result`."""

    def __init__(
        self, setting: SolveSetting, physics: LayoutPhysics, active: frozenset[str], result: SearchResult
    ) -> None:
        self.setting, self.physics, self.active, self.result = setting, physics, active, result
        targets = setting.targets
        self.most_gpus = (targets.gpus or targets.max_gpus) if "gpu_count" in active else UNLIMITED_GPUS
        self._shapes: dict[int, tuple[Shape, ...]] = {}
        self._startable: dict[tuple[object, ...], tuple[list[Startable | str], int]] = {}
        self._servers: dict[str, list[Server]] = {}
        self._interned: dict[Shape, Shape] = {}
        self._divided: dict[tuple[str, int], dict[int, bool]] = {}
        self._engines: dict[int, int | None] = {}
        self._sized: dict[tuple[int, int | None], Shape] = {}
        self._paces: dict[tuple[object, ...], object] = {}
        self._on_chip: dict[tuple[object, ...], dict[int, list[Startable] | str]] = {}
        self.count = 0
        """Servers listed so far."""

    def of(self, sku: PricedGpu) -> list[Server]:
        """Every server of one SKU that vLLM would start, with the fewest replicas that memory allows; made once."""
        if sku.gpu.id not in self._servers:
            self._servers[sku.gpu.id] = list(self._candidates(sku))
            self.count += len(self._servers[sku.gpu.id])
        return self._servers[sku.gpu.id]

    def listed(self) -> list[Server]:
        """Every server of the SKUs that were listed so far."""
        return [server for servers in self._servers.values() for server in servers]

    def _candidates(self, sku: PricedGpu) -> Iterator[Server]:
        """Every server of one SKU that vLLM would not refuse, with the fewest replicas that bounds allow."""
        gpu = sku.gpu
        link = gpu.interconnect.kind, gpu.interconnect.gpus_joined
        generation = gpu.compute_capability, gpu.vendor, gpu.architecture, gpu.gpus_per_node, gpu.platform, *link
        if generation not in self._startable:
            listed: list[Startable | str] = []
            considered = sum(self._list(gpu, weights, listed) for weights in self.setting.formats)
            self._startable[generation] = listed, considered
        listed, considered = self._startable[generation]
        self.result.layouts_considered += considered
        fares: dict[tuple[int, int], Fare] = {}
        fare_of: dict[int, Fare] = {}
        timed: dict[object, dict[object, Any]] = {}
        outcomes: dict[tuple[int, int | None], Outcome] = {}
        for entry in listed:
            if isinstance(entry, str):
                self.result.drop(gpu.id, entry)
                continue
            weights, shape, alike, pace = entry
            fare = fare_of.get(id(shape))
            if fare is None:
                kind = shape.gpus, -(-shape.tensor * shape.pipeline // gpu.gpus_per_node)
                fare = fare_of[id(shape)] = fares.setdefault(kind, Fare(sku, *kind))
            server = Server(sku, weights, shape, fare, alike=alike, timed=timed.setdefault(pace, {}))
            least = fewest_replicas(self.setting, self.physics, server, self.active, self._engines)
            outcome = outcomes.get((id(fare), least))
            if outcome is None:
                outcome = outcomes[id(fare), least] = self._replicas(fare, least)
            fewest, most, rule = outcome
            if rule is not None:
                self.result.drop(gpu.id, rule)
            else:
                yield server.with_replicas(fewest, most)

    def _list(self, gpu: GpuProfile, weights: WeightFormat, listed: list[Startable | str]) -> int:
        """List what vLLM starts of one weight format, and for the rest the rule by which it is refused.

        Refusals and block sizes are the same for all SKUs of one generation and size of node. Returns the number of
        shapes considered.
        """
        if not weights.accepted and "quality" in self.active:
            listed.append("quality")
            return 0
        node = gpu.gpus_per_node
        if node not in self._shapes:
            every_shape = shapes(self.setting, node, self.most_gpus)
            self._shapes[node] = tuple(self._interned.setdefault(shape, shape) for shape in every_shape)
        known: dict[tuple[object, ...], str | None] = {}
        every = frozenset(self._shapes[node])
        chip = weights.quantization.id, gpu.compute_capability, gpu.vendor, gpu.architecture
        on_chip = self._on_chip.setdefault(chip, {})
        for shape in self._shapes[node]:
            if shape.pipeline > 1 and self.physics.better_split(gpu, weights, shape) in every:
                continue
            rule = self._refusal(gpu, weights, shape, known)
            if rule is not None:
                listed.append(rule)
                continue
            startable = on_chip.get(id(shape))
            if startable is None:
                startable = on_chip[id(shape)] = self._startable_on_chip(gpu, weights, shape)
            if isinstance(startable, str):
                listed.append(startable)
            else:
                listed += startable
        return len(self._shapes[node])

    def _startable_on_chip(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> list[Startable] | str:
        """A shape with each of its block sizes, or the rule by which the attention backends refuse it."""
        plan = self.physics.plan(gpu, weights, shape)
        if isinstance(plan, Violation):
            return plan.rule
        sizes = self.physics.block_sizes(gpu, weights, shape)
        division = shape.tensor, shape.pipeline, shape.data, shape.context, shape.experts
        kind = weights.quantization.id, division, shape.kv_cache_dtype
        found: list[Startable] = []
        for size in sizes:
            sized = self._sized.get((id(shape), size))
            if sized is None:
                sized = shape if size is None else replace(shape, block_size=size)
                self._sized[id(shape), size] = sized
            loaded = (shape.prefix_caching, size) if self.setting.request.offload_hit_share else None
            found.append((weights, sized, {}, self._paces.setdefault((kind, loaded), object())))
        return found

    def _refusal(
        self, gpu: GpuProfile, weights: WeightFormat, shape: Shape, known: dict[tuple[object, ...], str | None]
    ) -> str | None:
        """The rule by which vLLM refuses a server or its quality is too low, or None; attention backends aside.

        `known` holds what does not depend on how the server is divided among tensor-parallel ranks.
        """
        formats = shape.kv_cache_dtype, shape.pipeline, shape.block_size
        if formats not in known:
            known[formats] = self._format_refusal(gpu, weights, shape)
        if known[formats] is not None:
            return known[formats]
        if "divisibility" in self.active and self._indivisible(gpu, weights, shape):
            return "divisibility"
        if "compatibility" in self.active and self.physics.undocumented(gpu, weights, shape):
            return "compatibility"
        return None

    def _indivisible(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> bool:
        known = self._divided.setdefault((weights.quantization.id, gpu.gpus_per_node), {})
        found = known.get(id(shape))
        if found is None:
            found = known[id(shape)] = bool(self.physics.indivisible(gpu, weights, shape))
        return found

    def _format_refusal(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> str | None:
        context = self.setting.targets.target_context
        if "compatibility" in self.active and self.physics.incompatible(gpu, weights, shape):
            return "compatibility"
        if "quality" in self.active and not weights.accepts(shape.kv_cache_dtype, gpu, context):
            return "quality"
        return None

    def _replicas(self, fare: Fare, least: int | None) -> Outcome:
        """The fewest replicas that memory (at least so many, or None) and limits allow, and the most."""
        gpus, targets = fare.server_gpus, self.setting.targets
        most = self.most_gpus // gpus
        if "gpu_count" in self.active:
            most = fare.obtainable(most)
        if most < 1:
            return 0, 0, "gpu_count"
        if least is None:
            return 0, 0, "memory_budget"
        if least > most:
            return 0, 0, "concurrency"
        exact = exact_replicas(self.setting, gpus, self.active)
        if exact is not None and not least <= exact <= most:
            return 0, 0, "concurrency" if targets.gpus is None and exact < least else "gpu_count"
        least, most = (least, most) if exact is None else (exact, exact)
        if targets.max_hourly_cost is not None and "budget" in self.active:
            most = fare.most_at(microusd(targets.max_hourly_cost), 0, most)
            if most < least:
                return 0, 0, "budget"
        return least, most, None
