"""Weight bytes of every rank, counted matrix by matrix and layer by layer.

A matrix of N rows (outputs) by K columns (inputs) takes `N K bits / 8` and its scales: one per matrix, per row, per
128 x 128 block or per group of columns. Tensor parallelism gives a rank ceil(heads / TP) heads, ceil(width / TP) of an
inner width and ceil(rows / TP) of the vocabulary rounded up to 64; experts are divided by TP x DP, or dealt out whole.

Not counted again: a few scalars that loaders keep per matrix (`SCALARS_PER_MATRIX` bytes at most).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, gcd

from vllm_opt.constraints.weights.pipeline_ends import ON_EVERY_STAGE
from vllm_opt.optimizer.second_opinion.subject import OutOfReach, Subject
from vllm_opt.profiles.nouns.checkpoint import CheckpointQuantization, Part
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp, Experts, LatentAttention
from vllm_opt.profiles.nouns.quantization import Quantization

SCALARS_PER_MATRIX = 64
HALF = 2
HOPPER = 9
"""The generation on which mxfp4 experts are made larger after they are loaded."""
ROUTER_MAY_BE_QUANTISED = ("Qwen3MoeForCausalLM", "Qwen3VLMoeForConditionalGeneration")
WITHOUT_A_LIST = ("fp8", "awq", "gptq")
"""Methods whose checkpoints may leave out the list of what stays in 16 bits; the tools behind others always write it,
and always leave the router out."""


@dataclass(frozen=True)
class Matrix:
    """One matrix on one rank. `part` None is never quantised; `copies` are experts, `inner` their inner width here."""

    rows: int
    columns: int
    part: Part | None = None
    element_bytes: int = HALF
    bias: bool = False
    copies: int = 1
    inner: int = 0


@dataclass(frozen=True)
class Weights:
    """Bytes per stage, and how many more the scalars of its matrices may take."""

    bytes: tuple[int, ...]
    slack: tuple[int, ...]


def weights_of(subject: Subject) -> Weights:
    """Return the weights of every stage on tensor-parallel rank 0.

    Raises:
        OutOfReach: a kind of layer or format that is not counted again here.
    """
    plan = subject.plan
    native = _native(subject)
    counted, slack = _stages(subject, subject.stages, plan.tensor_parallel_size)
    share = Fraction(1)
    if native is not None and native.stored_bytes:
        alone = plan.model_copy(update=dict.fromkeys(_SIZES, 1) | {"expert_parallel": False})
        single = Subject(alone, subject.request, subject.model, subject.gpu, subject.engine, subject.quantization)
        whole, extra = _stages(single, single.stages, 1, other_card=True)
        share = max(Fraction(1), Fraction(native.stored_bytes, sum(whole)))
        slack = tuple(each + ceil(share * sum(extra)) for each in slack)
    elif native is not None and native.size_margin:
        share = 1 + Fraction(native.size_margin).limit_denominator(1_000_000)
    return Weights(tuple(ceil(each * share) for each in counted), tuple(ceil(each * share) for each in slack))


_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def _native(subject: Subject) -> CheckpointQuantization | None:
    native = subject.model.native_quantization
    return native if native is not None and native.quantization == subject.quantization.id else None


def _stages(
    subject: Subject, stages: list[list[int]], ranks: int, *, other_card: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    totals, slacks = [], []
    for number, layers in enumerate(stages):
        total, matrices = _ends(subject, number == 0, number == len(stages) - 1, ranks), 1
        for index in layers:
            for matrix in _layer(subject, subject.model.layers[index], ranks, other_card=other_card):
                total += _bytes(subject, matrix, index)
                matrices += matrix.copies * (1 if matrix.part else 0)
        totals.append(total)
        slacks.append(matrices * SCALARS_PER_MATRIX if subject.quantization.scale_granularity != "none" else 0)
    return tuple(totals), tuple(slacks)


def _layer(subject: Subject, layer: DecoderLayer, ranks: int, *, other_card: bool) -> Iterator[Matrix]:
    if layer.hyper_connections:
        raise OutOfReach("weights of hyper-connections")
    hidden, mixer = subject.model.hidden_size, layer.mixer
    if isinstance(mixer, Attention):
        yield from _attention(mixer, hidden, ranks)
    elif isinstance(mixer, LatentAttention):
        yield from _latent(mixer, hidden, ranks)
    elif mixer is not None:
        raise OutOfReach(f"weights of a {type(mixer).__name__} layer")
    for part in (layer.feed_forward, layer.parallel_feed_forward):
        if isinstance(part, DenseMlp):
            yield from _mlp(part.intermediate_size, part, hidden, ranks, "dense_mlp")
        elif isinstance(part, Experts):
            yield from _experts(subject, part, hidden, ranks, other_card=other_card)
    yield Matrix(layer.norm_parameters + layer.extra_parameters, 1)


def _attention(mixer: Attention, hidden: int, ranks: int) -> Iterator[Matrix]:
    if mixer.index_head_dim:
        raise OutOfReach("weights of a block selector")
    heads, kv_heads = ceil(mixer.num_attention_heads / ranks), max(1, ceil(mixer.num_key_value_heads / ranks))
    rows = heads * mixer.head_dim * (2 if mixer.output_gate else 1)
    if not mixer.shares_kv_cache:
        rows += kv_heads * (mixer.head_dim + mixer.v_head_dim)
    yield Matrix(rows, hidden, "attention", bias=mixer.qkv_bias)
    yield Matrix(hidden, heads * mixer.v_head_dim, "attention_output", bias=mixer.output_bias)
    if mixer.scalar_gate_per_head:
        yield Matrix(heads, hidden)
    if mixer.qk_norm == "per_head":
        yield Matrix(mixer.head_dim * (1 if mixer.shares_kv_cache else 2), 1)
    if mixer.qk_norm == "all_heads":
        whole = mixer.replicated_qk_norm
        yield Matrix((mixer.num_attention_heads if whole else heads) * mixer.head_dim, 1)
        if not mixer.shares_kv_cache:
            yield Matrix((mixer.num_key_value_heads if whole else kv_heads) * mixer.head_dim, 1)
    if mixer.sinks:
        yield Matrix(heads, 1)


def _latent(mixer: LatentAttention, hidden: int, ranks: int) -> Iterator[Matrix]:
    if mixer.output_gate:
        raise OutOfReach("weights of a gated latent attention")
    heads = ceil(mixer.num_attention_heads / ranks)
    query = heads * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim)
    down = mixer.kv_lora_rank + mixer.qk_rope_head_dim
    if mixer.q_lora_rank is None:
        yield Matrix(query, hidden, "attention", bias=mixer.qkv_bias)
        yield Matrix(down, hidden, "attention", bias=mixer.qkv_bias)
    else:
        yield Matrix(mixer.q_lora_rank + down, hidden, "attention", bias=mixer.qkv_bias)
        yield Matrix(query, mixer.q_lora_rank, "attention")
    yield Matrix(heads * (mixer.qk_nope_head_dim + mixer.v_head_dim), mixer.kv_lora_rank, "attention")
    yield Matrix(hidden, heads * mixer.v_head_dim, "attention_output", bias=mixer.output_bias)
    yield Matrix(mixer.kv_lora_rank + (mixer.q_lora_rank or 0), 1)
    if mixer.index_n_heads and mixer.index_head_dim:
        yield Matrix(mixer.index_n_heads * mixer.index_head_dim, mixer.q_lora_rank or hidden, "indexer")
        yield Matrix(mixer.index_head_dim + mixer.index_n_heads, hidden)
        yield Matrix(2 * mixer.index_head_dim, 1, element_bytes=4)


def _mlp(inner: int, like: DenseMlp | Experts, hidden: int, ranks: int, part: Part) -> Iterator[Matrix]:
    mine, bias = ceil(inner / ranks), like.bias and part == "dense_mlp"
    yield Matrix(mine * (2 if like.gated else 1), hidden, part, bias=bias)
    yield Matrix(hidden, mine, part, bias=bias)


def _experts(subject: Subject, experts: Experts, hidden: int, ranks: int, *, other_card: bool) -> Iterator[Matrix]:
    if experts.latent_size or experts.hash_table_entries or experts.least_inner_width:
        raise OutOfReach("weights of experts in a width of their own")
    if subject.quantization.id == "mxfp4":
        raise OutOfReach("the padding of mxfp4 experts")
    plan = subject.plan
    sharers = ranks * plan.data_parallel_size
    count = ceil(experts.num_experts / sharers) if plan.expert_parallel else experts.num_experts
    inner = experts.moe_intermediate_size if plan.expert_parallel else ceil(experts.moe_intermediate_size / sharers)
    major = (subject.gpu.compute_capability or (0,))[0]
    if major == 10 and not other_card and _format_of(subject, "experts", None) == "bf16":
        inner = ceil(inner / 128) * 128  # the 16-bit kernel of these cards
    router_bytes = 4 if experts.router_dtype == "float32" else HALF
    yield Matrix(experts.num_experts, hidden, "router", element_bytes=router_bytes)
    gate = 2 if experts.gated else 1
    yield Matrix(gate * inner, hidden, "experts", bias=experts.bias, copies=count, inner=inner)
    yield Matrix(hidden, inner, "experts", bias=experts.bias, copies=count, inner=inner)
    if experts.router_bias:
        yield Matrix(experts.num_experts, 1, element_bytes=HALF if experts.bias else 4)
    if experts.shared_expert_intermediate_size:
        if experts.shared_expert_block > 1 or (plan.expert_parallel and ranks > 1 and plan.data_parallel_size > 1):
            raise OutOfReach("shared experts that are not divided evenly")
        yield from _mlp(experts.shared_expert_intermediate_size, experts, hidden, ranks, "shared_experts")
    if experts.shared_expert_gate:
        yield Matrix(1, hidden)


def _format_of(subject: Subject, part: Part | None, layer: int | None) -> str:
    """Id of the format in which a part of a layer is stored."""
    own, native = subject.quantization, _native(subject)
    if part is None or own.scale_granularity == "none":
        return "bf16"
    stated = None
    for entry in native.part_formats if native else ():
        if entry.part == part and (entry.layers is None or layer in entry.layers):
            stated = entry.quantization
    if stated is not None:
        return stated
    if part == "router" and subject.model.architecture in ROUTER_MAY_BE_QUANTISED:
        lists = native is not None and (native.ignored_modules or native.method not in WITHOUT_A_LIST)
        if own.scale_granularity in ("tensor", "block") and not lists:
            return own.id
        if own.zero_point_bits and not lists:
            return own.id
    if part in ("router", "lm_head", "vision"):
        return "bf16"
    experts_only = own.experts_only or bool(native and native.experts_only)
    return "bf16" if experts_only and part != "experts" else own.id


def _bytes(subject: Subject, matrix: Matrix, layer: int | None) -> int:
    format_id = _format_of(subject, matrix.part, layer)
    bias = matrix.rows * HALF if matrix.bias else 0
    elements = matrix.rows * matrix.columns
    if format_id in ("bf16", "fp16"):
        return matrix.copies * (elements * matrix.element_bytes + bias)
    if format_id != subject.quantization.id:
        raise OutOfReach(f"parts stored as {format_id} beside {subject.quantization.id}")
    stored = ceil(Fraction(elements * subject.quantization.weight_bits, 8))
    return matrix.copies * (stored + _scales(subject.quantization, _native(subject), matrix) + bias)


def _scales(format_: Quantization, native: CheckpointQuantization | None, matrix: Matrix) -> int:
    """Bytes of scales and zero points; those per matrix are among the scalars that are not counted."""
    if format_.scale_granularity == "tensor":
        return 0
    if format_.scale_granularity == "channel":
        return format_.scale_bytes * matrix.rows
    group = (native.group_size if native else None) or format_.group_size or 1
    if format_.scale_granularity == "block":
        side = gcd(group, matrix.inner) if matrix.inner else group
        width = native.block_scale_bytes if native else format_.scale_bytes
        return width * ceil(matrix.rows / side) * ceil(matrix.columns / side)
    if matrix.inner and (matrix.inner % group or format_.zero_point_bits):
        raise OutOfReach("group scales of experts that the group does not divide")
    groups = matrix.rows * max(1, matrix.columns // group)
    return groups * format_.scale_bytes + ceil(groups * format_.zero_point_bits / 8)


def _ends(subject: Subject, first: bool, last: bool, ranks: int) -> int:
    """Embedding, output head, final norm, and what stands beside the embedding."""
    model = subject.model
    if model.hyper_connections:
        raise OutOfReach("weights of hyper-connections")
    rows = ceil(ceil(model.vocab_size / 64) * 64 / ranks)
    embedding, everywhere = rows * model.hidden_size * HALF, ON_EVERY_STAGE.get(model.architecture, frozenset())
    beside = model.extra_parameters + ceil(model.divided_parameters / ranks)
    width = model.per_layer_embedding_width
    beside += rows * width + ceil(width / ranks) * model.hidden_size
    total = beside * HALF if first or ("embedding" in everywhere and width) else 0
    tied = model.tie_word_embeddings
    if first or "embedding" in everywhere or (last and tied and model.has_lm_head):
        total += embedding
    if last or "norm" in everywhere:
        total += model.final_norm_parameters * HALF
    if model.has_lm_head and not tied and (last or "lm_head" in everywhere):
        total += _bytes(subject, Matrix(rows, model.hidden_size, "lm_head"), None)
    if first and model.vision is not None:
        tower = model.vision
        whole = tower.replicated_parameters if tower.sharded_by_tensor_parallel else tower.parameters
        total += (whole + ceil((tower.parameters - whole) / ranks)) * HALF
    return total


def beside_weights(subject: Subject) -> tuple[int, ...]:
    """Bytes per stage of what is made at start-up: rotary tables, and the absorbed matrices of latent attention.

    Raises:
        OutOfReach: an architecture whose tables are not counted again here, or experts that loading makes larger.
    """
    model, totals = subject.model, []
    experts = any(isinstance(layer.feed_forward, Experts) for layer in model.layers)
    if experts and subject.quantization.id == "mxfp4" and (subject.gpu.compute_capability or (0,))[0] == HOPPER:
        raise OutOfReach("what loading adds to mxfp4 experts")
    if model.architecture in ("JambaForCausalLM", "NemotronHForCausalLM"):
        raise OutOfReach("hybrids without rotary positions")
    for layers in subject.stages:
        tables, absorbed = set(), 0
        for index in layers:
            mixer = model.layers[index].mixer
            if isinstance(mixer, Attention):
                tables.add((mixer.head_dim, mixer.rotary_position_factor))
            elif isinstance(mixer, LatentAttention):
                tables.add((mixer.qk_rope_head_dim, 1.0))
                heads = ceil(mixer.num_attention_heads / subject.ranks)
                absorbed += heads * (mixer.qk_nope_head_dim + mixer.v_head_dim) * mixer.kv_lora_rank * HALF
            else:
                raise OutOfReach("layers without attention")
        totals.append(sum(width * ceil(model.max_model_len * factor) * HALF for width, factor in tables) + absorbed)
    return tuple(totals)
