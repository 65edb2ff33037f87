"""What divides a model: what vLLM says against a shape, and the shape that takes its place, each worked out once."""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.layouts import divisibility
from vllm_opt.optimizer.space.layouts import Shape, across_tensors, layout_of
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.optimizer.space.weights import WeightFormat
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile


class Divisions:
    """The divisions of one setting."""

    def __init__(self, setting: SolveSetting, shared: SharedLayouts) -> None:
        self._setting, self._known = setting, shared.divisions
        self._sizes: dict[tuple[object, ...], tuple[ModelProfile, tuple[Violation, ...]]] = {}
        self._groups: dict[tuple[object, ...], tuple[Violation, ...]] = {}
        self._across: dict[tuple[object, ...], Shape | None] = {}

    def of(self, gpu: GpuProfile, weights: WeightFormat, shape: Shape) -> tuple[Violation, ...]:
        """What divisibility says of a shape."""
        sizes = shape.tensor, shape.pipeline, shape.data, shape.context, shape.experts, gpu.gpus_per_node
        key = (weights.quantization.id, *sizes)
        if key not in self._known:
            self._known[key] = self._violations(gpu, weights, shape, sizes)
        return self._known[key]

    def across_tensors(self, gpu: GpuProfile, shape: Shape) -> Shape | None:
        """`layouts.across_tensors`."""
        if shape.pipeline == 1:
            return None
        link = gpu.interconnect
        key = link.kind, link.gpus_joined, gpu.gpus_per_node, shape
        if key not in self._across:
            self._across[key] = across_tensors(self._setting, gpu, shape)
        return self._across[key]

    def _violations(
        self, gpu: GpuProfile, weights: WeightFormat, shape: Shape, sizes: tuple[object, ...]
    ) -> tuple[Violation, ...]:
        """`divisibility.violations`, of which all but the groups of a weight format are the same in each."""
        model, engine = weights.model, self._setting.engine
        layout = layout_of(self._setting, gpu, weights, shape)
        key = (id(model), *sizes)
        if key not in self._sizes:
            # The model is kept, because the id of one that is gone may be given to another.
            self._sizes[key] = model, divisibility.size_violations(model, layout, engine, gpu)
        if self._sizes[key][1]:
            return self._sizes[key][1]
        divided = weights.quantization.id, shape.tensor, shape.data, shape.experts
        if divided not in self._groups:
            self._groups[divided] = divisibility.format_violations(model, weights.quantization, layout)
        return self._groups[divided]
