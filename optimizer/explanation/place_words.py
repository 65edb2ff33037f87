"""One layout in a few words, for explanations."""

from vllm_opt.optimizer.questions.landscape import Place


def place_words(place: Place) -> str:
    """Name a layout: 'h100-sxm with TP 2, fp8 weights'."""
    layout = place.facts.layout
    sizes = [
        f"{name} {size}"
        for name, size in (
            ("TP", layout.tensor_parallel_size),
            ("PP", layout.pipeline_parallel_size),
            ("DP", layout.data_parallel_size),
            ("DCP", layout.decode_context_parallel_size),
        )
        if size > 1
    ]
    if layout.expert_parallel:
        sizes.append("expert parallel")
    words = [*sizes, f"{layout.quantization} weights"]
    if layout.kv_cache_dtype != "auto":
        words.append(f"{layout.kv_cache_dtype} KV cache")
    return f"{layout.gpu} with {', '.join(words)}"
