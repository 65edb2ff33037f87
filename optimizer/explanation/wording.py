"""A relaxation as a sentence that says what to type."""

from typing import Any

from vllm_opt.optimizer.contract.quantities import count, dollars, milliseconds, rate
from vllm_opt.optimizer.questions.questions import Question
from vllm_opt.profiles.reading.quantities import counted

NOUNS = {
    "target_context": "a context of {to} instead of {start}",
    "mean_context": "sequences that hold {to} on average instead of {start} (preemption is then possible)",
    "concurrency": "{to} at once instead of {start}",
    "max_ttft_ms": "a TTFT limit of {to} instead of {start}",
    "max_tpot_ms": "a TPOT limit of {to} instead of {start}",
    "min_output_tokens_per_s": "{to} output tokens per second instead of {start}",
    "requests_per_s": "{to} requests per second instead of {start}",
    "max_gpus": "up to {to} instead of {start}",
    "gpus": "exactly {to} instead of {start}",
    "max_hourly_cost": "{to} per hour instead of {start}",
    "max_gpu_memory_utilization": "a gpu_memory_utilization of up to {to} instead of {start}",
    "min_quality": "a quality floor of {to} instead of {start}",
    "quantization": "{to} weights instead of {start}",
    "kv_cache_dtype": "a KV cache dtype of {to} instead of {start}",
    "gpu": "{to} instead of {start}",
}


COUNTED = {
    "target_context": "token", "mean_context": "token", "concurrency": "sequence", "max_gpus": "GPU", "gpus": "GPU"
}  # fmt: skip
"""What the whole number of a field counts."""


def relaxation_words(question: Question, fields: dict[str, Any]) -> str:
    """Say what is changed, and the options to type."""
    clauses, options = [], []
    for field, to in fields.items():
        start = getattr(question.setting.request, field)
        if to is None:
            clauses.append(f"leave --{field.replace('_', '-')} {start} out")
            continue
        if start is None:
            start = getattr(question.setting.targets, field, None)
        clauses.append(NOUNS[field].format(to=_shown(field, to), start=_shown(field, start)))
        options.append(f"--{field.replace('_', '-')} {to}")
    return f"{' and '.join(clauses)}: {' '.join(options)}" if options else " and ".join(clauses)


def _shown(field: str, value: Any) -> str:
    if field in COUNTED and isinstance(value, int):
        return counted(value, COUNTED[field])
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "any of those accepted"
    if field.endswith("_ms") and value is not None:
        return milliseconds(value)
    if field == "max_hourly_cost" and value is not None:
        return dollars(value)
    if field == "min_output_tokens_per_s" and value is not None:
        return rate(value)
    return count(value) if isinstance(value, int) else str(value)
