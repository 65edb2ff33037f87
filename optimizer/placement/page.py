"""A placement as a report: every node as a picture, what is served, what moves, and the commands."""

from vllm_opt.optimizer.charts.bars import Bar, Part, bar_chart
from vllm_opt.optimizer.charts.boxes import Box, boxes
from vllm_opt.optimizer.placement import words
from vllm_opt.optimizer.placement.answer import GpuOfNode, NodeOfSite, PlacementAnswer
from vllm_opt.optimizer.rendering.command import wrapped_command
from vllm_opt.optimizer.rendering.served_plans import (
    KNOWN_HEADINGS,
    Served,
    served_known_rows,
    served_limits_figure,
    served_load_figures,
    served_speed_table,
)
from vllm_opt.optimizer.report.document import Block, Bullets, Code, Document, Figure, Section, Table, Words, section
from vllm_opt.optimizer.report.page import page
from vllm_opt.profiles.reading.quantities import counted
from vllm_opt.profiles.version import installed_version

MOST_NODES_DRAWN = 500


def placement_page(answer: PlacementAnswer) -> str:
    """Write the answer as one self-contained page."""
    return page(placement_document(answer))


def placement_document(answer: PlacementAnswer) -> Document:
    """The answer as a report."""
    moves = words.moves_summary(answer)
    body: tuple[Section, ...] = (
        *section(
            "Demand against capacity", _capacity(answer), Table(words.SERVICE_HEADINGS, words.service_rows(answer))
        ),
        *section("What is missing", Bullets(tuple(words.missing_sentences(answer)))),
        *section("Nodes", *_nodes(answer)),
        *(
            section("Moves from today", Words(moves), Table(words.MOVE_HEADINGS, words.move_rows(answer)))
            if moves
            else ()
        ),
        *section("Objectives, in this order", Table(words.OBJECTIVE_HEADINGS, words.objective_rows(answer))),
        *section("Servers", Table(words.SERVER_HEADINGS, words.server_rows(answer))),
        *section("Predictions", served_limits_figure(_served(answer)), served_speed_table(_served(answer))),
        *section("Over load", *served_load_figures(_served(answer))),
        *section(
            "Assumptions, and how each is known",
            Table(KNOWN_HEADINGS, served_known_rows(_served(answer))),
            Bullets(answer.notes),
        ),
        *section("Commands", *_commands(answer), apart=True),
    )
    title = words.title_of(answer)
    return Document(
        title=title, summary=_summary(answer), sections=body,
        good=not (answer.unplaced or answer.status == "unknown"),
        footer=f"{words.footer(answer)}; vllm-opt {installed_version()}.",
    )  # fmt: skip


def _served(answer: PlacementAnswer) -> tuple[Served, ...]:
    """Every plan in use, once: servers that are alike are one."""
    asked = {item.get("name"): item for item in answer.request.get("services", ())}
    found = {(server.service, server.plan.command, server.plan.gpu): server for server in answer.servers}
    return tuple(
        Served(f"{server.service} on {server.plan.gpu}", server.plan, asked.get(server.service, {}))
        for server in found.values()
    )


def _summary(answer: PlacementAnswer) -> str:
    title = words.title_of(answer)
    if not answer.services:
        return f"{title}."
    tightest = min(answer.services, key=lambda service: (service.headroom, service.service))
    kept = sum(server.kept for server in answer.servers)
    stay = f"; {kept} of {counted(len(answer.servers), 'server')} stay as they stand" if answer.moves or kept else ""
    share = f"{100 * (1 + tightest.headroom):.0f} % of its demand"
    return f"{title}. The tightest service, {tightest.service}, has {share}{stay}."


def _capacity(answer: PlacementAnswer) -> Figure | None:
    """Demand and capacity of every service, in shares of the larger of the two."""
    bars = []
    for service in answer.services:
        whole = max(service.demand, service.capacity)
        if whole <= 0:
            continue
        served = min(service.demand, service.capacity)
        parts = (
            Part("served", served / whole, 0), Part("free", (service.capacity - served) / whole, None),
            Part("not served", (service.demand - served) / whole, 1),
        )  # fmt: skip
        said = f"{words.amount(service.demand, service.unit)} of {words.amount(service.capacity, service.unit)}"
        bars.append(Bar(service.service, parts, said))
    svg = bar_chart("Demand against capacity", bars, "{:.0%}".format)
    return Figure(svg, "Demand against capacity, service by service") if svg else None


def _nodes(answer: PlacementAnswer) -> list[Block]:
    tones = {service.service: index for index, service in enumerate(answer.services)}
    drawn: list[Block] = [_node(node, tones) for node in answer.nodes[:MOST_NODES_DRAWN]]
    more = len(answer.nodes) - len(drawn)
    return [*drawn, Words(f"{counted(more, 'more node')} in the JSON answer.")] if more > 0 else drawn


def _node(node: NodeOfSite, tones: dict[str, int]) -> Figure:
    islands: dict[int, list[Box]] = {}
    for gpu in node.gpus:
        islands.setdefault(gpu.island, []).append(_box(gpu, tones))
    zone = f" in {node.zone}" if node.zone else ""
    skus = ", ".join(dict.fromkeys(gpu.gpu for gpu in node.gpus))
    return Figure(boxes(node.name, list(islands.values())), f"{node.name}{zone}: {skus}", words.held_on(node))


def _box(gpu: GpuOfNode, tones: dict[str, int]) -> Box:
    parts = [
        Part(
            f"{server.service}/{server.replica}", words.held_bytes(server) / gpu.memory_bytes,
            tones.get(server.service, 0),
        )
        for server in gpu.servers
    ]  # fmt: skip
    asleep = [server.sleeps for server in gpu.servers]
    waking = words.waking_bytes(gpu)
    if waking > 0:
        parts.append(Part("to wake", waking / gpu.memory_bytes, None))
        asleep.append(True)
    return Box(f"GPU {gpu.shown or gpu.index}", tuple(parts), tuple(asleep))


def _commands(answer: PlacementAnswer) -> list[Block]:
    named: dict[str, list[str]] = {}
    for server in answer.servers:
        text = wrapped_command(server.plan.command, server.plan.env, 90)
        named.setdefault(text, []).append(f"{server.service}/{server.replica}")
    return [block for text, names in named.items() for block in (Words(", ".join(names)), Code(text))]
