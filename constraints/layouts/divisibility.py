"""What must divide by the parallel sizes: heads, vocabulary, inner widths, state heads, and quantisation groups.

Sources: vLLM 0.33 `config/model.py:verify_with_parallel_config`, `layers/linear.py`, `distributed/utils.py:divide`,
`layers/vocab_parallel_embedding.py`, `layers/mamba/mamba_mixer2.py`, and the quantisation checks named below.
"""

from collections.abc import Iterator

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.layouts.experts_dealt import expert_violations
from vllm_opt.constraints.layouts.quantization_groups import group_violations
from vllm_opt.constraints.layouts.release_parallelism import release_violations
from vllm_opt.constraints.weights.tensor import WeightTensor
from vllm_opt.constraints.weights.tensors import layer_tensors
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import Attention, CompressedAttention, Experts, Mixer, ModelProfile, StateSpace
from vllm_opt.profiles.nouns.quantization import Quantization
from vllm_opt.profiles.reading.quantities import counted

VOCABULARY_PADDING = 64

NO_KV_HEAD_REPLICATION = frozenset({"GptOssForCausalLM"})
"""vLLM classes that cannot spread over more ranks than they have KV heads (`models/gpt_oss.py`)."""


def violations(
    model: ModelProfile, quantization: Quantization, layout: Layout, engine: EngineProfile, gpu: GpuProfile
) -> tuple[Violation, ...]:
    """Return every size that the layout does not divide; an empty tuple when vLLM would build the model."""
    return size_violations(model, layout, engine, gpu) or format_violations(model, quantization, layout)


def size_violations(
    model: ModelProfile, layout: Layout, engine: EngineProfile, gpu: GpuProfile
) -> tuple[Violation, ...]:
    """Return those of `violations` that are the same in every weight format."""
    found = [
        *release_violations(layout, engine),
        *_attention_heads(model, layout),
        *_vocabulary(model, layout),
        *_widths(model, layout),
        *_state_heads(model, layout),
        *_vision(model, layout),
        *_stages_and_experts(model, layout),
        *_context_parallel(model, layout),
        *_node(layout, gpu),
        *expert_violations(model, layout),
    ]
    return tuple(dict.fromkeys(found))


def format_violations(model: ModelProfile, quantization: Quantization, layout: Layout) -> tuple[Violation, ...]:
    """Return those of `violations` that a weight format adds where there are no others."""
    return tuple(dict.fromkeys(group_violations(model, quantization, layout)))


def _violation(message: str, needed: int, available: int, unit: str) -> Violation:
    return Violation(rule="divisibility", message=message, needed=needed, available=available, unit=unit)


def _mixers(model: ModelProfile) -> Iterator[Mixer]:
    for kind in model.layer_kinds:
        if kind.mixer is not None:
            yield kind.mixer


def _attention_heads(model: ModelProfile, layout: Layout) -> Iterator[Violation]:
    ranks = layout.tensor_parallel_size
    for mixer in _mixers(model):
        if isinstance(mixer, StateSpace):
            continue
        heads = mixer.num_attention_heads
        if heads % ranks:
            message = f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({ranks})."
            yield _violation(message, heads, ranks, "attention heads")
        if isinstance(mixer, Attention):
            replicates = model.architecture not in NO_KV_HEAD_REPLICATION
            yield from _key_value_heads(mixer.num_key_value_heads, ranks, replicates=replicates)


def _key_value_heads(kv_heads: int, ranks: int, *, replicates: bool) -> Iterator[Violation]:
    """TP must divide the KV heads, or be a multiple of them so that heads are replicated evenly."""
    if kv_heads >= ranks and kv_heads % ranks:
        message = f"{kv_heads} KV heads are not divisible by tensor parallel size {ranks}."
        yield _violation(message, kv_heads, ranks, "KV heads")
    elif kv_heads < ranks and not replicates:
        message = f"Tensor parallel size {ranks} leaves ranks without one of the {kv_heads} KV heads (modulo by zero)."
        yield _violation(message, ranks, kv_heads, "KV heads")
    elif kv_heads < ranks and ranks % kv_heads:
        message = f"Tensor parallel size {ranks} is not a multiple of the {kv_heads} KV heads that it would replicate."
        yield _violation(message, kv_heads, ranks, "KV heads")


def _vocabulary(model: ModelProfile, layout: Layout) -> Iterator[Violation]:
    padded = -(-model.vocab_size // VOCABULARY_PADDING) * VOCABULARY_PADDING
    ranks = layout.tensor_parallel_size
    if padded % ranks:
        message = f"{padded} is not divisible by {ranks}: the vocabulary of {model.vocab_size} padded to 64."
        yield _violation(message, padded, ranks, "vocabulary rows")


def _widths(model: ModelProfile, layout: Layout) -> Iterator[Violation]:
    for kind in model.layer_kinds:
        for tensor in layer_tensors(kind, model.hidden_size):
            ranks = ranks_of(tensor, layout)
            if tensor.columns_sharded and tensor.column_block == 1 and tensor.columns % ranks:
                message = f"{tensor.columns} is not divisible by {ranks}: the inputs of {tensor.name}."
                yield _violation(message, tensor.columns, ranks, tensor.name)
            for rows in tensor.rows:
                if rows.pieces == rows.size > 1 and rows.size % ranks and tensor.part is not None:
                    message = f"{rows.size} is not divisible by {ranks}: the outputs of {tensor.name}."
                    yield _violation(message, rows.size, ranks, tensor.name)


def ranks_of(tensor: WeightTensor, layout: Layout) -> int:
    """Return among how many ranks one matrix is divided; whole experts are dealt out, so their widths stay whole."""
    if tensor.role != "routed_experts":
        return layout.tensor_parallel_size
    return 1 if layout.expert_parallel else layout.tensor_parallel_size * layout.data_parallel_size


def _state_heads(model: ModelProfile, layout: Layout) -> Iterator[Violation]:
    ranks = layout.tensor_parallel_size
    for mixer in _mixers(model):
        if not isinstance(mixer, StateSpace):
            continue
        heads = mixer.head_dim if mixer.kind == "mamba1" else mixer.num_heads
        if heads % ranks:
            message = (
                f"Tensor parallel world size ({ranks}) must divide num heads ({heads}) of the {mixer.kind} layers."
            )
            yield _violation(message, heads, ranks, "state heads")
        if mixer.kind == "mamba2" and mixer.num_groups % ranks and mixer.num_groups != 1:
            message = (
                "If tensor parallel world size does not divide num_groups, then num_groups must equal 1: "
                f"{mixer.num_groups} groups and {ranks} ranks."
            )
            yield _violation(message, mixer.num_groups, ranks, "groups")
        if mixer.kind == "gated_delta_net" and mixer.num_groups % ranks:
            message = f"{mixer.num_groups} is not divisible by {ranks}: the key heads of the linear attention."
            yield _violation(message, mixer.num_groups, ranks, "key heads")


def _vision(model: ModelProfile, layout: Layout) -> Iterator[Violation]:
    ranks = layout.tensor_parallel_size
    for width in model.vision.divisible_widths if model.vision else ():
        if width % ranks:
            yield _violation(f"{width} is not divisible by {ranks}: the vision tower.", width, ranks, "vision tower")


def _stages_and_experts(model: ModelProfile, layout: Layout) -> Iterator[Violation]:
    stages = layout.pipeline_parallel_size
    if stages > model.num_hidden_layers:
        message = f"{stages} pipeline stages need at least as many layers; the model has {model.num_hidden_layers}."
        yield _violation(message, stages, model.num_hidden_layers, "layers")
    if layout.expert_parallel and not any(isinstance(kind.feed_forward, Experts) for kind in model.layer_kinds):
        message = "Number of experts in the model must be greater than 0 when expert parallelism is enabled."
        yield _violation(message, 1, 0, "experts")


def _context_parallel(model: ModelProfile, layout: Layout) -> Iterator[Violation]:
    ranks, context = layout.tensor_parallel_size, layout.decode_context_parallel_size
    if context == 1:
        return
    if ranks % context:
        yield _violation(f"tp_size={ranks} must be divisible by dcp_size={context}.", context, ranks, "ranks")
        return
    if any(isinstance(mixer, CompressedAttention) for mixer in _mixers(model)):
        yield _violation("DCP not support sliding window.", 1, context, "decode context parallel size")
    attention = [mixer for mixer in _mixers(model) if isinstance(mixer, Attention)]
    if not attention:
        return
    full = next((mixer for mixer in attention if mixer.kind == "full"), attention[0])
    yield from _grouped_context_parallel(full, ranks, context)
    if any(mixer.kind == "sliding_window" for mixer in attention):
        yield _violation("DCP not support sliding window.", 1, context, "decode context parallel size")


def _grouped_context_parallel(mixer: Attention, ranks: int, context: int) -> Iterator[Violation]:
    kv_heads = mixer.num_key_value_heads
    if ranks <= kv_heads:
        message = (
            f"Decode context parallelism for GQA/MQA requires `--tensor-parallel-size` ({ranks}) to be greater than "
            f"the model's total number of KV heads ({kv_heads}). Increase `--tensor-parallel-size` or set "
            "`--decode-context-parallel-size 1`."
        )
        yield _violation(message, kv_heads + 1, ranks, "ranks")
    elif context > ranks // kv_heads:
        message = (
            f"`--decode-context-parallel-size` ({context}) exceeds the maximum supported value ({ranks // kv_heads}) "
            f"for `--tensor-parallel-size` ({ranks}) and {kv_heads} model KV heads."
        )
        yield _violation(message, context, ranks // kv_heads, "ranks")
    elif mixer.num_attention_heads // kv_heads % context:
        per_head = mixer.num_attention_heads // kv_heads
        message = (
            f"The model's number of query heads per KV head ({per_head}) must be divisible by "
            f"`--decode-context-parallel-size` ({context}) for GQA/MQA."
        )
        yield _violation(message, per_head, context, "query heads per KV head")


def _node(layout: Layout, gpu: GpuProfile) -> Iterator[Violation]:
    """One engine's ranks must fit on the nodes that it spans (the mp executor; `--nnodes` for more)."""
    available = gpu.gpus_per_node * layout.nodes
    if layout.gpus_per_engine > available:
        message = (
            f"World size ({layout.gpus_per_engine}) is larger than the number of available GPUs ({available}) "
            f"on {counted(layout.nodes, 'node')} of {gpu.gpus_per_node}; span more nodes with --nnodes."
        )
        yield _violation(message, layout.gpus_per_engine, available, "GPUs")
