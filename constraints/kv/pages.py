"""Bytes that one cache layer stores: per token for attention, per state for recurrent mixers.

Sources: vLLM 0.33 `v1/kv_cache_interface.py` (page sizes), `v1/attention/backends/{flashinfer,triton_attn,
turboquant_attn}.py:customize_spec` (packed rows), `model_executor/layers/mamba/mamba_utils.py` (state shapes).
"""

from vllm_opt.profiles.nouns.model import Attention, LatentAttention, StateSpace

SCALE_BYTES_PER_HEAD = 4
"""One float32 scale for K and one for V per token and head, in the `*_per_token_head` dtypes."""

INDEXER_QUANT_BLOCK = 128
"""The sparse indexer keeps one float32 scale per 128 fp8 elements (`deepseek_v2.py:Indexer`)."""

OPAQUE_LATENT_ROW_BYTES = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}
"""Fixed rows of the sparse-MLA layouts, independent of the latent width (`mla_attention.py:get_kv_cache_spec`)."""

TURBOQUANT_BITS = {
    "turboquant_k8v4": (8, 4),
    "turboquant_4bit_nc": (4, 4),
    "turboquant_k3v4_nc": (3, 4),
    "turboquant_3bit_nc": (3, 3),
}
"""Key and value bits of each preset (`quantization/turboquant/config.py:TQ_PRESETS`)."""

HALF_BYTES = 2
DTYPE_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}


def ceil_div(numerator: int, denominator: int) -> int:
    """Return numerator / denominator, rounded up."""
    return -(-numerator // denominator)


def is_quantized(kv_cache_dtype: str) -> bool:
    """Tell whether a KV dtype is anything but the model's own 16 bits."""
    return kv_cache_dtype not in ("auto", "float16", "bfloat16")


def _turboquant_row_bytes(kv_cache_dtype: str, head_dim: int) -> int:
    """Return one packed K+V row: codes, a 2-byte key norm, a 4-byte value scale and zero, rounded up to even."""
    key_bits, value_bits = TURBOQUANT_BITS[kv_cache_dtype]
    key = head_dim if key_bits == 8 else ceil_div(head_dim * key_bits, 8) + 2
    row = key + ceil_div(head_dim * value_bits, 8) + 4
    return row + row % 2


def head_row_bytes(head_dim: int, v_head_dim: int, kv_cache_dtype: str, element_bytes: int = HALF_BYTES) -> int:
    """Return the bytes that one token stores per KV head (K and V together); `element_bytes` are the model dtype's.

    Raises:
        KeyError: the KV dtype is none that this table knows; callers check the release's list first.
    """
    if not is_quantized(kv_cache_dtype):
        return element_bytes * (head_dim + v_head_dim)
    if kv_cache_dtype in ("int8_per_token_head", "fp8_per_token_head"):
        return head_dim + v_head_dim + 2 * SCALE_BYTES_PER_HEAD
    if kv_cache_dtype == "int4_per_token_head":
        return head_dim // 2 + v_head_dim // 2 + 2 * SCALE_BYTES_PER_HEAD
    if kv_cache_dtype in ("nvfp4", "nvfp4_4over6"):
        return 2 * (head_dim // 2 + head_dim // 16)
    if kv_cache_dtype in TURBOQUANT_BITS:
        return _turboquant_row_bytes(kv_cache_dtype, head_dim)
    if kv_cache_dtype.startswith("fp8"):
        return head_dim + v_head_dim
    raise KeyError(kv_cache_dtype)


def kv_heads_per_rank(num_key_value_heads: int, tensor_parallel_size: int) -> int:
    """Return KV heads on one rank: divided by TP, never below one, because TP beyond the heads replicates them."""
    return max(1, num_key_value_heads // tensor_parallel_size)


def attention_token_bytes(
    mixer: Attention, kv_cache_dtype: str, tensor_parallel_size: int, element_bytes: int = HALF_BYTES
) -> int:
    """Return bytes per token and layer on one rank: KV heads of the rank x row bytes."""
    row = head_row_bytes(mixer.head_dim, mixer.v_head_dim, kv_cache_dtype, element_bytes)
    return kv_heads_per_rank(mixer.num_key_value_heads, tensor_parallel_size) * row


def latent_token_bytes(mixer: LatentAttention, kv_cache_dtype: str, element_bytes: int = HALF_BYTES) -> int:
    """Return bytes per token and layer of MLA: (kv_lora_rank + rope) x element bytes; TP never divides it."""
    opaque = OPAQUE_LATENT_ROW_BYTES.get(kv_cache_dtype)
    if opaque is not None:
        return opaque
    elements = mixer.kv_lora_rank + mixer.qk_rope_head_dim
    return elements if is_quantized(kv_cache_dtype) else elements * element_bytes


def indexer_token_bytes(mixer: LatentAttention) -> int:
    """Return bytes per token of the sparse-attention indexer's own cache: fp8 keys and their float32 scales."""
    if mixer.index_head_dim is None:
        return 0
    return mixer.index_head_dim + mixer.index_head_dim // INDEXER_QUANT_BLOCK * 4


def _replicated_groups(num_groups: int, tensor_parallel_size: int) -> int:
    """Return mamba2 groups after enlarging so that every rank holds the groups its heads need."""
    if num_groups % tensor_parallel_size == 0:
        return num_groups
    return tensor_parallel_size


def state_bytes(
    mixer: StateSpace, tensor_parallel_size: int, element_bytes: int = HALF_BYTES, speculative_tokens: int = 0
) -> int:
    """Return bytes of one recurrent state on one rank: convolution window plus recurrent matrix.

    The convolution keeps `conv_kernel - 1` past inputs, and as many more as tokens are drafted, in the model dtype; the
    matrix is in the dtype that the config asks for (`ssm_dtype`), else the model dtype.
    """
    tp = tensor_parallel_size
    conv_dim, matrix = _state_elements(mixer, tp)
    ssm_dtype = mixer.ssm_dtype or ("float32" if mixer.kind == "kimi_delta" else "auto")
    # Mamba 1 has no drafting form.
    inputs = mixer.conv_kernel - 1 + (0 if mixer.kind == "mamba1" else speculative_tokens)
    conv = inputs * (conv_dim // tp) * element_bytes if mixer.conv_kernel else 0
    return conv + matrix * DTYPE_BYTES.get(ssm_dtype, element_bytes)


def _state_elements(mixer: StateSpace, tp: int) -> tuple[int, int]:
    """Return the convolution's channels over all ranks and the matrix elements of one rank."""
    width = mixer.num_heads * mixer.head_dim
    if mixer.kind == "mamba1":
        return width, width // tp * mixer.state_size
    if mixer.kind == "mamba2":
        groups = _replicated_groups(mixer.num_groups, tp)
        matrix = mixer.num_heads // tp * mixer.head_dim * mixer.state_size
        return width + 2 * groups * mixer.state_size, matrix
    if mixer.kind == "short_conv":
        return width, 0
    if mixer.kind == "lightning":
        return 0, mixer.num_heads // tp * mixer.head_dim * mixer.head_dim
    keys = mixer.num_groups * mixer.state_size
    return width + 2 * keys, mixer.num_heads // tp * mixer.head_dim * mixer.state_size
