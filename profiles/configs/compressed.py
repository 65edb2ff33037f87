"""Reader of DeepSeek V4: a window everywhere, compressed states beyond it, and hyper-connections."""

from vllm_opt.profiles.configs.decoder import Decoder, DecoderReader
from vllm_opt.profiles.configs.experts import shared_width
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import CompressedAttention, DecoderLayer, Experts

RATIOS = (0, 4, 128)
SHARED_EXPERT_BLOCK = 128
"""TP deals out the shared experts' width in whole scale blocks (`models/deepseek_v4/nvidia/model.py`, vLLM 0.33)."""

VLLM_MODEL_TYPE = "deepseek_v4"


def deepseek_v4(keys: ConfigKeys) -> Decoder:
    """DeepSeek V4: `compress_ratios` name each layer's ratio (0, 4 or 128; entries beyond the layers are for MTP).

    The first `num_hash_layers` route by a table over the vocabulary instead of a score correction.
    """
    stated = keys.text("model_type")
    if stated != VLLM_MODEL_TYPE:
        keys.refuse(
            f"has model type `{str(stated)[:40]}`, but Transformers does not recognize this architecture; "
            f"vLLM loads DeepSeek V4 as {VLLM_MODEL_TYPE!r}"
        )
    hidden, count = keys.integer("hidden_size"), keys.layer_count()
    streams = keys.integer("hc_mult")
    ratios = keys.integers("compress_ratios")
    if ratios is None or len(ratios) < count:
        keys.refuse("lacks compress_ratios, which say how each layer compresses its cache")
    if unknown := set(ratios[:count]) - set(RATIOS):
        keys.refuse(f"has the compress ratio {min(unknown)}, for which there is no rule yet")
    mixers = {ratio: _attention(keys, ratio) for ratio in dict.fromkeys(ratios[:count])}
    hashed = keys.integer("num_hash_layers", default=0, minimum=0)
    experts, by_table = _experts(keys, table=False), _experts(keys, table=True)
    layers = [
        DecoderLayer(
            mixer=mixers[ratio],
            feed_forward=by_table if index < hashed else experts,
            norm_parameters=2 * hidden,
            hyper_connections=streams,
        )
        for index, ratio in enumerate(ratios[:count])
    ]
    return Decoder(layers, hidden, hyper_connections=streams)


def _attention(keys: ConfigKeys, ratio: int) -> CompressedAttention:
    heads, groups = keys.integer("num_attention_heads"), keys.integer("o_groups")
    if heads % groups:
        keys.refuse(f"has {heads} attention heads, which o_groups = {groups} does not divide")
    return CompressedAttention.model_validate({
        "num_attention_heads": heads,
        "head_dim": keys.integer("head_dim"),
        "q_lora_rank": keys.integer("q_lora_rank"),
        "o_groups": groups,
        "o_lora_rank": keys.integer("o_lora_rank"),
        "qk_rope_head_dim": keys.integer("qk_rope_head_dim"),
        "window_tokens": keys.integer("sliding_window"),
        "compress_ratio": ratio,
        "index_n_heads": keys.integer("index_n_heads"),
        "index_head_dim": keys.integer("index_head_dim"),
        "index_topk": keys.integer("index_topk"),
    })  # fmt: skip


def _experts(keys: ConfigKeys, *, table: bool) -> Experts:
    per_token = keys.integer("num_experts_per_tok")
    return Experts(
        num_experts=keys.integer("n_routed_experts"),
        num_experts_per_tok=per_token,
        moe_intermediate_size=keys.integer("moe_intermediate_size"),
        shared_expert_intermediate_size=shared_width(keys),
        shared_expert_block=SHARED_EXPERT_BLOCK,
        router_bias=not table,
        hash_table_entries=keys.integer("vocab_size") * per_token if table else 0,
    )


READERS: dict[str, DecoderReader] = {"DeepseekV4ForCausalLM": deepseek_v4}
"""Reader by the first entry of `architectures`."""
