"""One plan as a person reads it: what to rent, what to type, how fast, how full, and what binds."""

from typing import TYPE_CHECKING, Any

from vllm_opt.optimizer.contract.answer import Equation, Plan
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.quantities import count, quantity
from vllm_opt.optimizer.rendering.command import wrapped_command
from vllm_opt.optimizer.rendering.memory import memory_heading, memory_section
from vllm_opt.optimizer.rendering.plan_words import (
    SHOWN_PERCENTILES,
    basis_in_words,
    capacity_in_words,
    cost_in_words,
    gpus_in_words,
    load_in_words,
    percentile_rows,
    slow,
    slow_in_words,
    speed_rows,
    start_sentences,
    unit_of,
    weights_in_words,
)
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.rendering.tables import table_of
from vllm_opt.optimizer.serve_lines.flag_words import FLAG_WORDS
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


def heading(words: str) -> "Text":
    """A line that starts a section."""
    from rich.text import Text

    return Text("\n" + printable(words), style="bold")


def line(words: str) -> "Text":
    """A paragraph of plain text that wraps at the width of the screen."""
    from rich.text import Text

    return Text(printable(words))


def bullets(sentences: tuple[str, ...] | list[str]) -> list["RenderableType"]:
    """Sentences one below the other, the text hanging behind the mark."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    for sentence in sentences:
        grid.add_row(Text("-"), Text(printable(sentence)))
    return [Padding(grid, 0)] if sentences else []


def plan_sections(plan: Plan, request: dict[str, Any], screen: Screen) -> list["RenderableType"]:
    """Everything about one plan, most wanted first."""
    concurrency = request.get("concurrency")
    return [
        line(gpus_in_words(plan, concurrency if isinstance(concurrency, int) else None)),
        line(weights_in_words(plan)),
        line(cost_in_words(plan.cost, unit_of(plan.performance))),
        heading(f"Start each server with vLLM {plan.vllm_version}"),
        printable(wrapped_command(plan.command, plan.env, screen.width)),
        *(part for sentence in start_sentences(plan) for part in ("", line(sentence))),
        "",
        _flags(plan, screen),
        heading(speed_heading(plan.performance, request)),
        *speed_section(plan.performance, screen),
        heading(memory_heading(plan.memory)),
        *(line(part) if isinstance(part, str) else part for part in memory_section(plan.memory, screen)),
        *binding_section(plan),
    ]


def _flags(plan: Plan, screen: Screen) -> "RenderableType":
    rows = [
        [name, str(value).lower() if isinstance(value, bool) else str(value), FLAG_WORDS.get(name, "")]
        for name, value in plan.flags.items()
    ]
    return table_of([("flag", "left"), ("value", "right"), ("what it decides", "left")], rows, screen)


def speed_heading(performance: Performance, request: dict[str, Any]) -> str:
    """Say for which load the speed holds."""
    words = f"Speed with {load_in_words(performance)}"
    lengths = request.get("input_tokens"), request.get("output_tokens")
    if request.get("runner") == "pooling":
        words += f", {counted(lengths[0] or 0, 'token')} per input"
    elif all(isinstance(length, int) for length in lengths):
        words += f", {counted(lengths[0] or 0, 'token')} in and {count(lengths[1] or 0)} out"
    return words


def speed_section(performance: Performance, screen: Screen) -> list["RenderableType"]:
    """Each speed with its interval, and how it is known."""
    table = table_of([("", "left"), ("predicted", "right"), ("90 % interval", "left")], speed_rows(performance), screen)
    warned = [line(slow_in_words(performance))] if slow(performance) else []
    spread: list[RenderableType] = []
    if performance.percentiles:
        headings = [("over requests", "left"), *((name, "right") for name in SHOWN_PERCENTILES)]
        spread = [table_of(headings, percentile_rows(performance), screen), line(capacity_in_words(performance))]
    return [table, *warned, *spread, line(basis_in_words(performance))]


def binding_section(plan: Plan) -> list["RenderableType"]:
    """The rules that have little or no slack."""
    if not plan.binding:
        return []
    sentences = [
        f"{rule.rule}: {rule.message.rstrip('.')} ({quantity(rule.slack, rule.unit)} to spare)."
        for rule in plan.binding
    ]
    return [heading("What binds"), *bullets(sentences)]


def notes_section(notes: tuple[str, ...]) -> list["RenderableType"]:
    """What a reader has to know besides."""
    return [heading("Notes"), *bullets(notes)] if notes else []


def equations_section(equations: tuple[Equation, ...]) -> list["RenderableType"]:
    """Each formula, its numbers and its result, with the place it was read from."""
    if not equations:
        return []
    sections: list[RenderableType] = [heading("Equations")]
    for equation in equations:
        result = f"{count(equation.result)} bytes = " if equation.unit == "bytes" else ""
        sections.append(line(f"{equation.name} = {equation.formula}"))
        sections.append(line(f"    = {equation.values}"))
        sections.append(line(f"    = {result}{quantity(equation.result, equation.unit)}"))
        if equation.source:
            sections.append(line(f"    source: {equation.source}"))
    return sections
