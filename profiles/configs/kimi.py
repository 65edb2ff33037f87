"""Readers of Kimi Linear and Kimi K3: Kimi delta attention between latent-attention layers."""

from vllm_opt.profiles.configs.decoder import Decoder, DecoderReader, dense_mlp
from vllm_opt.profiles.configs.experts import first_dense
from vllm_opt.profiles.configs.latent import latent_attention
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import DecoderLayer, Experts, LatentAttention, Mixer, StateSpace

LEAST_INNER_WIDTH = 256
"""Without expert parallelism a rank's share of a latent expert is padded to this
(`models/kimi_k3/nvidia/model.py`, vLLM 0.33)."""


def kimi_linear(keys: ConfigKeys) -> Decoder:
    """Kimi Linear: `linear_attn_config` lists, from 1 on, the delta layers and the latent ones.

    Kimi K3 adds a full-rank output gate, a gate on latent attention, experts in a latent width, and attention residuals
    (`attn_res_block_size`): two norms and two 1 x hidden_size projections per layer, one of each at the end.
    """
    hidden, count = keys.integer("hidden_size"), keys.layer_count()
    linear = keys.child("linear_attn_config")
    if linear is None:
        keys.refuse("lacks linear_attn_config, which says what its layers are")
    full = set(linear.integers("full_attn_layers", minimum=1) or [])
    delta = set(linear.integers("kda_layers", minimum=1) or [])
    if full & delta or full | delta != set(range(1, count + 1)):
        keys.refuse(f"has full_attn_layers and kda_layers that do not name each of its {count} layers once")
    mixers: tuple[Mixer, Mixer] = (_latent(keys), _delta(linear))
    residual = keys.optional_integer("attn_res_block_size") is not None
    experts, dense = _experts(keys), dense_mlp(keys)
    layers = [
        DecoderLayer(
            mixer=mixers[index + 1 in delta],
            feed_forward=experts if moe else dense,
            norm_parameters=(4 if residual else 2) * hidden,
            extra_parameters=2 * hidden if residual else 0,
        )
        for index, moe in enumerate(first_dense(keys, count))
    ]
    return Decoder(layers, (3 if residual else 1) * hidden)


def _latent(keys: ConfigKeys) -> LatentAttention:
    return latent_attention(keys).model_copy(update={"output_gate": keys.flag("mla_use_output_gate")})


def _delta(linear: ConfigKeys) -> StateSpace:
    heads, dim = linear.integer("num_heads"), linear.integer("head_dim")
    return StateSpace(
        kind="kimi_delta",
        num_heads=heads,
        head_dim=dim,
        state_size=dim,
        num_groups=heads,
        conv_kernel=linear.integer("short_conv_kernel_size"),
        decay_rank=dim,
        full_rank_gate=linear.flag("use_full_rank_gate"),
        ssm_dtype="float32",
    )


def _experts(keys: ConfigKeys) -> Experts:
    width = keys.integer("moe_intermediate_size")
    shared = keys.integer("num_shared_experts", default=0, minimum=0)
    latent = keys.optional_integer("routed_expert_hidden_size")
    return Experts(
        num_experts=keys.integer("num_experts"),
        num_experts_per_tok=keys.integer("num_experts_per_token"),
        moe_intermediate_size=width,
        shared_expert_intermediate_size=shared * width,
        router_bias=True,
        latent_size=latent,
        latent_norm=latent is not None and keys.flag("latent_moe_use_norm"),
        least_inner_width=LEAST_INNER_WIDTH if latent is not None else 0,
    )


READERS: dict[str, DecoderReader] = {"KimiLinearForCausalLM": kimi_linear}
"""Reader by the first entry of `architectures`."""
