"""Findings about environment variables, GPUs given, shared memory, and features that the prediction leaves out."""

import json
from collections.abc import Iterator

from vllm_opt.optimizer.linter.subject.context import LintContext
from vllm_opt.optimizer.linter.subject.report import Finding, Level
from vllm_opt.optimizer.serve_lines.flag_history import version_parts
from vllm_opt.profiles.reading.quantities import counted

NOT_MODELLED = {
    "spec-method": "the draft model's weights, KV layers and states",
    "rope-scaling": "a longer context from RoPE scaling",
    "prefill-context-parallel-size": "prefill context parallelism",
    "dtype": "another --dtype than the checkpoint's",
    "performance-mode": "another performance mode than 'balanced', which changes the batch defaults",
    "enable-dbo": "two micro-batches in flight",
    "kv-cache-dtype-skip-layers": "layers kept in 16 bits",
    "attention-backend": "an attention backend that is not vLLM's own choice",
}
"""Flag -> what of it the prediction leaves out."""

HARMLESS_VALUES = {
    "dtype": ("auto", "bfloat16"),
    "performance-mode": ("balanced",),
    "prefill-context-parallel-size": (1,),
}
V1_ONLY_SINCE = (0, 11)
LARGEST_USUAL_NODE = 8
NO_BACKEND_VARIABLE_SINCE = (0, 33)
"""The release whose own source was read to lack VLLM_ATTENTION_BACKEND; older ones may, too."""


def environment_findings(context: LintContext) -> Iterator[Finding]:
    """Everything around the command that changes what it does."""
    yield from _gpus(context)
    yield from _one_node(context)
    yield from _shared_memory(context)
    yield from _variables(context)
    yield from _not_modelled(context)


def gpus_needed(context: LintContext) -> int:
    """GPUs of one server: TP x PP x DP."""
    product = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        product *= int(context.fields.get(name, 1))
    return product


def _finding(context: LintContext, rule: str, level: Level, message: str, flag: str | None = None) -> Finding:
    return Finding(rule=rule, level=level, message=message, flag=flag, line=context.line_of(flag or ""))


def _gpus(context: LintContext) -> Iterator[Finding]:
    needed, given = gpus_needed(context), context.command.gpu_count
    visible = context.command.environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() and "$" not in visible:
        given = len([part for part in visible.split(",") if part.strip()])
    if given is None or given == needed:
        return
    local = context.parsed.value("data-parallel-size-local")
    if given < needed and local is None and context.parsed.value("nnodes") in (None, 1):
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
    if world <= usual or spans:
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


def _variables(context: LintContext) -> Iterator[Finding]:
    environment, release = context.command.environment, version_parts(context.engine.version)
    if "VLLM_USE_V1" in environment and release >= V1_ONLY_SINCE:
        message = f"vLLM {context.engine.version} has the V1 engine only: VLLM_USE_V1 has no effect; drop it"
        yield _finding(context, "environment", "warning", message, "VLLM_USE_V1")
    if environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0") in ("1", "true", "True"):
        message = (
            "VLLM_ALLOW_LONG_MAX_MODEL_LEN lets max_model_len exceed what the model was made for: positions beyond it "
            "give NaN or nonsense; drop it unless RoPE scaling is configured"
        )
        yield _finding(context, "environment", "warning", message, "VLLM_ALLOW_LONG_MAX_MODEL_LEN")
    switch = context.engine.reads_cuda_graph_estimate_flag
    name = "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS"
    if name in environment and switch is None:
        message = f"vLLM {context.engine.version} does not read {name}; drop it"
        yield _finding(context, "environment", "note", message, name)
    elif name in environment and environment[name].strip() == "0" and context.engine.graphs_in_budget:
        message = (
            f"{name}=0 takes CUDA graphs out of the budget: they are captured beside it, so lower "
            "gpu_memory_utilization by their size or drop the variable"
        )
        yield _finding(context, "environment", "warning", message, name)
    if "VLLM_ATTENTION_BACKEND" in environment and release >= NO_BACKEND_VARIABLE_SINCE:
        message = f"vLLM {context.engine.version} does not read VLLM_ATTENTION_BACKEND; use --attention-backend"
        yield _finding(context, "environment", "warning", message, "VLLM_ATTENTION_BACKEND")
    for name in ("VLLM_PP_LAYER_PARTITION", "VLLM_KV_CACHE_LAYOUT", "VLLM_ENABLE_STARTUP_PLAN"):
        if name in environment:
            message = f"{name} changes the memory plan and is not part of the prediction"
            yield _finding(context, "not_modelled", "note", message, name)


def _not_modelled(context: LintContext) -> Iterator[Finding]:
    for name, words in NOT_MODELLED.items():
        value = context.parsed.value(name)
        if value in (None, False) or value in HARMLESS_VALUES.get(name, ()):
            continue
        yield _finding(
            context, "not_modelled", "note", f"--{name}: the prediction leaves out {words}; leave room", f"--{name}"
        )


def left_out_findings(context: LintContext, left_out: dict[str, str]) -> Iterator[Finding]:
    """Features that the prediction could not take in, and why."""
    for field, why in left_out.items():
        flag = f"--{field.replace('_', '-')}"
        yield _finding(context, "not_modelled", "note", f"{flag}: the prediction leaves it out: {why}", flag)


def graphs_switched_off(context_flags: dict[str, object]) -> bool:
    """Whether -O0 or a compilation config without graphs does what --enforce-eager does."""
    if str(context_flags.get("optimization-level")) == "0":
        return True
    config = context_flags.get("compilation-config")
    if not isinstance(config, str):
        return False
    try:
        read = json.loads(config)
    except ValueError:
        return config == "NONE"
    return isinstance(read, dict) and str(read.get("cudagraph_mode", "")).upper() == "NONE"
