"""The start-up memory sum of one layout: what the GPU holds, what the budget allows, what is left for the KV cache.

    available_kv = round(total * u) - weights - extras - activation_peak(T, S) - non_torch - [graphs(S, T)]

per pipeline stage (vLLM 0.33 `v1/worker/gpu_worker.py:determine_available_memory`; older releases through the fields
of their `EngineProfile`). Fitted terms take their upper end at a `confidence`; None means the central estimate.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.kv.kv_plan import KvPlan, plan_kv_cache
from vllm_opt.constraints.kv.offload import is_replica
from vllm_opt.constraints.memory.activations import ActivationPeak, activation_peak
from vllm_opt.constraints.memory.cold_compile import compile_kept_bytes, timed_bytes_per_token
from vllm_opt.constraints.memory.load_peak import load_peak_bytes
from vllm_opt.constraints.memory.model_runner import engine_as_run
from vllm_opt.constraints.memory.overheads import (
    FittedBytes,
    GraphMemory,
    context_and_communication,
    cuda_graphs,
    non_torch,
)
from vllm_opt.constraints.memory.sampler_warmup import SamplerWarmup, outside_at, sampler_warmup
from vllm_opt.constraints.weights.parameter_bytes import weight_bytes, weight_extra_bytes
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

GIB = 1 << 30


@dataclass(frozen=True)
class MemoryTerms:
    """Every term of the sum for one layout; the flags come in as arguments. All sizes are exact bytes."""

    layout: Layout
    engine: EngineProfile
    UNLIMITED_BLOCKS: ClassVar[int] = 2**31
    """Stands for the blocks of a stage that holds no cache."""

    total_bytes: int
    weights: tuple[int, ...]
    weights_extra: tuple[int, ...]
    activation: ActivationPeak
    non_torch: FittedBytes
    graphs: GraphMemory | None
    context: FittedBytes
    kv: KvPlan
    taken_at_start_bytes: int = 0
    """What the driver or the operating system holds before vLLM starts: the budget has to be free at start-up."""
    load_peak: tuple[int, ...] = ()
    """Weights per stage at the peak of loading, where that is more than what is loaded."""
    timed_bytes_per_token: int = 0
    """What timing kernels may add to the profile of a start with an empty compile cache: in no sum, in its chance."""
    warmup: SamplerWarmup | None = None
    """Where the runner captures graphs and warms up beyond what it profiled."""

    @property
    def stages(self) -> int:
        """Pipeline stages."""
        return len(self.weights)

    def load_bytes(self, confidence: float | None = None) -> int:
        """What a GPU holds at the peak of loading: weights and the CUDA context; 0 where loading has no peak."""
        if not self.load_peak:
            return 0
        return max(self.load_peak) + (self.context.bytes if confidence is None else self.context.at(confidence))

    def loads(self, confidence: float | None = None) -> bool:
        """Whether the weights can be loaded at all."""
        return self.load_bytes(confidence) <= self.total_bytes

    @property
    def null_blocks(self) -> int:
        """Blocks that the pool holds back for itself before any sequence gets one."""
        return 1 if self.engine.null_block_in_fit_check else 0

    def budget_bytes(self, gpu_memory_utilization: float) -> int:
        """`total * u`, rounded as the release does (0.33: `math.ceil`, `v1/worker/utils.py:request_memory`)."""
        product = self.total_bytes * gpu_memory_utilization
        return math.ceil(product) if self.engine.budget_rounding == "ceil" else math.floor(product)

    def activation_bytes(self, tokens: int, sequences: int, confidence: float | None = None) -> tuple[int, ...]:
        """Activation peak per stage for T = `tokens` and S = `sequences`."""
        if confidence is None:
            return self.activation.bytes(tokens, sequences)
        return self.activation.bytes_at(confidence, tokens, sequences)

    def graph_bytes(self, tokens: int, sequences: int, confidence: float | None = None) -> int:
        """CUDA-graph memory of one rank; 0 in eager mode."""
        if self.graphs is None:
            return 0
        if confidence is None:
            return self.graphs.bytes(sequences, tokens)
        return self.graphs.bytes_at(confidence, sequences, tokens)

    def _graphs_in_budget(self, tokens: int, sequences: int, confidence: float | None) -> int:
        return self.graph_bytes(tokens, sequences, confidence) if self.engine.graphs_in_budget else 0

    def outside_kv_bytes(self, tokens: int, sequences: int, confidence: float | None = None) -> tuple[int, ...]:
        """Everything in the budget that is not KV cache, per stage."""
        shared = (self.non_torch.bytes if confidence is None else self.non_torch.at(confidence)) + (
            self._graphs_in_budget(tokens, sequences, confidence)
        )
        activation = self.activation_bytes(tokens, sequences, confidence)
        return tuple(
            weights + extra + peak + shared
            for weights, extra, peak in zip(self.weights, self.weights_extra, activation, strict=True)
        )

    def available_kv_bytes(self, flags: EngineFlags, confidence: float | None = None) -> tuple[int, ...]:
        """What is left for the KV cache per stage; negative when the rest alone exceeds the budget."""
        if flags.num_gpu_blocks_override is not None:
            return tuple(flags.num_gpu_blocks_override * block for block in self.kv.block_bytes)
        if flags.kv_cache_memory_bytes is not None:
            return (flags.kv_cache_memory_bytes,) * self.stages
        budget = self.budget_bytes(flags.gpu_memory_utilization)
        offloaded = int(flags.cpu_offload_gib * GIB)
        outside = self.outside_kv_bytes(flags.max_num_batched_tokens, flags.max_num_seqs, confidence)
        return tuple(
            budget - rest + min(offloaded, weights) for rest, weights in zip(outside, self.weights, strict=True)
        )

    def spread_bytes(self, tokens: int, sequences: int) -> tuple[int, ...]:
        """One standard deviation of what is in the budget beside weights and KV cache, per stage.

        The fitted terms are taken to err together, as the upper ends at a confidence are.
        """
        shared = float(self.non_torch.spread_bytes)
        if self.graphs is not None and self.engine.graphs_in_budget:
            shared += self.graphs.relative_spread * self.graphs.bytes(sequences, tokens)
        peaks = self.activation.bytes(tokens, sequences)
        return tuple(math.ceil(shared + self.activation.relative_spread * peak) for peak in peaks)

    def blocks_by_stage(self, flags: EngineFlags, confidence: float | None = None) -> tuple[int, ...]:
        """Whole KV blocks that each stage can hold; a stage without cache layers holds any number."""
        available = self.available_kv_bytes(flags, confidence)
        return tuple(
            max(0, left // block) if block else self.UNLIMITED_BLOCKS
            for left, block in zip(available, self.kv.block_bytes, strict=True)
        )

    def num_gpu_blocks(self, flags: EngineFlags, confidence: float | None = None) -> int:
        """The pool: the smallest stage decides (`v1/core/kv_cache_planning.py:get_kv_cache_configs`)."""
        return min(self.blocks_by_stage(flags, confidence))

    def headroom_bytes(self, gpu_memory_utilization: float) -> int:
        """What the budget leaves untouched: total - budget."""
        return self.total_bytes - self.budget_bytes(gpu_memory_utilization)

    def headroom_needed_bytes(self, tokens: int, sequences: int, confidence: float | None = None) -> int:
        """What must fit outside the budget.

        The CUDA context and communication buffers always, with what is taken before vLLM starts; where no graph
        estimate is subtracted, also the graphs. V0 captures them into what the activation peak has left free; V1 warms
        the sampler up afterwards, and needs that peak beside them (0.8.0 and later, `v1/worker/gpu_worker.py:
        compile_or_warm_up_model`); V2 needs more than its peak.
        """
        context = self.context.bytes if confidence is None else self.context.at(confidence)
        if self.engine.graphs_in_budget or self.graphs is None:
            return context
        if self.warmup is not None:
            return context + outside_at(confidence, self.after_profile_bytes(tokens, sequences))
        freed = min(self.activation_bytes(tokens, sequences)) if self.engine.engine == "v0" else 0
        return context + max(0, self.graph_bytes(tokens, sequences, confidence) - freed)

    def after_profile_bytes(self, tokens: int, sequences: int) -> int:
        """Central estimate of graphs and warm-up where the runner profiled neither (`sampler_warmup.py`); 0 elsewhere.

        A warm start: the peak of compiling is not there to be freed.
        """
        if self.warmup is None:
            return 0
        freed = replace(self.activation, compile_bytes=0).bytes(tokens, sequences)[-1]
        return self.warmup.outside_bytes(self.graph_bytes(tokens, sequences), freed, tokens, sequences)

    @cached_property
    def kv_bytes_per_token(self) -> int:
        """Marginal bytes of one more token past every window, on the worst stage; rounded up."""
        return math.ceil(max(self.kv.bytes_per_token, default=0))

    def host_tier_tokens(self, flags: EngineFlags) -> int:
        """Tokens that host memory holds: swap space in V0, `--kv-offloading-size` where it exists.

        `tokens = tier_bytes / bytes_per_token`, with swap space counted per GPU and the offloading size over all TP
        ranks, or once where they hold the same. They are prefixes that a later request may load, or preempted
        sequences: never running ones.
        """
        per_token = self.kv_bytes_per_token
        if per_token == 0:
            return 0
        if self.engine.swap_space == "capacity" and flags.swap_space_gib:
            return int(flags.swap_space_gib * GIB) // per_token
        if self.engine.kv_offloading and flags.kv_offloading_size_gib:
            copies = 1 if is_replica(self.kv, self.layout) else self.layout.tensor_parallel_size
            return int(flags.kv_offloading_size_gib * GIB) // (per_token * copies)
        return 0


def memory_terms(
    model: ModelProfile, quantization: Quantization, layout: Layout, engine: EngineProfile, gpu: GpuProfile
) -> MemoryTerms:
    """Compute every term of one layout.

    Raises:
        LayoutRefused: vLLM would refuse the layout before any memory is counted.
    """
    engine = engine_as_run(model, quantization, engine)
    return MemoryTerms(
        layout=layout,
        engine=engine,
        total_bytes=gpu.memory_bytes,
        weights=weight_bytes(model, quantization, layout, gpu),
        weights_extra=weight_extra_bytes(model, quantization, layout, gpu),
        activation=activation_peak(model, quantization, layout, engine, gpu),
        non_torch=non_torch(layout, engine, gpu, compile_kept_bytes(model, quantization, layout, engine)),
        graphs=None if layout.enforce_eager else cuda_graphs(model, layout, engine, gpu),
        context=context_and_communication(layout, engine, gpu),
        kv=plan_kv_cache(model, layout, engine, gpu),
        taken_at_start_bytes=gpu.taken_at_start_bytes,
        load_peak=load_peak_bytes(model, quantization, layout, engine, gpu),
        timed_bytes_per_token=timed_bytes_per_token(model, layout, engine, gpu),
        warmup=None if layout.enforce_eager else sampler_warmup(model, layout.tensor_parallel_size, engine),
    )
