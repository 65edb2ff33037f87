"""Flags whose effect on memory or speed no prediction takes in, and what of it is left out."""

from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand

NOT_MODELLED = {
    "spec-method": "the draft model's weights, KV layers and states",
    "rope-scaling": "the longer context that RoPE scaling gives",
    "prefill-context-parallel-size": "prefill context parallelism",
    "dtype": "the size of weights in another type than the checkpoint's",
    "performance-mode": "the graphs that 'interactivity' captures at small batches",
    "enable-dbo": "the second micro-batch in flight",
    "max-cudagraph-capture-size": "how many CUDA graphs are captured",
    "cudagraph-capture-sizes": "how many CUDA graphs are captured",
    "mm-ipc-gpu-memory-gb": "the memory that multimodal inputs take from the KV pool",
}
"""Flag -> what of it the prediction leaves out."""

HARMLESS_VALUES = {
    "dtype": ("auto", "bfloat16"),
    "performance-mode": ("balanced", "throughput"),
    "prefill-context-parallel-size": (1,),
}
"""Flag -> values that change nothing."""


def left_out_of(parsed: ParsedCommand) -> dict[str, str]:
    """Return the flags of a command that the prediction leaves out, with what they would change."""
    return {
        name: words
        for name, words in NOT_MODELLED.items()
        if (value := parsed.value(name)) not in (None, False) and value not in HARMLESS_VALUES.get(name, ())
    }
