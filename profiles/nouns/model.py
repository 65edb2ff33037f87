"""ModelProfile: the architecture of one model, as its Hugging Face `config.json` states it.

Field names are the config keys where one exists. A model is a list of decoder layers; each layer has a token mixer
(attention, latent attention, a state-space or linear-attention block, or nothing) and a feed-forward part (dense,
experts, or nothing). Identical layers share one `DecoderLayer`, so physics is computed once per kind of layer.
"""

from typing import Annotated, Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.checkpoint import Checkpoint, CheckpointQuantization, Part, PartFormat
from vllm_opt.profiles.nouns.vision import VisionTower

__all__ = [
    "Attention",
    "Checkpoint",
    "CheckpointQuantization",
    "CompressedAttention",
    "DecoderLayer",
    "DenseMlp",
    "Experts",
    "FeedForward",
    "LatentAttention",
    "Mixer",
    "ModelProfile",
    "Part",
    "PartFormat",
    "StateSpace",
    "VisionTower",
]


class Attention(Noun):
    """Multi-head, grouped-query or multi-query attention with a KV cache per token.

    Weights, with H = hidden_size: q `H*heads*head_dim` (doubled by `output_gate`), k `H*kv*head_dim`, v
    `H*kv*v_head_dim` (`keys_are_values`: allocated, not counted), o `heads*v_head_dim*H`; biases; q and k norms as
    `qk_norm` says; one sink per head. A layer that `shares_kv_cache` has no k, v or k norm of its own.
    """

    mixer: Literal["attention"] = "attention"
    kind: Literal["full", "sliding_window", "chunked_local", "cross"] = Field(
        "full", description="which past tokens it reads; cross: those of an encoder, `window_tokens` of them"
    )
    num_attention_heads: int = Field(gt=0, description="query heads")
    num_key_value_heads: int = Field(gt=0, description="key and value heads kept in the cache")
    head_dim: int = Field(gt=0, description="elements of one query or key head")
    v_head_dim: int = Field(gt=0, description="elements of one value head")
    window_tokens: int | None = Field(
        None, gt=0, description="sliding window, chunk length, or encoder tokens; None for full attention"
    )
    qkv_bias: bool = Field(False, description="q, k and v projections carry a bias")
    output_bias: bool = Field(False, description="the output projection carries a bias")
    qk_norm: Literal["none", "per_head", "all_heads"] = Field(
        "none",
        description="norm of q and k: none; one weight of head_dim for q and one for k, shared by all heads and kept "
        "whole on every rank; or one weight per element of all heads (heads*head_dim and kv*head_dim)",
    )
    rotary_position_factor: float = Field(
        1.0, ge=1, description="rows of the rotary table divided by max_model_len (linear scaling of Gemma 3: 8)"
    )
    replicated_qk_norm: bool = Field(False, description="norms over all heads are whole on every rank (OLMo)")
    scalar_gate_per_head: bool = Field(False, description="a gate projection of hidden_size x query heads (Step 3.5)")
    output_gate: bool = Field(False, description="the query projection is doubled by an output gate (Qwen3-Next)")
    sinks: bool = Field(False, description="one learned sink logit per query head (gpt-oss)")
    shares_kv_cache: bool = Field(False, description="reads another layer's cache and owns none (Gemma 3n and 4)")
    causal: bool = Field(True, description="a query reads earlier tokens only; otherwise an encoder without a cache")
    keys_are_values: bool = Field(False, description="the checkpoint has no v_proj; vLLM allocates one (Gemma 4)")
    index_heads: int | None = Field(None, gt=0, description="query heads of a block selector (MiniMax M3)")
    index_head_dim: int | None = Field(
        None, gt=0, description="width of its one key head, which has a cache of its own; None: no selector"
    )
    index_cache_dtype: str = Field("auto", description="dtype of the selector's keys in the cache")


class LatentAttention(Noun):
    """Multi-head latent attention (MLA): one latent vector per token and layer, never divided by TP.

    Weights, with H = hidden_size and `qk = qk_nope_head_dim + qk_rope_head_dim`: q_a `H*q_lora_rank` and q_b
    `q_lora_rank*heads*qk` (or q `H*heads*qk`), kv_a `H*(kv_lora_rank + qk_rope_head_dim)`, kv_b
    `kv_lora_rank*heads*(qk_nope_head_dim + v_head_dim)`, o `heads*v_head_dim*H`, norms `q_lora_rank + kv_lora_rank`.
    The indexer adds wq_b `q_lora_rank*index_n_heads*index_head_dim`, wk `H*index_head_dim`, weights
    `H*index_n_heads` and a LayerNorm of `2*index_head_dim`, all replicated on every rank.
    """

    mixer: Literal["latent_attention"] = "latent_attention"
    num_attention_heads: int = Field(gt=0, description="query heads")
    q_lora_rank: int | None = Field(None, gt=0, description="rank of the query down-projection; None: full q_proj")
    kv_lora_rank: int = Field(gt=0, description="rank of the shared key/value latent")
    qk_nope_head_dim: int = Field(gt=0, description="key elements per head without rotary position")
    qk_rope_head_dim: int = Field(ge=0, description="key elements shared by all heads with rotary position")
    v_head_dim: int = Field(gt=0, description="value elements per head")
    index_n_heads: int | None = Field(None, description="heads of the sparse-attention indexer (DeepSeek V3.2)")
    index_head_dim: int | None = Field(None, description="elements per indexer head")
    index_topk: int | None = Field(None, description="tokens that the indexer selects per query")
    qkv_bias: bool = Field(False, description="q_a (or q) and kv_a projections carry a bias")
    output_bias: bool = Field(False, description="the output projection carries a bias")
    output_gate: bool = Field(
        False, description="a gate of `heads*v_head_dim` rows beside the q_a projection (Kimi K3)"
    )


class CompressedAttention(Noun):
    """Attention over a short window and, beyond it, over compressed states of `compress_ratio` tokens (DeepSeek V4).

    Weights, with H = hidden_size and d = head_dim: wq_a and wkv `H*(q_lora_rank + d)`, wq_b `q_lora_rank*heads*d`,
    wo_a `heads*d/o_groups * o_groups*o_lora_rank`, wo_b `o_groups*o_lora_rank*H`, norms `q_lora_rank + d`, one sink per
    head. Ratio 4 adds an overlapping compressor of 4*d columns and an indexer, ratio 128 one of 2*d columns.
    Source: vLLM 0.33 `models/deepseek_v4/attention.py`, `compressor.py`.
    """

    mixer: Literal["compressed_attention"] = "compressed_attention"
    num_attention_heads: int = Field(gt=0, description="query heads")
    head_dim: int = Field(gt=0, description="elements of the one key head, which also is the value")
    q_lora_rank: int = Field(gt=0, description="rank of the query projection")
    o_groups: int = Field(gt=0, description="groups of heads with an output projection of their own")
    o_lora_rank: int = Field(gt=0, description="rank of each group's output projection")
    qk_rope_head_dim: int = Field(ge=0, description="elements of a head with rotary position")
    window_tokens: int = Field(gt=0, description="tokens that every layer keeps uncompressed")
    compress_ratio: Literal[0, 4, 128] = Field(0, description="tokens per compressed state; 0: the window only")
    index_n_heads: int = Field(gt=0, description="heads of the indexer (ratio 4 only)")
    index_head_dim: int = Field(gt=0, description="elements per indexer head")
    index_topk: int = Field(gt=0, description="compressed states that a query reads")
    index_cache_dtype: Literal["auto", "mxfp4"] = Field("auto", description="how the indexer's keys are cached")
    backend: Literal["auto", "FLASHINFER_MLA_SPARSE_DSV4"] = Field("auto", description="--attention-backend")


class StateSpace(Noun):
    """A recurrent mixer whose state does not grow with the sequence (Mamba, gated delta net, lightning attention).

    `vllm/model_executor/layers/mamba/mamba_utils.py` (0.33) holds the state shapes per kind. Weights, with H =
    hidden_size, I = num_heads*head_dim, G = num_groups, N = state_size:

    - mamba1: in_proj `2*I*H`, conv `I*conv_kernel` (+ I bias), x_proj `I*(time_step_rank + 2*N)`, dt_proj
      `time_step_rank*I + I`, A `I*N`, D `I`, out_proj `I*H`; `inner_norm` adds norms `time_step_rank + 2*N`.
    - mamba2: in_proj `H*(2*I + 2*G*N + num_heads)`, conv over `I + 2*G*N` channels, `3*num_heads` (A, D, dt bias),
      gated norm `I`, out_proj `I*H`.
    - gated_delta_net: key width K = G*N; in_proj `H*(2*K + 2*I)`, b and a `H*2*num_heads`, conv over `2*K + I`,
      `2*num_heads` (A, dt bias), gated norm `head_dim`, out_proj `I*H`.
    - kimi_delta: in_proj `H*(2*K + 2*I + decay_rank + num_heads)` (q, k, v, gate, decay, b; the gate is of rank
      `decay_rank` without `full_rank_gate`), decay `decay_rank*K`, conv over `2*K + I` in float32, `num_heads` (A),
      `K` (dt bias), norm `head_dim`, out_proj `I*H`.
    - lightning: qkv `H*3*I`, output gate `H*I`, norm `I`, out_proj `I*H`; no convolution.
    """

    mixer: Literal["state_space"] = "state_space"
    kind: Literal["mamba1", "mamba2", "gated_delta_net", "lightning", "kimi_delta", "short_conv"]
    num_heads: int = Field(gt=0, description="value heads of the state (mamba1: 1)")
    head_dim: int = Field(gt=0, description="value elements per head (mamba1: the inner width)")
    state_size: int = Field(gt=0, description="key elements per head of the state (d_state, linear_key_head_dim)")
    num_groups: int = Field(1, gt=0, description="groups that share B and C (mamba2) or key heads (delta nets)")
    conv_kernel: int = Field(0, ge=0, description="taps of the causal convolution; 0: no convolution state")
    time_step_rank: int = Field(0, ge=0, description="rank of the time-step projection (mamba1)")
    conv_bias: bool = Field(False, description="the convolution carries a bias")
    projection_bias: bool = Field(False, description="in_proj and out_proj carry a bias")
    inner_norm: bool = Field(False, description="norms of dt, B and C inside the mixer (Jamba)")
    ssm_dtype: str | None = Field(None, description="dtype that the config asks for the recurrent state")
    decay_rank: int = Field(0, ge=0, description="rank of the decay projection (kimi_delta); 0: full")
    full_rank_gate: bool = Field(False, description="the output gate is one full matrix (Kimi K3)")


Mixer = Annotated[Attention | LatentAttention | CompressedAttention | StateSpace, Field(discriminator="mixer")]


class DenseMlp(Noun):
    """A feed-forward block that every token passes."""

    feed_forward: Literal["dense"] = "dense"
    intermediate_size: int = Field(gt=0, description="inner width")
    gated: bool = Field(True, description="gate and up projections (SwiGLU); otherwise up only")
    bias: bool = Field(False, description="all projections carry a bias")


class Experts(Noun):
    """A mixture of experts; each token passes `num_experts_per_tok` of them and all shared experts.

    Weights, with H = hidden_size, W = `latent_size` or H, and m = 3 if gated else 2 matrices: routed
    `num_experts*m*W*moe_intermediate_size` (bias: `num_experts*((m - 1)*moe_intermediate_size + W)`), router
    `H*num_experts` (+ num_experts with `router_bias`), shared `m*H*shared_expert_intermediate_size` (+ H with
    `shared_expert_gate`), and `2*H*latent_size` for the projections into and out of the latent width.
    """

    feed_forward: Literal["experts"] = "experts"
    num_experts: int = Field(gt=0, description="routed experts")
    num_experts_per_tok: int = Field(gt=0, description="routed experts that one token passes")
    moe_intermediate_size: int = Field(gt=0, description="inner width of one routed expert")
    shared_expert_intermediate_size: int = Field(0, ge=0, description="inner width of all shared experts together")
    gated: bool = Field(True, description="experts have gate and up projections; otherwise up only")
    bias: bool = Field(False, description="expert projections carry a bias (gpt-oss)")
    router_bias: bool = Field(False, description="the router carries a bias or score correction per expert")
    router_dtype: Literal["model", "float32"] = Field("model", description="dtype of the router's weight")
    shared_expert_gate: bool = Field(False, description="a scalar gate multiplies the shared experts (Qwen)")
    latent_size: int | None = Field(None, description="routed experts work in this width instead of hidden_size")
    latent_norm: bool = Field(False, description="a norm in the latent width; its projections are 16-bit (Kimi K3)")
    shared_expert_block: int = Field(1, gt=0, description="TP deals out the shared experts' width in blocks of this")
    least_inner_width: int = Field(
        0, ge=0, description="a rank's share of an expert's width is padded to this (Kimi K3)"
    )
    hash_table_entries: int = Field(0, ge=0, description="int32 entries of a token-to-expert table (DeepSeek V4)")


FeedForward = Annotated[DenseMlp | Experts, Field(discriminator="feed_forward")]


class DecoderLayer(Noun):
    """One decoder layer: a token mixer, a feed-forward part, and its norms.

    Norms of q, k, latents and state-space blocks belong to the mixer, not to `norm_parameters`.
    """

    mixer: Mixer | None = None
    feed_forward: FeedForward | None = None
    parallel_feed_forward: DenseMlp | None = Field(None, description="a dense MLP beside the experts (Gemma 4)")
    norm_parameters: int = Field(0, ge=0, description="parameters of the layer's norms, replicated on every rank")
    extra_parameters: int = Field(0, ge=0, description="other small 16-bit parameters, replicated on every rank")
    hyper_connections: int = Field(
        0, ge=0, description="residual streams m that two float32 maps of (m^2 + 2m) x m*hidden_size mix (DeepSeek V4)"
    )


class ModelProfile(Noun):
    """Everything about one model that memory, latency and validity depend on."""

    id: str = Field(description="Hugging Face id")
    model_type: str = Field(description="`model_type` of the config")
    architecture: str = Field(description="first entry of `architectures`: the vLLM class")
    vllm_since: str | None = Field(None, description="oldest release that loads the architecture; None: not looked up")
    vllm_until: str | None = Field(None, description="newest release that loads the architecture; None: still does")
    hidden_size: int = Field(gt=0, description="width of the residual stream")
    vocab_size: int = Field(gt=0, description="rows of the embedding")
    max_model_len: int = Field(gt=0, description="largest context vLLM derives from the config, in tokens")
    default_max_model_len: int | None = Field(
        None, gt=0, description="context vLLM takes when none is asked, where it is below max_model_len (LongRoPE)"
    )
    context_of: str | None = Field(None, description="the model whose context limit stands in for an unknown one")
    dtype: Literal["bfloat16", "float16", "float32"] = Field("bfloat16", description="dtype of unquantised weights")
    tie_word_embeddings: bool = Field(False, description="the output head reuses the embedding")
    layer_kinds: tuple[DecoderLayer, ...] = Field(description="the distinct decoder layers")
    layer_pattern: tuple[int, ...] = Field(description="index into layer_kinds for each decoder layer, in order")
    final_norm_parameters: int = Field(ge=0, description="parameters of the norm before the output head")
    extra_parameters: int = Field(
        0, ge=0, description="other 16-bit parameters beside the embedding (first pipeline stage), on every TP rank"
    )
    divided_parameters: int = Field(
        0, ge=0, description="further 16-bit parameters there that TP divides: tables of positions and types (BERT)"
    )
    per_layer_embedding_width: int = Field(
        0,
        ge=0,
        description="columns of a second embedding of vocab_size rows and of a projection of hidden_size rows, "
        "on the first pipeline stage, both divided by TP (Gemma 3n and 4)",
    )
    hyper_connections: int = Field(
        0, ge=0, description="residual streams m that one float32 map of m x m*hidden_size joins before the head"
    )
    runner: Literal["generate", "pooling", "transcription"] = Field(
        "generate", description="what the model gives: text, vectors or scores of a text, or the text of speech"
    )
    is_causal: bool = Field(True, description="`is_causal` of the config; false: as a pooling model it is an encoder")
    whole_prompts: bool = Field(False, description="its pooler needs all of a prompt at once (MEAN, CLS, STEP)")
    has_lm_head: bool = Field(True, description="the model has an output head over the vocabulary")
    vision: VisionTower | None = None
    bidirectional_image_tokens: bool = Field(
        False, description="image tokens attend both ways, which few attention backends can (Gemma 3 and 4 with images)"
    )
    native_quantization: CheckpointQuantization | None = Field(None, description="None: the checkpoint is 16-bit")
    checkpoints: tuple[Checkpoint, ...] = Field((), description="known checkpoints in other formats")
    quantized_from: str | None = Field(None, description="the model whose weights these are, where they were quantised")
    assumptions: tuple[str, ...] = Field((), description="config keys that were absent, and what was taken instead")
    source: str = Field("", description="where the config was read")
    verification: str = Field("", description="how well the sizes are known, in words")

    @property
    def num_hidden_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.layer_pattern)

    @property
    def keeps_cache(self) -> bool:
        """Whether some layer remembers tokens; an encoder alone does not."""
        mixers = [kind.mixer for kind in self.layer_kinds]
        return any(mixer is not None and getattr(mixer, "causal", True) for mixer in mixers)

    @property
    def cuts_prompts(self) -> bool:
        """Whether a prompt may be computed in pieces: not where every token reads later ones, nor by an encoder."""
        return self.keeps_cache and self.runner != "transcription" and not self.whole_prompts

    @property
    def layers(self) -> tuple[DecoderLayer, ...]:
        """The decoder layers in order."""
        return tuple(self.layer_kinds[index] for index in self.layer_pattern)
