"""KV plans of layouts, and the block sizes worth trying: each worked out once for all cards on which it is the same.

A card decides which backends serve a KV dtype and with it what a layer caches; from there on a plan is arithmetic. So
layouts whose layers cache the same have one plan, and whoever asks by the plan is answered once.
"""

from dataclasses import replace

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.kv.dtype import resolved_kv_cache_dtype
from vllm_opt.constraints.kv.kv_plan import AlikePlans, KvPlan, plan_kv_cache
from vllm_opt.constraints.kv.layers import CacheLayers, cache_layers
from vllm_opt.constraints.kv.sequence_blocks import SequenceBlocks
from vllm_opt.optimizer.space.block_sizes import frugal_block_sizes, requests_asked
from vllm_opt.optimizer.space.layouts import Shape, layout_of, smaller_block_sizes
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.optimizer.space.weights import WeightFormat
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile

TOKEN_STEPS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
"""The usual values of max_num_batched_tokens."""


class CachePlans:
    """The KV plans of one setting."""

    def __init__(self, setting: SolveSetting, shared: SharedLayouts) -> None:
        self._setting, self._plans, self._dtypes = setting, shared.plans, shared.dtypes
        self._alike: AlikePlans = {}
        self._layers: dict[tuple[object, ...], CacheLayers] = {}
        self._block_sizes: dict[tuple[object, ...], tuple[int | None, ...]] = {}
        self._frugal: dict[tuple[object, ...], tuple[int | None, ...]] = {}
        self._sequences: dict[tuple[int, int], SequenceBlocks] = {}

    def of(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> KvPlan | Violation:
        """The KV plan, or why the attention backends refuse it."""
        return self._of(gpu, weights, shape, self._key(gpu, weights, shape), shape.block_size)

    def _of(
        self, gpu: GpuProfile, weights: WeightFormat, shape: Shape, parts: tuple[object, ...], block_size: int | None
    ) -> KvPlan | Violation:
        """The same with another block size; `parts` is the `_key` of the shape."""
        key = (*parts, block_size)
        if key in self._plans:
            return self._plans[key]
        named = (*key, gpu.id)  # the words of a refusal name the card
        if named not in self._plans:
            sized = shape if block_size == shape.block_size else replace(shape, block_size=block_size)
            layout = layout_of(self._setting, gpu, weights, sized)
            try:
                self._plans[key] = plan_kv_cache(
                    weights.model, layout, self._setting.engine, gpu, self._alike,
                    lambda *arguments: self._cached((shape.tensor, *key[2:]), arguments),
                )  # fmt: skip
                return self._plans[key]
            except LayoutRefused as refusal:
                self._plans[named] = refusal.violation
        return self._plans[named]

    def block_sizes(
        self, gpu: GpuProfile, weights: WeightFormat, shape: Shape, *, at_any_context: bool
    ) -> tuple[int | None, ...]:
        """The block sizes worth trying, for the contexts of this request or for whatever may be asked instead."""
        key = (*self._key(gpu, weights, shape), at_any_context)
        if key not in self._block_sizes:
            self._block_sizes[key] = self._frugal_block_sizes(gpu, weights, shape, at_any_context)
        return self._block_sizes[key]

    def sequence_blocks(self, plan: KvPlan, context: int) -> SequenceBlocks:
        """What sequences of a context need of one of these plans in the narrowest step."""
        key = id(plan), context
        if key not in self._sequences:
            self._sequences[key] = plan.sequence_blocks(context, 1)
        return self._sequences[key]

    def _cached(
        self, key: tuple[object, ...], arguments: tuple[ModelProfile, Layout, EngineProfile, GpuProfile]
    ) -> CacheLayers:
        """`cache_layers`, by what a plan depends on but for its pipeline stages."""
        if key not in self._layers:
            self._layers[key] = cache_layers(*arguments)
        return self._layers[key]

    def _frugal_block_sizes(
        self, gpu: GpuProfile, weights: WeightFormat, shape: Shape, at_any_context: bool
    ) -> tuple[int | None, ...]:
        default = self.of(gpu, weights, shape)
        if isinstance(default, Violation):
            return (None,)
        smaller = smaller_block_sizes(self._setting, default.block_size)
        if not smaller:
            return (None,)
        parts = self._key(gpu, weights, shape)
        plans = {size: self._of(gpu, weights, shape, parts, size) for size in smaller}
        key = at_any_context, id(default), *map(id, plans.values())
        if key not in self._frugal:
            asked = self._setting.targets.target_context, self._setting.targets.mean_context
            longest = self._setting.model.max_model_len if at_any_context else None
            requests = requests_asked(default.block_size, asked, TOKEN_STEPS, longest)
            self._frugal[key] = frugal_block_sizes(default, smaller, plans.__getitem__, requests)
        return self._frugal[key]

    def _key(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> tuple[object, ...]:
        """What a KV plan depends on beside the block size.

        The weight format takes part through the KV dtype that `auto` stands for: a checkpoint may name one.
        """
        asked = (gpu.compute_capability, weights.quantization.id, shape.kv_cache_dtype)
        if asked not in self._dtypes:
            layout = layout_of(self._setting, gpu, weights, shape)
            self._dtypes[asked] = resolved_kv_cache_dtype(weights.model, layout, self._setting.engine, gpu)
        return (
            shape.tensor, shape.pipeline, shape.context, shape.kv_cache_dtype, self._dtypes[asked],
            shape.prefix_caching, gpu.compute_capability, gpu.vendor, gpu.architecture,
        )  # fmt: skip
