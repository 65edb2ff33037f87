"""LoRA flags of a request as slots of a layout."""

from vllm_opt.constraints.decisions.configuration import Adapters
from vllm_opt.constraints.weights.adapters import LORA_RANKS, adapter_host_bytes
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.optimizer.contract.quantities import size
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.model import ModelProfile


def adapters_of(request: Features) -> Adapters | None:
    """Return the slots asked; None without --enable-lora.

    Raises:
        InvalidRequest: a rank that vLLM does not offer, or fewer adapters in host memory than in a batch.
    """
    served: int | None = getattr(request, "lora_adapters", None)
    if not request.enable_lora and served is None:
        return None
    rank = request.max_lora_rank or _next_rank(getattr(request, "lora_rank", None)) or 16
    if rank not in LORA_RANKS:
        offered = ", ".join(str(each) for each in LORA_RANKS)
        raise InvalidRequest(f"max_lora_rank: must be one of {offered} (got {rank}); take {_next_rank(rank)}")
    slots = request.max_loras or served or 1
    host = request.max_cpu_loras or max(slots, served or 1)
    if host < slots:
        raise InvalidRequest(f"max_cpu_loras: ({host}) must be >= max_loras ({slots})")
    return Adapters(
        max_loras=slots, max_lora_rank=rank, max_cpu_loras=host, fully_sharded_loras=request.fully_sharded_loras
    )


def _next_rank(rank: int | None) -> int | None:
    return None if rank is None else next((each for each in LORA_RANKS if each >= rank), LORA_RANKS[-1])


def adapter_notes(model: ModelProfile, adapters: Adapters | None) -> tuple[str, ...]:
    """What adapters take beside the GPU, and what is not known of their speed."""
    if adapters is None:
        return ()
    host = size(adapter_host_bytes(model, adapters))
    return (
        f"LoRA: every worker pins {adapters.max_cpu_loras} adapter(s) of rank {adapters.max_lora_rank} in host memory, "
        f"{host}; they slow every step and token down, by a reading of published comparisons that span 8 to 36 %",
    )
