"""What is in use before the KV pool is sized, counted again: activations, what PyTorch does not see, CUDA graphs.

    upper end of a fitted term = value + z spread, or value (1 + z relative spread);  z the quantile of the confidence

Borrowed from `constraints`: the peak of a vision encoder (`memory/encoder_peak.py`).
"""

from dataclasses import dataclass
from math import ceil
from statistics import NormalDist

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.memory.encoder_peak import encoder_peak, media_items
from vllm_opt.optimizer.second_opinion.subject import OutOfReach, Subject
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp, Experts, LatentAttention
from vllm_opt.profiles.nouns.startup_constants import TopologyBytes

LATENT_ROWS = 65536
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
MANY_WIDTHS = 4
SMALL_CARD_BYTES = 40 << 30
AFTER_PROFILE_SPREAD = 0.42
COMPILED_SPREAD_BYTES = 256 << 20
"""How much less sure a compiled start is on a card below 40 GiB."""


def above(confidence: float | None) -> float:
    """Standard deviations of the upper end; None takes the central estimate."""
    return 0.0 if confidence is None else max(0.0, NormalDist().inv_cdf(confidence))


@dataclass(frozen=True)
class InUse:
    """Bytes beside weights and KV cache."""

    activation: tuple[int, ...]
    """Per stage."""
    non_torch: int
    graphs: int
    outside: int
    """What must stay free outside the budget."""


def in_use(subject: Subject, confidence: float | None) -> InUse:
    """Count what the plan's flags need at start-up.

    Raises:
        OutOfReach: a kind of layer whose width is not counted again here.
    """
    if subject.gpu.own is not None:
        raise OutOfReach("a calibration of the user's own")
    z = above(confidence)
    activation = tuple(_activation(subject, at, z) for at in range(len(subject.stages)))
    graphs = _graphs(subject, z)
    context = _fitted(_row(subject, subject.engine.startup.context), z)
    context += max(subject.gpu.taken_at_start_bytes, subject.gpu.memory_in_use_bytes)
    if not subject.eager and not graphs_counted(subject) and subject.engine.graphs_in_budget:
        context += ceil(_after_profile(subject) * (1 + z * AFTER_PROFILE_SPREAD))
    elif not graphs_counted(subject):
        context += max(0, graphs - (min(activation) if subject.engine.engine == "v0" else 0))
    compiled = 0 if subject.eager or subject.gpu.memory_bytes >= SMALL_CARD_BYTES else COMPILED_SPREAD_BYTES
    left = _embedding(subject) if subject.engine.cold_compile == "peak_and_kept" else 0
    beside = left + _fitted(_row(subject, subject.engine.startup.non_torch), z, compiled + left // 4)
    return InUse(activation, beside, graphs, context)


def _after_profile(subject: Subject) -> int:
    """Graphs that the second runner never estimated, and its sampler's warm-up beyond the peak that is free again."""
    tokens, sequences = subject.number("max-num-batched-tokens"), subject.number("max-num-seqs")
    logits = subject.model.vocab_size * (subject.engine.sampler_warmup_bytes_per_logit + 4 * (subject.ranks > 1))
    warm = (150 << 20) + logits * max(1, min(sequences, tokens // 2))
    freed = _activation(subject, len(subject.stages) - 1, 0.0, compiled=False)
    return ceil(1.24 * (_graphs(subject, 0.0) + max(0, warm - freed)))


def graphs_counted(subject: Subject) -> bool:
    """Whether the release takes CUDA graphs off the budget for this model."""
    engine = subject.engine
    return engine.graphs_in_budget and (engine.model_runner_v2_estimates_graphs or not _on_second_runner(subject))


def _embedding(subject: Subject) -> int:
    """One rank's embedding table where a first start compiles it in."""
    model = subject.model
    if subject.eager or model.vision is not None or subject.engine.cold_compile == "uncounted":
        return 0
    if not _on_second_runner(subject):
        return 0
    return ceil(ceil(model.vocab_size / 64) * 64 / subject.ranks) * model.hidden_size * DTYPE_BYTES[model.dtype]


def _fitted(row: TopologyBytes, z: float, more: int = 0) -> int:
    return ceil(row.bytes.value) + ceil(z * (ceil(row.bytes.spread) + more))


def _row(subject: Subject, rows: tuple[TopologyBytes, ...]) -> TopologyBytes:
    """The first row that holds for how many GPUs form one engine, and what joins them."""
    link = subject.gpu.interconnect
    fast = link.kind in ("nvlink", "infinity_fabric") and (link.gpus_joined is None or link.gpus_joined > 2)
    for row in rows:
        holds = subject.ranks >= row.tensor_parallel_size
        holds &= row.pipelined is None or row.pipelined == (subject.plan.pipeline_parallel_size > 1)
        holds &= row.unified_memory is None or row.unified_memory == subject.gpu.unified_memory
        holds &= row.enforce_eager is None or row.enforce_eager == subject.eager
        holds &= row.link == "any" or (row.link == "nvlink") == fast
        if holds:
            return row
    return rows[-1]


def _activation(subject: Subject, stage: int, z: float, *, compiled: bool = True) -> int:
    """The larger of the forward pass of a full step and of sampling a token for every sequence."""
    constants, model = subject.engine.startup, subject.model
    if model.hyper_connections:
        raise OutOfReach("activations of hyper-connections")
    tokens, sequences = subject.number("max-num-batched-tokens"), subject.number("max-num-seqs")
    element, hidden = DTYPE_BYTES[model.dtype], model.hidden_size
    layers = [model.layers[index] for index in subject.stages[stage]]
    first, last = stage == 0, stage == len(subject.stages) - 1
    experts = max(_workspace(subject, layer, element) for layer in layers)
    widest = max(_width(subject, layer, element) for layer in layers)
    kept = 0
    if constants.expert_workspace_persists:
        kept += experts
    elif experts:
        widest = max(widest, experts + 2 * hidden * element)
    if first and model.vision is not None:
        kept += hidden * element + model.vision.pixel_bytes_per_token
    kept += max(4 * (getattr(layer.mixer, "index_topk", None) or 0) for layer in layers)
    copies = 4 if len(subject.stages) > 1 else 2
    held, expanded = _latent_rows(subject, layers, element)
    base, token = ceil(constants.base_bytes.value), ceil(constants.token_bytes.value)
    factor = constants.forward_factor.value
    if subject.engine.engine == "v0" and _many_widths(subject):
        factor = 1.0
    forward = base + held + expanded
    forward += tokens * (ceil(factor * (widest + copies * hidden * element)) + kept + token)
    peaks, more = [ceil(forward * (1 + z * constants.activation_relative_spread))], constants.activation_relative_spread
    skipped = subject.chunked and not constants.sampler_runs_with_chunked_prefill
    if last and model.has_lm_head and not skipped:
        fixed = base + held + tokens * (kept + hidden * element + token)
        each = model.vocab_size * element + ceil(_per_logit(subject) * model.vocab_size)
        peaks.append(ceil(fixed * (1 + z * more)) + ceil(each * (1 + z * more)) * min(sequences, tokens))
    if first:
        floor = max(_encoder(subject, tokens, sequences), _embedding(subject) if compiled else 0)
        peaks.append(ceil(floor * (1 + z * more)))
    return max(peaks)


def _latent_rows(subject: Subject, layers: list[DecoderLayer], element: int) -> tuple[int, int]:
    held, expanded = 0, 0
    for layer in layers:
        if isinstance(layer.mixer, LatentAttention):
            mixer, heads = layer.mixer, ceil(layer.mixer.num_attention_heads / subject.ranks)
            held = max(held, LATENT_ROWS * (mixer.kv_lora_rank + mixer.qk_rope_head_dim) * element)
            width = heads * (mixer.qk_nope_head_dim + mixer.v_head_dim)
            expanded = max(expanded, LATENT_ROWS * width * element)
    return held, expanded


def _many_widths(subject: Subject) -> bool:
    mlps = [layer.feed_forward for layer in subject.model.layers]
    return len({mlp.intermediate_size for mlp in mlps if isinstance(mlp, DenseMlp)}) >= MANY_WIDTHS


def _per_logit(subject: Subject) -> float:
    """Bytes of sampling per sequence and word, by the model runner that the release gives this model."""
    constants = subject.engine.startup
    if constants.sampler_v2_bytes_per_logit is None or not _on_second_runner(subject):
        return constants.sampler_bytes_per_logit.value
    return constants.sampler_v2_bytes_per_logit.value


def _on_second_runner(subject: Subject) -> bool:
    engine, model = subject.engine, subject.model
    kinds = {type(layer.feed_forward) for layer in model.layers}
    second = engine.model_runner_v2 == "all"
    if model.architecture in engine.model_runner_v2_architectures:
        second |= engine.model_runner_v2 == "listed_or_dense"
        second |= engine.model_runner_v2 == "listed" and subject.quantization.weight_bits >= 16
    elif engine.model_runner_v2 == "listed_or_dense":
        second |= Experts not in kinds
    return second


def _workspace(subject: Subject, layer: DecoderLayer, element: int) -> int:
    experts = layer.feed_forward
    if not isinstance(experts, Experts):
        return 0
    ranks = 1 if subject.plan.expert_parallel else subject.ranks
    inner, width = ceil(experts.moe_intermediate_size / ranks), experts.latent_size or subject.model.hidden_size
    return experts.num_experts_per_tok * (max((2 if experts.gated else 1) * inner, width) + inner) * element


def _width(subject: Subject, layer: DecoderLayer, element: int) -> int:
    """Bytes of one token inside a layer at its widest: in the mixer or in the feed-forward."""
    mixer, ranks, attention = layer.mixer, subject.ranks, 0
    if isinstance(mixer, Attention):
        heads, kv_heads = ceil(mixer.num_attention_heads / ranks), max(1, mixer.num_key_value_heads // ranks)
        gate = 2 if mixer.output_gate else 1
        attention = heads * mixer.head_dim * gate + (kv_heads + heads) * (mixer.head_dim + mixer.v_head_dim)
    elif isinstance(mixer, LatentAttention):
        heads = ceil(mixer.num_attention_heads / ranks)
        attention = 2 * heads * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim)
        attention += heads * (mixer.qk_nope_head_dim + 2 * mixer.v_head_dim)
    elif mixer is not None:
        raise OutOfReach(f"activations of a {type(mixer).__name__} layer")
    bits = subject.quantization.activation_bits
    dense = 0
    for part in (layer.feed_forward, layer.parallel_feed_forward):
        if part is None:
            continue
        is_dense = isinstance(part, DenseMlp)
        inner = part.intermediate_size if isinstance(part, DenseMlp) else part.shared_expert_intermediate_size
        mine = ceil(inner / ranks)
        dense += (3 if part.gated else 2) * mine * element + (mine * bits // 8 if bits < 16 else 0)
        dense += 0 if is_dense else 2 * subject.model.hidden_size * element
    return max(attention * element, dense)


def _encoder(subject: Subject, tokens: int, sequences: int) -> int:
    tower = subject.model.vision
    if tower is None:
        return 0
    layout = Layout(
        gpu=subject.plan.gpu, tensor_parallel_size=subject.ranks, enable_chunked_prefill=subject.chunked,
        media=media_items(tower, subject.number("max-model-len"), {}),
    )  # fmt: skip
    peak = encoder_peak(subject.model, layout, one_each=subject.engine.engine == "v0")
    return 0 if peak is None else peak.bytes(tokens, sequences)


def _graphs(subject: Subject, z: float) -> int:
    """CUDA graphs of the stage with the most layers: 1, 2, 4, then every 8, then in coarse steps."""
    if subject.eager:
        return 0
    constants, capture, model = subject.engine.startup.graphs, subject.engine.graph_capture, subject.model
    tokens, sequences = subject.number("max-num-batched-tokens"), subject.number("max-num-seqs")
    major = (subject.gpu.compute_capability or (0,))[0]
    limit = capture.max_size_capability_10 if major == 10 else capture.max_size
    if capture.sequences_factor is not None:
        limit = min(limit, capture.sequences_factor * sequences)
    if capture.bounded_by_batched_tokens:
        limit = min(limit, tokens)
    sizes = _captured(limit, capture.coarse_from, capture.coarse_step)
    if not sizes:
        return 0
    graphs = len(sizes) + (sum(size <= sequences for size in sizes) if capture.full_graphs else 0)
    factor = constants.irregular_factor if _many_widths(subject) else 1.0
    element = DTYPE_BYTES[model.dtype]
    copies = 4 if len(subject.stages) > 1 else 2
    width = copies * model.hidden_size * element + max(_plain_width(subject, layer, element) for layer in model.layers)
    deepest = max(len(stage) for stage in subject.stages)
    modelled = ceil(factor * constants.base_bytes)
    modelled += graphs * ceil(factor * constants.bytes_per_graph_layer * deepest)
    modelled += sizes[-1] * ceil(factor * constants.bytes_per_captured_byte * width)
    experts = any(isinstance(layer.feed_forward, Experts) for layer in model.layers)
    floor = ceil(constants.experts_floor_bytes if experts else constants.floor_bytes)
    return ceil(max(floor, modelled) * (1 + z * constants.relative_spread))


def _plain_width(subject: Subject, layer: DecoderLayer, element: int) -> int:
    """`_width` with 16-bit activations."""
    plain = subject.quantization.model_copy(update={"activation_bits": 16})
    same = Subject(subject.plan, subject.request, subject.model, subject.gpu, subject.engine, plain)
    return _width(same, layer, element)


def _captured(limit: int, coarse_from: int, coarse_step: int) -> list[int]:
    return [
        size
        for size in range(1, limit + 1)
        if size in (1, 2, 4)
        or (8 <= size < coarse_from and size % 8 == 0)
        or (size >= coarse_from and (size - coarse_from) % coarse_step == 0)
    ]
