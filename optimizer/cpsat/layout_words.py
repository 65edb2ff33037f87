"""A mode of the model in words: what its Boolean decides, for the names of variables and the table of rows."""

from vllm_opt.constraints.judging.decision_space import Mode
from vllm_opt.profiles.printable import one_line
from vllm_opt.profiles.reading.quantities import counted


def layout_in_words(mode: Mode) -> str:
    """Servers, GPUs and how they share the model, weights, KV cache, graphs, caching and step width."""
    layout = mode.terms.layout
    sizes = (
        ("TP", layout.tensor_parallel_size),
        ("PP", layout.pipeline_parallel_size),
        ("DP", layout.data_parallel_size),
        ("DCP", layout.decode_context_parallel_size),
    )
    shared = " x ".join(f"{name} {size}" for name, size in sizes if size > 1 or name == "TP")
    blocks = "" if layout.block_size is None else f"blocks of {layout.block_size}"
    parts = (
        f"{counted(mode.replicas, 'server')} of {layout.gpus_per_server} x {mode.gpu}",
        shared + ", EP" * layout.expert_parallel,
        f"{layout.quantization} weights",
        f"KV cache {layout.kv_cache_dtype}",
        blocks,
        "eager" if layout.enforce_eager else "CUDA graphs",
        "" if layout.enable_prefix_caching else "no prefix caching",
        "" if layout.enable_chunked_prefill else "no chunked prefill",
        f"max_num_batched_tokens {mode.max_num_batched_tokens}",
    )
    return one_line(", ".join(part for part in parts if part))
