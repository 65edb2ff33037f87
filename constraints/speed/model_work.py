"""ModelWork: what one token and one step of a model cost, in weights, bytes and FLOP, before any GPU is named.

Counts follow the projections of each layer; biases and norms are left out because they are below 0.1 % of the bytes.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from vllm_opt.constraints.speed.checkpoint_work import (
    keep_wide,
    keeps_attention_half,
    keeps_half,
    published_share,
)
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
from vllm_opt.profiles.nouns.quantization import Quantization


@dataclass(frozen=True)
class AttentionGroup:
    """Identical attention layers: what a cached token and a query-key pair cost."""

    layers: int
    query_heads: int
    kv_heads: int
    """0 means a latent cache, which tensor parallelism does not divide."""
    cached_elements: int
    """Elements per token, layer and KV head (latent: per token and layer)."""
    decode_flop: int
    """Per query head and query-key pair when decoding."""
    prefill_flop: int
    """Per query head and query-key pair in prefill."""
    window_tokens: float
    """Tokens that a query reads at most; infinite for full attention."""
    always: bool = False
    """Every query reads all of them, however short its own text: cross attention."""


@dataclass
class ModelWork:
    """Sums over all layers of one model in one weight format."""

    shape: str = ""
    """`model_shape` of the model."""
    quantized_dense: float = 0.0
    half_dense: float = 0.0
    expert_weights: float = 0.0
    active_expert_weights: float = 0.0
    experts: int = 0
    experts_per_token: int = 0
    moe_layers: int = 0
    mixers: int = 0
    feed_forwards: int = 0
    state_layers: int = 0
    latent_layers: int = 0
    head_weights: float = 0.0
    hidden_size: int = 0
    bytes_per_quantized_weight: float = 2.0
    experts_quantized: bool = False
    state_elements: float = 0.0
    state_flop: float = 0.0
    attention: list[AttentionGroup] = field(default_factory=list)

    @property
    def halves(self) -> int:
        """Mixers and feed-forwards: each is half a layer of fixed time and ends in one all-reduce."""
        return self.mixers + self.feed_forwards

    @property
    def bytes_per_expert_weight(self) -> float:
        """Stored bytes of one routed-expert weight, scales included."""
        return self.bytes_per_quantized_weight if self.experts_quantized else 2.0


def model_shape(model: ModelProfile) -> str:
    """What fine-tunes share with their base model: one shape, one speed.

    Width, layers and vocabulary are the same for Llama 2 7B and Mixtral 8x7B: the layers' weights tell them apart.
    """
    counts = ((layer, model.layer_pattern.count(index)) for index, layer in enumerate(model.layer_kinds))
    weights = sum(count * layer_weights(layer, model.hidden_size) for layer, count in counts)
    size = f"{model.hidden_size} wide, {model.num_hidden_layers} layers, {model.vocab_size} words"
    return f"{size}, {weights / 1e9:.2f} G weights"


def layer_weights(layer: DecoderLayer, hidden_size: int) -> float:
    """Weights of one layer's projections, all experts included."""
    total = mixer_weights(layer, hidden_size)
    for part in (layer.feed_forward, layer.parallel_feed_forward):
        if isinstance(part, DenseMlp):
            total += mlp_weights(part, hidden_size)
        elif isinstance(part, Experts):
            total += part.num_experts * expert_weights(part, hidden_size)
    return total


def stored_bytes_per_weight(quantization: Quantization) -> float:
    """Bytes of one quantised weight with its share of scales and zero points; a block scale covers group_size^2."""
    covered = float("inf")
    if quantization.group_size is not None:
        covered = quantization.group_size ** (2 if quantization.scale_granularity == "block" else 1)
    side = quantization.scale_bytes + quantization.zero_point_bits / 8
    return quantization.weight_bits / 8 + side / covered


def mixer_weights(layer: DecoderLayer, hidden_size: int) -> float:
    """Weights of the projections around one token mixer."""
    mixer = layer.mixer
    if isinstance(mixer, Attention):
        query = mixer.num_attention_heads * mixer.head_dim * (2 if mixer.output_gate else 1)
        if mixer.kind == "cross":  # keys and values are made once, from what the encoder heard
            return hidden_size * (query + mixer.num_attention_heads * mixer.v_head_dim)
        value = 0 if mixer.keys_are_values else mixer.num_key_value_heads * mixer.v_head_dim
        keys = mixer.num_key_value_heads * mixer.head_dim
        cached = 0 if mixer.shares_kv_cache else keys + value
        return hidden_size * (query + cached + mixer.num_attention_heads * mixer.v_head_dim)
    if isinstance(mixer, LatentAttention):
        return latent_projection_weights(mixer, hidden_size)
    if isinstance(mixer, CompressedAttention):
        return compressed_projection_weights(mixer, hidden_size)
    if isinstance(mixer, StateSpace):
        return state_projection_weights(mixer, hidden_size)
    return 0.0


def latent_projection_weights(mixer: LatentAttention, hidden_size: int) -> float:
    """Low-rank factors of MLA: q_a, q_b, kv_a, kv_b, o, and the sparse indexer where there is one."""
    heads = mixer.num_attention_heads
    query_width = heads * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim)
    rank = mixer.q_lora_rank
    query = hidden_size * query_width if rank is None else rank * (hidden_size + query_width)
    down = hidden_size * (mixer.kv_lora_rank + mixer.qk_rope_head_dim)
    up = mixer.kv_lora_rank * heads * (mixer.qk_nope_head_dim + mixer.v_head_dim)
    indexer = 0
    if mixer.index_n_heads and mixer.index_head_dim:
        indexer = (rank or hidden_size) * mixer.index_n_heads * mixer.index_head_dim + hidden_size * (
            mixer.index_head_dim + mixer.index_n_heads
        )
    return query + down + up + heads * mixer.v_head_dim * hidden_size + indexer


def compressed_projection_weights(mixer: CompressedAttention, hidden_size: int) -> float:
    """Query, window and output factors of DeepSeek V4, with its compressors and indexer."""
    queries, output = mixer.num_attention_heads * mixer.head_dim, mixer.o_groups * mixer.o_lora_rank
    weights = hidden_size * (mixer.q_lora_rank + mixer.head_dim + output) + mixer.q_lora_rank * queries
    weights += queries * mixer.o_lora_rank
    if mixer.compress_ratio == 4:
        indexer = mixer.q_lora_rank * mixer.index_n_heads * mixer.index_head_dim
        weights += indexer + hidden_size * (4 * mixer.head_dim + 4 * mixer.index_head_dim + mixer.index_n_heads)
    elif mixer.compress_ratio:
        weights += 2 * hidden_size * mixer.head_dim
    return weights


def compressed_groups(mixer: CompressedAttention, layers: int) -> tuple[AttentionGroup, ...]:
    """The window, the compressed states that a query reads (at most index_topk of ratio 4), and the indexer's keys.

    One state stands for `compress_ratio` tokens, so its bytes and FLOP are shared among them.
    """
    heads, dim, ratio = mixer.num_attention_heads, mixer.head_dim, mixer.compress_ratio
    groups = [AttentionGroup(layers, heads, 0, dim, 4 * dim, 4 * dim, float(mixer.window_tokens))]
    if ratio:
        reach = float(ratio * mixer.index_topk) if ratio == 4 else float("inf")
        groups.append(AttentionGroup(layers, heads, 0, dim // ratio, 4 * dim // ratio, 4 * dim // ratio, reach))
    if ratio == 4:
        flop = 2 * mixer.index_head_dim // ratio
        elements = mixer.index_head_dim // ratio
        groups.append(AttentionGroup(layers, mixer.index_n_heads, 0, elements, flop, flop, float("inf")))
    return tuple(groups)


def state_projection_weights(mixer: StateSpace, hidden_size: int) -> float:
    """Input and output projections of a recurrent mixer."""
    value = mixer.num_heads * mixer.head_dim
    key = mixer.num_groups * mixer.state_size
    if mixer.kind == "short_conv":
        return 4 * hidden_size * hidden_size
    if mixer.kind == "mamba1":
        return 3 * hidden_size * value + value * (2 * mixer.time_step_rank + 2 * mixer.state_size)
    return hidden_size * (3 * value + 2 * key + mixer.num_heads)


def attention_group(layer: DecoderLayer, layers: int) -> tuple[AttentionGroup, ...]:
    """The cached-token costs of `layers` identical layers; MLA with an indexer reads at most index_topk tokens."""
    mixer = layer.mixer
    if isinstance(mixer, Attention):
        flop = 2 * (mixer.head_dim + mixer.v_head_dim)
        window = float(mixer.window_tokens) if mixer.window_tokens else float("inf")
        cached = mixer.head_dim + mixer.v_head_dim
        kv_heads, heads = mixer.num_key_value_heads, mixer.num_attention_heads
        both_ways = 1 if mixer.causal else 2
        always = mixer.kind == "cross"
        return (AttentionGroup(layers, heads, kv_heads, cached, flop, both_ways * flop, window, always),)
    if isinstance(mixer, LatentAttention):
        latent = mixer.kv_lora_rank + mixer.qk_rope_head_dim
        decode = 2 * (2 * mixer.kv_lora_rank + mixer.qk_rope_head_dim)
        prefill = 2 * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim + mixer.v_head_dim)
        window = float(mixer.index_topk) if mixer.index_topk else float("inf")
        groups = [AttentionGroup(layers, mixer.num_attention_heads, 0, latent, decode, prefill, window)]
        if mixer.index_n_heads and mixer.index_head_dim:
            flop = 2 * mixer.index_head_dim
            groups.append(
                AttentionGroup(layers, mixer.index_n_heads, 0, mixer.index_head_dim, flop, flop, float("inf"))
            )
        return tuple(groups)
    if isinstance(mixer, CompressedAttention):
        return compressed_groups(mixer, layers)
    return ()


def mlp_weights(mlp: DenseMlp, hidden_size: int) -> float:
    """Weights of one dense feed-forward block."""
    return (3 if mlp.gated else 2) * hidden_size * mlp.intermediate_size


def encodes(layer: DecoderLayer) -> bool:
    """Whether the layer belongs to an encoder: every token attends to all others."""
    return isinstance(layer.mixer, Attention) and not layer.mixer.causal


def expert_weights(experts: Experts, hidden_size: int) -> float:
    """Weights of one routed expert."""
    return (3 if experts.gated else 2) * (experts.latent_size or hidden_size) * experts.moe_intermediate_size


def add_experts(work: ModelWork, experts: Experts, layers: int, hidden_size: int) -> None:
    """Add routed experts, shared experts and routers of `layers` identical layers."""
    matrices = 3 if experts.gated else 2
    one = expert_weights(experts, hidden_size)
    work.expert_weights += layers * experts.num_experts * one
    work.active_expert_weights += layers * experts.num_experts_per_tok * one
    work.experts = max(work.experts, experts.num_experts)
    work.experts_per_token = max(work.experts_per_token, experts.num_experts_per_tok)
    work.moe_layers += layers
    work.half_dense += layers * hidden_size * experts.num_experts
    if experts.latent_size:
        work.quantized_dense += layers * 2 * hidden_size * experts.latent_size
    work.quantized_dense += layers * matrices * hidden_size * experts.shared_expert_intermediate_size


@lru_cache(maxsize=256)
def model_work(model: ModelProfile, quantization: Quantization) -> ModelWork:
    """Count one model in one weight format; the result is shared, so do not change it."""
    work = ModelWork(shape=model_shape(model), hidden_size=model.hidden_size)
    work.head_weights = float(model.vocab_size * model.hidden_size) if model.has_lm_head else 0.0
    work.bytes_per_quantized_weight = stored_bytes_per_weight(quantization)
    quantized = quantization.weight_bits < 16
    work.experts_quantized = quantized
    attention_half = not quantized or keeps_attention_half(model, quantization)
    mlp_half = quantized and keeps_half(model, ".mlp*", ".mlp.gate_proj", ".mlp.down_proj")
    experts_only = quantization.experts_only or (
        model.native_quantization is not None and model.native_quantization.experts_only
    )
    for index, layer in enumerate(model.layer_kinds):
        layers = model.layer_pattern.count(index)
        if model.runner == "transcription" and encodes(layer):
            continue  # once per clip, not per token (`speech.py`)
        work.mixers += layers * (layer.mixer is not None)
        work.feed_forwards += layers * (layer.feed_forward is not None)
        work.state_layers += layers * isinstance(layer.mixer, StateSpace)
        work.latent_layers += layers * isinstance(layer.mixer, LatentAttention)
        mixer = layers * mixer_weights(layer, model.hidden_size)
        if attention_half:
            work.half_dense += mixer
        else:
            work.quantized_dense += mixer
        for part in (layer.feed_forward, layer.parallel_feed_forward):
            if isinstance(part, DenseMlp) and mlp_half:
                work.half_dense += layers * mlp_weights(part, model.hidden_size)
            elif isinstance(part, DenseMlp):
                work.quantized_dense += layers * mlp_weights(part, model.hidden_size)
            elif isinstance(part, Experts):
                add_experts(work, part, layers, model.hidden_size)
        work.attention.extend(attention_group(layer, layers))
        if isinstance(layer.mixer, StateSpace) and layer.mixer.kind != "short_conv":
            state = layers * layer.mixer.num_heads * layer.mixer.head_dim * layer.mixer.state_size
            work.state_elements += state
            work.state_flop += 6 * state
    if not quantized or experts_only:
        work.half_dense, work.quantized_dense = work.half_dense + work.quantized_dense, 0.0
    keep_wide(model, quantization, work)
    work.bytes_per_quantized_weight *= published_share(model, quantization, work)
    return work
