"""What a plan names, looked up again: the model as its checkpoint stores it, card, release, format and plain flags."""

from dataclasses import dataclass
from typing import Any

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

CHANGES_THE_MODEL = (
    "hf_overrides", "speculative_config", "enable_lora", "lora_adapters", "language_model_only", "skip_mm_profiling",
    "limit_mm_per_prompt", "images_per_request", "videos_per_request", "kv_transfer_config", "kv_events_config",
    "compilation_config", "kv_cache_dtype_skip_layers",
)  # fmt: skip
"""Fields of a request after which the server is not the one that its profile alone describes."""


class OutOfReach(Exception):  # noqa: N818 - nothing went wrong
    """A part that is not counted again here; the message says which."""


@dataclass(frozen=True)
class Subject:
    """One plan with the profiles that it names, and the request that it answers."""

    plan: Plan
    request: dict[str, Any]
    model: ModelProfile
    gpu: GpuProfile
    engine: EngineProfile
    quantization: Quantization

    @property
    def ranks(self) -> int:
        """Tensor-parallel ranks."""
        return self.plan.tensor_parallel_size

    @property
    def engines(self) -> int:
        """Engines with a KV pool of their own."""
        return self.plan.replicas * self.plan.data_parallel_size

    @property
    def server_gpus(self) -> int:
        """GPUs of one `vllm serve`."""
        return self.plan.tensor_parallel_size * self.plan.pipeline_parallel_size * self.plan.data_parallel_size

    def number(self, flag: str) -> int:
        """A whole number that the plan states as a flag."""
        return int(self.plan.flags[flag])

    @property
    def utilization(self) -> float:
        """`--gpu-memory-utilization`."""
        return float(self.plan.flags["gpu-memory-utilization"])

    @property
    def eager(self) -> bool:
        """Whether no CUDA graphs are captured."""
        return bool(self.plan.flags.get("enforce-eager", False))

    @property
    def chunked(self) -> bool:
        """Whether prompts are cut: as stated, else as the release does for a model whose prompts may be cut."""
        if not self.model.cuts_prompts:
            return False
        stated = self.plan.flags.get("enable-chunked-prefill")
        return bool(stated) if stated is not None else self.engine.chunked_prefill_default == "on"

    @property
    def asynchronous(self) -> bool:
        """Whether steps are scheduled ahead: as stated, else as the release does."""
        stated = self.plan.flags.get("async-scheduling")
        if stated is not None:
            return bool(stated)
        return self.engine.async_scheduling_default and self.model.runner != "pooling"

    @property
    def stages(self) -> list[list[int]]:
        """Decoder layers of each pipeline stage: an equal share, and the rest from the stage before the last back."""
        layers, count = self.model.num_hidden_layers, self.plan.pipeline_parallel_size
        sizes = [layers // count] * count
        for extra in range(layers % count):
            sizes[count - 2 - extra] += 1
        starts = [sum(sizes[:at]) for at in range(count)]
        return [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


def subject_of(plan: Plan, request: dict[str, Any], catalog: Catalog) -> Subject:
    """Look up what a plan names.

    Raises:
        OutOfReach: the request changes the model or what is served beside it.
    """
    for name in CHANGES_THE_MODEL:
        if request.get(name) not in (None, False, (), [], {}, ""):
            raise OutOfReach(f"{name} changes what is served")
    model = catalog.model(plan.model)
    engine, _ = catalog.engine(plan.vllm_version, request.get("engine"))
    if model.runner != "generate":
        raise OutOfReach(f"a model that gives {model.runner}")
    return Subject(
        plan, request, _stored(model, plan, catalog), gpu_of(plan, catalog), engine,
        catalog.quantization(plan.quantization),
    )  # fmt: skip


def gpu_of(plan: Plan, catalog: Catalog) -> GpuProfile:
    """The card of a plan: this machine's where the request was for it."""
    gpu = catalog.gpu(plan.gpu)
    if plan.memory.gpu_total_bytes != gpu.memory_bytes:
        raise OutOfReach("a card of this machine")
    return gpu


def _stored(model: ModelProfile, plan: Plan, catalog: Catalog) -> ModelProfile:
    """The model with its weights as the checkpoint served stores them."""
    if plan.checkpoint is None or plan.checkpoint == model.id:
        return model
    for known in model.checkpoints:
        if known.id == plan.checkpoint and known.quantization == plan.quantization:
            return catalog.stored_as(model, known)
    raise OutOfReach(f"the checkpoint {plan.checkpoint} under another name")
