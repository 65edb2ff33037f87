"""How many bytes one token occupies while a layer runs: the width of the forward pass, per rank.

The profile run feeds `max_num_batched_tokens` tokens through the model. At its peak, the residual stream, the hidden
states, and the widest pair of neighbouring tensors of one layer exist at once. TP divides the tensors inside a layer,
never the residual stream (vLLM 0.19 `v1/worker/gpu_model_runner.py:profile_run`, `_dummy_run`).
"""

from vllm_opt.constraints.configuration import Layout
from vllm_opt.profiles.model import (
    Attention,
    DecoderLayer,
    DenseMlp,
    Experts,
    LatentAttention,
    ModelProfile,
    StateSpace,
)

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
LATENT_WORKSPACE_TOKENS = 64 * 1024
"""Context tokens that the chunked-prefill workspace of MLA holds at most
(`layers/attention/mla_attention.py:determine_chunked_prefill_workspace_size`)."""


def model_dtype_bytes(model: ModelProfile) -> int:
    """Bytes of one activation element."""
    return DTYPE_BYTES[model.dtype]


def residual_bytes(model: ModelProfile, layout: Layout) -> int:
    """Residual stream and hidden states of one token; pipeline stages also keep the pair that they pass on."""
    copies = 4 if layout.pipeline_parallel_size > 1 else 2
    return copies * model.hidden_size * model_dtype_bytes(model)


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
