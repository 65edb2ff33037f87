"""The weight tensors of recurrent mixers: Mamba 1 and 2, gated and Kimi delta nets, lightning attention.

Shapes follow `vllm/model_executor/layers/mamba/` of vLLM 0.33: heads and channels are divided by tensor parallelism,
groups are replicated where there are fewer of them than ranks.
"""

from vllm_opt.constraints.weights.tensor import Rows, WeightTensor, split, vector, whole
from vllm_opt.profiles.nouns.model import StateSpace


def state_space_tensors(mixer: StateSpace, hidden_size: int) -> list[WeightTensor]:
    """Return the tensors of one recurrent block, by kind."""
    by_kind = {
        "mamba1": _mamba1,
        "mamba2": _mamba2,
        "gated_delta_net": _gated_delta_net,
        "lightning": _lightning,
        "kimi_delta": _kimi_delta,
    }
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
        WeightTensor(
            "x_proj", "state_space", None, (whole(mixer.time_step_rank + 2 * state),), inner, columns_sharded=True
        ),
        WeightTensor("dt_proj", "state_space", None, (split(inner),), mixer.time_step_rank, row_bias=True),
        WeightTensor("A", "state_space", None, (split(inner),), state, element_bytes=4),
        vector("D", "state_space", inner, sharded=True),
        WeightTensor(
            "out_proj", "state_space", None, (whole(hidden_size),), inner, columns_sharded=True, row_bias=bias
        ),
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
        WeightTensor(
            "out_proj", "state_space", "state_space", (whole(hidden_size),), inner, columns_sharded=True, row_bias=bias
        ),
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
        WeightTensor("out_proj", "state_space", "state_space", (whole(hidden_size),), inner, columns_sharded=True),
    ]


def _lightning(mixer: StateSpace, hidden_size: int) -> list[WeightTensor]:
    heads = mixer.num_heads
    inner = heads * mixer.head_dim
    rows = Rows(inner, heads)
    return [
        WeightTensor("qkv_proj", "state_space", "state_space", (rows, rows, rows), hidden_size),
        WeightTensor("output_gate", "state_space", "state_space", (rows,), hidden_size),
        vector("norm", "norm", inner, sharded=True),
        WeightTensor("out_proj", "state_space", "state_space", (whole(hidden_size),), inner, columns_sharded=True),
    ]


KIMI_PROJECTION_ROWS = 16
"""The fused input projection of a Kimi delta net is padded to a multiple of so many rows per rank (`kda.py`, 0.33)."""


def _kimi_delta(mixer: StateSpace, hidden_size: int) -> list[WeightTensor]:
    # Checkpoints name these layers self_attn, so their lists of ignored modules mean them as attention.
    heads, rank = mixer.num_heads, mixer.decay_rank
    inner, keys = heads * mixer.head_dim, mixer.num_groups * mixer.state_size
    key, value = Rows(keys, mixer.num_groups), Rows(inner, heads)
    gate = value if mixer.full_rank_gate else whole(rank)
    tensors = [
        WeightTensor(
            "in_proj_qkvgfab",
            "state_space",
            "attention",
            (key, key, value, gate, whole(rank) if rank else key, Rows(heads, heads)),
            hidden_size,
            row_multiple=KIMI_PROJECTION_ROWS,
        ),
        WeightTensor("conv1d", "state_space", None, (key, key, value), mixer.conv_kernel, element_bytes=4),
        vector("dt_bias", "state_space", keys, sharded=True, element_bytes=4),
        vector("A_log", "state_space", heads, sharded=True, element_bytes=4),
        vector("o_norm", "norm", mixer.head_dim),
        WeightTensor("o_proj", "state_space", "attention_output", (whole(hidden_size),), inner, columns_sharded=True),
    ]
    if rank:
        tensors.append(WeightTensor("f_b_proj", "state_space", "attention", (key,), rank))
    if not mixer.full_rank_gate:
        tensors.append(WeightTensor("g_b_proj", "state_space", "attention", (value,), rank))
    return tensors
