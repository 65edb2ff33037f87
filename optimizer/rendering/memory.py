"""The memory of one GPU as a bar with its legend, and rank by rank where ranks differ."""

from typing import TYPE_CHECKING

from vllm_opt.optimizer.contract.answer import Memory
from vllm_opt.optimizer.contract.quantities import count, gib, percent, size
from vllm_opt.optimizer.rendering.memory_parts import cells, memory_parts, shortfall_bytes
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.rendering.tables import table_of
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

STYLES = {
    "weights": "blue",
    "activation": "magenta",
    "graphs": "yellow",
    "other": "red",
    "kv": "green",
    "context": "cyan",
    "free": "bright_black",
}
MARKS = {"weights": "█", "activation": "▓", "graphs": "▒", "other": "░", "kv": "━", "context": "▚", "free": "·"}
ASCII_MARKS = {"weights": "#", "activation": "+", "graphs": "%", "other": "~", "kv": "=", "context": "x", "free": "."}


def memory_section(memory: Memory, screen: Screen) -> list["RenderableType"]:
    """Draw the bar, its legend and the pool's figures."""
    from rich.text import Text

    marks = MARKS if screen.unicode else ASCII_MARKS
    parts = memory_parts(memory)
    bar = Text("[")
    for part, width in zip(parts, cells(parts, screen.width - 4), strict=True):
        bar.append(marks[part.key] * width, style=STYLES[part.key])
    bar.append("]")
    legend = table_of(
        [("", "left"), ("part", "left"), ("GiB", "right"), ("share", "right")],
        [
            [
                Text(marks[part.key], style=STYLES[part.key]),
                part.words,
                gib(part.size_bytes, ""),
                percent(part.size_bytes / memory.gpu_total_bytes),
            ]
            for part in parts
            if part.size_bytes
        ],
        screen,
    )
    missing = shortfall_bytes(memory)
    over = [Text(f"{gib(missing)} more than the GPU has.", style="bold red")] if missing else []
    return [bar, legend, *over, pool_sentence(memory), *_ranks(memory, screen)]


def memory_heading(memory: Memory) -> str:
    """Say what the GPU reports and what vLLM may use of it."""
    share = memory.budget_bytes / memory.gpu_total_bytes
    return (
        f"Memory per GPU: {gib(memory.gpu_total_bytes)} reported, {gib(memory.budget_bytes)} budget ({percent(share)})"
    )


def pool_sentence(memory: Memory) -> str:
    """Say what the KV pool holds."""
    if not memory.kv_block_bytes and memory.max_supported_model_len:
        return (
            f"No KV cache: up to {memory.running_concurrency:.0f} sequences at once, and prompts up to "
            f"{counted(memory.max_supported_model_len, 'token')}."
        )
    sentence = (
        f"KV pool: {counted(memory.kv_cache_tokens, 'token')} in {counted(memory.num_gpu_blocks, 'block')} of "
        f"{memory.block_size}, {size(memory.kv_block_bytes)} each; {memory.running_concurrency:.1f} sequences of full "
        f"length at once ({memory.max_concurrency:.2f} printed at start-up, {memory.admission_concurrency:.1f} may "
        f"start together); longest context that starts: {counted(memory.max_supported_model_len, 'token')}."
    )
    if memory.host_tier_tokens:
        sentence += f" Host memory holds {counted(memory.host_tier_tokens, 'token')} beside it, which do not run."
    return sentence


def _ranks(memory: Memory, screen: Screen) -> list["RenderableType"]:
    if len(memory.ranks) < 2:
        return []
    headings = ["stage", "layers", "weights", "activation", "graphs", "other", "KV pool", "blocks"]
    rows = [
        [
            str(rank.stage),
            str(rank.layers),
            gib(rank.weights_bytes + rank.weights_extra_bytes, ""),
            gib(rank.activation_peak_bytes, ""),
            gib(rank.cuda_graph_bytes, ""),
            gib(rank.non_torch_bytes, ""),
            gib(rank.kv_cache_bytes, ""),
            count(rank.num_gpu_blocks),
        ]
        for rank in memory.ranks
    ]
    table = table_of([(heading, "right") for heading in headings], rows, screen)
    return ["", "By pipeline stage, GiB per GPU (the stage with the fewest blocks decides):", table]
