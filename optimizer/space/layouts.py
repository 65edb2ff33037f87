"""Which structural choices exist: every shape of a server, before any memory is counted.

A shape that cannot help is not enumerated, with the reason stated here: data parallelism inside the engine differs
from separate servers only for experts; expert parallelism needs experts and more than one rank; context parallelism
of the decode needs latent attention or more ranks than KV heads; prefix caching off frees memory only for recurrent
layers; in V1 chunked prefill off only forbids what on allows, so only V0 has the choice. Whether CUDA graphs are
captured is decided per shape, because eager mode trades speed for memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.engine_defaults import async_scheduling_default, prefix_caching_default
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.estimation.adapters import adapters_of
from vllm_opt.optimizer.estimation.cache_dtypes import cache_choices
from vllm_opt.optimizer.estimation.compilation import graph_choice
from vllm_opt.optimizer.estimation.kv_tiers.connectors import hybrid_manager_off, redundant_experts, sparse_host_gib
from vllm_opt.optimizer.estimation.media import profiled_media
from vllm_opt.optimizer.space.default_limits import is_stated
from vllm_opt.optimizer.space.local_machine import only_local
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.optimizer.space.weights import WeightFormat
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import Attention, Experts, LatentAttention, ModelProfile, StateSpace

MAX_PIPELINE_STAGES = 16
BLOCK_SIZES = (16, 32, 64, 128)
DECODE_CONTEXT_SIZES = (1, 2, 4, 8, 16)
FAST_LINKS = ("nvlink", "infinity_fabric")


@dataclass(frozen=True, slots=True)
class Shape:
    """How one server divides a model, whatever its SKU and weight format."""

    tensor: int
    pipeline: int
    data: int
    context: int
    experts: bool
    kv_cache_dtype: str
    prefix_caching: bool
    chunked_prefill: bool
    block_size: int | None = None
    _hash: int = field(default=0, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        numbers = self.tensor, self.pipeline, self.data, self.context, self.experts, self.block_size
        flags = self.kv_cache_dtype, self.prefix_caching, self.chunked_prefill
        object.__setattr__(self, "_hash", hash((*numbers, *flags)))

    def __hash__(self) -> int:
        """Kept, because a search looks shapes up some hundred thousand times."""
        return self._hash

    @property
    def gpus(self) -> int:
        """GPUs of one server."""
        return self.tensor * self.pipeline * self.data


def has_experts(model: ModelProfile) -> bool:
    """Whether any layer routes tokens to experts."""
    return any(isinstance(kind.feed_forward, Experts) for kind in model.layer_kinds)


def has_state(model: ModelProfile) -> bool:
    """Whether any layer keeps a recurrent state."""
    return any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds)


def query_heads(model: ModelProfile) -> int:
    """The largest number of query heads: no tensor-parallel size above it can divide them."""
    heads = [
        kind.mixer.num_attention_heads
        for kind in model.layer_kinds
        if isinstance(kind.mixer, Attention | LatentAttention)
    ]
    return max(heads, default=model.hidden_size)


def parallel_sizes(setting: SolveSetting, gpus_per_node: int, most: int) -> Iterator[tuple[int, int, int, bool]]:
    """Yield (TP, PP, DP, expert parallel) that one server can have within the GPUs allowed and the node.

    Servers over several nodes exist only when the request states the link between nodes; they fill whole nodes. A
    group of experts over data-parallel ranks takes a whole part of a node (1/8, 1/4, 1/2 or all of eight GPUs). A size
    that the request pins is taken as it is, and whether it can work is left to the rules.
    """
    request, model = setting.request, setting.model
    reach = most if request.internode_gbps else min(most, gpus_per_node)
    heads, odd_asked = query_heads(model), odd_stages_asked(request)
    stages = min(MAX_PIPELINE_STAGES, model.num_hidden_layers)
    tensors = [size for size in range(1, min(reach, heads) + 1) if heads % size == 0]
    for tensor in tensors if request.tensor_parallel_size is None else [request.tensor_parallel_size]:
        pinned = request.pipeline_parallel_size
        for pipeline in range(1, min(stages, reach // tensor) + 1) if pinned is None else [pinned]:
            engine = tensor * pipeline
            if engine > reach or pipeline > model.num_hidden_layers:
                continue
            if engine > gpus_per_node and engine % gpus_per_node:
                continue
            if not odd_asked and odd_stages(tensor, pipeline, gpus_per_node):
                continue
            for data, experts in _data_sizes(setting, tensor, pipeline, min(reach, gpus_per_node), gpus_per_node):
                yield tensor, pipeline, data, experts


def _data_sizes(
    setting: SolveSetting, tensor: int, pipeline: int, reach: int, gpus_per_node: int
) -> Iterator[tuple[int, bool]]:
    """Yield (DP, expert parallel) beside a tensor and a pipeline size; with EPLB experts are always dealt."""
    pinned, experts = setting.request.data_parallel_size, has_experts(setting.model)
    kinds = ((True,) if setting.request.enable_eplb else (False, True)) if experts else (False,)
    if pinned in (None, 1):
        yield from ((1, dealt) for dealt in kinds if tensor > 1 or not dealt)
    elif tensor * pipeline * pinned <= reach:
        yield from ((pinned, dealt) for dealt in kinds)
    if pinned is None:
        for data in range(2, reach // tensor + 1):
            if usual_data_size(setting.model, tensor, pipeline, data, gpus_per_node):
                yield from ((data, dealt) for dealt in kinds)


def usual_data_size(model: ModelProfile, tensor: int, pipeline: int, data: int, gpus_per_node: int) -> bool:
    """Whether a data-parallel size is tried when the request pins none."""
    return data == 1 or (has_experts(model) and pipeline == 1 and gpus_per_node % (tensor * data) == 0)


def odd_stages_asked(request: SolveRequest) -> bool:
    """Whether pipelines over an uneven part of a node take part, such as 3, 5, 6 or 7 of 8 GPUs.

    They do where the request says how many GPUs there are (a number, a ceiling, what is owned, this machine) or how
    many stages: a count that does not divide the model evenly is what pipelines are for
    (https://docs.vllm.ai/en/latest/serving/parallelism_scaling/). Someone who may buy any number of GPUs is not sent to
    a server of which no serving measurement that the fit reads has a row.
    """
    counted = any(getattr(request, name) is not None and is_stated(request, name) for name in ("gpus", "max_gpus"))
    local = bool(request.owned) or only_local(request)
    return counted or local or request.pipeline_parallel_size is not None


def odd_stages(tensor: int, pipeline: int, gpus_per_node: int) -> bool:
    """Whether pipeline stages take an uneven part of a node."""
    ranks = tensor * pipeline
    return pipeline > 1 and ranks <= gpus_per_node and gpus_per_node % ranks > 0


def across_tensors(setting: SolveSetting, gpu: GpuProfile, shape: Shape) -> Shape | None:
    """The server that splits layers over the same GPUs instead of passing them on; None where stages earn their place.

    On GPUs that a fast link joins, a stage waits for the one before it, and every rank reads all of its layers' weights
    for each token: split layers answer sooner from the same memory. Stages stay where no fast link joins the GPUs,
    where the cache would be held twice (more ranks than KV heads, latent attention), and where the request names them.
    vLLM's guide draws the same line (https://docs.vllm.ai/en/latest/serving/parallelism_scaling/). Where the load is
    left free, or what is admitted counts, stages may hold or finish more and stay too.
    """
    if setting.targets.load_free or "concurrency" in setting.request.objective:
        return None
    ranks, joined = shape.tensor * shape.pipeline, gpu.interconnect.gpus_joined or gpu.gpus_per_node
    if shape.pipeline == 1 or setting.request.pipeline_parallel_size is not None or shape.context > 1:
        return None
    if gpu.interconnect.kind not in FAST_LINKS or ranks > min(joined, gpu.gpus_per_node):
        return None
    mixers = [kind.mixer for kind in setting.model.layer_kinds]
    heads = [mixer.num_key_value_heads for mixer in mixers if isinstance(mixer, Attention)]
    if not heads or min(heads) % ranks or any(isinstance(mixer, LatentAttention) for mixer in mixers):
        return None
    return replace(shape, tensor=ranks, pipeline=1)


def decode_context_sizes(model: ModelProfile, tensor: int) -> tuple[int, ...]:
    """Sizes of decode context parallelism that shrink the cache: latent attention, or TP beyond the KV heads."""
    latent = any(isinstance(kind.mixer, LatentAttention) for kind in model.layer_kinds)
    kv_heads = [kind.mixer.num_key_value_heads for kind in model.layer_kinds if isinstance(kind.mixer, Attention)]
    most = tensor if latent else tensor // max(kv_heads) if kv_heads and tensor > max(kv_heads) else 1
    return tuple(size for size in DECODE_CONTEXT_SIZES if size <= most and tensor % size == 0)


def kv_cache_dtypes(setting: SolveSetting) -> tuple[str, ...]:
    """The KV dtypes that take part: one format, or `auto` and `fp8` for 'any'."""
    asked = setting.request.kv_cache_dtype.lower()
    return ("auto", "fp8") if asked == "any" else (asked,)


def shapes(setting: SolveSetting, gpus_per_node: int, most: int) -> tuple[Shape, ...]:
    """Every shape of a server with nodes of this size and at most so many GPUs."""
    default = prefix_caching_default(setting.engine, setting.model)
    caching = (default, not default) if has_state(setting.model) else (default,)
    chunked = (True, False) if setting.engine.engine == "v0" else (True,)
    if not setting.model.cuts_prompts:
        chunked = (False,)
    return tuple(
        Shape(tensor, pipeline, data, context, experts, kv_dtype, prefix_caching, chunked_prefill)
        for tensor, pipeline, data, experts in parallel_sizes(setting, gpus_per_node, most)
        for context in decode_context_sizes(setting.model, tensor)
        for kv_dtype in kv_cache_dtypes(setting)
        for prefix_caching in caching
        for chunked_prefill in chunked
    )


def smaller_block_sizes(setting: SolveSetting, resolved: int) -> tuple[int, ...]:
    """Block sizes below the resolved one that the release may accept.

    Releases with a fixed list also name 1 and 8, which their attention kernels refuse: blocks are multiples of 16.
    """
    choices = set(setting.engine.block_size_choices or BLOCK_SIZES) & set(BLOCK_SIZES)
    return tuple(size for size in sorted(choices, reverse=True) if size < resolved)


def layout_of(
    setting: SolveSetting, gpu: GpuProfile, weights: WeightFormat, shape: Shape, *, enforce_eager: bool = False
) -> Layout:
    """The layout of one SKU, weight format and shape."""
    of_its_own = {
        "gpu": gpu.id,
        "tensor_parallel_size": shape.tensor,
        "pipeline_parallel_size": shape.pipeline,
        "data_parallel_size": shape.data,
        "decode_context_parallel_size": shape.context,
        "expert_parallel": shape.experts,
        "quantization": weights.quantization.id,
        "checkpoint": weights.checkpoint,
        "kv_cache_dtype": shape.kv_cache_dtype,
        "block_size": shape.block_size,
        "num_redundant_experts": redundant_experts(setting.request) if shape.experts else 0,
        "enable_prefix_caching": shape.prefix_caching,
        "enable_chunked_prefill": shape.chunked_prefill,
        "nodes": -(-shape.tensor * shape.pipeline // gpu.gpus_per_node),
    }
    first: Layout | None = setting.remembered.get("layout")
    if first is None:
        first = setting.remembered["layout"] = Layout(**of_its_own, **_same_in_every_layout(setting))
    if enforce_eager:
        of_its_own["enforce_eager"] = True
    return first.model_copy(update=of_its_own)


def _same_in_every_layout(setting: SolveSetting) -> dict[str, Any]:
    """What a request says of all its layouts, read once."""
    graphs = graph_choice(setting.request, setting.model)
    return {
        "enforce_eager": graphs.enforce_eager,
        "full_graphs": graphs.full_graphs,
        "graph_sizes": graphs.sizes,
        "sparse_host_gib": sparse_host_gib(setting.request),
        "async_scheduling": async_scheduling_default(setting.engine, setting.model),
        "disable_hybrid_kv_cache_manager": hybrid_manager_off(setting.request, setting.engine) is not None,
        "speculation": setting.speculation,
        "adapters": adapters_of(setting.request, setting.engine),
        **cache_choices(setting.request, setting.engine),
        "media": profiled_media(setting.model, setting.request, setting.targets.target_context),
    }
