"""One plan as the YAML that `vllm serve --config` reads, under a header that says what to expect of it."""

import shlex

from vllm_opt.optimizer.batches.cells import Cell
from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.quantities import count, gib
from vllm_opt.optimizer.rendering.plan_words import cost_in_words, unit_of
from vllm_opt.optimizer.rendering.written_forms import as_yaml
from vllm_opt.optimizer.serve_lines.command_line import FlagValue
from vllm_opt.profiles.printable import one_line
from vllm_opt.profiles.reading.quantities import counted
from vllm_opt.profiles.version import installed_version

HEADER_START = "# vllm-opt "


def vllm_config(plan: Plan, cell: Cell, notes: tuple[str, ...]) -> str:
    """Return the file: comments, then the model and every flag.

    vLLM's reader turns `key: true` into `--key` and drops `key: false` where the flag has no negation it knows, so a
    switch that is off is written as `no-key: true` (vLLM 0.33 `utils/argparse_utils.py:load_config_file`), or as the
    word that the command says where the release reads a truth value.
    """
    settings: dict[str, FlagValue] = {"model": served_model(plan)}
    words = shlex.split(plan.command)
    for name, value in plan.flags.items():
        if value is False and f"--{name}=False" in words:
            settings[name] = str(value)
        else:
            settings[f"no-{name}" if value is False else name] = True if value is False else value
    comments = "".join(f"# {one_line(line)}\n" if line else "#\n" for line in _header(plan, cell, notes))
    return comments + as_yaml(settings)


def served_model(plan: Plan) -> str:
    """The checkpoint as the plan's command names it: a Hugging Face id, or the folder that is still to be made."""
    return shlex.split(plan.command)[2]


def _header(plan: Plan, cell: Cell, notes: tuple[str, ...]) -> list[str]:
    workload = cell.workload
    file = cell.path.rsplit("/", 1)[-1]
    environment = [f"{name}={shlex.quote(value)}" for name, value in plan.env.items()]
    return [
        f"{HEADER_START[2:]}{installed_version()}: {plan.model} on {count(plan.gpu_count)} x {plan.gpu}",
        f"Workload {workload.id}: {counted(workload.input_tokens, 'token')} in, {count(workload.output_tokens)} out, "
        f"{count(workload.concurrency)} at once, up to {count(workload.target_context)} each",
        f"Start {_servers(plan.replicas)} with vLLM {plan.vllm_version}: "
        + " ".join([*environment, f"vllm serve --config {shlex.quote(file)}"]),
        "",
        f"Predicted with {counted(plan.performance.concurrency, 'user')} at once ({plan.performance.basis}):",
        *_speed(plan.performance),
        f"Memory of one GPU: {gib(plan.memory.weights_bytes)} weights, {gib(plan.memory.kv_cache_bytes)} KV cache for "
        f"{counted(plan.memory.kv_cache_tokens, 'token')}",
        f"Cost: {_cost(plan)}",
        f"Objective: {', then '.join(cell.objective)}",
        *(f"Note: {note}" for note in notes),
    ]


def _servers(replicas: int) -> str:
    return "one server" if replicas == 1 else f"{counted(replicas, 'server')}, each"


def _speed(speed: Performance) -> list[str]:
    rows = [("TTFT", "ttft_ms", "ms"), ("TPOT", "tpot_ms", "ms"), ("throughput", "output_tokens_per_s", "output tok/s")]
    lines = []
    for words, name, unit in rows:
        value = getattr(speed, name)
        if value is None:
            continue
        bounds = speed.interval.get(name)
        interval = f" (90 % interval {_rounded(bounds[0])} to {_rounded(bounds[1])})" if bounds else ""
        lines.append(f"{words} {_rounded(value)} {unit}{interval}")
    return lines


def _rounded(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _cost(plan: Plan) -> str:
    if plan.cost is None:
        return "no price is known for this SKU"
    return f"{cost_in_words(plan.cost, unit_of(plan.performance))}; price: {plan.cost.price_source}"
