"""LoRA flags of a request as slots of a layout."""

from vllm_opt.constraints.decisions.configuration import Adapters
from vllm_opt.constraints.weights.adapter_targets import module_names
from vllm_opt.constraints.weights.adapters import LORA_RANKS, adapter_host_bytes
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.optimizer.contract.quantities import size
from vllm_opt.optimizer.serve_lines.command_line import FlagValue, has_flag
from vllm_opt.profiles.errors import InvalidRequest, RefusedByVllm
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import Experts, ModelProfile

BY_RELEASE = {
    "lora_dtype": "auto",
    "lora_target_modules": (),
    "enable_moe_shared_loras": False,
    "enable_mixed_moe_lora_format": False,
}
"""Field -> its default, of the flags that not every release has."""


def adapters_of(request: Features, engine: EngineProfile) -> Adapters | None:
    """Return the slots asked; None without --enable-lora.

    Raises:
        InvalidRequest: a rank that vLLM does not offer, fewer adapters in host memory than in a batch, or a flag that
            the release lacks.
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
        raise RefusedByVllm(f"max_cpu_loras: max_cpu_loras ({host}) must be >= max_loras ({slots})")
    for field, default in BY_RELEASE.items():
        flag = field.replace("_", "-")
        if getattr(request, field) != default and not has_flag(engine, flag):
            raise InvalidRequest(
                f"{field}: vLLM {engine.version} has no --{flag}; leave it out or take a newer release"
            )
    return Adapters(
        max_loras=slots,
        max_lora_rank=rank,
        max_cpu_loras=host,
        fully_sharded_loras=request.fully_sharded_loras,
        lora_target_modules=request.lora_target_modules,
        enable_moe_shared_loras=request.enable_moe_shared_loras,
        enable_mixed_moe_lora_format=request.enable_mixed_moe_lora_format,
    )


def adapter_flags(request: Features, adapters: Adapters | None) -> dict[str, FlagValue]:
    """Return vLLM's flags of these slots; none without adapters."""
    if adapters is None:
        return {}
    found: dict[str, FlagValue] = {"enable-lora": True, "max-loras": adapters.max_loras}
    found["max-lora-rank"] = adapters.max_lora_rank
    if adapters.max_cpu_loras != adapters.max_loras:
        found["max-cpu-loras"] = adapters.max_cpu_loras
    if request.lora_dtype != "auto":
        found["lora-dtype"] = request.lora_dtype
    if adapters.lora_target_modules:
        found["lora-target-modules"] = " ".join(adapters.lora_target_modules)
    for name in ("fully_sharded_loras", "enable_moe_shared_loras", "enable_mixed_moe_lora_format"):
        if getattr(adapters, name):
            found[name.replace("_", "-")] = True
    return found


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
        *_without_effect(model, adapters),
    )


def _without_effect(model: ModelProfile, adapters: Adapters) -> list[str]:
    """Which targets and switches change nothing for this model, as vLLM does not say it."""
    targets, names = adapters.lora_target_modules, module_names(model)
    unknown = [target for target in targets if target.rsplit(".", 1)[-1] not in names]
    notes = []
    if unknown:
        notes.append(
            f"lora_target_modules: {model.id} has no module {', '.join(unknown)} that takes adapters, so no slots are "
            f"made for it; there are {', '.join(sorted(names))}"
        )
    if any("." in target for target in targets):
        notes.append("lora_target_modules: a name with dots is counted as that module in every layer")
    if not any(isinstance(kind.feed_forward, Experts) for kind in model.layer_kinds):
        notes += [
            f"{name}: {model.id} has no experts, so it changes nothing"
            for name in ("enable_moe_shared_loras", "enable_mixed_moe_lora_format")
            if getattr(adapters, name)
        ]
    return notes
