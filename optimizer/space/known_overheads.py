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
        key = (
            gpu.id, gpu.compute_capability, gpu.vendor, layout.tensor_parallel_size, layout.pipeline_parallel_size,
            layout.enforce_eager, kept,
        )  # fmt: skip
        if key not in self._known:
            both = non_torch(layout, engine, gpu, kept), context_and_communication(layout, engine, gpu)
            self._known[key] = both
        return self._known[key]
