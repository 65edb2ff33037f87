"""How many bytes one token occupies while a layer runs: the width of the forward pass, per rank.

The profile run feeds `max_num_batched_tokens` tokens through the model. At its peak, the residual stream, the hidden
states, and the widest pair of neighbouring tensors of one layer exist at once. TP divides the tensors inside a layer,
never the residual stream (vLLM 0.19 `v1/worker/gpu_model_runner.py:profile_run`, `_dummy_run`).
"""

from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.pipeline_stages import stage_layers
from vllm_opt.constraints.decisions.speculation import WITHOUT_WEIGHTS
from vllm_opt.constraints.weights.adapters import PUNICA_BYTES_PER_TOKEN
from vllm_opt.profiles.nouns.model import (
    Attention,
    CompressedAttention,
    DecoderLayer,
    DenseMlp,
    Experts,
    LatentAttention,
    ModelProfile,
    StateSpace,
)

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
IRREGULAR_WIDTHS = 4
FLOAT_BYTES = 4
MIXING_COPIES = 5
"""Of the joined streams, read off published start-ups of DeepSeek V4 Flash on GB10: a peak of 5.30 GiB with 8,224
tokens per step and of 1.39 GiB with 2,048, so 0.65 MB per token."""
SELECTED_INDEX_BYTES = 4
LATENT_WORKSPACE_TOKENS = 64 * 1024
"""Context tokens that the chunked-prefill workspace of MLA holds at most
(`layers/attention/mla_attention.py:determine_chunked_prefill_workspace_size`)."""


@dataclass(frozen=True)
class StageTerms:
    """What one pipeline stage needs per token and per sequence, before any fitted constant."""

    kept_fixed_bytes: int
    """Workspaces that stay, whatever the flags: the latent rows of MLA's chunked prefill."""
    transient_fixed_bytes: int
    """Needed while a layer runs, whatever the flags: the expansion of those rows."""
    kept_bytes_per_token: int
    """Outlives its layer: the experts' workspace where it persists, encoder outputs and pixels."""
    width_bytes_per_token: int
    """Residual stream, hidden states and the widest layer."""
    hidden_bytes_per_token: int
    """The hidden states that the sampler starts from."""
    logit_bytes_per_sequence: int
    """One row of logits in the model's dtype."""
    vocab_size: int
    samples: bool
    """The stage runs the output head and the sampler."""


def stage_terms(
    model: ModelProfile, layout: Layout, activation_bits: int, *, workspace_persists: bool
) -> tuple[StageTerms, ...]:
    """Return the terms of every pipeline stage."""
    stages = stage_layers(model.num_hidden_layers, layout.pipeline_parallel_size)
    return tuple(
        _one_stage(
            model,
            layout,
            activation_bits,
            sorted(set(model.layer_pattern[stage.start : stage.stop])),
            workspace_persists=workspace_persists,
            first=number == 0,
            last=number == len(stages) - 1,
        )
        for number, stage in enumerate(stages)
    )


def _one_stage(
    model: ModelProfile,
    layout: Layout,
    activation_bits: int,
    kinds: list[int],
    *,
    workspace_persists: bool,
    first: bool,
    last: bool,
) -> StageTerms:
    layers = [model.layer_kinds[kind] for kind in kinds]
    element = model_dtype_bytes(model)
    experts = max((expert_workspace_bytes(layer, model, layout) for layer in layers), default=0)
    latent = [latent_workspace_bytes(layer, model, layout) for layer in layers]
    widest = max(layer_bytes(layer, model, layout, activation_bits) for layer in layers)
    if not workspace_persists and experts:
        widest = max(widest, experts + 2 * model.hidden_size * element)
    return StageTerms(
        kept_fixed_bytes=max(kept for kept, _ in latent),
        transient_fixed_bytes=max(transient for _, transient in latent),
        kept_bytes_per_token=(experts if workspace_persists else 0)
        + (_encoder_bytes(model) if first else 0)
        + (0 if layout.adapters is None else PUNICA_BYTES_PER_TOKEN)
        + max(_selection_bytes(layer) for layer in layers)
        + (_draft_bytes(model, layout) if last else 0),
        width_bytes_per_token=widest + residual_bytes(model, layout) + _mixing_bytes(model) + _adapter_bytes(layout),
        hidden_bytes_per_token=model.hidden_size * element,
        logit_bytes_per_sequence=model.vocab_size * element + _draft_logit_bytes(model, layout),
        vocab_size=model.vocab_size,
        samples=last and model.has_lm_head,
    )


def _draft_bytes(model: ModelProfile, layout: Layout) -> int:
    """Hidden states that the drafter reads: one buffer of max_num_batched_tokens rows (`spec_decode/*`)."""
    drafts = layout.speculation
    if drafts is None or drafts.method in WITHOUT_WEIGHTS:
        return 0
    return max(1, model.hyper_connections) * model.hidden_size * model_dtype_bytes(model)


def _selection_bytes(layer: DecoderLayer) -> int:
    """One int32 per token and cached entry that an indexer selects: `topk_indices_buffer`, shared by the layers."""
    mixer = layer.mixer
    if isinstance(mixer, CompressedAttention | LatentAttention):
        return (mixer.index_topk or 0) * SELECTED_INDEX_BYTES
    return 0


def _draft_logit_bytes(model: ModelProfile, layout: Layout) -> int:
    """With probabilistic drafts, float32 logits of every drafted token are kept."""
    drafts = layout.speculation
    if drafts is None or not drafts.probabilistic:
        return 0
    return drafts.num_speculative_tokens * model.vocab_size * 4


def _adapter_bytes(layout: Layout) -> int:
    """The shrunken inputs of the widest fused projection in float32: three slices of the rank."""
    return 0 if layout.adapters is None else 3 * layout.adapters.max_lora_rank * 4


def _encoder_bytes(model: ModelProfile) -> int:
    """Encoder outputs and pixels that the profile run keeps, per token of the encoder budget (= T)."""
    if model.vision is None:
        return 0
    return model.hidden_size * model_dtype_bytes(model) + model.vision.pixel_bytes_per_token


def is_irregular(model: ModelProfile) -> bool:
    """Whether the layers' MLPs have many widths, as those that a search of architectures leaves (Nemotron Super)."""
    mlps = (kind.feed_forward for kind in model.layer_kinds)
    return len({mlp.intermediate_size for mlp in mlps if isinstance(mlp, DenseMlp)}) >= IRREGULAR_WIDTHS


def model_dtype_bytes(model: ModelProfile) -> int:
    """Bytes of one activation element."""
    return DTYPE_BYTES[model.dtype]


def residual_bytes(model: ModelProfile, layout: Layout) -> int:
    """Residual stream and hidden states of one token; pipeline stages also keep the pair that they pass on."""
    copies = (4 if layout.pipeline_parallel_size > 1 else 2) * max(1, model.hyper_connections)
    return copies * model.hidden_size * model_dtype_bytes(model)


def _mixing_bytes(model: ModelProfile) -> int:
    """What joining the streams of hyper-connections takes per token: several float32 copies of all of them."""
    return MIXING_COPIES * model.hyper_connections * model.hidden_size * FLOAT_BYTES


def layer_bytes(layer: DecoderLayer, model: ModelProfile, layout: Layout, activation_bits: int = 16) -> int:
    """Bytes of one token inside one layer at its widest, without the residual stream."""
    return max(_mixer_bytes(layer, model, layout), _feed_forward_bytes(layer, model, layout, activation_bits))


def expert_workspace_bytes(layer: DecoderLayer, model: ModelProfile, layout: Layout) -> int:
    """Bytes of one token in the workspace of the fused experts.

    `topk * (max(up width, hidden) + inner width)` elements: two buffers, the first shared by the first product's
    output and the third's (vLLM 0.19 `fused_moe/modular_kernel.py`, `workspace_shapes` of the Triton kernels).
    """
    experts = layer.feed_forward
    if not isinstance(experts, Experts):
        return 0
    width = experts.latent_size or model.hidden_size
    divided = 1 if layout.expert_parallel else layout.tensor_parallel_size
    inner = -(-experts.moe_intermediate_size // divided)
    first = max((2 if experts.gated else 1) * inner, width)
    return experts.num_experts_per_tok * (first + inner) * model_dtype_bytes(model)


def latent_workspace_bytes(layer: DecoderLayer, model: ModelProfile, layout: Layout) -> tuple[int, int]:
    """(kept, transient) bytes of MLA's chunked-prefill workspace on one rank; (0, 0) for any other mixer.

    Kept: 64K latent rows. Transient: their expansion to keys and values per head, which the profile run allocates.
    """
    mixer = layer.mixer
    if not isinstance(mixer, LatentAttention):
        return 0, 0
    element = model_dtype_bytes(model)
    heads = -(-mixer.num_attention_heads // layout.tensor_parallel_size)
    kept = LATENT_WORKSPACE_TOKENS * (mixer.kv_lora_rank + mixer.qk_rope_head_dim) * element
    return kept, LATENT_WORKSPACE_TOKENS * heads * (mixer.qk_nope_head_dim + mixer.v_head_dim) * element


def _mixer_bytes(layer: DecoderLayer, model: ModelProfile, layout: Layout) -> int:
    mixer, ranks = layer.mixer, layout.tensor_parallel_size
    element = model_dtype_bytes(model)
    if isinstance(mixer, Attention):
        heads = -(-mixer.num_attention_heads // ranks)
        kv_heads = max(1, mixer.num_key_value_heads // ranks)
        query = heads * mixer.head_dim * (2 if mixer.output_gate else 1)
        keys_values = kv_heads * (mixer.head_dim + mixer.v_head_dim)
        return (query + keys_values + heads * (mixer.head_dim + mixer.v_head_dim)) * element
    if isinstance(mixer, LatentAttention):
        heads = -(-mixer.num_attention_heads // ranks)
        key_width = mixer.qk_nope_head_dim + mixer.qk_rope_head_dim
        expanded = heads * (mixer.qk_nope_head_dim + mixer.v_head_dim)
        return (2 * heads * key_width + expanded + heads * mixer.v_head_dim) * element
    if isinstance(mixer, CompressedAttention):
        heads = -(-mixer.num_attention_heads // ranks)
        return (2 * heads * mixer.head_dim + mixer.q_lora_rank + 5 * mixer.head_dim) * element
    if isinstance(mixer, StateSpace):
        values = mixer.num_heads * mixer.head_dim
        keys = mixer.num_groups * mixer.state_size
        return 2 * -(-(2 * values + 2 * keys) // ranks) * element
    return 0


def _feed_forward_bytes(layer: DecoderLayer, model: ModelProfile, layout: Layout, activation_bits: int) -> int:
    element = model_dtype_bytes(model)
    dense = 0
    for part in (layer.feed_forward, layer.parallel_feed_forward):
        if isinstance(part, DenseMlp):
            dense += _dense_bytes(part.intermediate_size, layout, activation_bits, element, gated=part.gated)
        elif isinstance(part, Experts):
            dense += _dense_bytes(
                part.shared_expert_intermediate_size, layout, activation_bits, element, gated=part.gated
            )
            dense += 2 * model.hidden_size * element
    return dense


def _dense_bytes(inner: int, layout: Layout, activation_bits: int, element: int, *, gated: bool) -> int:
    """Up (and gate) output, the activated half, and its copy in the precision that the next product reads."""
    mine = -(-inner // layout.tensor_parallel_size)
    copy = mine * activation_bits // 8 if activation_bits < 16 else 0
    return (2 if gated else 1) * mine * element + mine * element + copy
