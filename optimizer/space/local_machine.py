"""`--gpu local`: a plan, and whatever an explanation proposes instead, uses the cards of this machine and no others."""

from collections.abc import Iterable

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.workload import Targets
from vllm_opt.profiles.reading.quantities import format_gib


def only_local(request: SolveRequest) -> bool:
    """Whether nothing but this machine's GPUs is asked about."""
    return {name.lower() for name in request.gpu} == {"local"}


def machine_gpus(gpus: Iterable[GpuProfile], request: SolveRequest) -> int | None:
    """How many GPUs of one kind this machine has, or a larger number that is asked for; None where others take part."""
    if not only_local(request):
        return None
    return max(*(gpu.gpus_per_node for gpu in gpus), request.gpus or 0, request.max_gpus or 0)


def on_this_machine(gpus: Iterable[GpuProfile]) -> tuple[set[str], str]:
    """The kinds of card that there are most of, and a sentence about the others: a plan uses cards of one kind."""
    kinds = tuple(gpus)
    most = max(gpu.gpus_per_node for gpu in kinds)
    fewer = ", ".join(f"{gpu.gpus_per_node} x {gpu.id}" for gpu in kinds if gpu.gpus_per_node < most)
    note = f"{fewer} of this machine left out: a plan uses cards of one kind" if fewer else ""
    return {gpu.id for gpu in kinds if gpu.gpus_per_node == most}, note


def within_machine(targets: Targets, request: SolveRequest, machine: int | None) -> Targets:
    """The targets of a request; without a number of GPUs of its own it has those of the machine."""
    if machine is None or request.gpus or request.max_gpus:
        return targets
    return targets.model_copy(update={"max_gpus": machine})


def in_use(gpus: Iterable[GpuProfile]) -> tuple[str, ...]:
    """A sentence per kind of card of which other programs hold a part."""
    return tuple(
        f"{format_gib(gpu.memory_in_use_bytes)} of a {gpu.id} of this machine are in use by other programs and left "
        "alone; end those programs for a larger pool"
        for gpu in gpus
        if gpu.memory_in_use_bytes
    )
