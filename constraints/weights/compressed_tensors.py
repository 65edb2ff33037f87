"""The weight tensors of DeepSeek V4: compressed attention, its compressors and indexer, and hyper-connections.

Source: the parameters that vLLM 0.33 `models/deepseek_v4/attention.py`, `compressor.py` and `nvidia/model.py` build.
"""

from vllm_opt.constraints.weights.tensor import Rows, WeightTensor, split, vector, whole
from vllm_opt.profiles.nouns.model import CompressedAttention

FLOAT_BYTES = 4
LEAST_SINKS = 64
"""FlashMLA reads one sink for each of at least so many heads (`attention.py`); FlashInfer for the rank's own."""

OVERLAPPING_RATIO = 4


def compressed_attention_tensors(mixer: CompressedAttention, hidden_size: int) -> list[WeightTensor]:
    """Return the projections of one layer: down-projections whole on every rank, up-projections divided by heads."""
    heads, dim = mixer.num_attention_heads, mixer.head_dim
    output = mixer.o_groups * mixer.o_lora_rank
    down = (whole(mixer.q_lora_rank), whole(dim))
    return [
        WeightTensor("fused_wqa_wkv", "attention", "attention", down, hidden_size),
        WeightTensor("wq_b", "attention", "attention", (Rows(heads * dim, heads),), mixer.q_lora_rank),
        WeightTensor("wo_a", "attention", "attention", (split(output),), heads * dim // mixer.o_groups),
        WeightTensor("wo_b", "attention", "attention_output", (whole(hidden_size),), output, columns_sharded=True),
        vector("latent_norms", "norm", mixer.q_lora_rank + dim),
        _sinks(mixer),
        *_compressor("compressor", mixer.compress_ratio, dim, hidden_size),
        *_indexer(mixer, hidden_size),
    ]


def _sinks(mixer: CompressedAttention) -> WeightTensor:
    heads = mixer.num_attention_heads
    if mixer.backend == "auto" and heads > LEAST_SINKS:
        rows = Rows(heads, heads // LEAST_SINKS)
    elif mixer.backend == "auto":
        rows = whole(LEAST_SINKS)
    else:
        rows = Rows(heads, heads)
    return WeightTensor("attn_sink", "attention", None, (rows,), 1, element_bytes=FLOAT_BYTES)


def _compressor(name: str, ratio: int, dim: int, hidden_size: int) -> list[WeightTensor]:
    """Keys and gates of one compressor: ratio 4 overlaps two windows, so it has twice the columns of ratio 128."""
    if not ratio:
        return []
    width = dim * (2 if ratio == OVERLAPPING_RATIO else 1)
    positions = WeightTensor(f"{name}.ape", "attention", None, (whole(ratio),), width, element_bytes=FLOAT_BYTES)
    projection = WeightTensor(f"{name}.wkv_wgate", "attention", None, (whole(2 * width),), hidden_size)
    return [positions, projection, vector(f"{name}.norm", "norm", dim)]


def _indexer(mixer: CompressedAttention, hidden_size: int) -> list[WeightTensor]:
    if mixer.compress_ratio != OVERLAPPING_RATIO:
        return []
    queries = whole(mixer.index_n_heads * mixer.index_head_dim)
    return [
        WeightTensor("indexer.wq_b", "attention", "indexer", (queries,), mixer.q_lora_rank),
        WeightTensor("indexer.weights_proj", "attention", None, (whole(mixer.index_n_heads),), hidden_size),
        *_compressor("indexer.compressor", mixer.compress_ratio, mixer.index_head_dim, hidden_size),
    ]


def hyper_connection_tensors(streams: int, hidden_size: int) -> list[WeightTensor]:
    """Return the two mixers of one layer: maps of (m^2 + 2m) x m*hidden_size, as many offsets, and three scales."""
    if not streams:
        return []
    rows = 2 * (streams * streams + 2 * streams)
    return [
        WeightTensor("hc_fn", "norm", None, (whole(rows),), streams * hidden_size, element_bytes=FLOAT_BYTES),
        vector("hc_base_and_scale", "norm", rows + 6, element_bytes=FLOAT_BYTES),
    ]


def hyper_connection_head_parameters(streams: int, hidden_size: int) -> int:
    """Return the float32 elements that join m streams before the output head: m x m*hidden_size, m offsets, a scale."""
    return streams * streams * hidden_size + streams + 1 if streams else 0
