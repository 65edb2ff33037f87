"""A placement as table, JSON, YAML or HTML: every node as a picture, its GPUs as boxes, servers as blocks."""

import textwrap
from typing import TYPE_CHECKING

from vllm_opt.optimizer.placement import words
from vllm_opt.optimizer.placement.answer import GpuOfNode, PlacementAnswer, ServerOnGpu
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.rendering.written_forms import written_as
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

PLACEMENT_FORMATS = ("table", "json", "yaml", "html")
BLOCKS = 24
"""characters of one GPU in the terminal"""
MOST_NODES_SHOWN = 24
LEAST_WIDE = 24
"""of the words beside a GPU, however narrow the terminal"""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""of services awake; small ones are of those asleep"""
WAKING = "-"
"""memory that is kept for whichever sleeper is awake"""


def render_placement(answer: PlacementAnswer, format_name: str, screen: Screen) -> str:
    """Return the answer in one of the formats.

    Raises:
        InvalidRequest: the format is unknown.
    """
    text = written_as(answer, format_name, lambda: placement_table(answer, screen), lambda: _page(answer))
    if text is None:
        raise InvalidRequest(f"format '{format_name}' is not one of {', '.join(PLACEMENT_FORMATS)}")
    return text


def _page(answer: PlacementAnswer) -> str:
    from vllm_opt.optimizer.placement.page import placement_page

    return placement_page(answer)


def placement_table(answer: PlacementAnswer, screen: Screen) -> str:
    """Draw the answer for a terminal."""
    from rich.text import Text

    from vllm_opt.optimizer.rendering.plan import bullets, heading, line
    from vllm_opt.optimizer.rendering.screen import drawn
    from vllm_opt.optimizer.rendering.tables import table_of
    from vllm_opt.profiles.printable import printable

    style = "bold red" if answer.unplaced or answer.status == "unknown" else "bold green"
    parts: list[RenderableType] = [Text(printable(words.title_of(answer)), style=style)]
    for title, headings, rows in (
        ("Services", words.SERVICE_HEADINGS, words.service_rows(answer)),
        ("Objectives, in this order", words.OBJECTIVE_HEADINGS, words.objective_rows(answer)),
    ):
        parts += [heading(title), table_of(headings, rows, screen)] if rows else []
    if missing := words.missing_sentences(answer):
        parts += [heading("What is missing"), *bullets(missing)]
    parts += [heading("Nodes"), *(Text(printable(text)) for text in node_lines(answer, screen))]
    if answer.servers:
        parts += [heading("Servers"), table_of(words.SERVER_HEADINGS, words.server_rows(answer), screen)]
    if summary := words.moves_summary(answer):
        parts += [heading("Moves from today"), line(summary)]
        parts += [table_of(words.MOVE_HEADINGS, words.move_rows(answer), screen)] if answer.moves else []
    parts += [heading("Notes"), *bullets(answer.notes)]
    return drawn(*parts, line(""), line(words.footer(answer)), screen=screen)


def node_lines(answer: PlacementAnswer, screen: Screen) -> list[str]:
    """Every node as lines of text: one GPU a line, its memory as letters, one letter a service, small ones asleep."""
    letters = letters_of(answer)
    lines: list[str] = []
    for node in answer.nodes[:MOST_NODES_SHOWN]:
        zone = f" in {node.zone}" if node.zone else ""
        asleep = f", {words.gib(node.host_memory_used_bytes)} of host memory" if node.host_memory_used_bytes else ""
        lines.append(f"{node.name}{zone}{asleep}")
        several = len({gpu.island for gpu in node.gpus}) > 1
        before = None
        for gpu in node.gpus:
            if several and gpu.island != before and not gpu.shown:
                lines.append(f"  island {gpu.island}")
            before = gpu.island
            lines.append(f"  {_gpu_line(gpu, letters, screen)}")
    if len(answer.nodes) > MOST_NODES_SHOWN:
        more = len(answer.nodes) - MOST_NODES_SHOWN
        lines.append(f"and {counted(more, 'node')} more: see --format html or json")
    return lines


def letters_of(answer: PlacementAnswer) -> dict[str, str]:
    """Service -> its letter in the pictures."""
    return {service.service: LETTERS[i % len(LETTERS)] for i, service in enumerate(answer.services)}


def _gpu_line(gpu: GpuOfNode, letters: dict[str, str], screen: Screen) -> str:
    nothing = "·" if screen.unicode else "."
    bar = ""
    for server in gpu.servers:
        cells = max(1, round(BLOCKS * words.held_bytes(server) / gpu.memory_bytes))
        letter = letters[server.service]
        bar += letter.lower() * cells if server.sleeps else letter * cells
    bar += WAKING * round(BLOCKS * words.waking_bytes(gpu) / gpu.memory_bytes)
    names = ", ".join(_held(server) for server in gpu.servers) or "free"
    line = f"{gpu.shown or gpu.index!s:>4} {gpu.gpu:<12} |{bar[:BLOCKS]:{nothing}<{BLOCKS}}| "
    room = max(LEAST_WIDE, screen.width - len(line) - 2)
    return line + f"\n{' ' * (len(line) + 2)}".join(textwrap.wrap(names, room, break_long_words=False))


def _held(server: ServerOnGpu) -> str:
    """One server on a GPU and what it takes there."""
    asleep = f"{words.gib(words.held_bytes(server))} asleep, " if server.sleeps else ""
    return f"{server.service}/{server.replica} {asleep}{words.gib(server.bytes)}{' awake' if server.sleeps else ''}"
