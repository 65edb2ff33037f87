"""Findings about the GPUs that a server gets: their number, nodes, shared memory, and what the image runs on."""

from collections.abc import Iterator

from vllm_opt.optimizer.linter.subject.context import LintContext
from vllm_opt.optimizer.linter.subject.report import Finding, Level
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.images import NOT_JUDGED
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.reading.quantities import counted

LARGEST_USUAL_NODE = 8
_SPREAD = ("data-parallel-address", "data-parallel-rank", "data-parallel-start-rank", "data-parallel-hybrid-lb",
           "data-parallel-external-lb", "headless", "data-parallel-backend", "data-parallel-size-local")  # fmt: skip
"""Flags with which the engines of one server run on several nodes."""
_AMD_ONLY = ("VLLM_ROCM_", "HIP_VISIBLE", "ROCR_VISIBLE", "HSA_", "PYTORCH_ROCM_ARCH")
"""Variables that only ROCm reads."""
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def placement_findings(context: LintContext) -> Iterator[Finding]:
    """GPUs given and used, nodes, /dev/shm, and images for other hardware."""
    if context.command.hardware not in NOT_JUDGED:
        yield from _gpus(context)
        yield from _one_node(context)
        yield from _shared_memory(context)
    yield from _hardware(context)


def gpus_needed(context: LintContext) -> int:
    """GPUs of one server: TP x PP x DP."""
    product = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        product *= int(context.fields.get(name, 1))
    return product


def _finding(context: LintContext, rule: str, level: Level, message: str, flag: str | None = None) -> Finding:
    return Finding(rule=rule, level=level, message=message, flag=flag, line=context.line_of(flag or ""))


def _given(context: LintContext) -> int | None:
    """GPUs of all nodes together, as far as the text says."""
    given = context.command.gpu_count
    for name in _VISIBLE:
        visible = context.command.environment.get(name, "")
        parts = [part for part in visible.split(",") if part.strip()]
        if parts and all(part.strip().isdecimal() or part.strip().startswith(("GPU-", "MIG-")) for part in parts):
            given = len(parts)
    return None if given is None else given * context.command.nodes


def _gpus(context: LintContext) -> Iterator[Finding]:
    needed, given = gpus_needed(context), _given(context)
    spread = [name for name in _SPREAD if context.parsed.given(name)]
    named = {use.name for use in context.parsed.unknown_values}
    if given is None or given == needed or spread or named & {"tensor-parallel-size", "pipeline-parallel-size",
                                                              "data-parallel-size"}:  # fmt: skip
        return
    several = context.command.starts_ray or context.command.nodes > 1
    several = several or context.parsed.value("nnodes") not in (None, 1) or (
        context.parsed.value("distributed-executor-backend") == "ray"
    )  # fmt: skip
    if given < needed and not several:
        message = (
            f"the command uses {counted(needed, 'GPU')} (TP x PP x DP) and gets {given}: vLLM cannot start its workers"
        )
        yield _finding(context, "gpu_count", "error", f"{message}; give {needed} or lower --tensor-parallel-size")
    elif given > needed:
        message = f"the command uses {needed} of the {counted(given, 'GPU')} it gets; the others stay idle"
        yield _finding(
            context, "gpu_count", "warning",
            f"{message}: raise --data-parallel-size or --tensor-parallel-size, or ask for {needed}",
        )  # fmt: skip


def _one_node(context: LintContext) -> Iterator[Finding]:
    """One engine's ranks must fit in a node unless the command says how to span several."""
    world = gpus_needed(context) // int(context.fields.get("data_parallel_size", 1))
    usual = max(LARGEST_USUAL_NODE, context.gpu.gpus_per_node, context.command.gpu_count or 0)
    spans = context.parsed.value("nnodes") not in (None, 1) or context.parsed.given("distributed-executor-backend")
    hidden = {use.name for use in context.parsed.unknown_values} & {"nnodes", "distributed-executor-backend"}
    if world <= usual or spans or hidden:
        return
    knows_nodes = any(flag.name == "nnodes" for flag in context.engine.flags)
    how = "--nnodes N or --distributed-executor-backend ray" if knows_nodes else "--distributed-executor-backend ray"
    yield _finding(
        context, "one_node", "error" if knows_nodes else "warning",
        f"World size ({world}) is larger than the {usual} GPUs that a server usually holds: span several with "
        f"{how}", "--distributed-executor-backend",
    )  # fmt: skip


def _shared_memory(context: LintContext) -> Iterator[Finding]:
    if context.command.shared_memory is False and gpus_needed(context) > 1:
        yield _finding(
            context, "shared_memory", "warning",
            "several ranks in one container exchange data through /dev/shm, which has 64 MiB by default: give "
            "--ipc=host (docker), ipc: host or shm_size (compose), or an emptyDir of medium Memory at /dev/shm "
            "(Kubernetes)",
        )  # fmt: skip


def other_hardware(command: ServeCommand, gpu: GpuProfile) -> str:
    """Return why the command is for other hardware than this GPU; an empty text where nothing says so."""
    if command.hardware in NOT_JUDGED:
        return f"the image's name says {command.hardware}"
    if gpu.vendor != "amd" and command.hardware == "rocm":
        return "the image's name says ROCm"
    marked = next((name for name in sorted(command.environment) if name.startswith(_AMD_ONLY)), None)
    return f"{marked} is for AMD GPUs" if gpu.vendor != "amd" and marked is not None else ""


def _hardware(context: LintContext) -> Iterator[Finding]:
    why = other_hardware(context.command, context.gpu)
    if why:
        message = f"{why}, and the GPU named is {context.gpu.id}: memory, speed and what it supports are not judged"
        level: Level = "note" if context.command.hardware in NOT_JUDGED else "warning"
        yield _finding(context, "other_hardware", level, message)
