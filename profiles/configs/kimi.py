"""Readers of Kimi Linear, Kimi K3 and Ling 3: Kimi delta attention between latent-attention layers."""

from vllm_opt.profiles.configs.decoder import Decoder, DecoderReader, check_length, dense_mlp
from vllm_opt.profiles.configs.experts import first_dense
from vllm_opt.profiles.configs.latent import latent_attention
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.configs.varied import mlp_layer_kinds
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
        delta_layers, delta = _by_layer_types(keys, count), _delta_of_class(keys, full_rank=False)
    else:
        delta_layers, delta = _listed(keys, linear, count), _delta(linear)
    mixers: tuple[Mixer, Mixer] = (_latent(keys), delta)
    residual = keys.optional_integer("attn_res_block_size") is not None
    experts, dense = _experts(keys), dense_mlp(keys)
    sparse = mlp_layer_kinds(keys, count) if keys.has("mlp_layer_types") else first_dense(keys, count)
    layers = [
        DecoderLayer(
            mixer=mixers[delta_layers[index]],
            feed_forward=experts if moe else dense,
            norm_parameters=(4 if residual else 2) * hidden,
            extra_parameters=2 * hidden if residual else 0,
        )
        for index, moe in enumerate(sparse)
    ]
    return Decoder(layers, (3 if residual else 1) * hidden)


def kimi_k3(keys: ConfigKeys) -> Decoder:
    """Kimi K3: Kimi Linear with keys that must all be stated, as no class has defaults for them."""
    needed = ("attn_res_block_size", "routed_expert_hidden_size", "latent_moe_use_norm", "mla_use_output_gate")
    for key in (*needed, "q_lora_rank"):
        if key not in keys.values:
            keys.refuse(f"lacks {key}, without which it cannot be sized")
    return kimi_linear(keys)


def ling3(keys: ConfigKeys) -> Decoder:
    """Ling 3 (Bailing hybrid): full-rank gate and decay, one latent layer in `layer_group_size`, no query rank.

    Source: vLLM 0.33 `models/bailing_moe_v3.py`.
    """
    hidden, count = keys.integer("hidden_size"), keys.layer_count()
    if keys.has("layer_types"):
        delta_layers = _by_layer_types(keys, count)
    else:
        period = keys.integer("layer_group_size")
        delta_layers = [(index + 1) % period != 0 for index in range(count)]
    mixers: tuple[Mixer, Mixer] = (_latent(keys), _delta_of_class(keys, full_rank=True))
    experts = _experts(keys).model_copy(update={"router_dtype": "float32"})
    dense, sparse = dense_mlp(keys), mlp_layer_kinds(keys, count)
    layers = [
        DecoderLayer(mixer=mixers[is_delta], feed_forward=experts if moe else dense, norm_parameters=2 * hidden)
        for is_delta, moe in zip(delta_layers, sparse, strict=True)
    ]
    return Decoder(layers, hidden)


def _listed(keys: ConfigKeys, linear: ConfigKeys, count: int) -> list[bool]:
    full = set(linear.integers("full_attn_layers", minimum=1) or [])
    delta = set(linear.integers("kda_layers", minimum=1) or [])
    if full & delta or full | delta != set(range(1, count + 1)):
        keys.refuse(f"has full_attn_layers and kda_layers that do not name each of its {count} layers once")
    return [index + 1 in delta for index in range(count)]


def _by_layer_types(keys: ConfigKeys, count: int) -> list[bool]:
    kinds = keys.strings("layer_types")
    if kinds is None:
        keys.refuse("lacks linear_attn_config and layer_types, which say what its layers are")
    check_length(keys, "layer_types", len(kinds), count)
    if set(kinds) - {"linear_attention", "full_attention"}:
        keys.refuse("names a layer type other than linear_attention and full_attention, which has no rule yet")
    return [kind == "linear_attention" for kind in kinds]


def _delta_of_class(keys: ConfigKeys, *, full_rank: bool) -> StateSpace:
    """The delta layer as transformers names its keys; a full-rank one has no low-rank decay either."""
    heads, dim = keys.integer("linear_num_heads"), keys.integer("linear_head_dim")
    return StateSpace(
        kind="kimi_delta",
        num_heads=heads,
        head_dim=dim,
        state_size=dim,
        num_groups=heads,
        conv_kernel=keys.integer("linear_conv_kernel_dim"),
        decay_rank=0 if full_rank else dim,
        full_rank_gate=full_rank,
        ssm_dtype="float32",
    )


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


READERS: dict[str, DecoderReader] = {
    "KimiLinearForCausalLM": kimi_linear,
    "KimiK3TextModel": kimi_k3,
    "BailingMoeV3ForCausalLM": ling3,
}
"""Reader by the first entry of `architectures`."""
