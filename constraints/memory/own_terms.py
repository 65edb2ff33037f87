"""What a user's own start-up logs say of the fitted memory terms: activation peak, CUDA graphs, non-torch memory.

Exact terms (weights, KV pages, the budget) take no correction, and a correction changes no rule: the rules compare
what is left. Products are rounded up, because all three terms are demand.
"""

import math

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.own_calibration import MemoryTerm


def own_memory(model_id: str | None, layout: Layout, engine: EngineProfile, gpu: GpuProfile) -> MemoryTerm | None:
    """The user's correction for a model on a SKU at one size; None where nothing was measured."""
    if gpu.own is None:
        return None
    return gpu.own.memory_of(model_id, engine.engine, layout.tensor_parallel_size)


def times(factor: float, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Each size multiplied and rounded up."""
    return tuple(math.ceil(factor * size) for size in sizes)
