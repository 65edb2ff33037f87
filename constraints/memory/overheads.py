"""Memory of one rank that is neither weights, activations nor KV cache: fitted terms with a spread.

- `non_torch`: growth outside PyTorch between the baseline snapshot and the end of profiling, inside the budget;
- `cuda_graphs`: captured graphs, inside the budget since 0.20, in what the budget leaves before;
- `context_and_communication`: CUDA context, NCCL and custom all-reduce before the snapshot, outside the budget
  (vLLM 0.33 `v1/worker/gpu_worker.py:init_device`, `v1/worker/utils.py:request_memory`).

Constants: `profiles/data/startup_memory.json`, by release.
"""

import math
from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.pipeline_stages import stage_layers
from vllm_opt.constraints.memory.activation_widths import is_irregular, layer_bytes, residual_bytes
from vllm_opt.constraints.memory.own_terms import own_memory
from vllm_opt.profiles.normal import normal_quantile
from vllm_opt.profiles.nouns.engine import EngineProfile, GraphCapture
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import Experts, ModelProfile, StateSpace
from vllm_opt.profiles.nouns.startup_constants import TopologyBytes

CHECKED_STATES = ("gated_delta_net", "kimi_delta")
"""Kinds of recurrent layers that call `causal_conv1d_update` with `validate_data`."""
FAST_LINKS = ("nvlink", "infinity_fabric")
SMALL_GPU_BYTES = 40 * 2**30
COMPILED_SPREAD_BYTES = 256 * 2**20
"""On small cards a compiled start was seen to leave between 0.4 GiB less and 1 GiB more than an eager one suggests."""
BRIDGED_GPUS = 2
"""An NVLink bridge joins a pair of PCIe cards; larger all-reduce buffers need a switch or a mesh."""


@dataclass(frozen=True)
class FittedBytes:
    """A central estimate and a standard deviation."""

    bytes: int
    spread_bytes: int

    def at(self, confidence: float) -> int:
        """Upper end: the term is no larger with probability `confidence`; at least the central estimate."""
        return self.bytes + math.ceil(max(0.0, normal_quantile(confidence)) * self.spread_bytes)


@dataclass(frozen=True)
class GraphMemory:
    """CUDA-graph memory of one rank as a function of the flags.

    `max(floor, base + per_graph_layer * layers * graphs(S, T) + per_captured_token * max_size(S, T))`; monotone in S
    and T. Since 0.20 vLLM subtracts an estimate from the budget, and what it captures in the end is another figure.
    """

    base_bytes: int
    bytes_per_graph: int
    bytes_per_captured_token: int
    capture: GraphCapture
    max_size: int
    relative_spread: float
    floor_bytes: int = 0
    """What any capture takes."""
    sizes: tuple[int, ...] | None = None
    """Batch sizes that were asked for; None: those of the release."""
    query_tokens: int = 1
    """Tokens of one decoding sequence in a step: more than one with drafts."""
    actual_share: float = 1.0
    """What capture takes in the end over the estimate that the budget loses."""
    checks_states: bool = False
    """Whether capture fails where more sequences are captured than the pool has blocks (delta nets, 0.11 to 0.16)."""

    def actual_bytes(self, max_num_seqs: int, max_num_batched_tokens: int) -> int:
        """Central estimate of what stays captured."""
        return math.ceil(self.actual_share * self.bytes(max_num_seqs, max_num_batched_tokens))

    def bytes(self, max_num_seqs: int, max_num_batched_tokens: int) -> int:
        """Central estimate."""
        verified = max_num_seqs * self.query_tokens
        if self.sizes is None:
            sizes = capture_sizes(self.capture, self.max_size, verified, max_num_batched_tokens)
        else:
            sizes = tuple(size for size in self.sizes if size <= max_num_batched_tokens)
        if not sizes:
            return 0
        graphs = len(sizes)
        if self.capture.full_graphs:
            graphs += sum(size <= verified for size in sizes)
        modelled = self.base_bytes + graphs * self.bytes_per_graph + sizes[-1] * self.bytes_per_captured_token
        return max(self.floor_bytes, modelled)

    def bytes_at(self, confidence: float, max_num_seqs: int, max_num_batched_tokens: int) -> int:
        """Upper end: the graphs take no more with probability `confidence`; rounded up."""
        factor = 1.0 + max(0.0, normal_quantile(confidence)) * self.relative_spread
        return math.ceil(self.bytes(max_num_seqs, max_num_batched_tokens) * factor)


def capture_sizes(
    capture: GraphCapture, max_size: int, max_num_seqs: int, max_num_batched_tokens: int
) -> tuple[int, ...]:
    """Return the batch sizes that a release captures: 1, 2, 4, then steps of 8, then of `coarse_step`.

    Source: vLLM 0.33 `config/vllm.py:_set_cudagraph_sizes`, 0.11 the same with steps of 8 throughout, V0
    `config.py:_set_cudagraph_sizes` up to the first size that covers max_num_seqs.
    """
    limit = max_size
    if capture.sequences_factor is not None:
        limit = min(limit, capture.sequences_factor * max_num_seqs)
    if capture.bounded_by_batched_tokens:
        limit = min(limit, max_num_batched_tokens)
    fine = range(8, min(limit + 1, capture.coarse_from), 8)
    coarse = range(capture.coarse_from, limit + 1, capture.coarse_step)
    return (*(size for size in (1, 2, 4) if size <= limit), *fine, *coarse)


def non_torch(layout: Layout, engine: EngineProfile, gpu: GpuProfile, compile_kept_bytes: int = 0) -> FittedBytes:
    """Growth outside PyTorch's allocator inside the budget: kernels' workspaces, all-reduce buffers, NCCL channels.

    `compile_kept_bytes`: what the first start of a release still holds after compiling.
    """
    fitted = _with_own(_by_topology(engine.startup.non_torch, layout, gpu), layout, engine, gpu)
    if compile_kept_bytes:
        spread = fitted.spread_bytes + compile_kept_bytes // 4
        fitted = FittedBytes(fitted.bytes + compile_kept_bytes, spread)
    if layout.enforce_eager or gpu.memory_bytes >= SMALL_GPU_BYTES:
        return fitted
    return FittedBytes(fitted.bytes, fitted.spread_bytes + COMPILED_SPREAD_BYTES)


def _with_own(fitted: FittedBytes, layout: Layout, engine: EngineProfile, gpu: GpuProfile) -> FittedBytes:
    """With what the user's own logs of this SKU at this size say; never below nothing."""
    own = own_memory(None, layout, engine, gpu)
    return fitted if own is None else FittedBytes(max(0, fitted.bytes + own.non_torch_bytes), fitted.spread_bytes)


def context_and_communication(layout: Layout, engine: EngineProfile, gpu: GpuProfile) -> FittedBytes:
    """What is in use before the baseline snapshot, outside the budget: other programs' and the system's memory as well.

    vLLM 0.33 compares the budget with the memory that is free at start-up (`v1/worker/utils.py:request_memory`).
    """
    own = _by_topology(engine.startup.context, layout, gpu)
    spread = own.spread_bytes + (0 if gpu.memory_in_use_bytes else gpu.taken_spread_bytes)
    return FittedBytes(own.bytes + max(gpu.taken_at_start_bytes, gpu.memory_in_use_bytes), spread)


def cuda_graphs(model: ModelProfile, layout: Layout, engine: EngineProfile, gpu: GpuProfile) -> GraphMemory:
    """Memory of captured graphs on the pipeline stage with the most layers."""
    constants = engine.startup.graphs
    layers = max(len(stage) for stage in stage_layers(model.num_hidden_layers, layout.pipeline_parallel_size))
    blackwell = gpu.compute_capability is not None and gpu.compute_capability[0] == 10
    recurrent = {kind.mixer.kind for kind in model.layer_kinds if isinstance(kind.mixer, StateSpace)}
    capture = engine.graph_capture
    if layout.full_graphs is not None:
        capture = capture.model_copy(update={"full_graphs": layout.full_graphs})
    experts = any(isinstance(kind.feed_forward, Experts) for kind in model.layer_kinds)
    factor = constants.irregular_factor if is_irregular(model) else 1.0
    spreads = (constants.relative_spread, constants.hybrid_relative_spread if recurrent else 0.0)
    own = own_memory(model.id, layout, engine, gpu)
    factor *= 1.0 if own is None else own.graphs
    # With adapters every size is captured twice: with none active, and with as many as there are slots.
    factor *= 1 if layout.adapters is None else 2
    return GraphMemory(
        floor_bytes=math.ceil(constants.experts_floor_bytes if experts else constants.floor_bytes),
        actual_share=constants.actual_share if engine.graphs_in_budget else 1.0,
        query_tokens=1 if layout.speculation is None else layout.speculation.query_tokens,
        base_bytes=math.ceil(factor * constants.base_bytes),
        bytes_per_graph=math.ceil(factor * constants.bytes_per_graph_layer * layers),
        bytes_per_captured_token=math.ceil(
            factor * constants.bytes_per_captured_byte * captured_width_bytes(model, layout)
        ),
        capture=capture,
        sizes=layout.graph_sizes,
        max_size=capture.max_size_capability_10 if blackwell else capture.max_size,
        relative_spread=max(spreads),
        checks_states=engine.state_blocks_cover_captures and not recurrent.isdisjoint(CHECKED_STATES),
    )


def captured_width_bytes(model: ModelProfile, layout: Layout) -> int:
    """Activations of one token in the widest layer: what the pool of the largest graph holds a few times."""
    kinds = (model.layer_kinds[kind] for kind in sorted(set(model.layer_pattern)))
    return residual_bytes(model, layout) + max(layer_bytes(kind, model, layout) for kind in kinds)


def topology_row(rows: tuple[TopologyBytes, ...], layout: Layout, gpu: GpuProfile) -> TopologyBytes:
    """Return the first row that fits the layout and the link between its GPUs; the last one when none does."""
    return next((row for row in rows if _fits(row, layout, gpu)), rows[-1])


def _fits(row: TopologyBytes, layout: Layout, gpu: GpuProfile) -> bool:
    joined = gpu.interconnect.gpus_joined
    fast = gpu.interconnect.kind in FAST_LINKS and (joined is None or joined > BRIDGED_GPUS)
    return (
        layout.tensor_parallel_size >= row.tensor_parallel_size
        and row.pipelined in (None, layout.pipeline_parallel_size > 1)
        and row.unified_memory in (None, gpu.unified_memory)
        and row.enforce_eager in (None, layout.enforce_eager)
        and (row.link == "any" or (row.link == "nvlink") == fast)
    )


def _by_topology(rows: tuple[TopologyBytes, ...], layout: Layout, gpu: GpuProfile) -> FittedBytes:
    fitted = topology_row(rows, layout, gpu).bytes
    return FittedBytes(math.ceil(fitted.value), math.ceil(fitted.spread))
