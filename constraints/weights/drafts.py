"""Weights of the drafter on the last pipeline stage, exactly as vLLM 0.33 builds them (always at the target's TP).

With h the drafter's and H the target's hidden size, R one decoder layer's row- and column-parallel matrices:

    mtp      one target layer + projection 2H x H + 3 norms of H      projection whole (DeepSeek, GLM) or divided (Qwen)
    eagle    R + projection 2H x h + one norm of h
    eagle3   R with 2h inputs to q, k, v + projection 3H x h + 4 norms; with a vocabulary of its own: head and int64 map
    dflash   n R with q and k norms + projection of the joined layers x h + 3 norms
    draft_model   the whole model

Embedding and head are the target's where they agree; an embedding of another width is the drafter's own, and with
several stages the drafter's stage holds one. Source: `v1/worker/gpu/spec_decode/*`, `models/{llama_eagle3,
deepseek_mtp,qwen3_next_mtp}.py`; equal to vLLM's own parameters, to the byte.
"""

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.speculation import DraftShape, Speculation, mtp_kind
from vllm_opt.constraints.weights.pipeline_ends import VOCABULARY_PADDING, padded_vocabulary
from vllm_opt.constraints.weights.storage import HALF_BYTES
from vllm_opt.profiles.nouns.model import Attention, DenseMlp, ModelProfile

MAP_ENTRY_BYTES = 8
KV_SCALE_BYTES = 8
DIVIDED_PROJECTION = ("Qwen3Next", "Qwen3_5")
"""Classes whose MTP projection tensor parallelism divides."""


def mtp_extra_bytes(model: ModelProfile, ranks: int) -> int:
    """Return the projection and the norms beside the MTP module's layer."""
    divided = ranks if model.architecture.startswith(DIVIDED_PROJECTION) else 1
    return (2 * model.hidden_size // divided * model.hidden_size + 3 * model.hidden_size) * HALF_BYTES


def mimo_mtp_layer_bytes(model: ModelProfile, ranks: int) -> int:
    """Return MiMo's MTP layer: a window layer with the dense MLP in fp8 blocks of 128, its output projection 16-bit."""
    mixer = model.layer_kinds[mtp_kind(model)].mixer
    dense = next(kind.feed_forward for kind in model.layer_kinds if isinstance(kind.feed_forward, DenseMlp))
    if not isinstance(mixer, Attention):
        raise ValueError(f"{model.id} has no window layer to repeat")
    heads, kv_heads = mixer.num_attention_heads // ranks, max(1, mixer.num_key_value_heads // ranks)
    width, inner = model.hidden_size, dense.intermediate_size // ranks
    rows = heads * mixer.head_dim + kv_heads * (mixer.head_dim + mixer.v_head_dim)
    matrices = ((rows, width), (2 * inner, width), (width, inner))
    stored = sum(one * other + 4 * -(-one // 128) * -(-other // 128) for one, other in matrices)
    output = heads * mixer.v_head_dim * width
    return stored + (output + 2 * width + (heads if mixer.sinks else 0)) * HALF_BYTES + KV_SCALE_BYTES


def shape_bytes(shape: DraftShape, method: str, ranks: int) -> int:
    """Return the bytes of a drafter that reads hidden states, on one rank."""
    attention, width = shape.attention, shape.hidden_size
    heads = attention.num_attention_heads // ranks
    kv_heads = max(1, attention.num_key_value_heads // ranks)
    entrance = 2 * width if method == "eagle3" else width
    rows = heads * attention.head_dim + kv_heads * (attention.head_dim + attention.v_head_dim)
    layer = rows * entrance + heads * attention.v_head_dim * width + 3 * shape.intermediate_size // ranks * width
    joined = {"eagle": 2, "eagle3": 3}.get(method, shape.target_layers) * shape.target_hidden_size
    norms = {"eagle": 1, "eagle3": 4}.get(method, 3) * width
    if method == "dflash":
        norms += shape.num_layers * 2 * (width + attention.head_dim)
    elements = shape.num_layers * layer + joined * width + norms
    other = 0
    if shape.draft_vocab_size is not None and shape.draft_vocab_size != shape.vocab_size:
        elements += -(-shape.draft_vocab_size // VOCABULARY_PADDING) * VOCABULARY_PADDING // ranks * width
        other = shape.draft_vocab_size * MAP_ENTRY_BYTES
    if width != shape.target_hidden_size:
        elements += -(-shape.vocab_size // VOCABULARY_PADDING) * VOCABULARY_PADDING // ranks * width
    return elements * HALF_BYTES + other


def embedding_copy_bytes(model: ModelProfile, layout: Layout, speculation: Speculation) -> int:
    """Return the target's embedding on the last of several stages, where MTP modules look tokens up."""
    if layout.pipeline_parallel_size == 1 or speculation.method != "mtp":
        return 0
    return padded_vocabulary(model) // layout.tensor_parallel_size * model.hidden_size * HALF_BYTES
