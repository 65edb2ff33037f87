"""From names to nouns: an `EstimateRequest` becomes a model, a GPU, a release, a layout and complete flags."""

from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.decisions.engine_defaults import (
    async_scheduling_default,
    chunked_prefill_default,
    default_max_num_batched_tokens,
    default_max_num_seqs,
    prefix_caching_default,
)
from vllm_opt.constraints.layouts import divisibility
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.estimation.adapters import adapter_notes, adapters_of
from vllm_opt.optimizer.estimation.cache_dtypes import cache_choices, with_cache_dtypes
from vllm_opt.optimizer.estimation.compilation import graph_choice
from vllm_opt.optimizer.estimation.kv_tiers.connectors import (
    dispatches_batches,
    expert_notes,
    hybrid_manager_off,
    redundant_experts,
    sparse_host_gib,
)
from vllm_opt.optimizer.estimation.media import media_notes, profiled_media, without_unused_tower
from vllm_opt.optimizer.estimation.overrides import with_overrides
from vllm_opt.optimizer.estimation.own_calibration import calibration_notes, with_own_calibration
from vllm_opt.optimizer.estimation.releases import release_of
from vllm_opt.optimizer.estimation.runner import as_served, runner_notes
from vllm_opt.optimizer.estimation.speculation import speculation_of
from vllm_opt.optimizer.serve_lines.command_line import has_flag, load_flag_value
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.checkpoint import Publisher
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile, StateSpace
from vllm_opt.profiles.nouns.quantization import Quantization
from vllm_opt.profiles.reading.quantities import format_gib

GIB = 1 << 30
FP8_FAMILY = ("fp8", "fp8_per_tensor", "fp8_block")
"""Layouts of 8-bit floating-point weights that differ in their scales only."""


@dataclass(frozen=True)
class Setting:
    """One resolved configuration. `auto_model_len` asks for the largest context that starts."""

    model: ModelProfile
    gpu: GpuProfile
    engine: EngineProfile
    quantization: Quantization
    layout: Layout
    flags: EngineFlags
    replicas: int
    auto_model_len: bool
    notes: tuple[str, ...]

    @property
    def gpu_count(self) -> int:
        """GPUs of all replicas (contract, Counts)."""
        sizes = self.layout.tensor_parallel_size * self.layout.pipeline_parallel_size * self.layout.data_parallel_size
        return sizes * self.replicas


def served_model(model: ModelProfile, request: Features, engine: EngineProfile) -> tuple[ModelProfile, tuple[str, ...]]:
    """Return the model as the server builds it: without unused towers, with overrides, as a pooling model if asked."""
    model, notes = with_overrides(without_unused_tower(model, request), request, engine)
    model, cache_notes = with_cache_dtypes(model, request, engine)
    served = as_served(model, request)
    return served, (*notes, *cache_notes, *runner_notes(served))


def keeps_windows_or_states(model: ModelProfile) -> bool:
    """Whether the hybrid KV manager matters: some layer does not keep every token."""
    mixers = {kind.mixer for kind in model.layer_kinds}
    return any(isinstance(mixer, StateSpace) or getattr(mixer, "window_tokens", None) for mixer in mixers)


def native_quantization_id(model: ModelProfile) -> str:
    """The format in which the model's own checkpoint is stored."""
    return model.native_quantization.quantization if model.native_quantization else "bf16"


def default_length(model: ModelProfile, *, auto: bool) -> int:
    """The context when --max-model-len is not given; 'auto' starts from the largest that the model allows."""
    return model.max_model_len if auto else model.default_max_model_len or model.max_model_len


def resolve_quantization(catalog: Catalog, model: ModelProfile, name: str | None) -> Quantization:
    """Look a weight format up; None and 'native' mean the checkpoint's own.

    'fp8' names the family to most people: a checkpoint that is published in another fp8 layout is meant.
    """
    native = native_quantization_id(model)
    if name is None or name.lower() == "native":
        return catalog.quantization(native)
    found = catalog.quantization(name)
    return catalog.quantization(native) if found.id == "fp8" and native in FP8_FAMILY else found


@dataclass(frozen=True)
class ServedWeights:
    """Whose weights are served, and the model with its weights stored as they are."""

    checkpoint: str | None
    publisher: Publisher
    model: ModelProfile


def served_weights(
    catalog: Catalog, model: ModelProfile, quantization: Quantization, engine: EngineProfile
) -> ServedWeights:
    """Choose the weights of one format by publisher, then certainty, then downloads.

    The model as published, its maker's or a vendor's checkpoint, what the release makes while loading, anybody's
    checkpoint; None where nobody has published any and vLLM cannot make it.
    """
    native = native_quantization_id(model)
    if quantization.id == native:
        return ServedWeights(model.id, catalog.model_names.publisher_of(model), model)
    best = next((known for known in model.checkpoints if known.quantization == quantization.id), None)
    if best is not None and best.publisher != "community":
        return ServedWeights(best.id, best.publisher, catalog.stored_as(model, best))
    if native == "bf16" and load_flag_value(quantization, engine) is not None:
        return ServedWeights(model.id, "online", model)
    if best is not None:
        return ServedWeights(best.id, best.publisher, catalog.stored_as(model, best))
    return ServedWeights(None, "hypothetical", model)


def with_memory(gpu: GpuProfile, gpu_memory_gib: float | None) -> GpuProfile:
    """Override the reported memory of a SKU."""
    if gpu_memory_gib is None:
        return gpu
    total = int(gpu_memory_gib * GIB)
    return gpu.model_copy(
        update={"memory_bytes": total, "memory_bytes_high": total, "memory_note": "given with gpu_memory_gib"}
    )


def _gpu(catalog: Catalog, name: str) -> GpuProfile:
    """One SKU; 'local' is this machine's, if all of its GPUs are of one kind."""
    if name.lower() != "local":
        return catalog.gpu(name)
    found = {gpu.id: gpu for gpu in catalog.local_gpus}
    if len(found) > 1:
        raise InvalidRequest(f"this machine has GPUs of several kinds; name one of {', '.join(found)} with --gpu")
    return next(iter(found.values()))


def resolve(request: EstimateRequest, catalog: Catalog) -> Setting:
    """Look everything up and fill in the release's defaults.

    Raises:
        UnknownProfile: a name that the catalogue does not hold.
        InvalidRequest: a file or value that cannot be understood.
    """
    named = catalog.model(request.model)
    engine, note, _ = release_of(named, catalog, request.vllm_version, request.engine, _gpu(catalog, request.gpu))
    model, model_notes = served_model(named, request, engine)
    gpu = with_own_calibration(with_memory(_gpu(catalog, request.gpu), request.gpu_memory_gib), request, catalog)
    quantization = resolve_quantization(catalog, model, request.quantization)
    served = _served(request, model, quantization, engine, catalog)
    if request.kv_cache_dtype != "auto":
        catalog.kv_cache_dtype(request.kv_cache_dtype)
    tensor, said = _tensor_parallel_size(request, model, quantization, engine, gpu)
    auto = request.max_model_len == "auto"
    length = request.max_model_len if isinstance(request.max_model_len, int) else default_length(model, auto=auto)
    flags = _flags(request, engine, gpu, length, model)
    graphs = graph_choice(request, model)
    speculation, draft_notes = speculation_of(request, model, catalog)
    manager_off = hybrid_manager_off(request, engine)
    layout = Layout(
        gpu=gpu.id,
        tensor_parallel_size=tensor,
        pipeline_parallel_size=request.pipeline_parallel_size,
        data_parallel_size=request.data_parallel_size,
        decode_context_parallel_size=request.decode_context_parallel_size,
        expert_parallel=request.enable_expert_parallel,
        quantization=quantization.id,
        checkpoint=served.checkpoint,
        kv_cache_dtype=request.kv_cache_dtype,
        **cache_choices(request, engine),
        block_size=request.block_size,
        enforce_eager=request.enforce_eager or graphs.enforce_eager,
        full_graphs=graphs.full_graphs,
        graph_sizes=graphs.sizes,
        sparse_host_gib=sparse_host_gib(request),
        num_redundant_experts=redundant_experts(request),
        enable_prefix_caching=_or(request.enable_prefix_caching, prefix_caching_default(engine, model)),
        enable_chunked_prefill=_cuts_prompts(request, engine, length, model),
        async_scheduling=_or(request.async_scheduling, async_scheduling_default(engine, model)),
        disable_hybrid_kv_cache_manager=request.disable_hybrid_kv_cache_manager or manager_off is not None,
        media=profiled_media(model, request, length),
        speculation=speculation,
        adapters=adapters_of(request, engine),
        nodes=-(-tensor * request.pipeline_parallel_size // gpu.gpus_per_node),
    )
    windows = manager_off if keeps_windows_or_states(model) else None
    texts = (note, *model.assumptions, windows, *media_notes(model, request), said, _in_use(gpu), *model_notes)
    notes = tuple(text for text in (*texts, *draft_notes, *adapter_notes(model, layout.adapters)) if text)
    notes += (*expert_notes(request), *calibration_notes([gpu], request))
    return Setting(served.model, gpu, engine, quantization, layout, flags, request.replicas, auto, notes)


def _served(
    request: EstimateRequest, model: ModelProfile, quantization: Quantization, engine: EngineProfile, catalog: Catalog
) -> ServedWeights:
    """The weights that are loaded: the best published in this format, or the 16-bit ones, converted on the way."""
    at_load = model.native_quantization is None and load_flag_value(quantization, engine) is not None
    if request.quantize_at_load and at_load:
        return ServedWeights(model.id, "online", model)
    return served_weights(catalog, model, quantization, engine)


def _tensor_parallel_size(
    request: EstimateRequest, model: ModelProfile, quantization: Quantization, engine: EngineProfile, gpu: GpuProfile
) -> tuple[int, str]:
    """What is asked; on this machine without any parallel size, the largest power of two that the model divides by."""
    sizes = {"tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "replicas"}
    found = gpu.gpus_per_node
    if request.gpu.lower() != "local" or sizes & request.model_fields_set or found == 1:
        return request.tensor_parallel_size, ""
    powers = [1 << power for power in range(found.bit_length()) if 1 << power <= found]
    for size in reversed(powers):
        layout = Layout(gpu=gpu.id, tensor_parallel_size=size, quantization=quantization.id)
        if not divisibility.violations(model, quantization, layout, engine, gpu):
            break
    return (
        size,
        f"{size} of this machine's {found} GPUs {'is' if size == 1 else 'are'} taken (TP {size}); -tp says otherwise",
    )


def _in_use(gpu: GpuProfile) -> str:
    """What other programs hold of this machine's card, where they do."""
    used = gpu.memory_in_use_bytes
    return f"{format_gib(used)} of each {gpu.id} of this machine are in use by other programs" if used else ""


def _or(asked: bool | None, default: bool) -> bool:
    return default if asked is None else asked


def _cuts_prompts(request: EstimateRequest, engine: EngineProfile, length: int, model: ModelProfile) -> bool:
    """Whether prompts are computed in pieces; encoders and speech models drop a wish for it."""
    return model.cuts_prompts and _or(request.enable_chunked_prefill, chunked_prefill_default(engine, length))


def _flags(
    request: EstimateRequest, engine: EngineProfile, gpu: GpuProfile, length: int, model: ModelProfile
) -> EngineFlags:
    doubled = request.performance_mode == "throughput"
    if request.performance_mode != "balanced" and not has_flag(engine, "performance-mode"):
        raise InvalidRequest(f"performance_mode: vLLM {engine.version} has no --performance-mode; leave it out")
    tokens = request.max_num_batched_tokens
    if tokens is None:
        tokens = default_max_num_batched_tokens(
            engine,
            gpu,
            chunked_prefill=_cuts_prompts(request, engine, length, model),
            max_model_len=length,
            max_num_seqs=request.max_num_seqs,
            dispatches_batches=dispatches_batches(request),
            doubled=doubled,
        )
    sequences = request.max_num_seqs or default_max_num_seqs(engine, gpu, tokens, doubled=doubled)
    swap = request.swap_space
    return EngineFlags(
        gpu_memory_utilization=request.gpu_memory_utilization or engine.gpu_memory_utilization,
        max_model_len=length,
        max_num_seqs=sequences,
        max_num_batched_tokens=tokens,
        num_gpu_blocks_override=request.num_gpu_blocks_override,
        kv_cache_memory_bytes=request.kv_cache_memory_bytes,
        swap_space_gib=engine.default_swap_space_gib if swap is None else swap,
        kv_offloading_size_gib=request.kv_offloading_size,
        cpu_offload_gib=request.cpu_offload_gb,
    )
