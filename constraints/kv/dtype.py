"""Which KV dtype a layout stores, after vLLM has resolved 'auto' and the backend's own format.

Sources: vLLM 0.33 `utils/torch_utils.py:resolve_kv_cache_dtype_string`, `model_executor/models/config.py`
(`GlmMoeDsaForCausalLM`, `DeepseekV32ForCausalLM`), `layers/attention/mla_attention.py`,
`quantization/turboquant/config.py:get_boundary_skip_layers`, `v1/attention/backends/triton_attn.py`.
"""

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.kv.attention_backends import FLASHMLA_SPARSE, TRITON_ATTN, TRITON_MLA, AttentionBackend
from vllm_opt.constraints.kv.pages import TURBOQUANT_BITS, is_quantized
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile, StateSpace

SLIDING_WINDOW = "sliding_window"
BOUNDARY_LAYERS = 2
"""TurboQuant leaves so many layers at each end in 16 bits, except in hybrids."""

FP8_BY_DEFAULT_ON_CAPABILITY_10 = frozenset({"GlmMoeDsaForCausalLM"})
"""vLLM classes whose KV dtype 'auto' means fp8 on compute capability 10.x."""

IGNORES_KV_CACHE_DTYPE = frozenset({"FalconForCausalLM"})
"""vLLM classes that build their attention without the cache configuration (`models/falcon.py`)."""

NATIVE_FP8_CAPABILITY = (8, 9)
BFLOAT16_CAPABILITY = (8, 0)

FLOAT16_REFUSED_MODEL_TYPES = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
"""Types that vLLM never runs in float16; without bfloat16 they run in float32 (`config/model.py`)."""


def runtime_dtype(model: ModelProfile, gpu: GpuProfile) -> str:
    """Return the dtype that `--dtype auto` takes: the config's, float32 lowered, bfloat16 only where it exists."""
    capability = gpu.compute_capability
    if capability is None or capability >= BFLOAT16_CAPABILITY:
        return "bfloat16" if model.dtype == "float32" else model.dtype
    return "float32" if model.model_type in FLOAT16_REFUSED_MODEL_TYPES else "float16"


def runtime_element_bytes(model: ModelProfile, gpu: GpuProfile) -> int:
    """Return the bytes of one unquantised element: 4 where the model has to run in float32, else 2."""
    return 4 if runtime_dtype(model, gpu) == "float32" else 2


def resolved_kv_cache_dtype(model: ModelProfile, layout: Layout, engine: EngineProfile, gpu: GpuProfile) -> str:
    """Return the KV dtype that 'auto' stands for: what the checkpoint asks for, else the model's 16 bits."""
    if model.architecture in IGNORES_KV_CACHE_DTYPE:
        return "auto"
    if layout.kv_cache_dtype != "auto":
        return layout.kv_cache_dtype
    native = model.native_quantization if engine.checkpoint_kv_cache_dtype else None
    if native is not None and native.kv_cache_dtype and native.quantization == layout.quantization:
        return native.kv_cache_dtype
    capability = gpu.compute_capability
    if capability is not None and capability[0] == 10 and model.architecture in FP8_BY_DEFAULT_ON_CAPABILITY_10:
        return "fp8_e4m3"
    return "auto"


def stored_latent_dtype(backend: AttentionBackend, kv_cache_dtype: str) -> str:
    """Return the row format of a latent cache: FlashMLA's sparse kernel keeps any 8-bit dtype as fp8_ds_mla."""
    if backend is FLASHMLA_SPARSE and is_quantized(kv_cache_dtype) and kv_cache_dtype != "nvfp4_ds_mla":
        return "fp8_ds_mla"
    return kv_cache_dtype


def boundary_layers(model: ModelProfile, kv_cache_dtype: str) -> frozenset[int]:
    """Return the decoder layers that TurboQuant leaves 16-bit: the first and last two of a non-hybrid."""
    if kv_cache_dtype not in TURBOQUANT_BITS:
        return frozenset()
    if any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds):
        return frozenset()
    count = model.num_hidden_layers
    ends = min(BOUNDARY_LAYERS, count // 2)
    return frozenset(range(ends)) | frozenset(range(count - ends, count))


def skipped_layers(model: ModelProfile, layout: Layout, kv_cache_dtype: str) -> frozenset[int]:
    """Return the layers that `--kv-cache-dtype-skip-layers` keeps in 16 bits beside a quantised cache.

    Raises:
        LayoutRefused: an entry that names no layer of this model.
    """
    if not layout.kv_cache_dtype_skip_layers or not is_quantized(kv_cache_dtype):
        return frozenset()
    found: set[int] = set()
    for entry in layout.kv_cache_dtype_skip_layers:
        if entry == SLIDING_WINDOW:
            found |= {
                index
                for index, kind in enumerate(model.layer_pattern)
                if getattr(model.layer_kinds[kind].mixer, "kind", None) == SLIDING_WINDOW
            }
        elif entry.isascii() and entry.isdigit() and int(entry) < model.num_hidden_layers:
            found.add(int(entry))
        else:
            raise LayoutRefused(
                Violation(
                    rule="compatibility",
                    message=(
                        f"--kv-cache-dtype-skip-layers: {entry[:40]!r} is neither 'sliding_window' nor a layer of this "
                        f"model, 0 to {model.num_hidden_layers - 1}."
                    ),
                )
            )
    return frozenset(found)


def check_native_fp8(backend: AttentionBackend, kv_cache_dtype: str, gpu: GpuProfile) -> None:
    """Refuse fp8 KV where the chosen backend is Triton and the GPU has no fp8 arithmetic.

    Raises:
        LayoutRefused: with the text of `TritonAttentionImpl.__init__`.
    """
    capability = gpu.compute_capability
    if backend not in (TRITON_ATTN, TRITON_MLA) or capability is None or not kv_cache_dtype.startswith("fp8"):
        return
    if capability >= NATIVE_FP8_CAPABILITY:
        return
    kernel = "Triton attention" if backend is TRITON_ATTN else "TritonMLA"
    suggested = "bfloat16" if capability >= (8, 0) else "float16"
    raise LayoutRefused(
        Violation(
            rule="compatibility",
            message=(
                f"FP8 KV cache is not supported by the {kernel} backend on {gpu.name} (compute capability "
                f"{capability[0]}.{capability[1]}); native FP8 (fp8e4nv) requires SM89+. "
                f"Re-run with --kv-cache-dtype {suggested}."
            ),
            needed=8.9,
            available=capability[0] + capability[1] / 10,
            unit="compute capability",
        )
    )
