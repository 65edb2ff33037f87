"""An `Estimate` for the terminal, like a bill: what there is, what is taken, what is left, what vLLM would print."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vllm_opt.optimizer.contract.answer import Estimate, Memory
from vllm_opt.optimizer.contract.quantities import count, gib, percent, quantity
from vllm_opt.optimizer.rendering.memory import memory_heading, memory_section
from vllm_opt.optimizer.rendering.plan import (
    bullets,
    equations_section,
    heading,
    line,
    notes_section,
    speed_heading,
    speed_section,
)
from vllm_opt.optimizer.rendering.plan_words import cost_in_words, unit_of
from vllm_opt.optimizer.rendering.screen import Screen, drawn
from vllm_opt.optimizer.rendering.tables import table_of
from vllm_opt.profiles.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType


def estimate_table(estimate: Estimate, screen: Screen) -> str:
    """Draw the whole estimate."""
    memory = estimate.memory
    sections: list[RenderableType] = [
        _title(estimate),
        line(cost_in_words(estimate.cost, unit_of(estimate.performance))),
    ]
    sections += _violations(estimate)
    sections += [heading(memory_heading(memory))]
    sections += [line(part) if isinstance(part, str) else part for part in memory_section(memory, screen)]
    sections += [heading("The sum"), table_of(BILL_HEADINGS, bill(memory), screen)]
    if estimate.startup_log:
        sections += [heading("vLLM would print"), *(printable(text) for text in estimate.startup_log)]
    if estimate.performance is not None:
        sections += [heading(speed_heading(estimate.performance, estimate.request))]
        sections += speed_section(estimate.performance, screen)
    sections += [*notes_section(estimate.notes), *equations_section(estimate.equations)]
    return drawn(*sections, screen=screen)


CERTAIN = 0.99
"""Probability of a start from which on it is not worth a word."""
BILL_HEADINGS = [("", "left"), ("bytes", "right"), ("GiB", "right"), ("", "left")]


def bill(memory: Memory) -> list[list[str]]:
    """Return the sum line by line: sign and name, bytes, GiB, explanation."""
    graphs_words = "estimate" if memory.cuda_graph_in_budget else "captured outside the budget by this release"
    share = memory.budget_bytes / memory.gpu_total_bytes
    rows = [
        ("  GPU as reported", memory.gpu_total_bytes, ""),
        ("x utilization = budget", memory.budget_bytes, f"{share:.3f} of the GPU"),
        ("- weights", memory.weights_bytes, "parameters as loaded"),
        ("- weight extras", memory.weights_extra_bytes, "buffers, repacked and absorbed matrices"),
        *(("- drafter", size, "weights of speculative decoding") for size in (memory.draft_bytes,) if size),
        *(("- adapters", size, "LoRA slots, used or not") for size in (memory.lora_bytes,) if size),
        ("- activation peak", memory.activation_peak_bytes, "one step of max-num-batched-tokens"),
        ("- other", memory.non_torch_bytes, "allocated outside PyTorch"),
        ("- CUDA graphs" if memory.cuda_graph_in_budget else "  CUDA graphs", memory.cuda_graph_bytes, graphs_words),
        ("= KV cache pool", memory.kv_cache_bytes, "available KV cache memory"),
        ("/ one block", memory.kv_block_bytes, f"{memory.block_size} tokens"),
    ]
    cells = [[name, count(size), gib(size, ""), words] for name, size, words in rows]
    cells.append(["= blocks", count(memory.num_gpu_blocks), "", "the fewest of all ranks"])
    cells.append(
        ["  headroom", count(memory.headroom_bytes), gib(memory.headroom_bytes, ""), "left outside the budget"]
    )
    needed = memory.headroom_needed_bytes
    cells.append(["  headroom needed", count(needed), gib(needed, ""), "CUDA context, NCCL and what comes on top"])
    if memory.confidence_bytes:
        margin = memory.confidence_bytes
        cells.append(
            ["  spread", count(margin), gib(margin, ""), "what the fitted terms may exceed at the confidence asked"]
        )
    return cells


def _title(estimate: Estimate) -> "RenderableType":
    from rich.text import Text

    words = f"{configuration_in_words(estimate.request)}: {verdict_of(estimate)}"
    return Text(printable(words), style="bold green" if estimate.fits else "bold red")


def configuration_in_words(asked: Mapping[str, Any]) -> str:
    """The model, its GPUs and the release: 'Qwen/Qwen3-8B on 2 x l40s, vLLM 0.33'."""
    gpus = 1
    for size in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "replicas"):
        gpus *= int(asked.get(size, 1))
    return f"{asked.get('model')} on {gpus} x {asked.get('gpu')}, vLLM {asked.get('vllm_version')}"


def verdict_of(estimate: Estimate) -> str:
    """Say whether vLLM starts, and how likely that is where it is not certain."""
    probability = estimate.starts.probability if estimate.starts is not None else float(estimate.fits)
    if estimate.fits:
        return "starts and serves" if probability >= CERTAIN else f"likely to start ({percent(probability)})"
    if probability < 1 - CERTAIN:
        return "does not fit"
    return f"{'expected' if probability >= 0.5 else 'unlikely'} to start ({percent(probability)}), not sure enough"


def _violations(estimate: Estimate) -> list["RenderableType"]:
    if not estimate.violations:
        return []
    sentences = []
    for violation in estimate.violations:
        words = f"{violation.rule}: {violation.message.rstrip('.')}."
        divides = violation.rule == "divisibility"
        if violation.needed is not None and violation.available is not None and not divides:
            needed, available = (
                quantity(violation.needed, violation.unit),
                quantity(violation.available, violation.unit),
            )
            words += f" Needed {needed}, available {available}."
        sentences.append(words)
    title = "Not met" if estimate.fits else "Why not"
    return [heading(title), *bullets(sentences)]
