"""Memory outside weights, peaks and cache: it hangs on little of a layout, so it is looked up once for many."""

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.memory.overheads import FittedBytes, context_and_communication, non_torch
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile


class KnownOverheads:
    """(growth outside PyTorch inside the budget, context and communication) of the layouts of one release."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[FittedBytes, FittedBytes]] = {}

    def of(
        self, layout: Layout, engine: EngineProfile, gpu: GpuProfile, kept: int = 0
    ) -> tuple[FittedBytes, FittedBytes]:
        """`kept`: what the first start of a release still holds after compiling."""
        key = self._key(layout, gpu, kept, eager=layout.enforce_eager)
        if key not in self._known:
            both = non_torch(layout, engine, gpu, kept), context_and_communication(layout, engine, gpu)
            self._known[key] = both
        return self._known[key]

    def in_eager_mode(self, layout: Layout, engine: EngineProfile, gpu: GpuProfile) -> tuple[FittedBytes, FittedBytes]:
        """The same for a layout without its CUDA graphs."""
        known = self._known.get(self._key(layout, gpu, 0, eager=True))
        return known or self.of(layout.model_copy(update={"enforce_eager": True}), engine, gpu)

    @staticmethod
    def _key(layout: Layout, gpu: GpuProfile, kept: int, *, eager: bool) -> tuple[object, ...]:
        return (
            gpu.id, gpu.compute_capability, gpu.vendor, layout.tensor_parallel_size, layout.pipeline_parallel_size,
            eager, kept,
        )  # fmt: skip
