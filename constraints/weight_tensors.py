"""The weight tensors that vLLM allocates for one model: shapes, how tensor parallelism divides them, and their part.

Shapes follow `vllm/model_executor/layers/{linear,vocab_parallel_embedding,mamba/*}.py` and `fused_moe/layer.py` (0.33).
A fused projection (qkv, gate and up) is one tensor of several row groups, because scales are stored per group.
"""

from typing import Literal, NamedTuple

from vllm_opt.profiles.model import Attention, DecoderLayer, DenseMlp, Experts, LatentAttention, Part, StateSpace

Role = Literal[
    "attention", "state_space", "dense_mlp", "shared_experts", "router", "routed_experts", "norm", "embedding",
    "lm_head", "vision",
]  # fmt: skip
"""What a tensor is for, in reports and in the latency model."""


class Rows(NamedTuple):
    """Output rows that tensor parallelism deals out in whole pieces; a rank always holds at least one piece."""

    size: int
    pieces: int

    def on_rank(self, ranks: int) -> int:
        """Return the rows of the fullest rank: `size / pieces * ceil(pieces / ranks)`; KV heads are replicated so."""
        return self.size // self.pieces * -(-self.pieces // ranks)


class WeightTensor(NamedTuple):
    """One weight matrix (or vector) of a layer, with its bias.

    `part` decides the format it is stored in (None: always unquantised); `copies` is the number of experts.
    `element_bytes` is None where the model's dtype applies.
    """

    name: str
    role: Role
    part: Part | None
    rows: tuple[Rows, ...]
    columns: int
    columns_sharded: bool = False
    row_bias: bool = False
    copies: int = 1
    element_bytes: int | None = None

    @property
    def parameters(self) -> int:
        """Elements over all ranks and copies, bias included."""
        rows = sum(part.size for part in self.rows)
        return self.copies * rows * (self.columns + self.row_bias)


def whole(size: int) -> Rows:
    """Return rows that every rank holds whole."""
    return Rows(size, 1)


def split(size: int) -> Rows:
    """Return rows that are divided evenly."""
    return Rows(size, size)


def vector(
    name: str, role: Role, size: int, *, sharded: bool = False, element_bytes: int | None = None
) -> WeightTensor:
    """Return an unquantised vector such as a norm."""
    return WeightTensor(name, role, None, (Rows(size, size if sharded else 1),), 1, element_bytes=element_bytes)


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
    return tuple(tensors)


def mixer_tensors(mixer: Attention | LatentAttention | StateSpace, hidden_size: int) -> list[WeightTensor]:
    """Return the tensors of one token mixer."""
    if isinstance(mixer, Attention):
        return attention_tensors(mixer, hidden_size)
    if isinstance(mixer, LatentAttention):
        return latent_attention_tensors(mixer, hidden_size)
    return state_space_tensors(mixer, hidden_size)


def attention_tensors(mixer: Attention, hidden_size: int) -> list[WeightTensor]:
    """Return fused qkv, output projection, q and k norms and sinks."""
    heads, kv_heads = mixer.num_attention_heads, mixer.num_key_value_heads
    query = Rows(heads * mixer.head_dim * (2 if mixer.output_gate else 1), heads)
    key, value = Rows(kv_heads * mixer.head_dim, kv_heads), Rows(kv_heads * mixer.v_head_dim, kv_heads)
    qkv = (query,) if mixer.shares_kv_cache else (query, key, value)
    output_columns = heads * mixer.v_head_dim
    tensors = [
        WeightTensor("qkv_proj", "attention", "attention", qkv, hidden_size, row_bias=mixer.qkv_bias),
        WeightTensor("o_proj", "attention", "attention", (whole(hidden_size),), output_columns, columns_sharded=True,
                     row_bias=mixer.output_bias),
    ]  # fmt: skip
    if mixer.scalar_gate_per_head:
        tensors.append(WeightTensor("g_proj", "attention", "attention", (Rows(heads, heads),), hidden_size))
    tensors += _query_key_norms(mixer)
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
        down = (whole(mixer.q_lora_rank), latent)
        tensors = [
            WeightTensor("fused_qkv_a_proj", "attention", "attention", down, hidden_size, row_bias=bias),
            WeightTensor("q_b_proj", "attention", "attention", (query_rows,), mixer.q_lora_rank),
        ]
    up = Rows(heads * (mixer.qk_nope_head_dim + mixer.v_head_dim), heads)
    tensors += [
        WeightTensor("kv_b_proj", "attention", "attention", (up,), mixer.kv_lora_rank),
        WeightTensor("o_proj", "attention", "attention", (whole(hidden_size),), heads * mixer.v_head_dim,
                     columns_sharded=True, row_bias=mixer.output_bias),
        vector("latent_norms", "norm", mixer.kv_lora_rank + (mixer.q_lora_rank or 0)),
    ]  # fmt: skip
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


def state_space_tensors(mixer: StateSpace, hidden_size: int) -> list[WeightTensor]:
    """Return the tensors of one recurrent block, by kind."""
    by_kind = {"mamba1": _mamba1, "mamba2": _mamba2, "gated_delta_net": _gated_delta_net, "lightning": _lightning}
    if mixer.kind not in by_kind:
        raise ValueError(f"no weight formula for a state-space block of kind '{mixer.kind}'")
    return by_kind[mixer.kind](mixer, hidden_size)


def _mamba1(mixer: StateSpace, hidden_size: int) -> list[WeightTensor]:
    inner, state = mixer.num_heads * mixer.head_dim, mixer.state_size
    bias = mixer.projection_bias
    tensors = [
        # vLLM builds the Mamba-1 projections without a quantisation config, so they stay 16-bit.
        WeightTensor("in_proj", "state_space", None, (split(inner), split(inner)), hidden_size, row_bias=bias),
        WeightTensor("conv1d", "state_space", None, (split(inner),), mixer.conv_kernel, row_bias=mixer.conv_bias),
        WeightTensor("x_proj", "state_space", None, (whole(mixer.time_step_rank + 2 * state),), inner, True),
        WeightTensor("dt_proj", "state_space", None, (split(inner),), mixer.time_step_rank, row_bias=True),
        WeightTensor("A", "state_space", None, (split(inner),), state, element_bytes=4),
        vector("D", "state_space", inner, sharded=True),
        WeightTensor("out_proj", "state_space", None, (whole(hidden_size),), inner, True, bias),
    ]
    if mixer.inner_norm:
        tensors.append(vector("inner_norms", "norm", mixer.time_step_rank + 2 * state))
    return tensors


def _mamba2(mixer: StateSpace, hidden_size: int) -> list[WeightTensor]:
    heads, groups = mixer.num_heads, mixer.num_groups
    inner, bias = heads * mixer.head_dim, mixer.projection_bias
    channels, group_rows = Rows(inner, heads), Rows(groups * mixer.state_size, groups)
    conv_rows = (channels, group_rows, group_rows)
    projection = (channels, channels, group_rows, group_rows, Rows(heads, heads))
    return [
        WeightTensor("in_proj", "state_space", "state_space", projection, hidden_size, row_bias=bias),
        WeightTensor("conv1d", "state_space", None, conv_rows, mixer.conv_kernel, row_bias=mixer.conv_bias),
        vector("A", "state_space", heads, sharded=True, element_bytes=4),
        vector("D", "state_space", heads, sharded=True),
        vector("dt_bias", "state_space", heads, sharded=True),
        vector("gated_norm", "norm", inner, sharded=True),
        WeightTensor("out_proj", "state_space", "state_space", (whole(hidden_size),), inner, True, bias),
    ]


def _gated_delta_net(mixer: StateSpace, hidden_size: int) -> list[WeightTensor]:
    heads, key_heads = mixer.num_heads, mixer.num_groups
    inner = heads * mixer.head_dim
    key, value = Rows(key_heads * mixer.state_size, key_heads), Rows(inner, heads)
    per_head = Rows(heads, heads)
    return [
        WeightTensor("in_proj_qkvz", "state_space", "state_space", (key, key, value, value), hidden_size),
        WeightTensor("in_proj_ba", "state_space", "state_space", (per_head, per_head), hidden_size),
        WeightTensor("conv1d", "state_space", None, (key, key, value), mixer.conv_kernel, row_bias=mixer.conv_bias),
        vector("A_log", "state_space", heads, sharded=True, element_bytes=4),
        vector("dt_bias", "state_space", heads, sharded=True),
        vector("gated_norm", "norm", mixer.head_dim),
        WeightTensor("out_proj", "state_space", "state_space", (whole(hidden_size),), inner, True),
    ]


def _lightning(mixer: StateSpace, hidden_size: int) -> list[WeightTensor]:
    heads = mixer.num_heads
    inner = heads * mixer.head_dim
    rows = Rows(inner, heads)
    return [
        WeightTensor("qkv_proj", "state_space", "state_space", (rows, rows, rows), hidden_size),
        WeightTensor("output_gate", "state_space", "state_space", (rows,), hidden_size),
        vector("norm", "norm", inner, sharded=True),
        WeightTensor("out_proj", "state_space", "state_space", (whole(hidden_size),), inner, True),
    ]


def mlp_tensors(name: str, role: Role, part: Part, mlp: DenseMlp, hidden_size: int) -> list[WeightTensor]:
    """Return the fused gate-and-up projection (or up alone) and the down projection of a dense block."""
    inner = split(mlp.intermediate_size)
    first = (inner, inner) if mlp.gated else (inner,)
    return [
        WeightTensor(f"{name}.gate_up_proj", role, part, first, hidden_size, row_bias=mlp.bias),
        WeightTensor(f"{name}.down_proj", role, part, (whole(hidden_size),), mlp.intermediate_size, True, mlp.bias),
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
        WeightTensor("experts.w13", "routed_experts", "experts", first, width, False, experts.bias, count),
        WeightTensor("experts.w2", "routed_experts", "experts", (whole(width),), experts.moe_intermediate_size, True,
                     experts.bias, count),
    ]  # fmt: skip
    if experts.router_bias:
        tensors.append(vector("router_bias", "router", count, element_bytes=4))
    if experts.shared_expert_intermediate_size:
        shared = DenseMlp(intermediate_size=experts.shared_expert_intermediate_size, gated=experts.gated)
        tensors += mlp_tensors("shared_experts", "shared_experts", "shared_experts", shared, hidden_size)
    if experts.shared_expert_gate:
        tensors.append(WeightTensor("shared_expert_gate", "router", None, (whole(1),), hidden_size))
    if experts.latent_size:
        latent = experts.latent_size
        tensors += [
            WeightTensor("fc1_latent_proj", "shared_experts", "shared_experts", (whole(latent),), hidden_size),
            WeightTensor("fc2_latent_proj", "shared_experts", "shared_experts", (whole(hidden_size),), latent),
        ]
    return tensors
