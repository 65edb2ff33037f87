"""The weight tensors that vLLM allocates for one decoder layer, by kind of mixer and feed-forward part.

Shapes follow `vllm/model_executor/layers/linear.py`, `mla.py`, `fused_moe/layer.py` and the model files of vLLM 0.33.
"""

from vllm_opt.constraints.weights.compressed_tensors import compressed_attention_tensors, hyper_connection_tensors
from vllm_opt.constraints.weights.recurrent_tensors import state_space_tensors
from vllm_opt.constraints.weights.tensor import Role, Rows, WeightTensor, split, vector, whole
from vllm_opt.profiles.nouns.model import (
    Attention,
    CompressedAttention,
    DecoderLayer,
    DenseMlp,
    Experts,
    LatentAttention,
    Mixer,
    Part,
)


def layer_tensors(layer: DecoderLayer, hidden_size: int) -> tuple[WeightTensor, ...]:
    """Return every tensor of one decoder layer."""
    tensors: list[WeightTensor] = []
    if layer.mixer is not None:
        tensors += mixer_tensors(layer.mixer, hidden_size)
    for feed_forward in (layer.feed_forward, layer.parallel_feed_forward):
        if isinstance(feed_forward, DenseMlp):
            tensors += mlp_tensors("mlp", "dense_mlp", "dense_mlp", feed_forward, hidden_size)
        elif isinstance(feed_forward, Experts):
            tensors += expert_tensors(feed_forward, hidden_size)
    if layer.norm_parameters:
        tensors.append(vector("norms", "norm", layer.norm_parameters))
    if layer.extra_parameters:
        tensors.append(vector("extra", "norm", layer.extra_parameters))
    return (*tensors, *hyper_connection_tensors(layer.hyper_connections, hidden_size))


def mixer_tensors(mixer: Mixer, hidden_size: int) -> list[WeightTensor]:
    """Return the tensors of one token mixer."""
    if isinstance(mixer, Attention):
        return attention_tensors(mixer, hidden_size)
    if isinstance(mixer, CompressedAttention):
        return compressed_attention_tensors(mixer, hidden_size)
    if isinstance(mixer, LatentAttention):
        return latent_attention_tensors(mixer, hidden_size)
    return state_space_tensors(mixer, hidden_size)


def attention_tensors(mixer: Attention, hidden_size: int) -> list[WeightTensor]:
    """Return fused qkv, output projection, q and k norms and sinks."""
    heads, kv_heads = mixer.num_attention_heads, mixer.num_key_value_heads
    query = Rows(heads * mixer.head_dim * (2 if mixer.output_gate else 1), heads)
    key, value = Rows(kv_heads * mixer.head_dim, kv_heads), Rows(kv_heads * mixer.v_head_dim, kv_heads)
    qkv: tuple[Rows, ...] = (query,) if mixer.shares_kv_cache else (query, key, value)
    if mixer.index_heads and mixer.index_head_dim:
        qkv += (Rows(mixer.index_heads * mixer.index_head_dim, mixer.index_heads), whole(mixer.index_head_dim))
    output_columns = heads * mixer.v_head_dim
    tensors = [
        WeightTensor("qkv_proj", "attention", "attention", qkv, hidden_size, row_bias=mixer.qkv_bias),
        WeightTensor(
            "o_proj",
            "attention",
            "attention_output",
            (whole(hidden_size),),
            output_columns,
            columns_sharded=True,
            row_bias=mixer.output_bias,
        ),
    ]
    if mixer.scalar_gate_per_head:
        tensors.append(WeightTensor("g_proj", "attention", None, (Rows(heads, heads),), hidden_size))
    tensors += _query_key_norms(mixer)
    if mixer.index_head_dim:
        tensors.append(vector("index_norms", "norm", 2 * mixer.index_head_dim))
    if mixer.sinks:
        tensors.append(vector("sinks", "attention", heads, sharded=True))
    return tensors


def _query_key_norms(mixer: Attention) -> list[WeightTensor]:
    if mixer.qk_norm == "none":
        return []
    keys = 0 if mixer.shares_kv_cache else 1
    if mixer.qk_norm == "per_head":
        return [vector("qk_norm", "norm", mixer.head_dim * (1 + keys))]
    heads, kv_heads = mixer.num_attention_heads, mixer.num_key_value_heads
    norms = (Rows(heads * mixer.head_dim, heads), Rows(kv_heads * mixer.head_dim, kv_heads))
    if mixer.replicated_qk_norm:
        norms = (whole(heads * mixer.head_dim), whole(kv_heads * mixer.head_dim))
    return [WeightTensor("qk_norm", "norm", None, norms[: 1 + keys], 1)]


def latent_attention_tensors(mixer: LatentAttention, hidden_size: int) -> list[WeightTensor]:
    """Return the MLA projections: down-projections whole on every rank, up-projections divided by heads."""
    heads = mixer.num_attention_heads
    query_rows = Rows(heads * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim), heads)
    latent = whole(mixer.kv_lora_rank + mixer.qk_rope_head_dim)
    bias = mixer.qkv_bias
    if mixer.q_lora_rank is None:
        tensors = [
            WeightTensor("q_proj", "attention", "attention", (query_rows,), hidden_size, row_bias=bias),
            WeightTensor("kv_a_proj", "attention", "attention", (latent,), hidden_size, row_bias=bias),
        ]
    else:
        down: tuple[Rows, ...] = (whole(mixer.q_lora_rank), latent)
        if mixer.output_gate:
            down = (*down, Rows(heads * mixer.v_head_dim, heads))
        tensors = [
            WeightTensor("fused_qkv_a_proj", "attention", "attention", down, hidden_size, row_bias=bias),
            WeightTensor("q_b_proj", "attention", "attention", (query_rows,), mixer.q_lora_rank),
        ]
    up = Rows(heads * (mixer.qk_nope_head_dim + mixer.v_head_dim), heads)
    tensors += [
        WeightTensor("kv_b_proj", "attention", "attention", (up,), mixer.kv_lora_rank),
        WeightTensor(
            "o_proj",
            "attention",
            "attention_output",
            (whole(hidden_size),),
            heads * mixer.v_head_dim,
            columns_sharded=True,
            row_bias=mixer.output_bias,
        ),
        vector("latent_norms", "norm", mixer.kv_lora_rank + (mixer.q_lora_rank or 0)),
    ]
    return tensors + _indexer_tensors(mixer, hidden_size)


def _indexer_tensors(mixer: LatentAttention, hidden_size: int) -> list[WeightTensor]:
    if not mixer.index_n_heads or not mixer.index_head_dim:
        return []
    query_rows = whole(mixer.index_n_heads * mixer.index_head_dim)
    query_width = mixer.q_lora_rank or hidden_size
    return [
        WeightTensor("indexer.wq_b", "attention", "indexer", (query_rows,), query_width),
        WeightTensor("indexer.wk", "attention", None, (whole(mixer.index_head_dim),), hidden_size),
        WeightTensor("indexer.weights_proj", "attention", None, (whole(mixer.index_n_heads),), hidden_size),
        vector("indexer.k_norm", "norm", 2 * mixer.index_head_dim, element_bytes=4),
    ]


def mlp_tensors(
    name: str, role: Role, part: Part, mlp: DenseMlp, hidden_size: int, block: int = 1
) -> list[WeightTensor]:
    """Return the fused gate-and-up projection (or up alone) and the down projection of a dense block.

    TP deals out the inner width in whole blocks of `block`, so that the last rank may hold padding.
    """
    inner = Rows(mlp.intermediate_size, -(-mlp.intermediate_size // block))
    first = (inner, inner) if mlp.gated else (inner,)
    return [
        WeightTensor(f"{name}.gate_up_proj", role, part, first, hidden_size, row_bias=mlp.bias),
        WeightTensor(
            f"{name}.down_proj",
            role,
            part,
            (whole(hidden_size),),
            mlp.intermediate_size,
            columns_sharded=True,
            row_bias=mlp.bias,
            column_block=block,
        ),
    ]


def expert_tensors(experts: Experts, hidden_size: int) -> list[WeightTensor]:
    """Return router, routed experts, shared experts and the projections into a latent width."""
    width = experts.latent_size or hidden_size
    inner = split(experts.moe_intermediate_size)
    first = (inner, inner) if experts.gated else (inner,)
    count, router_bytes = experts.num_experts, 4 if experts.router_dtype == "float32" else None
    router = WeightTensor("router", "router", "router", (whole(count),), hidden_size, element_bytes=router_bytes)
    tensors = [
        router,
        WeightTensor(
            "experts.w13",
            "routed_experts",
            "experts",
            first,
            width,
            row_bias=experts.bias,
            copies=count,
            least_shard=experts.least_inner_width,
        ),
        WeightTensor(
            "experts.w2",
            "routed_experts",
            "experts",
            (whole(width),),
            experts.moe_intermediate_size,
            columns_sharded=True,
            row_bias=experts.bias,
            copies=count,
            least_shard=experts.least_inner_width,
        ),
    ]
    if experts.router_bias:
        # A bias of the router itself has the model's dtype (gpt-oss); a score correction is float32 (DeepSeek).
        tensors.append(vector("router_bias", "router", count, element_bytes=None if experts.bias else 4))
    if experts.shared_expert_intermediate_size:
        shared = DenseMlp(intermediate_size=experts.shared_expert_intermediate_size, gated=experts.gated)
        block = experts.shared_expert_block
        tensors += mlp_tensors("shared_experts", "shared_experts", "shared_experts", shared, hidden_size, block)
    if experts.shared_expert_gate:
        tensors.append(WeightTensor("shared_expert_gate", "router", None, (whole(1),), hidden_size))
    if experts.hash_table_entries:
        tensors.append(vector("tid2eid", "router", experts.hash_table_entries, element_bytes=4))
    if experts.latent_size:
        tensors += _latent_projections(experts, experts.latent_size, hidden_size)
    return tensors


def _latent_projections(experts: Experts, latent: int, hidden_size: int) -> list[WeightTensor]:
    part: Part | None = None if experts.latent_norm else "shared_experts"
    projections = [
        WeightTensor("fc1_latent_proj", "shared_experts", part, (whole(latent),), hidden_size),
        WeightTensor("fc2_latent_proj", "shared_experts", part, (whole(hidden_size),), latent),
    ]
    return [*projections, vector("latent_norm", "norm", latent)] if experts.latent_norm else projections
